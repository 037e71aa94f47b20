"""Live transcription: audio in while somebody speaks, words out. No WebSocket in it, and no web framework."""

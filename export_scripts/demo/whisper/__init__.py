"""The demo Whisper: speech made by eSpeak NG, a model trained on it from scratch, the checkpoint that came out."""

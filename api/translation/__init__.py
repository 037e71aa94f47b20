"""Text in another language: sentence by sentence, and put together as it was."""

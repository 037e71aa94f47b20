"""Stored transcripts: the pages they are listed in, and what people correct in them."""

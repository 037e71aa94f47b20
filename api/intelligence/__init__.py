"""What a text says: summaries, analyses, documents made of it, answers out of it."""

"""Recordings as samples, and what is made of samples: less noise, an even loudness, speech."""

"""Versions of models while they serve: which takes new work, which are still in use, how one follows another."""

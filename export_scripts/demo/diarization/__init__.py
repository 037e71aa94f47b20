"""The demo diarization models and how they are made: who speaks when in synthetic English and Spanish."""

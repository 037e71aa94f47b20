"""A recording in, a transcript out: media → speech → windows → recognition → transcript, nothing held whole."""

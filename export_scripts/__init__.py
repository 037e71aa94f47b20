"""Checkpoint → a version directory that Triton can serve; one module per kind of model, each with `main(argv)`."""

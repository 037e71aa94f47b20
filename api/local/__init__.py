"""The whole service on one machine: Triton from its pip wheel and the API, started, watched and stopped together."""

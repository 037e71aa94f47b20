"""tritone: speech-to-text as a service in front of NVIDIA Triton."""

__version__ = "0.1.0"

"""How the process gives memory back."""

from __future__ import annotations

import ctypes
from typing import Final

M_MMAP_THRESHOLD: Final = -3  # malloc.h
LARGE_BYTES: Final = 1024**2


def return_large_arrays() -> None:
    """Large arrays go back to the system when they are freed, rather than stay with the thread that made them.

    glibc maps large ones by themselves, but takes each that is freed as a reason to map only larger ones from then on,
    up to 32 MiB (mallopt(3)); below that every worker thread comes to keep its largest. Without glibc nothing happens.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    except (OSError, AttributeError):
        return

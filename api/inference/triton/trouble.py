"""What Triton's errors mean."""

from __future__ import annotations

from typing import Final, Literal

from tritonclient.utils import InferenceServerException

UNAVAILABLE: Final = "StatusCode.UNAVAILABLE"
NOT_FOUND: Final = "StatusCode.NOT_FOUND"
INVALID_ARGUMENT: Final = "StatusCode.INVALID_ARGUMENT"
DEADLINE_EXCEEDED: Final = "StatusCode.DEADLINE_EXCEEDED"
# A model whose process has died is INTERNAL with these words, until Triton is started again; it still counts as ready.
STUB_GONE: Final = "tub process"
# INTERNAL, too: the requests that are being worked on fill the memory that Triton shares with its models' processes.
NO_SHARED_MEMORY: Final = "shared memory pool"
# What a version that is not loaded, or on its way in or out, is known by; in a stream errors have no status.
NOT_LOADED: Final = "Request for unknown model"
# UNAVAILABLE, with which a model's queue policy refuses what is too much for it.
QUEUE_FULL: Final = "Exceeds maximum queue size"

Trouble = Literal["away", "hung", "missing", "crashed", "memory", "full"]
"""What may pass, or is otherwise elsewhere: the first two are the server's matter, the others one version's in it."""


def trouble_of(error: InferenceServerException) -> Trouble | None:
    """None where the same call would fail again."""
    message, status = str(error.message()), error.status()
    if STUB_GONE in message:
        return "crashed"
    if NO_SHARED_MEMORY in message:
        return "memory"
    if status == NOT_FOUND or message.startswith(NOT_LOADED):
        return "missing"
    if status == UNAVAILABLE:
        return "full" if QUEUE_FULL in message else "away"
    return None

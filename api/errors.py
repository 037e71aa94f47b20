"""What can go wrong, without a word of HTTP.

TritoneError
├── InvalidRequest          what was sent cannot be processed; the message says what would be right
│   ├── UnreadableMedia     the upload is not audio or video that decodes, or breaks a limit of the decoder
│   └── UnknownModel        no deployed model has this id
├── TooLarge                the upload is larger than allowed
├── ClientGone              nobody waits for the answer any more
├── Unavailable             try again later; carries the seconds to wait
│   ├── NoRoom              the disk that uploads wait on is full, or a quota or limit on it reached
│   ├── NoSlot              as many live sessions run as may
│   └── InferenceUnavailable    the inference server is away, or stayed silent
└── InferenceFailed         the inference server answered, but not with a result
"""

from __future__ import annotations


class TritoneError(Exception):
    """The root of every error the service raises by itself; its text is fit for the person who called."""


class InvalidRequest(TritoneError):
    pass


class UnreadableMedia(InvalidRequest):
    pass


class UnknownModel(InvalidRequest):
    pass


class TooLarge(TritoneError):
    pass


class ClientGone(TritoneError):
    pass


class Unavailable(TritoneError):
    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoRoom(Unavailable):
    pass


class NoSlot(Unavailable):
    pass


class InferenceUnavailable(Unavailable):
    pass


class InferenceFailed(TritoneError):
    pass

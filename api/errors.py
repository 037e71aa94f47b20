"""What can go wrong, without a word of HTTP.

TritoneError
├── InvalidRequest          what was sent cannot be processed; the message says what would be right
│   ├── UnreadableMedia     the upload is not audio or video that decodes, or breaks a limit of the decoder
│   ├── UnknownModel        no deployed model has this id
│   └── PromptTooLong       what a language model is asked has more tokens than it can read
├── InvalidKey              no key, where one is needed, or one that is wrong, revoked or expired
├── Forbidden               the key is right, and not for this
├── NotFound                there is no such thing, or it is somebody else's
├── Conflict                not while it is in this state; the message says in which it is
├── NoCredits               the account has not enough of them
│   └── NoBalance           it has none at all
├── TooMany                 a limit of the plan is reached; carries the seconds to wait
│   ├── TooManyAtOnce       so many run already; carries the limit
│   └── MonthUsedUp         the plan's minutes of this month are not enough
├── TooLarge                the upload is larger than allowed
├── ClientGone              nobody waits for the answer any more
├── Unavailable             try again later; carries the seconds to wait
│   ├── NoRoom              the disk that uploads wait on is full, or a quota or limit on it reached
│   ├── ShuttingDown        this process is about to end; another one will answer
│   ├── NoSlot              as many live sessions run as may
│   ├── Overloaded          as much is in work as may be; carries when there is likely to be room
│   ├── StorageUnavailable      the database is away
│   ├── FontMissing             no font on the server has the letters of the document
│   └── InferenceUnavailable    the inference server is away, or stayed silent
│       └── ModelMissing        no model for this is deployed; the message names the command that installs one
├── DocumentFailed          the document could not be made; logged
└── InferenceFailed         the inference server answered, but not with a result; carries what it said
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


class PromptTooLong(InvalidRequest):
    pass


class InvalidKey(TritoneError):
    pass


class Forbidden(TritoneError):
    pass


class NotFound(TritoneError):
    pass


class Conflict(TritoneError):
    pass


class NoCredits(TritoneError):
    pass


class NoBalance(NoCredits):
    pass


class TooMany(TritoneError):
    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyAtOnce(TooMany):
    def __init__(self, message: str, retry_after_s: int, limit: int) -> None:
        super().__init__(message, retry_after_s)
        self.limit = limit


class MonthUsedUp(TooMany):
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


class ShuttingDown(Unavailable):
    def __init__(self) -> None:
        super().__init__("The service is being restarted. Try again.", retry_after_s=1)


class NoSlot(Unavailable):
    pass


class Overloaded(Unavailable):
    pass


class StorageUnavailable(Unavailable):
    pass


class FontMissing(Unavailable):
    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=3600)  # somebody has to install one


class InferenceUnavailable(Unavailable):
    pass


class ModelMissing(InferenceUnavailable):
    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=3600)  # somebody has to install one


class DocumentFailed(TritoneError):
    pass


class InferenceFailed(TritoneError):
    """`said` may quote what was sent: the caller is told it, a log is not."""

    def __init__(self, what: str, said: object = "") -> None:
        super().__init__(f"{what}: {said}" if said else what)
        self.what = what

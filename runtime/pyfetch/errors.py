"""Errors, sorted by who can correct them. `status` is the exit status, which is stable.

    UsageError          2   the caller            a wrong option or reference, a bundle that exists already
    NotFound            3   the caller            no such image, tag, platform or bundle
    AuthError           4   the caller            the registry wants other credentials
    NetworkError        5   the network           the registry cannot be reached, or stays busy
    VerificationError   6   the image's author    the bytes do not match their digest, size or format
    DiskError           7   the system            no space, no permission, read-only
    Error               1   see the text
    anything else           a bug

Only cli prints errors; other code translates an exception (`raise X from e`) or lets it pass.
"""

import errno

from foundation.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO, errno.EMFILE)


class UsageError(Error):
    status = 2


class NotFound(Error):
    status = 3


class WrongPlatform(NotFound):
    """The image is there, but for other platforms."""


class AuthError(Error):
    status = 4


class NetworkError(Error):
    status = 5


class VerificationError(Error):
    status = 6


class DiskError(Error):
    status = 7


def exit_status(error: BaseException) -> int:
    """Return the exit status for `error`."""
    if isinstance(error, Error):
        return error.status
    return DiskError.status if isinstance(error, OSError) and error.errno in _DISK_ERRORS else 1


def translate(text: str, error: OSError) -> Error:
    """Return an Error with the message `text` and the exit status of `error`."""
    translated = Error(text)
    translated.status = exit_status(error)
    return translated


def attempt_all(action: "Callable[[T], object]", things: "Iterable[T]") -> None:
    """Call `action` for each of `things`, even after failures; then raise all failures as one Error."""
    errors: list[Error | OSError] = []
    for thing in things:
        try:
            action(thing)
        except (Error, OSError) as error:
            errors.append(error)
    if errors:
        together = Error("; ".join(map(reason, errors)))
        together.status = exit_status(errors[0])
        raise together


def show(name: bytes) -> str:
    """Return a name from an archive, which can be any bytes, quoted for a message."""
    return repr(name[:200].decode("utf-8", "backslashreplace"))

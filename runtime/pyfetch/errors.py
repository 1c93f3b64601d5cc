"""What can go wrong, sorted by who can put it right; `status` is the exit status, which is stable.

    UsageError          2   the caller            a wrong option or reference, a bundle that exists already
    NotFound            3   the caller            no such image, tag, platform or bundle
    AuthError           4   the caller            the registry wants other credentials
    NetworkError        5   the network           the registry cannot be reached, or stays busy
    VerificationError   6   the image's author    what came is not what its digest, size or format promise
    DiskError           7   the system            no space, no permission, read-only
    Error               1   whoever the text names
    anything else           a bug

Only cli.main() catches; everywhere else an exception is either translated (`raise X from e`) or left alone.
"""

import errno

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO, errno.EMFILE)


class Error(Exception):
    status = 1


class UsageError(Error):
    status = 2


class NotFound(Error):
    status = 3


class AuthError(Error):
    status = 4


class NetworkError(Error):
    status = 5


class VerificationError(Error):
    status = 6


class DiskError(Error):
    status = 7


def exit_status(error: BaseException) -> int:
    """Return the exit status for `error`, which is an Error or an OSError."""
    if isinstance(error, Error):
        return error.status
    return DiskError.status if isinstance(error, OSError) and error.errno in _DISK_ERRORS else 1


def translate(text: str, error: OSError) -> Error:
    """Return `error` told in other words, with its exit status."""
    translated = Error(text)
    translated.status = exit_status(error)
    return translated


def reason(error: BaseException) -> str:
    """Tell `error` in one line: what, on what, why."""
    if not isinstance(error, OSError) or error.strerror is None:
        return printable(str(error)) or type(error).__name__
    if error.filename is None:
        return error.strerror
    name = error.filename
    return printable(
        f"{name.decode('utf-8', 'surrogateescape') if isinstance(name, bytes) else name}: {error.strerror}"
    )


def printable(text: str, limit: int = 1000) -> str:
    """Return `text`, which a server or an archive may have written, as one line that cannot steer a terminal.

    str.isprintable() is false for escape and other control characters and for those that turn the direction of the
    text (bidi overrides); surrogates stand for undecodable bytes.
    """
    clean = "".join(c if c.isprintable() else " " if c in "\t\r\n" else "\ufffd" for c in text[: 4 * limit])
    return " ".join(clean.split())[:limit]


def show(name: bytes) -> str:
    """Return a name from an archive for a message, whatever bytes it holds."""
    return repr(name[:200].decode("utf-8", "backslashreplace"))

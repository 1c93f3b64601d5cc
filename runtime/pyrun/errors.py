"""What can go wrong, sorted by who can put it right.

    ConfigError   the bundle's author   config.json asks for something wrong or unsupported
    UsageError    the caller            a wrong option, an unknown verb, a missing argument
    Error         the caller            the container is not there, or not in the right state
    OSError       the system            the kernel refused; raised by linux/ and by os
    anything else us                    a bug

Only cli.main() catches; everywhere else an exception is either translated (`raise X from e`) or left alone.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Error(Exception):
    """The container is not there, or not in a state that allows what was asked. `status` is our exit code."""

    status = 1


class ConfigError(Error):
    """config.json (or the process of `exec`) asks for something wrong, or for something that is not supported."""


class UsageError(Error):
    """The command line is wrong."""


def reason(error: BaseException) -> str:
    """Tell `error` in one line, the way runc words a system call's failure: what, on what, why."""
    if not isinstance(error, OSError) or error.strerror is None:
        return " ".join(str(error).split("\n")) or type(error).__name__
    if error.filename is None:
        return error.strerror
    name = error.filename if isinstance(error.filename, str) else _text(error.filename)
    return f"{name}: {error.strerror}"


def did_you_mean(name: str, known: "Iterable[str]", prefix: str = "") -> str:
    """Return what an error says behind a `name` that is not among the `known` ones: the one that it is most like."""
    # As people mistype: the case too, which a comparison letter by letter takes for another letter.
    by_lower = {one.lower(): one for one in known}
    close = [one for one in by_lower if len(name) > 2 and one.startswith(name.lower())]
    if by_lower and not close:
        from difflib import get_close_matches  # slow to load, and only needed for a misspelt name

        close = get_close_matches(name.lower(), by_lower)
        close.sort(key=lambda one: sorted(one) != sorted(name.lower()))  # letters that changed places, first
    return f": did you mean {prefix + by_lower[close[0]]!r}?" if close else ""


def _text(filename: object) -> str:
    return filename.decode("utf-8", "surrogateescape") if isinstance(filename, bytes) else str(filename)


class ExecError(Error):
    """A process could not be executed in a container; its own exit codes are those below 255."""

    status = 255

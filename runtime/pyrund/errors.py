"""The exceptions. Each handler of the API may raise them; the connection answers with their status and message."""

import sys

from foundation.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable


class ApiError(Exception):
    """What the client is told, in docker's words: an HTTP status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def missing(what: str) -> ApiError:
    """Return the error for what this engine does not have yet."""
    return ApiError(501, f"{what}: not part of this engine yet")


async def logged(work: "Awaitable[object]", who: str) -> None:
    """Wait for `work`, which is done for `who`. That it fails is told to the log alone: no client waits for it."""
    try:
        await work
    except (ApiError, Error, OSError) as error:
        print(f"pyrund: {who}: {reason(error)}", file=sys.stderr)


def show_bug(error: BaseException) -> None:
    """Print the traceback of an error that is not about the world. The module for that would cost each start 4 ms."""
    sys.excepthook(type(error), error, error.__traceback__)


def shell_status(message: str, otherwise: int) -> int:
    """Return the exit status of a shell for a program that cannot be started, which docker reads from the message."""
    if "executable file not found" in message or "no such file or directory" in message:
        return 127
    return 126 if "permission denied" in message or "is a directory" in message else otherwise


class Refused(Error):
    """The command line, or the machine, does not allow what was asked. A wrong option has the exit status 125."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status

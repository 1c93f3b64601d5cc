"""The exceptions. Each handler of the API may raise them; the connection answers with their status and message."""

from foundation.errors import Error


class ApiError(Exception):
    """What the client is told, in docker's words: an HTTP status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def missing(what: str) -> ApiError:
    """Return the error for what this engine does not have yet."""
    return ApiError(501, f"{what}: not part of this engine yet")


class Refused(Error):
    """The command line, or the machine, does not allow what was asked. A wrong option has the exit status 125."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status

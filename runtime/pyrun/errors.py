"""The exceptions, sorted by the person that can correct the cause.

    ConfigError   the bundle's author   config.json asks for something wrong or unsupported
    UsageError    the caller            a wrong option, an unknown verb, a missing argument
    Error         the caller            the container does not exist, or is not in the right state
    OSError       the administrator     the kernel refused a system call; raised by foundation/linux
    anything else the authors of pyrun  a bug

Only cli.main() prints exceptions. All other code lets them pass, or translates them (`raise X from e`).
"""

from foundation.errors import Error


class NoContainer(Error):
    """No container has this id, or it was deleted meanwhile."""

    def __init__(self, id_: str, suggestion: str = "") -> None:
        super().__init__(f"container does not exist: {id_}{suggestion}")


class ConfigError(Error):
    """config.json, or the process given to `exec`, asks for something wrong or unsupported."""


class UsageError(Error):
    """The command line is wrong."""


class ExecError(Error):
    """`exec` could not execute the process. As with runc the exit code is 255; lower ones are the process's own."""

    status = 255

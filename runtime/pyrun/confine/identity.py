"""What makes the container another machine: its names and its kernel parameters."""

import _socket
import os

from pyrun.errors import Error
from pyrun.linux.unistd import setdomainname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config


def identify(config: "Config") -> None:
    """Must run in the container's namespaces, while /proc is the host's."""
    if config.hostname:
        _socket.sethostname(config.hostname)
    if config.domainname:
        setdomainname(config.domainname.encode())
    for name, value in config.linux.sysctl.items():
        _set_parameter(name, value)


def _set_parameter(name: str, value: str) -> None:
    """Write a kernel parameter; which of them may be set at all is a rule of spec/.

    By the host's /proc: one of the container could be made to lead the write to another file (CVE-2025-52881).
    """
    path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Error(f'error setting sysctl "{name}" to "{value}": {error.strerror}') from error

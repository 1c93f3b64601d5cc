"""The hostname, domain name and kernel parameters (sysctl) of the container."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.unistd import setdomainname, sethostname
from foundation.linux.whole_file import write_value
from pyrun.config.sysctl import path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Config


def identify(config: "Config") -> None:
    """Set hostname, domainname and sysctl. Must run in the container's namespaces, while /proc is the host's."""
    if config.hostname:
        sethostname(config.hostname.encode())
    if config.domainname:
        setdomainname(config.domainname.encode())
    for name, value in config.linux.sysctl.items():
        set_parameter(name, value)


def set_parameter(name: str, value: str) -> None:
    """Write a kernel parameter; config/sysctl.py has checked that the container may set it.

    Use the host's /proc: the image can make the container's lead the write to another file (CVE-2025-52881).
    """
    path = f"/proc/sys/{path_of(name)}"
    try:
        with opened(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
            write_value(fd, value.encode())
    except OSError as error:
        raise Error(f'error setting sysctl "{name}" to "{value}": {error.strerror}') from error

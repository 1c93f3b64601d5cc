"""Kernel parameters: which file one is, which namespace it belongs to, and which may be set.

The list is one of what is allowed: /proc/sys also has kernel.core_pattern, which runs a program as root on the host
(CVE-2022-0811). Its entries are runc's, and user.*, which a user namespace has of its own.
"""

import os

from pyrun.spec.config import Config
from pyrun.spec.linux import Linux, Namespace
from pyrun.spec.node import shown

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.errors import ConfigError

_SYSTEM_V = frozenset(  # sysvipc(7)
    (
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    )
)
_VALUE = 4095  # bytes: the kernel reads a page of a number's text and takes the rest for absent


def path_of(key: str) -> str:
    """Return the file of `key` below /proc/sys.

    sysctl(8): the first separator tells which of '.' and '/' it is, the other one is part of a name, such as that of
    the interface eth0.1 in net/ipv4/conf/eth0.1/forwarding or net.ipv4.conf.eth0/1.forwarding.
    """
    for character in key:
        if character == "/":
            return key
        if character == ".":
            return key.translate({ord("."): "/", ord("/"): "."})
    return key


def namespace_of(path: str) -> "str | None":
    """Return the type of the namespace that the file `path` below /proc/sys belongs to, None where it is the host's."""
    if path in _SYSTEM_V or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path.startswith("user/"):
        return "user"
    return "uts" if path == "kernel/domainname" else None


def sysctls_belong_to_the_container(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#sysctl: only what is namespaced, and only where the container has that namespace."""
    for key in config.linux.sysctl:
        reason = _fault_of_key(path_of(key), config.linux)
        if reason:
            yield config.linux.json.error(f"sysctl[{shown(key)}]", reason)


def _fault_of_key(path: str, linux: Linux) -> str:
    parts = path.split("/")
    if "" in parts or "." in parts or ".." in parts:
        return "is not the name of a kernel parameter"
    if path == "kernel/hostname":
        return "is set by the property hostname"
    type_ = namespace_of(path)
    if type_ is None:
        return "belongs to the host, no namespace has it of its own"
    if not _has_its_own(linux, type_):
        return f"needs a namespace of type {type_} other than the host's"
    return ""


def _has_its_own(linux: Linux, type_: str) -> bool:
    namespace = linux.namespace(type_)
    return namespace is not None and not (namespace.path and _is_ours(namespace))


def _is_ours(namespace: Namespace) -> bool:
    """Tell whether the path of `namespace` leads back to the namespace of the runtime."""
    ours = "/proc/self/ns/" + ("net" if namespace.type == "network" else namespace.type)
    try:
        return os.path.samefile(namespace.path.encode(), ours)
    except OSError:
        return False  # it cannot be joined either, and who tries to will say why


def sysctl_values_are_one_line(config: Config) -> "Iterator[ConfigError]":
    for key, value in config.linux.sysctl.items():
        if "\n" in value:
            yield config.linux.json.error(f"sysctl[{shown(key)}]", "has a value of more than one line")
        elif len(value.encode()) > _VALUE:
            yield config.linux.json.error(f"sysctl[{shown(key)}]", f"has a value of more than {_VALUE} bytes")


SYSCTL_RULES = (sysctls_belong_to_the_container, sysctl_values_are_one_line)

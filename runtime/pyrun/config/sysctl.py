"""linux.sysctl: the file of a kernel parameter, the namespace that it belongs to, and whether it may be set.

Only listed parameters may be set, because /proc/sys also has kernel.core_pattern, which runs a program as root on the
host (CVE-2022-0811). The list is runc's, plus user.*, which each user namespace has.
"""

from foundation.encode import encode
from foundation.linux import os
from foundation.node import shown
from pyrun.config.document import Config
from pyrun.config.linux import Linux, Namespace

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
_VALUE = 4095  # bytes: the kernel reads at most a page of a number's text, and ignores the rest


def path_of(key: str) -> str:
    """Return the path of `key` below /proc/sys.

    sysctl(8): the first '.' or '/' is the separator, and the other character is part of a name: the interface eth0.1 is
    in net/ipv4/conf/eth0.1/forwarding or net.ipv4.conf.eth0/1.forwarding.
    """
    for character in key:
        if character == "/":
            return key
        if character == ".":
            return key.translate({ord("."): "/", ord("/"): "."})
    return key


def namespace_of(path: str) -> "str | None":
    """Return the type of the namespace to which `path` below /proc/sys belongs, None if it belongs to the host."""
    if path in _SYSTEM_V or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path.startswith("user/"):
        return "user"
    return "uts" if path == "kernel/domainname" else None


def sysctls_belong_to_the_container(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#sysctl: only namespaced parameters, and only if the container has its own such namespace."""
    for key in config.linux.sysctl:
        reason = _fault_of_key(key, config.linux)
        if reason:
            yield config.linux.json.error(f"sysctl[{shown(key)}]", reason)


# runc's words.
_OF_THE_HOST = {
    "ipc": "is not allowed in the hosts ipc namespace",
    "network": "not allowed in host network namespace",
}


def _fault_of_key(key: str, linux: Linux) -> str:
    path = path_of(key)
    parts = path.split("/")
    name = encode(key[:60])  # as Go's %q
    if "" in parts or "." in parts or ".." in parts:
        return "is not the name of a kernel parameter"
    if path == "kernel/hostname":
        return f'sysctl {name} is not allowed as it conflicts with the OCI "hostname" field'
    type_ = namespace_of(path)
    if type_ is None:
        return f"sysctl {name} is not in a separate kernel namespace"
    if not _has_its_own(linux, type_):
        return f"sysctl {name} {_OF_THE_HOST.get(type_, 'is not in a separate kernel namespace')}"
    return ""


def _has_its_own(linux: Linux, type_: str) -> bool:
    namespace = linux.namespace(type_)
    return namespace is not None and not (namespace.path and _is_ours(namespace))


def _is_ours(namespace: Namespace) -> bool:
    """Return whether the path of `namespace` leads to the runtime's own namespace."""
    ours = "/proc/self/ns/" + ("net" if namespace.type == "network" else namespace.type)
    try:
        return os.path.samefile(namespace.path.encode(), ours)
    except OSError:
        return False  # it cannot be joined, either; joining it will raise the error


def sysctl_values_are_one_line(config: Config) -> "Iterator[ConfigError]":
    """A value must be one line. A newline at its end is allowed, because blocks of YAML end so."""
    for key, value in config.linux.sysctl.items():
        if "\n" in value.removesuffix("\n"):
            yield config.linux.json.error(f"sysctl[{shown(key)}]", "has a value of more than one line")
        elif len(value.encode()) > _VALUE:
            yield config.linux.json.error(f"sysctl[{shown(key)}]", f"has a value of more than {_VALUE} bytes")


SYSCTL_RULES = (sysctls_belong_to_the_container, sysctl_values_are_one_line)

"""<linux/landlock.h>: rules by which a process restricts itself (Linux 5.13)."""

from pyrun.linux.libc import addressof, buffer, c_int, c_size_t, c_uint32, c_void_p, declare_syscall

LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_RULE_NET_PORT = 2

_create_ruleset = declare_syscall("landlock_create_ruleset", c_void_p, c_size_t, c_uint32)
_add_rule = declare_syscall("landlock_add_rule", c_int, c_int, c_void_p, c_uint32)


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel has, 0 where it has none."""
    try:
        return _create_ruleset(None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0  # ENOSYS: not built in; EOPNOTSUPP: not enabled at boot


def landlock_create_ruleset(file_access: int, network_access: int, scoped: int) -> int:
    """Return a ruleset that denies these rights, but for what rules allow. Closed on execve(2)."""
    attr = buffer(b"".join(word.to_bytes(8, "little") for word in (file_access, network_access, scoped)))
    return _create_ruleset(addressof(attr), len(attr), 0)


def landlock_add_path(ruleset: int, access: int, parent_fd: int) -> None:
    """Allow `access` to what `parent_fd` is open on, and to all below it."""
    attr = buffer(access.to_bytes(8, "little") + parent_fd.to_bytes(4, "little"))  # packed
    _add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, addressof(attr), 0)


def landlock_add_port(ruleset: int, access: int, port: int) -> None:
    attr = buffer(access.to_bytes(8, "little") + port.to_bytes(8, "little"))
    _add_rule(ruleset, LANDLOCK_RULE_NET_PORT, addressof(attr), 0)

"""<linux/landlock.h>: rules by which a process restricts itself (Linux 5.13)."""

from foundation.linux.libc import c_size_t, c_uint32, c_void_p, declare_syscall

LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_RULE_NET_PORT = 2
RULESET_ATTR_SIZE = 24  # three words: rights to files, rights to the network, scopes

_create_ruleset = declare_syscall("landlock_create_ruleset", c_void_p, c_size_t, c_uint32)


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel has, 0 if it has none."""
    try:
        return _create_ruleset(None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0  # ENOSYS: not built in; EOPNOTSUPP: not enabled at boot


def path_beneath(access: int, parent_fd: int) -> bytes:
    """Return a struct landlock_path_beneath_attr: `access` to the file of `parent_fd`, and to all below a directory."""
    return access.to_bytes(8, "little") + parent_fd.to_bytes(4, "little")  # packed

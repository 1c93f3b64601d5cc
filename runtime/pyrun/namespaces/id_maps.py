"""The ids of a user namespace, and what they are outside of it (user_namespaces(7))."""

from foundation.linux import os
from foundation.linux.whole_file import set_value
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.linux import IDMapping

_OVERFLOW_ID = 65534


def map_ids(pid: int, uid_mappings: "list[IDMapping]", gid_mappings: "list[IDMapping]") -> None:
    """Write the mappings of the new user namespace of the process `pid` (user_namespaces(7)).

    Without privileges we may map only our own id; ranges are mapped by newuidmap(1) and newgidmap(1). Must run in the
    parent user namespace. Raises ConfigError or OSError.
    """
    own = os.geteuid() != 0
    if own and _is_own(uid_mappings, os.geteuid()) and _is_own(gid_mappings, os.getegid()):
        set_value(f"/proc/{pid}/setgroups", b"deny")  # required before an unprivileged gid_map (Linux 3.19)
        own = False
    for name, mappings in (("uid", uid_mappings), ("gid", gid_mappings)):
        if own:
            _map_by_helper(f"new{name}map", pid, mappings)
        else:
            lines = [f"{mapping.container_id} {mapping.host_id} {mapping.size}\n" for mapping in mappings]
            set_value(f"/proc/{pid}/{name}_map", "".join(lines).encode())


def outside(pid: int, uid: int, gid: int) -> "tuple[int, int]":
    """Return the ids that `uid` and `gid` in the user namespace of the process `pid` have in ours.

    An id that is not mapped becomes the overflow id, which owns nothing (user_namespaces(7)).
    """
    return _outside(f"/proc/{pid}/uid_map", uid), _outside(f"/proc/{pid}/gid_map", gid)


def _outside(map_: str, id_: int) -> int:
    with open(map_, "rb") as file:
        for line in file:
            first, outside, size = map(int, line.split())
            if 0 <= id_ - first < size:
                return outside + id_ - first
    return _OVERFLOW_ID


def _is_own(mappings: "list[IDMapping]", id_: int) -> bool:
    return len(mappings) == 1 and mappings[0].host_id == id_ and mappings[0].size == 1


def _map_by_helper(program: str, pid: int, mappings: "list[IDMapping]") -> None:
    arguments = [program, str(pid)]
    for mapping in mappings:
        arguments += [str(mapping.container_id), str(mapping.host_id), str(mapping.size)]
    try:
        child = os.posix_spawnp(program, arguments, os.environment)
    except OSError as error:
        raise ConfigError(
            f"{program}: {error.strerror}: it is needed to map ids other than one's own (package uidmap)"
        ) from error
    if os.waitpid(child, 0)[1] != 0:
        raise ConfigError(f"{program} refused {' '.join(arguments[2:])}: see /etc/sub{program[3:6]}")

"""linux.resources.network and rdma: net_cls and net_prio of v1, and rdma, which is the same in both versions."""

from pyrun.cgroup.setting import Setting
from pyrun.config.linux import Resources


def class_id(resources: Resources, v2: bool) -> "list[Setting]":
    """Return the file for network.classID: 0xAAAABBBB is the class AAAA:BBBB of tc(8)."""
    network = resources.network
    return [Setting("net_cls.classid", network.class_id)] if network and network.class_id else []


def priorities(resources: Resources, v2: bool) -> "list[Setting]":
    """Return a setting for each interface: net_prio.ifpriomap takes one in a write."""
    found = []
    for name, priority in resources.network.priorities if resources.network else ():
        found.append(Setting("net_prio.ifpriomap", f"{name} {priority}"))
    return found


def rdma(resources: Resources, v2: bool) -> "list[Setting]":
    """Return a setting for each device of linux.resources.rdma that has a limit."""
    found = []
    for name, limits in resources.rdma.items():
        parts = [name]
        if limits.hca_handles is not None:
            parts.append(f"hca_handle={limits.hca_handles}")
        if limits.hca_objects is not None:
            parts.append(f"hca_object={limits.hca_objects}")
        if len(parts) > 1:
            found.append(Setting("rdma.max", " ".join(parts)))
    return found

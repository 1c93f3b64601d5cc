"""linux.resources.network and rdma: v1's net_cls and net_prio, and rdma, which is the same in both versions."""

from pyrun.cgroup.setting import Setting
from pyrun.spec.linux import Resources


def class_id(resources: Resources, v2: bool) -> "list[Setting]":
    network = resources.network
    return [Setting("net_cls.classid", network.class_id)] if network and network.class_id else []


def priorities(resources: Resources, v2: bool) -> "list[Setting]":
    """One write for each interface: net_prio.ifpriomap takes no more."""
    found = []
    for name, priority in resources.network.priorities if resources.network else ():
        if name.split() != [name]:
            raise resources.json.error("network.priorities", f"{name!r} is not the name of an interface")
        found.append(Setting("net_prio.ifpriomap", f"{name} {priority}"))
    return found


def rdma(resources: Resources, v2: bool) -> "list[Setting]":
    found = []
    for name, limits in resources.rdma.items():
        if name.split() != [name]:
            raise resources.json.error(f"rdma[{name!r}]", "is not the name of a device")
        parts = [name]
        if limits.hca_handles is not None:
            parts.append(f"hca_handle={limits.hca_handles}")
        if limits.hca_objects is not None:
            parts.append(f"hca_object={limits.hca_objects}")
        if len(parts) > 1:
            found.append(Setting("rdma.max", " ".join(parts)))
    return found

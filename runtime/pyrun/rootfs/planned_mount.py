"""A mount of config.json, parsed and checked before anything is mounted."""

from foundation.linux import os
from pyrun.rootfs.options import COPY_SYMLINK, SOURCE_NOFOLLOW, MountOptions, are_ranges, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Mount


# Only these files of procfs may be mounted over, as lxcfs does: any other mount below /proc would let an image decide
# what the runtime and the container's processes read there (CVE-2019-16884, CVE-2019-19921).  The list is runc's.
PROC_FILES = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
)


class PlannedMount:
    """A mount of config.json with its options parsed and checked. Raises ConfigError.

    `label` is linux.mountLabel, or "" if files keep their labels.
    """

    def __init__(self, mount: "Mount", label: str = "") -> None:
        self.destination = os.path.normpath("/" + mount.destination.lstrip("/"))
        self.source = mount.source
        self.type = mount.type
        self.options = MountOptions(mount.options)
        self.is_bind = self.options.bind is not None or self.type == "bind"
        self.is_procfs = not self.is_bind and self.type == "proc"
        self.mappings = (mount.uid_mappings, mount.gid_mappings)
        self.warnings: list[str] = []
        self.is_mapped = self.options.idmap is not None or bool(mount.uid_mappings)
        self.is_cgroup = not self.is_bind and self.type in ("cgroup", "cgroup2")
        self.label = label
        if self.is_bind and self.options.data:
            words = ", ".join(map(shown, self.options.data))
            self.warnings.append(str(mount.json.error("options", f"a bind mount takes no option {words}: ignored")))
        if self.options.ranges and not self.is_bind:
            raise mount.json.error("options", "only a bind mount can have its ids mapped")
        if not are_ranges(self.options.ranges):
            raise mount.json.error(
                "options", 'idmap takes "uids=0-100000-65536;gids=0-100000-65536", and no other form'
            )
        if self.destination == "/" and not self.options.remounts:
            raise mount.json.error("destination", '"/" is the root file system itself: root.path says which')
        if self.options.copies_up and (self.is_bind or self.type != "tmpfs"):
            raise mount.json.error("options", '"tmpcopyup" is for a mount of type "tmpfs"')
        for option in {COPY_SYMLINK, SOURCE_NOFOLLOW} & set(mount.options) if not self.is_bind else ():
            raise mount.json.error("options", f'"{option}" is for a bind mount')
        if not self.is_bind and not self.type and not self.options.remounts:
            raise mount.json.error("type", 'is required, unless the options say "bind" or "rbind"')
        if self.is_bind and not self.source and not self.options.remounts:
            raise mount.json.error("source", "is required for a bind mount")
        if self.destination == "/proc" and self.type != "proc" and not self.is_bind:
            raise mount.json.error("destination", '"/proc" takes a mount of type "proc" or a bind of one')
        if self.destination.startswith("/proc/") and self.destination not in PROC_FILES:
            raise mount.json.error("destination", f'"{self.destination}" cannot be mounted because it is inside /proc')


def describe(planned: PlannedMount) -> str:
    """Return the beginning of an error message about the mount, in runc's words."""
    what = planned.source if planned.is_bind else planned.type
    return f'error mounting "{what}" to rootfs at "{planned.destination}"'

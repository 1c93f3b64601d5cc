"""linux.intelRdt: a share of the processor's caches and memory bandwidth, as a class of service (CLOS) in resctrl.

A class is a directory, which processes join by its file `tasks`; its file `schemata` holds its shares. Source:
config-linux.md#intel-rdt, Documentation/filesystems/resctrl.rst.
"""

from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.mountinfo import mounts
from foundation.linux.opened import open_all, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.config.linux import IntelRdt


class ClassOfService:
    """The directories that a container joins, in this order, and which of them were made for it.

    state.json keeps both, so that `delete` removes only the directories that were made for the container.
    """

    def __init__(self, directories: "list[str]", made: "list[str]", schemata: "list[str] | None" = None) -> None:
        self.directories = directories
        self.made = made
        self.schemata = schemata or []

    def create(self) -> None:
        """Make the directories and write the schemata. Raises OSError, or Error with the kernel's explanation."""
        for directory in self.made:
            os.mkdir(directory, 0o755)
        for line in self.schemata:
            write_schema(self.directories[0], line)

    def open_files(self) -> "list[int]":
        """Open the files by which a process joins by writing "0", as cgroup/join.py; the caller closes them."""
        return open_all([f"{directory}/tasks" for directory in self.directories], os.O_WRONLY)

    def remove(self) -> None:
        """Remove the directories that were made for the container."""
        for directory in reversed(self.made):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass  # it was not made yet, or resctrl has been unmounted

    def paths(self) -> "dict[str, list[str]]":
        """Return the entry for state.json."""
        return {"directories": self.directories, "made": self.made}


def of_state(paths: "dict[str, Any]") -> ClassOfService:
    """Return the class of an entry of state.json."""
    return ClassOfService(paths["directories"], paths["made"])


def plan(wanted: "IntelRdt", container_id: str) -> ClassOfService:
    """Return the class that the config asks for. Raises ConfigError; changes nothing."""
    root = mount_point()
    if not root:
        raise wanted.json.error("", "resctrl is not mounted: mount -t resctrl resctrl /sys/fs/resctrl")
    name = wanted.clos_id.strip("/") if wanted.clos_id else container_id  # "/" is the class of the root directory
    directory = f"{root}/{name}" if name else root
    schemata = _schemata(wanted)
    made = []
    if not os.path.isdir(directory):
        if wanted.clos_id and not schemata:
            raise wanted.json.error("closID", f'"{wanted.clos_id}" is not there, and has no schema to be made with')
        made.append(directory)
    elif wanted.clos_id and schemata:
        _compare(wanted, directory, schemata)
        schemata = []
    directories = [directory]
    if wanted.enable_monitoring:
        directories.append(f"{directory}/mon_groups/{container_id}")
        made.append(directories[-1])
    return ClassOfService(directories, made, schemata)


def _schemata(wanted: "IntelRdt") -> "list[str]":
    """Return the lines to write. memBwSchema replaces an "MB:" line in l3CacheSchema."""
    lines = wanted.l3_cache_schema.split("\n")
    if wanted.mem_bw_schema:
        lines = [line for line in lines if not line.startswith("MB:")] + [wanted.mem_bw_schema]
    return [line for line in lines + wanted.schemata if line]


def _compare(wanted: "IntelRdt", directory: str, schemata: "list[str]") -> None:
    """config-linux.md#intel-rdt: raise ConfigError if the existing class has another schema."""
    has = _domains(read(directory, "schemata").split("\n"))
    for domain, value in _domains(schemata).items():
        if has.get(domain) != value:
            resource, number = domain
            reason = f'"{wanted.clos_id}" is there, with another schema for {resource}:{number}'
            raise wanted.json.error("closID", reason)


def _domains(schemata: "list[str]") -> "dict[tuple[str, str], str]":
    """Return the values by (resource, cache id): "L3:0=00f;1=f" has two."""
    found = {}
    for line in schemata:
        resource, _, values = line.strip().partition(":")
        for part in values.split(";"):
            number, _, value = part.partition("=")
            found[resource.strip(), number.strip()] = value.strip().lstrip("0").lower()
    return found


def write_schema(directory: str, line: str) -> None:
    """Write one line of schemata. Raises Error with the kernel's explanation."""
    try:
        with opened(os.open(f"{directory}/schemata", os.O_WRONLY | os.O_CLOEXEC)) as fd:
            whole_file.write_value(fd, f"{line}\n".encode())
    except OSError as error:
        why = read(mount_point() or directory, "info/last_cmd_status")  # the kernel's explanation
        raise Error(f'linux.intelRdt: write "{line}" to {directory}/schemata: {error.strerror}: {why}') from error


def update(paths: "dict[str, Any]", l3_cache_schema: str, mem_bw_schema: str) -> None:
    """Write new schemas for the container with these `paths` of state.json; "" keeps one. Raises Error."""
    if not paths:
        raise Error("the container has no class of service: linux.intelRdt of its config.json gives it one")
    for line in (l3_cache_schema, mem_bw_schema):
        if line:
            write_schema(paths["directories"][0], line)


def statistics(paths: "dict[str, Any]") -> "dict[str, Any]":
    """Return the "intel_rdt" of `events`, with runc's names: the schemas of the class and of the root directory."""
    if not paths:
        return {}
    found = {}
    for suffix, directory in (("", paths["directories"][0]), ("_root", mount_point())):
        for line in read(directory, "schemata").split("\n"):
            for name, resource in (("l3_cache_schema", "L3:"), ("mem_bw_schema", "MB:")):
                if line.strip().startswith(resource):
                    found[name + suffix] = line.strip()
    return found


def read(directory: str, name: str) -> str:
    """Return the text of a file, "" if it does not exist: processors differ in the files that they have."""
    try:
        return whole_file.read(f"{directory}/{name}").decode().strip()
    except FileNotFoundError:
        return ""


def mount_point() -> str:
    """Return the mount point of resctrl, "" if it is not mounted."""
    return next((mounted.path for mounted in mounts() if mounted.type == "resctrl"), "")

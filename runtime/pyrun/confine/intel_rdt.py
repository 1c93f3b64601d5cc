"""linux.intelRdt: a share of the processor's caches and memory bandwidth, as a class of service (CLOS) in resctrl.

A class is a directory, which processes join by its file `tasks`; `schemata` says what it has. Source:
config-linux.md#intel-rdt, Documentation/filesystems/resctrl.rst.
"""

import os

from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.spec.linux import IntelRdt


class ClassOfService:
    """What a container is in: the directories to join, in this order, and those of them that were made for it.

    Kept in state.json, so that `delete` removes what is the container's own, and nothing that was there before.
    """

    def __init__(self, directories: "list[str]", made: "list[str]", schemata: "list[str] | None" = None) -> None:
        self.directories = directories
        self.made = made
        self.schemata = schemata or []

    def create(self) -> None:
        for directory in self.made:
            os.mkdir(directory, 0o755)
        for line in self.schemata:
            write_schema(self.directories[0], line)

    def open_files(self) -> "list[int]":
        """Return the files to join by, as Cgroup.open_files(): who writes a "0" moves itself."""
        return [os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC) for directory in self.directories]

    def remove(self) -> None:
        for directory in reversed(self.made):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass  # it had not come to that, or somebody has unmounted resctrl

    def paths(self) -> "dict[str, list[str]]":
        """Return what state.json keeps."""
        return {"directories": self.directories, "made": self.made}


def of_state(paths: "dict[str, Any]") -> ClassOfService:
    return ClassOfService(paths["directories"], paths["made"])


def plan(wanted: "IntelRdt", container_id: str) -> ClassOfService:
    """Return the class that the config asks for. Raises ConfigError; changes nothing."""
    root = mount_point()
    if not root:
        raise wanted.json.error("", "resctrl is not mounted: mount -t resctrl resctrl /sys/fs/resctrl")
    name = wanted.clos_id.strip("/") if wanted.clos_id else container_id  # "/" is the root's own class
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
    """Return the lines to write. An "MB:" in the cache's schema gives way to that of the bandwidth."""
    lines = wanted.l3_cache_schema.split("\n")
    if wanted.mem_bw_schema:
        lines = [line for line in lines if not line.startswith("MB:")] + [wanted.mem_bw_schema]
    return [line for line in lines + wanted.schemata if line]


def _compare(wanted: "IntelRdt", directory: str, schemata: "list[str]") -> None:
    """config-linux.md#intel-rdt: an error where a class that is there already has another schema."""
    has = _domains(read(directory, "schemata").split("\n"))
    for domain, value in _domains(schemata).items():
        if has.get(domain) != value:
            resource, number = domain
            reason = f'"{wanted.clos_id}" is there, with another schema for {resource}:{number}'
            raise wanted.json.error("closID", reason)


def _domains(schemata: "list[str]") -> "dict[tuple[str, str], str]":
    """Return the values by (resource, number of the cache): "L3:0=00f;1=f" has two."""
    found = {}
    for line in schemata:
        resource, _, values = line.strip().partition(":")
        for part in values.split(";"):
            number, _, value = part.partition("=")
            found[resource.strip(), number.strip()] = value.strip().lstrip("0").lower()
    return found


def write_schema(directory: str, line: str) -> None:
    try:
        fd = os.open(f"{directory}/schemata", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)
    except OSError as error:
        why = read(mount_point() or directory, "info/last_cmd_status")  # the kernel's own words
        raise Error(f'linux.intelRdt: write "{line}" to {directory}/schemata: {error.strerror}: {why}') from error


def update(paths: "dict[str, Any]", l3_cache_schema: str, mem_bw_schema: str) -> None:
    """Give the container with these paths other schemas."""
    if not paths:
        raise Error("the container has no class of service: linux.intelRdt of its config.json gives it one")
    for line in (l3_cache_schema, mem_bw_schema):
        if line:
            write_schema(paths["directories"][0], line)


def statistics(paths: "dict[str, Any]") -> "dict[str, Any]":
    """Return what `events` prints of a class, with runc's names: its schemas, and those of the root."""
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
    """Return the text of a file, "" where it is not there: each processor has a part of them."""
    try:
        with open(f"{directory}/{name}", "rb") as file:
            return file.read().decode().strip()
    except FileNotFoundError:
        return ""


def mount_point() -> str:
    """Return where resctrl is mounted, "" where it is not."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in os.fsdecode(file.read()).split("\n"):
            before, separator, after = line.partition(" - ")
            if separator and after.split(" ")[0] == "resctrl":
                return before.split(" ")[4]
    return ""

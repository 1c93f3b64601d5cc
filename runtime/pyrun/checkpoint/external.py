"""The parts of a container that belong to the host: criu leaves them out of the image, and restore takes the host's.

    bind mounts, and mounts below their sources    by the destination in config.json
    masked files                                   /dev/null
    cgroups                                        the cgroups of the restored container
    bound devices of the host                      by their path
    standard streams                               pipes of the caller of `restore`, or the same files
    namespaces joined by path                      network and pid; the others are joined again

`dump` looks up destinations in the container, because they may lead through symlinks.
"""

import _stat as stat
from errno import ELOOP, ENOENT, ENOTDIR

from foundation.encode import encode as encode_json
from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.mountinfo import mounts
from pyrun.checkpoint.rpc import INHERIT_FD, JOIN_NAMESPACE, encode
from pyrun.config.node import Node
from pyrun.container.state import NOTIFY, Container
from pyrun.launch.notify import INSIDE
from pyrun.namespaces.namespaces import PROC_NAMES
from pyrun.rootfs import device_nodes
from pyrun.rootfs.cgroups import by_directory
from pyrun.rootfs.console import PTS_MAJORS
from pyrun.rootfs.planned_mount import PlannedMount
from pyrun.rootfs.tree import Tree, descriptor_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.checkpoint.rpc import Value
    from pyrun.config.document import Config
    from pyrun.config.linux import Linux

_DESCRIPTORS = "descriptors.json"
_MEMORY_DEVICES = 1  # the major number of /dev/null, /dev/zero, ...
_NULL = "/dev/null"
_STREAMS = ("standard input", "standard output", "standard error")
_NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}


def sources(config: "Config", container: Container) -> "dict[str, str]":
    """Return the host's files that are mounted in the container, by destination."""
    found: dict[str, str] = {}
    rootfs = [("", container.rootfs)]
    binds = [one for one in map(PlannedMount, config.mounts) if one.is_bind and not one.options.remounts]
    recursive = [(one.destination, _absolute(one.source, container)) for one in binds if one.options.bind]
    for destination, source in recursive + rootfs:
        below = source.rstrip("/") + "/"
        inside = [path for path in _host_mounts() if path.startswith(below)]
        found.update({f"{destination}/{path[len(below) :]}": path for path in inside})
    for one in binds:
        found[one.destination] = _absolute(one.source, container)
    found[INSIDE] = f"{container.directory}/{NOTIFY}"
    for node in device_nodes.nodes(config.linux.devices):
        found.setdefault(node.path, node.path)
    for planned in map(PlannedMount, config.mounts):
        if planned.is_cgroup:
            found.update(_cgroups(planned, container.cgroup_paths))
    return found


def _absolute(source: str, container: Container) -> str:
    return os.path.realpath(os.path.join(container.bundle, source))


def _host_mounts() -> "list[str]":
    return [mounted.path for mounted in mounts()]


def _cgroups(planned: PlannedMount, paths: "dict[str, str]") -> "dict[str, str]":
    """Return the cgroup directories by destination, as rootfs/cgroups.py mounts them."""
    if set(paths) == {""} or (planned.type == "cgroup2" and "" in paths):
        return {planned.destination: paths[""]}
    return {
        f"{planned.destination}/{','.join(controllers)}": directory
        for directory, controllers in by_directory(paths).items()
    }


def mounts_to_leave_out(config: "Config", container: Container) -> "list[str]":
    """Return `external` of a dump: "mnt[MOUNT POINT]:KEY". The container must be frozen.

    Raises Error if a destination leads to another mount than its own: the container may have swapped directories above
    two destinations; restored with the attributes of the other mount, it could write where it may not.
    """
    mounted = {one.id: one.path for one in mounts(container.pid)}
    root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = Tree(root)
    known = sources(config, container)
    wanted = [(path, path, source) for path, source in known.items()]
    wanted += [(path, _NULL, _NULL) for path in config.linux.masked_paths if path not in known]
    found: dict[str, str] = {}
    for path, key, source in wanted:
        fd = _open(tree, path)
        if fd < 0:
            continue  # the container has unmounted it, or it never existed
        place = os.fsdecode(os.readlink(descriptor_path(fd)))
        if mounted.get(_mount_id(fd)) == place:
            if os.path.samestat(os.fstat(fd), os.stat(source)):
                found[place] = key
            elif path in known:
                raise Error(f"{path}: what is mounted there is not {source}, as config.json has it")
        os.close(fd)
    os.close(root)
    return [f"mnt[{place}]:{key}" for place, key in found.items()]


def _open(tree: Tree, path: str) -> int:
    try:
        return tree.open(path)
    except OSError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP):  # the container has replaced or removed it
            raise
        return -1


def mounts_to_take(config: "Config", container: Container) -> "list[str]":
    """Return `external` of a restore: "mnt[KEY]:SOURCE"."""
    found = {**sources(config, container), _NULL: _NULL}
    return [f"mnt[{key}]:{source}" for key, source in found.items()]


def _mount_id(fd: int) -> int:
    return _number("self", fd, "mnt_id")


def _number(pid: "int | str", fd: int, name: str) -> int:
    """Return a number of /proc/PID/fdinfo/FD."""
    with open(f"/proc/{pid}/fdinfo/{fd}") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    raise Error(f"/proc/{pid}/fdinfo has no {name}")


class Streams:
    """The standard streams of a container that belong to the host.

    Pipes and, with --shell-job, terminals are replaced by the streams of the caller of `restore`. Files outside of the
    container's mounts are opened again; criu restores their offset and checks their size. descriptors.json in the image
    has, as in runc, criu's names of the three streams; for a file the path follows.
    """

    def __init__(self, names: "list[str]") -> None:
        self.names = names

    @staticmethod
    def of(container: Container, shell_job: bool) -> "Streams":
        """Return the streams of the init, or if that has none (--init), of another process."""
        for pid in [container.pid, *container.processes()]:
            try:
                links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
            except OSError:
                continue  # they are closed, or the process has ended
            return Streams([_name(pid, fd, link, shell_job) for fd, link in enumerate(links)])
        return Streams([])

    @staticmethod
    def load(directory: str) -> "Streams":
        """Read descriptors.json of the image in `directory`; there are no streams if it does not exist."""
        path = f"{directory}/{_DESCRIPTORS}"
        try:
            names = Node.parse(os.fsdecode(whole_file.read(path)), path)
        except FileNotFoundError:
            names = []  # another program wrote the image
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Error(f"{path}: is not a list of names")
        return Streams(names)

    def save(self, directory: str) -> None:
        """Write descriptors.json to the image in `directory`."""
        path = f"{directory}/{_DESCRIPTORS}"
        whole_file.replace(path, encode_json(self.names).encode("utf-8", "surrogateescape"), f"{path}.tmp")

    def to_leave_out(self) -> "list[str]":
        """Return the names for `external` of a dump: files and terminals; pipes need no name."""
        return [*self._files(), *dict.fromkeys(name for name in self.names if name.startswith("tty["))]

    def to_take(self, present: "list[int]") -> "tuple[list[Value], list[int]]":
        """Return `inherit_fd` of a restore, and the descriptors that it names, which the caller closes.

        `present` are the descriptors for those that are no files: standard input, output and error.
        """
        given = {key: _open_again(path) for key, path in self._files().items()}
        own = {name: self.names.index(name) for name in self.names if name.startswith(("pipe:", "tty["))}
        for name, number in own.items():
            fd = present[number]
            if name.startswith("tty[") and not os.isatty(fd):
                raise Error(f"{_STREAMS[number]} of the container was a terminal: restore it with one there")
            given[name] = os.dup(fd)  # criu closes it, and with --shell-job still needs 0 later
        return [encode(INHERIT_FD, {"key": key, "fd": fd}) for key, fd in given.items()], list(given.values())

    def _files(self) -> "dict[str, str]":
        """Return the paths of the files by criu's names."""
        parts = [name.partition("]:") for name in self.names if name.startswith("file[")]
        return {f"{key}]": path for key, _, path in parts}


def _name(pid: int, fd: int, link: str, shell_job: bool) -> str:
    found = os.stat(f"/proc/{pid}/fd/{fd}")
    is_memory = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == _MEMORY_DEVICES
    is_terminal = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in PTS_MAJORS
    if not (stat.S_ISREG(found.st_mode) or is_memory or is_terminal):
        return link
    mount_id = _number(pid, fd, "mnt_id")
    if link.startswith("/memfd:") or any(mounted.id == mount_id for mounted in mounts(pid)):
        return link
    if is_terminal:
        if not shell_job:
            raise Error(f"{_STREAMS[fd]} of the container is a terminal outside of it, {link}: --shell-job")
        return f"tty[{found.st_rdev:x}:{found.st_dev:x}]"
    if not os.path.exists(link) or not os.path.samestat(os.stat(link), found):
        raise Error(f"{_STREAMS[fd]} of the container is a file that cannot be opened again: {link}")
    return f"file[{mount_id:x}:{found.st_ino:x}]:{link}"


def _open_again(path: str) -> int:
    """Open a file (O_PATH). criu opens it again through this descriptor, with the flags that the container used."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"{path}: {error.strerror}: it was a standard stream of the container") from error


def namespaces_to_leave_out(linux: "Linux") -> "list[str]":
    """Return `external` of a dump for the namespaces that the container has joined: "net[INODE]:KEY"."""
    return [
        f"{_NAMESPACES[one.type][0]}[{os.stat(one.path).st_ino}]:{_NAMESPACES[one.type][1]}"
        for one in linux.namespaces
        if one.path and one.type in _NAMESPACES
    ]


def namespaces_to_take(linux: "Linux") -> "tuple[list[Value], list[int], list[Value]]":
    """Return `inherit_fd`, the descriptors that it names, which the caller closes, and `join_ns` of a restore."""
    inherit: list[Value] = []
    opened: list[int] = []
    join: list[Value] = []
    for one in linux.namespaces:
        if one.path and one.type in _NAMESPACES:
            opened.append(os.open(one.path, os.O_RDONLY | os.O_CLOEXEC))
            inherit.append(encode(INHERIT_FD, {"key": _NAMESPACES[one.type][1], "fd": opened[-1]}))
        elif one.path:
            name = PROC_NAMES.get(one.type, one.type)
            join.append(encode(JOIN_NAMESPACE, {"ns": name, "ns_file": one.path}))
    return inherit, opened, join

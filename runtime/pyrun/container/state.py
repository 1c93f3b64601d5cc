"""The state directory of a container, /run/pyrun/ID.

    state.json   what later commands need to know; written to a temporary name and renamed
    config.json  a copy of the bundle's, so that later changes of the bundle have no effect
    gate         the socket on which the created init waits for `start` (launch/gate.py)
    notify       the directory of the socket on which the container reports that it is ready (launch/notify.py)
    exit         how the container ended, if it has a monitor (exit_status.py)
    root         the mount point of the root file system while criu restores the container (checkpoint/restore.py)

The status is never stored: each command asks the kernel, so the status is right whichever process was killed.
"""

import _stat as stat
import errno
import fcntl
import time

from foundation.encode import encode
from foundation.errors import Error, did_you_mean, reason
from foundation.linux import os, whole_file
from foundation.linux.opened import opened
from foundation.rootless import rootless
from pyrun.cgroup.group import Cgroup
from pyrun.config.node import Node
from pyrun.container.process import WAITING, in_namespace_of, process_name, process_stat
from pyrun.errors import NoContainer, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroup.device_rules import Rule
    from pyrun.cgroup.driver import Driver
    from pyrun.config.document import Hook

OCI_VERSION = "1.3.0"
STATE_FILE = "state.json"
CONFIG = "config.json"
GATE = "gate"
NOTIFY = "notify"
EXIT = "exit"
RESTORED_ROOT = "root"

_WAY_OUT = ": set XDG_RUNTIME_DIR, or name a directory of your own by --root"
_LAST_PID = 1 << 22  # PID_MAX_LIMIT of <linux/threads.h>
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")


class Container:
    """A container that exists: its state directory and the content of state.json.

    pid           the init's pid on the host; 0 before there is an init
    start_time    the init's start time in clock ticks since boot; distinguishes it from another process with that pid
    cgroup_paths  controller -> directory
    reuses_cgroup  whether the v2 cgroup was there before: processes then join it by a file (Cgroup.is_reused)
    mounts        (destination, mount id) of each mount made by `pyrun mount`
    device_changes  the rules that `pyrun update` has added, as in linux.resources.devices
    unit          the systemd unit of its cgroup, or ""
    hooks         kind -> hooks, for the kinds that run after create
    listener      (path, metadata) of linux.seccomp, if its filter has a listener that `start` must deliver
    shares_pids   whether it has no pid namespace of its own: the end of its init then does not end its other processes
    keyring       the name of the session keyring that each of its processes begins with, "" for that of its caller
    root_mount    the mount id of the mount of `rootfs` over itself, 0 if the container has a mount namespace
    overlay       the directory of its writable layer, "" if that is in memory or does not exist
    intel_rdt     the directories of its class of service (confine/intel_rdt.py), or {}
    program       the path in the container that its init executes, "" if the container was restored
    creator       (pid, start_time) of the runtime that is making it; (0, 0) once it is made
    monitor       (pid, start_time) of the process that records its end, or (0, 0)
    criu          (pid, start_time) of criu while that restores it: its processes are in criu's session at first
    """

    def __init__(self, directory: str, id_: str) -> None:
        self.directory = directory
        self.id = id_
        self.pid = 0
        self.start_time = 0
        self.bundle = ""
        self.rootfs = ""
        self.overlay = ""
        self.root_mount = 0
        self.created = ""
        self.creator = (0, 0)
        self.monitor = (0, 0)
        self.criu = (0, 0)
        self.listener = ("", "")
        self.shares_pids = False
        self.keyring = ""
        self.mounts: list[tuple[str, int]] = []
        self.device_changes: list[dict[str, Any]] = []
        self.annotations: dict[str, str] = {}
        self.cgroup_paths: dict[str, str] = {}
        self.reuses_cgroup = False
        self.intel_rdt: dict[str, Any] = {}
        self.unit = ""
        self.program = ""
        self.hooks: dict[str, list[Hook]] = {}

    @property
    def config_file(self) -> str:
        """The path of the container's own copy of config.json."""
        return f"{self.directory}/{CONFIG}"

    def keep_config(self, data: bytes) -> None:
        """Save the content of config.json.

        runtime.md#lifecycle: "Any changes made to config.json after this step MUST NOT affect the container".
        """
        whole_file.create(self.config_file, data)

    def cgroup(self) -> Cgroup:
        """Return the container's cgroup; opens nothing."""
        return Cgroup(self.cgroup_paths)

    def cgroup_driver(self) -> "Driver":
        """Return the container's cgroup, or its systemd scope, with what changes its limits; opens nothing."""
        if self.unit:
            from pyrun.cgroup.systemd import Scope  # slow to load, and few containers have one

            return Scope(self.cgroup_paths, self.unit, rules=self._device_rules)
        from pyrun.cgroup.driver import Driver  # only `update` needs it

        return Driver(self.cgroup_paths)

    def _device_rules(self) -> "list[Rule]":
        from pyrun.cgroup.device_changes import parsed  # only an update of a scope calls this
        from pyrun.cgroup.device_rules import in_force
        from pyrun.config.document import load_config

        found = in_force(load_config(self.config_file).linux.resources)
        return found and found + parsed(self.device_changes)

    def processes(self) -> "list[int]":
        """Return the host's pids of the processes in the container's cgroups; without a cgroup, of those in its pid
        namespace, and only that of the init if it has no namespace either."""
        if self.cgroup_paths:
            return self.cgroup().processes()
        if self.status() in ("creating", "stopped"):
            return []
        return [self.pid] if self.shares_pids else in_namespace_of(self.pid, self.start_time)

    def save(self) -> None:
        """Write state.json, atomically. Raises OSError; the file is then as before."""
        document = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": self.pid,
            "startTime": self.start_time,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "overlay": self.overlay,
            "rootMount": self.root_mount,
            "created": self.created,
            "creator": list(self.creator),
            "monitor": list(self.monitor),
            "criu": list(self.criu),
            "listener": list(self.listener),
            "sharesPids": self.shares_pids,
            "keyring": self.keyring,
            "mounts": [{"destination": path, "id": id_} for path, id_ in self.mounts],
            "deviceChanges": self.device_changes,
            "annotations": self.annotations,
            "cgroupPaths": self.cgroup_paths,
            "reusesCgroup": self.reuses_cgroup,
            "intelRdt": self.intel_rdt,
            "unit": self.unit,
            "program": self.program,
            "hooks": {kind: [hook.document() for hook in hooks] for kind, hooks in self.hooks.items()},
        }
        path = f"{self.directory}/{STATE_FILE}"
        whole_file.replace(path, encode(document).encode("utf-8", "surrogateescape"), f"{path}.tmp")

    def record_created(self, pid: int) -> None:
        """Save that the container is created, with `pid` as its init. Raises Error if the init has died."""
        stat = process_stat(pid)
        if stat is None:
            raise Error("container init died before it could be started")
        self.pid, self.start_time, self.creator = pid, stat[2], (0, 0)
        self.save()

    def lock(self) -> int:
        """Wait until no other command holds the lock of this container; return a descriptor that holds it.

        The lock ends when the caller closes the descriptor (flock(2)). Raises NoContainer if the container is deleted.
        """
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoContainer(self.id) from None  # another command has just deleted it
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink == 0:
                raise NoContainer(self.id)  # the command that had the lock deleted it
        except BaseException:
            os.close(fd)  # with the lock: an undo step of this process will want it
            raise
        return fd

    def locked(self) -> "Locked":
        """Return a context manager that holds the lock and gives the container as it is under the lock."""
        return Locked(self)

    def status(self) -> str:
        """Return creating, created, running, paused or stopped (runtime.md#state)."""
        if self.creator[0]:
            return "creating" if process_name(*self.creator) else "stopped"
        name = process_name(self.pid, self.start_time)
        if not name:
            return "stopped"
        if self.cgroup().frozen():
            return "paused"
        return "created" if name == WAITING and os.path.exists(f"{self.directory}/{GATE}") else "running"

    def oci_state(self, status: str) -> "dict[str, Any]":
        """Return the state as in runtime.md#state, which hooks read on their standard input."""
        state: dict[str, Any] = {"ociVersion": OCI_VERSION, "id": self.id, "status": status}
        if status != "stopped" and self.pid:
            state["pid"] = self.pid
        state["bundle"] = self.bundle
        if self.annotations:
            state["annotations"] = self.annotations
        return state

    def remove(self) -> None:
        """Remove the state directory. Raises the OSError of rmdir(2) if it contains files that are not ours."""
        files = (GATE, EXIT, CONFIG, f"{NOTIFY}/notify.sock", f"{STATE_FILE}.tmp", STATE_FILE)
        steps = [(os.unlink, f"/{name}") for name in files]
        steps += [(os.rmdir, f"/{name}") for name in (NOTIFY, RESTORED_ROOT)]
        for remove, name in (*steps, (os.rmdir, "")):
            try:
                remove(self.directory + name)
            except FileNotFoundError:
                pass  # not every container has each file, and a creator that fails may be removing them, too


class Locked:
    """A context manager that holds the lock of a container, and reads the container again under the lock.

    The state that was read earlier may be out of date if another command had the lock. Raises NoContainer if the
    container is gone, or if its id now belongs to a new one.
    """

    def __init__(self, container: Container) -> None:
        self._known = container

    def __enter__(self) -> Container:
        self._lock = self._known.lock()
        try:
            container = load(os.path.dirname(self._known.directory), self._known.id)
            if container.created != self._known.created:
                raise NoContainer(container.id)
        except BaseException:
            os.close(self._lock)
            raise
        return container

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)


def check_id(id_: str) -> None:
    """Raise UsageError if `id_` is not valid; a valid one is a safe file name."""
    if not id_ or not _ID_CHARACTERS.issuperset(id_) or id_ in (".", "..") or len(id_) > 255:
        raise UsageError(f'invalid container id "{id_}": use up to 255 of A-Z a-z 0-9 _ + . -')


def default_root() -> str:
    """Return the directory of all containers: /run/pyrun, or for a rootless user $XDG_RUNTIME_DIR/pyrun.

    As with runc, root of a user namespace gets /run/pyrun if USER is "root".
    """
    own = os.environment.get("XDG_RUNTIME_DIR", "")
    if not own.startswith("/") or (os.geteuid() == 0 and os.environment.get("USER") == "root"):
        return "/run/pyrun"
    return f"{own}/pyrun" if rootless() else "/run/pyrun"


def new(root_directory: str, id_: str) -> Container:
    """Make the state directory of a new container. Of several callers at once, one succeeds; the others get Error."""
    check_id(id_)
    directory = f"{root_directory}/{id_}"
    try:
        os.makedirs(root_directory, 0o700, exist_ok=True)
    except FileExistsError:
        raise Error(f"{root_directory}: Not a directory") from None
    except PermissionError as error:
        raise Error(f"{reason(error)}{_WAY_OUT}") from None
    try:
        os.mkdir(directory, 0o700)
    except PermissionError as error:
        raise Error(f"{reason(error)}{_WAY_OUT}") from None
    except FileExistsError:
        raise Error(f"container with given ID already exists: {id_}") from None
    return Container(directory, id_)


def load(root_directory: str, id_: str) -> Container:
    """Return the container `id_`. Raises NoContainer if there is none, Error if its state cannot be read."""
    check_id(id_)
    container = Container(f"{root_directory}/{id_}", id_)
    try:
        node = _read(f"{container.directory}/{STATE_FILE}")
    except (FileNotFoundError, NotADirectoryError):
        raise NoContainer(id_, _similar(root_directory, id_)) from None
    except PermissionError as error:
        raise Error(f"{reason(error)}{_WAY_OUT}") from None
    container.pid = node.integer("pid", (0, _LAST_PID))
    container.start_time = node.integer("startTime")
    container.bundle = _host_path(node, "bundle")
    container.rootfs = _host_path(node, "rootfs")
    container.overlay = _host_path(node, "overlay")
    container.root_mount = node.integer("rootMount", default=0)
    container.created = node.string("created")
    container.creator = _process(node, "creator")
    container.monitor = _process(node, "monitor")
    container.criu = _process(node, "criu") if node.has("criu") else (0, 0)
    container.listener = _listener(node)
    container.shares_pids = node.boolean("sharesPids")
    container.keyring = node.string("keyring", default="")  # of an older version, whose processes kept the caller's
    container.mounts = [(one.string("destination"), one.integer("id")) for one in node.objects("mounts")]
    container.device_changes = [one.properties for one in node.objects("deviceChanges")]
    container.annotations = node.text_map("annotations")
    container.cgroup_paths = node.text_map("cgroupPaths")
    container.reuses_cgroup = node.boolean("reusesCgroup")
    container.intel_rdt = _intel_rdt(node.object("intelRdt"))
    container.unit = node.string("unit")
    container.program = _host_path(node, "program")
    container.hooks = _hooks(node.object("hooks"))
    return container


def load_all(root_directory: str, unreadable: "Callable[[str, Error], None] | None" = None) -> "list[Container]":
    """Return all containers, sorted by id. One that is being made or deleted at this moment may be missing.

    `unreadable` is called with the id of each container whose state cannot be read, and the error.
    """
    found = []
    try:
        names = os.listdir(root_directory)
    except PermissionError as error:
        raise Error(f"{reason(error)}{_WAY_OUT}") from None
    for id_ in sorted(names):
        try:
            found.append(load(root_directory, id_))
        except NoContainer:
            continue  # it is being made or deleted
        except Error as error:
            if unreadable and os.path.isdir(f"{root_directory}/{id_}"):
                unreadable(id_, error)
    return found


def _similar(root_directory: str, id_: str) -> str:
    """Suggest the container that a person may have meant; nobody types ids as long as those of engines."""
    if len(id_) > 24 or not os.path.isdir(root_directory):
        return ""
    return did_you_mean(id_, os.listdir(root_directory))


def _read(path: str) -> Node:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symlink, a socket
            raise Error(f"{path}: is not a state file of pyrun") from error
        raise
    with opened(fd):
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > Node.maximum:
            raise Error(f"{path}: is not a state file of pyrun")
        data = whole_file.read_all(fd, path, Node.maximum)
    return Node.root(Node.parse(data.decode("utf-8", "surrogateescape"), path), path)


def _process(node: Node, name: str) -> "tuple[int, int]":
    """Return the (pid, start_time) of a process."""
    numbers = node.integers(name)
    if len(numbers) != 2 or not 0 <= numbers[0] <= _LAST_PID:
        raise node.error(name, "expected a pid and its start time")
    return numbers[0], numbers[1]


def _listener(node: Node) -> "tuple[str, str]":
    texts = node.strings("listener")
    if len(texts) != 2:
        raise node.error("listener", "expected two strings")
    return texts[0], texts[1]


def _intel_rdt(node: Node) -> "dict[str, Any]":
    if not node.properties:
        return {}
    paths = {name: node.strings(name) for name in ("directories", "made")}
    if not paths["directories"]:
        raise node.missing("directories")
    return paths


def _hooks(node: Node) -> "dict[str, list[Hook]]":
    if not any(node.properties.values()):
        return {}
    from pyrun.config.document import Hook  # most containers have none

    return {kind: [Hook(hook) for hook in node.objects(kind)] for kind in node.properties}


def _host_path(node: Node, name: str) -> str:
    """Return a path that may contain any bytes; Node.string() accepts only the text of config.json."""
    path = node.properties.get(name)
    if not isinstance(path, str):
        raise node.missing(name)
    return path


def timestamp(nanoseconds: int) -> str:
    """Return a time in nanoseconds since the epoch as RFC 3339 with nine decimals, as Go prints it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{whole}.{nanoseconds % 1_000_000_000:09d}Z"

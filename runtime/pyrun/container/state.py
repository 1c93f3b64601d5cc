"""The state directory of a container, /run/pyrun/ID.

    state.json   what later commands need to know; written to a temporary name and renamed
    config.json  the bundle's, as it was when the container was made: what is changed there later has no effect
    gate         the socket on which the waiting init is told to start (launch/create.py)
    notify       where the container tells that it is ready (launch/notify.py)
    exit         how the container ended, where it has a monitor (exit.py)
    root         where criu finds the root file system while it restores the container (checkpoint/restore.py)

The status is never stored: it is read from the kernel each time, so that it is true whatever was killed when.
"""

import errno
import fcntl
import os
import stat
import time

from pyrun.errors import Error, UsageError, did_you_mean
from pyrun.rootless import rootless
from pyrun.spec.encode import encode
from pyrun.spec.node import MAXIMUM_SIZE, Node, parse, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.devices import Rule
    from pyrun.cgroup.group import Cgroup

OCI_VERSION = "1.3.0"
STATE_FILE = "state.json"
CONFIG = "config.json"
GATE = "gate"
NOTIFY = "notify"
EXIT = "exit"
RESTORED_ROOT = "root"
# The name of an init that waits to be started, as the kernel shows it (PR_SET_NAME); execve gives it the program's.
WAITING = "pyrun:[init]"

_LAST_PID = 1 << 22  # PID_MAX_LIMIT of <linux/threads.h>
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")


class Container:
    """A container that exists: its state directory and what state.json holds.

    pid           of the init, as the host sees it; 0 before it lives
    start_time    of that process, in clock ticks since boot: tells it from another with the same pid
    cgroup_paths  controller -> directory
    mounts        (destination, number of the mount) of what `pyrun mount` has mounted
    device_changes  what `pyrun update` has added, as in linux.resources.devices
    unit          the systemd unit that its cgroup is of, "" where it is none's
    hooks         as in config.json, those that run after create
    listener      (path, metadata) of linux.seccomp, where its filter has a listener that `start` must deliver
    shares_pids   whether its pid namespace is another's: then the end of its init does not end the other processes
    overlay       the directory of its writable layer, "" where that is in memory, or there is none
    intel_rdt     the directories of its class of service (confine/intel_rdt.py), {} where it has none
    creator       (pid, start_time) of the runtime that makes it; (0, 0) when it is made
    monitor       (pid, start_time) of the process that records how it ends; (0, 0) where there is none
    """

    def __init__(self, directory: str, id_: str) -> None:
        self.directory = directory
        self.id = id_
        self.pid = 0
        self.start_time = 0
        self.bundle = ""
        self.rootfs = ""
        self.overlay = ""
        self.created = ""
        self.creator = (0, 0)
        self.monitor = (0, 0)
        self.listener = ("", "")
        self.shares_pids = False
        self.mounts: list[tuple[str, int]] = []
        self.device_changes: list[dict[str, Any]] = []
        self.annotations: dict[str, str] = {}
        self.cgroup_paths: dict[str, str] = {}
        self.intel_rdt: dict[str, Any] = {}
        self.unit = ""
        self.hooks: dict[str, Any] = {}

    @property
    def config_file(self) -> str:
        return f"{self.directory}/{CONFIG}"

    def keep_config(self, data: bytes) -> None:
        """runtime.md#lifecycle: "Any changes made to config.json after this step MUST NOT affect the container"."""
        fd = os.open(self.config_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def cgroup(self) -> "Cgroup":
        if self.unit:
            from pyrun.cgroup.systemd import Scope

            return Scope(self.cgroup_paths, self.unit, rules=self._device_rules)
        from pyrun.cgroup.group import Cgroup  # `list` and `state` of running containers need it rarely

        return Cgroup(self.cgroup_paths)

    def _device_rules(self) -> "list[Rule]":
        from pyrun.cgroup.device_changes import parsed
        from pyrun.cgroup.devices import in_force
        from pyrun.spec.config import load_config

        found = in_force(load_config(self.config_file).linux.resources)
        return found and found + parsed(self.device_changes)

    def processes(self) -> "list[int]":
        """Return the pids in the container's cgroups; where it has none, being rootless, that of its init."""
        if self.cgroup_paths:
            return self.cgroup().processes()
        return [] if self.status() == "stopped" else [self.pid]

    def save(self) -> None:
        document = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": self.pid,
            "startTime": self.start_time,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "overlay": self.overlay,
            "created": self.created,
            "creator": list(self.creator),
            "monitor": list(self.monitor),
            "listener": list(self.listener),
            "sharesPids": self.shares_pids,
            "mounts": [{"destination": path, "id": id_} for path, id_ in self.mounts],
            "deviceChanges": self.device_changes,
            "annotations": self.annotations,
            "cgroupPaths": self.cgroup_paths,
            "intelRdt": self.intel_rdt,
            "unit": self.unit,
            "hooks": self.hooks,
        }
        path = f"{self.directory}/{STATE_FILE}"
        fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, encode(document).encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(f"{path}.tmp", path)

    def is_created(self, pid: int) -> None:
        """Save that the container is made, with `pid` as its init."""
        stat = process_stat(pid)
        if stat is None:
            raise Error("container init died before it could be started")
        self.pid, self.start_time, self.creator = pid, stat[2], (0, 0)
        self.save()

    def lock(self) -> int:
        """Wait until no other command changes this container. The lock goes with the descriptor, or the process."""
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Error(f"container does not exist: {self.id}") from None  # another command has just deleted it
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink == 0:
            raise Error(f"container does not exist: {self.id}")  # who had the lock deleted it
        return fd

    def status(self) -> str:
        """Return creating, created, running, paused or stopped (runtime.md#state)."""
        if self.creator[0]:
            return "creating" if process_name(*self.creator) else "stopped"
        name = process_name(self.pid, self.start_time)
        if not name:
            return "stopped"
        if name == WAITING and os.path.exists(f"{self.directory}/{GATE}"):
            return "created"
        return "paused" if self.cgroup().frozen() else "running"

    def oci_state(self, status: str) -> "dict[str, Any]":
        """Return the state of runtime.md#state, which hooks read on their standard input."""
        state: dict[str, Any] = {"ociVersion": OCI_VERSION, "id": self.id, "status": status}
        if status != "stopped" and self.pid:
            state["pid"] = self.pid
        state["bundle"] = self.bundle
        if self.annotations:
            state["annotations"] = self.annotations
        return state

    def summary(self) -> "dict[str, Any]":
        """Return what `state` and `list` print, with runc's names in runc's order."""
        status = self.status()
        summary: dict[str, Any] = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            summary["annotations"] = self.annotations
        summary["owner"] = ""
        if status == "stopped" and self.monitor[0]:
            from pyrun.container.exit import outcome  # few containers have a monitor

            summary.update(outcome(self))
        return summary

    def remove(self) -> None:
        """Remove the state directory. What is in it that is not ours makes rmdir(2) fail, and say so."""
        for name in (GATE, EXIT, CONFIG, f"{NOTIFY}/notify.sock", f"{STATE_FILE}.tmp", STATE_FILE):
            try:
                os.unlink(f"{self.directory}/{name}")
            except FileNotFoundError:
                pass  # a container that was not quite made, or is already half removed
        for name in (NOTIFY, RESTORED_ROOT):
            if os.path.isdir(f"{self.directory}/{name}"):
                os.rmdir(f"{self.directory}/{name}")
        os.rmdir(self.directory)


def check_id(id_: str) -> None:
    if not id_ or not _ID_CHARACTERS.issuperset(id_) or id_ in (".", "..") or len(id_) > 255:
        raise UsageError(f'invalid container id "{id_}": use up to 255 of A-Z a-z 0-9 _ + . -')


def default_root() -> str:
    """Return the directory of all containers: /run/pyrun, or the user's own.

    As runc does it, whoever is root in a user namespace and says so with USER=root means the former.
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if not own.startswith("/") or (os.geteuid() == 0 and os.environ.get("USER") == "root"):
        return "/run/pyrun"
    return f"{own}/pyrun" if rootless() else "/run/pyrun"


def new(root_directory: str, id_: str) -> Container:
    """Make the state directory of a new container; of all that try at once, one succeeds."""
    check_id(id_)
    directory = f"{root_directory}/{id_}"
    os.makedirs(root_directory, 0o700, exist_ok=True)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise Error(f"container with given ID already exists: {id_}") from None
    return Container(directory, id_)


def load(root_directory: str, id_: str) -> Container:
    """Return the container `id_`. Raises Error where there is none."""
    check_id(id_)
    container = Container(f"{root_directory}/{id_}", id_)
    try:
        node = _read(f"{container.directory}/{STATE_FILE}")
    except (FileNotFoundError, NotADirectoryError):
        raise Error(f"container does not exist: {id_}{_similar(root_directory, id_)}") from None
    container.pid = node.integer("pid", (0, _LAST_PID))
    container.start_time = node.integer("startTime")
    container.bundle = _host_path(node, "bundle")
    container.rootfs = _host_path(node, "rootfs")
    container.overlay = _host_path(node, "overlay")
    container.created = node.string("created")
    container.creator = _process(node, "creator")
    container.monitor = _process(node, "monitor") if "monitor" in node.properties else (0, 0)
    listener = node.strings("listener")
    container.listener = (listener[0], listener[1])
    container.shares_pids = node.boolean("sharesPids")
    container.mounts = [(one.string("destination"), one.integer("id")) for one in node.objects("mounts")]
    container.device_changes = [one.properties for one in node.objects("deviceChanges")]
    container.annotations = node.text_map("annotations")
    container.cgroup_paths = node.text_map("cgroupPaths")
    container.intel_rdt = node.object("intelRdt").properties
    container.unit = node.string("unit")
    container.hooks = node.object("hooks").properties
    return container


def load_all(root_directory: str) -> "list[Container]":
    """Return the containers, by id. One that is being made or deleted at this moment may be missing."""
    found = []
    for id_ in sorted(os.listdir(root_directory)):
        try:
            found.append(load(root_directory, id_))
        except Error:
            continue  # not a container, or not any more
    return found


def _similar(root_directory: str, id_: str) -> str:
    """Suggest the container that a person may have meant; the ids of engines are longer than what people type."""
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
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAXIMUM_SIZE:
            raise Error(f"{path}: is not a state file of pyrun")
        data = os.read(fd, found.st_size)
    finally:
        os.close(fd)
    return root(parse(data.decode("utf-8", "surrogateescape"), path), path)


def _process(node: Node, name: str) -> "tuple[int, int]":
    """Return the (pid, start_time) of a process."""
    numbers = node.integers(name)
    if len(numbers) != 2:
        raise node.error(name, "expected two numbers")
    return numbers[0], numbers[1]


def _host_path(node: Node, name: str) -> str:
    """Return a path of the host, which may have any bytes; Node.string() is for text of config.json."""
    path = node.properties.get(name)
    if not isinstance(path, str):
        raise node.missing(name)
    return path


def process_name(pid: int, start_time: int) -> str:
    """Return the name of the process that had `pid` at `start_time`, "" where it is gone or a zombie."""
    fields = process_stat(pid)
    return fields[0] if fields and fields[1] not in "ZXx" and fields[2] == start_time else ""


def open_process(pid: int, start_time: int) -> int:
    """Return a pidfd of the process that had `pid` at `start_time`, -1 where it is gone or a zombie."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return -1  # ESRCH: it has gone; EINVAL: the pid is 0, that of no process
    if process_name(pid, start_time):
        return pidfd
    os.close(pidfd)
    return -1


def process_stat(pid: int) -> "tuple[str, str, int, int] | None":
    """Return (name, state, start time, parent) of /proc/PID/stat (proc(5)), None where there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None  # ESRCH: it ended between the look-up of the name and the opening
    try:
        text = os.read(fd, 4096).decode("utf-8", "replace")
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    name_end = text.rindex(")")  # the name itself may hold anything
    fields = text[name_end + 2 :].split(" ")
    return text[text.index("(") + 1 : name_end], fields[0], int(fields[19]), int(fields[1])


def exit_code(status: int) -> int:
    """Return the status of wait(2) as a shell shows it: 128 and the number of the signal that ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def timestamp(nanoseconds: int) -> str:
    """Return a time since the epoch as RFC 3339 with nanoseconds, as Go prints it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{whole}.{nanoseconds % 1_000_000_000:09d}Z"

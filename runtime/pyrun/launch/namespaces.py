"""The namespaces of a container: which are new, which are joined, and how a process gets into them."""

import _socket
import os
from fcntl import ioctl

from pyrun.errors import ConfigError
from pyrun.linux.sched import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PARENT,
    clone,
    setns,
    unshare,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.channel import Channel
    from pyrun.spec.linux import IDMapping, Linux

FLAGS = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    "pid": CLONE_NEWPID,
}
# What /proc/PID/ns calls them, where that is another name.
PROC_NAMES = {"mount": "mnt", "network": "net"}

NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
_SIOCSIFFLAGS = 0x8914  # <linux/sockios.h>
_IFF_UP, _IFNAMSIZ, _IFREQ_SIZE = 1, 16, 40  # <linux/if.h>


class Namespaces:
    """What config.json asks for, checked, with the namespaces to join open.

    new      CLONE_NEW* of those to make, but for the cgroup namespace: its root is the cgroup that its first process is
             in, so the last mile makes it when the last controller is joined
    joined   (CLONE_NEW*, descriptor) of those to join
    cgroup   that of them which the last mile joins, or -1: who is in a cgroup namespace cannot be born into a cgroup
             outside of it (cgroups(7), nsdelegate)
    """

    def __init__(self, linux: "Linux") -> None:
        self.new = 0
        self.makes_cgroup = False
        self.joined: list[tuple[int, int]] = []
        self.time_offsets = linux.time_offsets.offsets if linux.time_offsets else {}
        for namespace in linux.namespaces:
            flag = FLAGS[namespace.type]
            if namespace.path:
                self.joined.append((flag, _open(namespace.path, flag)))
            elif flag == CLONE_NEWCGROUP:
                self.makes_cgroup = True
            else:
                self.new |= flag
        late = self.entered_by_child and linux.namespace("user") is None  # with one it joins by file, which may be late
        self.cgroup = self._take(CLONE_NEWCGROUP) if late else -1

    def _take(self, flag: int) -> int:
        found = [joined for joined in self.joined if joined[0] == flag]
        for joined in found:
            self.joined.remove(joined)
        return found[0][1] if found else -1

    def joins(self, flag: int) -> bool:
        return any(joined == flag for joined, _ in self.joined)

    @property
    def in_steps(self) -> bool:
        """Whether clone(2) alone cannot do it: joining comes before the new user namespace, which could not join, and
        a time namespace takes its offsets before its first process."""
        return bool(self.joined or self.new & CLONE_NEWTIME)

    @property
    def entered_by_child(self) -> bool:
        """Whether only a child of the process that enters is in: setns(2) of a pid namespace and the time namespaces
        work that way. That child is made by the last mile, so that no peer in a joined pid namespace ever sees an
        interpreter in its /proc."""
        time = self.new & CLONE_NEWTIME or self.joins(CLONE_NEWTIME)
        return self.joins(CLONE_NEWPID) or bool(time and not self.new & CLONE_NEWPID)

    def start(self, cgroup: int) -> int:
        """Fork into the new namespaces and the cgroup v2 directory `cgroup` (or -1); return as fork(2) does."""
        return clone(0 if self.in_steps else self.new, cgroup)

    def enter(self, channel: "Channel") -> None:
        """Finish, in the child, what start() began, and say "entered"; that may be another process by then."""
        if self.in_steps:
            self.join()
            if self.new & CLONE_NEWTIME:
                unshare(CLONE_NEWTIME)
                self._set_time_offsets()
            rest = self.new & ~CLONE_NEWTIME
            if rest & CLONE_NEWPID:
                if clone(rest | CLONE_PARENT) != 0:
                    os._exit(0)
            else:
                unshare(rest)
        channel.say("entered")

    def join(self, types: int = -1) -> None:
        """Join those of `types`, in the order that privileges allow: what the new user namespace's root may not, we
        still may now."""
        order = sorted(self.joined, key=lambda joined: joined[0] == CLONE_NEWUSER)
        refused = []
        for flag, fd in order:
            if not flag & types:
                continue
            try:
                setns(fd, flag)
            except PermissionError:
                if flag == CLONE_NEWUSER:
                    raise
                refused.append((flag, fd))
        for flag, fd in refused:
            setns(fd, flag)

    def _set_time_offsets(self) -> None:
        for clock, (seconds, nanoseconds) in self.time_offsets.items():
            _write("/proc/self/timens_offsets", f"{clock} {seconds} {nanoseconds}\n")


def _open(path: str, flag: int) -> int:
    """Open the namespace at `path` and be sure that it is one, of the type asked for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"config.json: linux.namespaces: {path}: {error.strerror}") from error
    try:
        found = ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        raise ConfigError(f"config.json: linux.namespaces: {path} is not a namespace") from None
    if flag == CLONE_NEWNS and os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/mnt")):
        raise ConfigError(
            f"config.json: linux.namespaces: {path} is our own mount namespace: the container's root would become the "
            "host's; leave the path out for a new one"
        )
    if found != flag:
        names = {flag: name for name, flag in FLAGS.items()}
        raise ConfigError(f"config.json: linux.namespaces: {path} is a {names[found]} namespace, not {names[flag]}")
    return fd


def map_ids(pid: int, uid_mappings: "list[IDMapping]", gid_mappings: "list[IDMapping]") -> None:
    """Give the new user namespace of `pid` its ids (user_namespaces(7)).

    Without privileges only one's own id can be mapped directly; ranges go through newuidmap(1) and newgidmap(1).
    """
    own = os.geteuid() != 0
    if own and _is_own(uid_mappings, os.geteuid()) and _is_own(gid_mappings, os.getegid()):
        _write(f"/proc/{pid}/setgroups", "deny")  # the kernel demands it before an unprivileged gid_map
        own = False
    for name, mappings in (("uid", uid_mappings), ("gid", gid_mappings)):
        if own:
            _map_by_helper(f"new{name}map", pid, mappings)
        else:
            lines = [f"{mapping.container_id} {mapping.host_id} {mapping.size}\n" for mapping in mappings]
            _write(f"/proc/{pid}/{name}_map", "".join(lines))


def bring_up_loopback() -> None:
    """Bring up the loopback device of a new network namespace, as runc and crun do: callers count on it."""
    request = b"lo".ljust(_IFNAMSIZ, b"\0") + _IFF_UP.to_bytes(2, "little")
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)  # any kind: netdevice(7)
    try:
        ioctl(socket.fileno(), _SIOCSIFFLAGS, request.ljust(_IFREQ_SIZE, b"\0"))
    except PermissionError:
        pass  # without CAP_NET_ADMIN on the host; `doctor` tells
    finally:
        socket.close()


def become_root() -> None:
    """Be uid 0 and gid 0 of the user namespace that was just entered, where those are mapped."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != 22:  # EINVAL: not mapped; the capabilities are there all the same
            raise


def _is_own(mappings: "list[IDMapping]", id_: int) -> bool:
    return len(mappings) == 1 and mappings[0].host_id == id_ and mappings[0].size == 1


def _map_by_helper(program: str, pid: int, mappings: "list[IDMapping]") -> None:
    arguments = [program, str(pid)]
    for mapping in mappings:
        arguments += [str(mapping.container_id), str(mapping.host_id), str(mapping.size)]
    try:
        child = os.posix_spawnp(program, arguments, os.environ)
    except OSError as error:
        raise ConfigError(
            f"{program}: {error.strerror}: mapping more than one's own id needs it (package uidmap)"
        ) from error
    if os.waitpid(child, 0)[1] != 0:
        raise ConfigError(f"{program} refused {' '.join(arguments[2:])}: see /etc/sub{program[3:6]}")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)

"""The namespaces of a container: which ones are made, which are joined, and how a process enters them."""

import _socket
from errno import ENOSPC, ENOSYS, EPERM
from fcntl import ioctl

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.sched import (
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
from foundation.linux.statfs import NSFS_MAGIC, file_system_type
from foundation.linux.whole_file import read, set_value
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.linux import Linux
    from pyrun.stub.channel import Channel

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
# The names in /proc/PID/ns that differ from those of config.json.
PROC_NAMES = {"mount": "mnt", "network": "net"}

NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
_SIOCSIFFLAGS = 0x8914  # <linux/sockios.h>
_IFF_UP, _IFNAMSIZ, _IFREQ_SIZE = 1, 16, 40  # <linux/if.h>


class Namespaces:
    """The namespaces of config.json, checked; those to join are open, and stay open as long as this process.

    new                 CLONE_NEW* of those to make, except the cgroup namespace: the current cgroup becomes its root
                        (cgroup_namespaces(7)), so the stub makes it after it has joined the last cgroup
    joined              (CLONE_NEW*, descriptor) of those to join before the stub
    cgroup_namespace    the cgroup namespace that the stub joins, or -1: a process in a cgroup namespace cannot clone a
                        child into a cgroup outside of it (nsdelegate, cgroups(7))

    Raises ConfigError if a namespace to join is missing, of another type, or our own mount namespace.
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
        # With a user namespace, the process joins its cgroups by their files, which also works from inside.
        late = self.entered_by_child and linux.namespace("user") is None
        self.cgroup_namespace = self._take(CLONE_NEWCGROUP) if late else -1

    def _take(self, flag: int) -> int:
        found = [joined for joined in self.joined if joined[0] == flag]
        for joined in found:
            self.joined.remove(joined)
        return found[0][1] if found else -1

    def joins(self, flag: int) -> bool:
        """Return whether the namespace of the type `flag` (CLONE_NEW*) is joined."""
        return any(joined == flag for joined, _ in self.joined)

    @property
    def in_steps(self) -> bool:
        """Whether one clone(2) is not enough.

        Namespaces must be joined before a new user namespace is made, because its root may not join them; and the
        offsets of a time namespace must be set before its first process exists (time_namespaces(7)).
        """
        return bool(self.joined or self.new & CLONE_NEWTIME)

    @property
    def need_runtime(self) -> bool:
        """Whether the child that start() makes must tell the runtime when it is in the namespaces, and wait for it.

        If they are entered in steps, it may go on as another process; and in a new user namespace it has no ids until
        the runtime maps them.
        """
        return self.in_steps or bool(self.new & CLONE_NEWUSER)

    @property
    def entered_by_child(self) -> bool:
        """Whether only children of this process will be in the namespaces: so it is for setns(2) of a pid namespace,
        and for time namespaces. The stub makes that child, because processes in a joined pid namespace could see an
        interpreter in their /proc."""
        time = self.new & CLONE_NEWTIME or self.joins(CLONE_NEWTIME)
        return self.joins(CLONE_NEWPID) or bool(time and not self.new & CLONE_NEWPID)

    def start(self, cgroup: int) -> int:
        """Fork into the new namespaces and the cgroup v2 directory `cgroup` (or -1); return as fork(2) does.

        If in_steps, the child is in no new namespace yet: it must call enter(). Raises Error with a way out.
        """
        flags = 0 if self.in_steps else self.new
        try:
            return clone(flags, cgroup)
        except OSError as error:
            raise Error(reason(error) + _way_out(error, flags)) from error

    def enter(self, channel: "Channel") -> None:
        """Enter the remaining namespaces in the child, and say "entered".

        If this makes a pid namespace, another process returns from here: a sibling of the caller, which exits.
        """
        if self.in_steps:
            self.join()
            try:
                self._make()
            except OSError as error:
                raise Error(reason(error) + _way_out(error, self.new)) from error
        channel.say("entered")

    def _make(self) -> None:
        if self.new & CLONE_NEWTIME:
            unshare(CLONE_NEWTIME)
            self._set_time_offsets()
        rest = self.new & ~CLONE_NEWTIME
        if rest & CLONE_NEWPID:
            if clone(rest | CLONE_PARENT) != 0:
                os._exit(0)
        else:
            unshare(rest)

    def join(self, types: int = -1) -> None:
        """Join the namespaces of `types` (CLONE_NEW*), the user namespace last.

        We may lose the privilege to join the others when we join that one. Those that we may only join as its root are
        joined after it. Raises OSError.
        """
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
            set_value("/proc/self/timens_offsets", f"{clock} {seconds} {nanoseconds}\n".encode())


def _open(path: str, flag: int) -> int:
    """Return a descriptor of the namespace at `path`. Raises ConfigError if it is not one of the type `flag`."""
    try:
        seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"config.json: linux.namespaces: {path}: {error.strerror}") from error
    # Open it by the O_PATH descriptor, and only if it is a namespace: opening a device or a FIFO has side effects.
    if file_system_type(seen) != NSFS_MAGIC:
        raise ConfigError(f"config.json: linux.namespaces: {path} is not a namespace")
    fd = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(seen)
    found = ioctl(fd, NS_GET_NSTYPE)
    if flag == CLONE_NEWNS and os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/mnt")):
        raise ConfigError(
            f"config.json: linux.namespaces: {path} is our own mount namespace: the container's root would become the "
            "host's; leave the path out for a new one"
        )
    if found != flag:
        names = {flag: name for name, flag in FLAGS.items()}
        raise ConfigError(f"config.json: linux.namespaces: {path} is a {names[found]} namespace, not {names[flag]}")
    return fd


def denies_groups(pid: "int | str") -> bool:
    """Return whether setgroups(2) is forbidden in the user namespace of the process `pid` (user_namespaces(7)).

    Must run while /proc is the host's.
    """
    return read(f"/proc/{pid}/setgroups").startswith(b"deny")


def bring_up_loopback() -> None:
    """Bring up the loopback device, as runc and crun do: callers rely on it. Must run in the new network namespace."""
    request = b"lo".ljust(_IFNAMSIZ, b"\0") + _IFF_UP.to_bytes(2, "little")
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)  # any kind: netdevice(7)
    try:
        ioctl(socket.fileno(), _SIOCSIFFLAGS, request.ljust(_IFREQ_SIZE, b"\0"))
    except PermissionError:
        pass  # the host lacks CAP_NET_ADMIN, which `doctor` reports
    finally:
        socket.close()


def become_root() -> None:
    """Become uid 0 and gid 0 in the user namespace that was just entered, if these ids are mapped."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != 22:  # EINVAL: not mapped; entering has given us all capabilities in any case
            raise


def _way_out(error: OSError, flags: int) -> str:
    """Return the end of the message for an error in making the namespaces `flags` (CLONE_NEW*)."""
    if error.errno == EPERM and flags & CLONE_NEWUSER:
        return ": user namespaces are forbidden here: `pyrun doctor` shows the cause"
    if error.errno == EPERM:
        needed = "it needs root (CAP_SYS_ADMIN), or a user namespace in config.json"
        return f": {needed}, as `pyrun spec --rootless` writes one"
    if error.errno == ENOSPC:  # also if nested more than 32 deep, user_namespaces(7), namespaces(7)
        return ": too many namespaces: see the limits user.max_*_namespaces (sysctl)"
    if error.errno == ENOSYS:
        return ": the kernel lacks it, or the seccomp profile of the container around pyrun is older than the call"
    return ""

"""The engine of a user who is not root: it is root of a user namespace, which it makes when it begins.

      user namespace: the user's own id is root, those of /etc/subuid are the others
      ┌ daemon, streams, most workers ── the host's network: clients, registries, published ports, name servers
      │
      └ workers that act on networks, containers ── a network namespace: bridges, the table of rules
                                                    tap0 ── slirp4netns or pasta ── the host's network

Nobody holds these namespaces but the processes in them. A container that runs has a monitor there, so the next engine
joins the namespaces of any monitor, and makes new ones if there is none. In the same way the uplink (uplink.py) ends
with the last of them: the engine and each monitor have the end of a pipe.

Source: user_namespaces(7).
"""

import sys

from foundation.errors import Error, reason
from foundation.linux import os, whole_file
from foundation.linux.pidfd import pidfd_getfd
from foundation.linux.sched import CLONE_NEWNET, CLONE_NEWUSER, setns, unshare
from foundation.linux.subid import user_name
from pyfetch.bundle.rootless import mappings
from pyrun.config.linux import IDMapping
from pyrun.config.node import Node
from pyrun.container.process import open_process
from pyrun.container.state import load
from pyrun.namespaces.id_maps import map_ids
from pyrun.namespaces.namespaces import bring_up_loopback
from pyrun.stub.child import Child
from pyrund import uplink
from pyrund.errors import Refused
from pyrund.places import runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.stub.channel import Channel
    from pyrund.places import Places

_FIRST_ID, _ENOUGH = 100_000, 65_536  # for the advice


def enter(places: "Places") -> "tuple[tuple[int, int], bool]":
    """Become root of the engine's user namespace; return descriptors of its network namespace and of the pipe, and
    whether there is an uplink.

    Whoever calls this has the lock of the engine: no other one makes namespaces meanwhile. Raises Refused.
    """
    places.is_rootless = True
    places.systemd = _systemd()
    pid, pidfd = _monitor(places)
    if pidfd >= 0:
        network, pipe = _join(pid, pidfd)
    else:
        _make_user_namespace()
        network = _make_network()
        reader, pipe = os.pipe()
        os.close(reader)
    return (network, pipe), uplink.begin(network, pipe, places.run)


def _monitor(places: "Places") -> "tuple[int, int]":
    """Return the pid and a pidfd of the monitor of a container that runs, or -1."""
    for id_ in os.listdir(places.states) if os.path.isdir(places.states) else []:
        try:
            pid, start_time = load(places.states, id_).monitor
            pidfd = open_process(pid, start_time)
        except (Error, OSError):
            continue  # half made
        if pidfd >= 0:
            return pid, pidfd
    return -1, -1


def _join(pid: int, pidfd: int) -> "tuple[int, int]":
    try:
        setns(pidfd, CLONE_NEWUSER)
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        last = max(map(int, os.listdir(f"/proc/{pid}/fd")))  # of what it keeps, the pipe is the last (launch/start.py)
        return network, pidfd_getfd(pidfd, last)
    except OSError as error:
        raise Refused(f"the namespaces of the containers that run cannot be joined: {error.strerror}") from error
    finally:
        os.close(pidfd)


def _systemd() -> str:
    """Return the XDG_RUNTIME_DIR in which the user's systemd is; "" if it has no cgroups to give: only those of v2 can
    be a user's (systemd.resource-control(5), Delegate=)."""
    try:
        folder = runtime_directory()
    except Refused:
        return ""
    if not (os.path.exists("/sys/fs/cgroup/cgroup.controllers") and os.path.exists(f"{folder}/systemd/private")):
        return ""
    os.environment["XDG_RUNTIME_DIR"] = folder  # there pyrun looks for it
    try:
        _enter_scope()
    except Error as error:
        _warn(f"containers have no limits: {error}")
        return ""
    return folder


def _enter_scope() -> None:
    """Be in a cgroup of the user's, as in a service of his: from that of a login session he may move no process, such
    as an exec, into a container's (cgroups(7), Delegation containment). Raises Error."""
    from pyrun.cgroup.systemd_manager import Manager  # imported here because few machines need D-Bus

    manager = Manager()
    own = whole_file.read("/proc/self/cgroup").decode().partition("0::")[2].strip()
    if not f"{own}/".startswith(f"{manager.control_group()}/"):
        described = ("Description", ("s", "pyrund, an engine for containers"))
        manager.start(f"pyrund-{os.getpid()}.scope", [described, ("PIDs", ("au", [os.getpid()]))])


# The user namespace


def _make_user_namespace() -> None:
    """The ids are mapped by a child, which is still outside."""
    found = mappings()
    if found.single:
        _warn_of_one_id()
    daemon = os.getpid()

    def map_(channel: "Channel") -> None:
        channel.hear("made")
        map_ids(daemon, _as_objects(found.uids), _as_objects(found.gids))
        channel.say("mapped")

    with Child(map_) as channel:
        try:
            unshare(CLONE_NEWUSER)
        except OSError as error:
            raise _forbidden(reason(error)) from None
        channel.say("made")
        channel.hear("mapped")


def _as_objects(found: "list[tuple[int, int, int]]") -> "list[IDMapping]":
    names = ("containerID", "hostID", "size")
    return [IDMapping(Node.root(dict(zip(names, one)), "id mapping")) for one in found]


def _warn_of_one_id() -> None:
    name, last = user_name(), _FIRST_ID + _ENOUGH - 1
    ranges = f"--add-subuids {_FIRST_ID}-{last} --add-subgids {_FIRST_ID}-{last}"
    _warn(
        f"user {name} has no {_ENOUGH} subordinate ids, or newuidmap is missing: programs can run as root of a "
        f"container only, and all files of images belong to that; try: apt-get install uidmap; usermod {ranges} {name}"
    )


# The network namespace


def _make_network() -> int:
    """A child makes it: nobody could come back from there to the network of the host."""

    def make(channel: "Channel") -> None:
        unshare(CLONE_NEWNET)
        bring_up_loopback()
        channel.say("made", [os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)])

    with Child(make) as channel:
        try:
            return channel.hear("made").descriptors[0]
        except Error as error:  # AppArmor may allow a user namespace, and nothing in it
            raise _forbidden(str(error)) from None


def _forbidden(what: str) -> Refused:
    why = f"without root, the engine needs a user namespace, which is forbidden here: {what}"
    return Refused(f"{why}: see `pyrun doctor`")


def _warn(text: str) -> None:
    print(f"pyrund: warning: {text}", file=sys.stderr, flush=True)

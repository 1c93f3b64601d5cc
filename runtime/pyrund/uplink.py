"""The way from the containers of a rootless engine to the world: slirp4netns or pasta, which need no privileges.

      network namespace ── tap0 ── slirp4netns ── sockets in the host's network

It runs as long as somebody has the end of a pipe: the engine, or the monitor of a container. slirp4netns waits for that
itself (--exit-fd); pasta is ended by a process that does nothing else. If it ends before, nobody reads the pipe any
more: the engine notices that, and a worker begins another one (launch/uplink.py).

Sources: slirp4netns(1), pasta(1).
"""

import _signal
import select
import sys
import time
from errno import ESRCH

from foundation.linux import os, whole_file
from foundation.linux.opened import opened
from foundation.linux.prctl import PR_SET_NAME, capset
from foundation.linux.sched import CLONE_NEWNET, setns
from pyrun.stub import carrier
from pyrun.stub.child import Child, run
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.stub.channel import Channel

_MTU = 65_520  # the largest: nothing of it is sent as it is
_PATIENCE = 10.0  # seconds for one of them to begin
_PAUSE = 0.01
_INTERFACE = "tap0"
_IPV6 = "/proc/net/if_inet6"  # there if the kernel has IPv6
_CUT_OFF = "containers reach each other, and nothing outside"


def begin(network: int, pipe: int, folder: str) -> bool:
    """Connect the namespace `network` with the world, unless it is; return whether it is then.

    `pipe` is our end; log files are in `folder`.
    """
    if _is_read(pipe):  # perhaps by one that was killed and has not quite ended, which takes until its tap0 is removed
        return True
    its_end = os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_CLOEXEC)
    with opened(its_end):
        for name, start in (("slirp4netns", _start_slirp4netns), ("pasta", _start_pasta)):
            program = _found(name)
            if program:
                log = f"{folder}/{name}.log"
                if start(program, network, its_end, log):
                    return True
                text = whole_file.read(log).decode("utf-8", "replace")
                _warn(f"{name} does not begin: {_CUT_OFF}: {', '.join(text.strip().splitlines())}")
                return False
    _warn(f"neither slirp4netns nor pasta is installed: {_CUT_OFF}; try: apt-get install slirp4netns")
    return False


def _is_read(pipe: int) -> bool:
    """Return whether somebody has the other end."""
    looking = select.poll()
    looking.register(pipe, 0)
    return not looking.poll(0)


def _found(name: str) -> str:
    """Return the path of the program, "" if it is not installed."""
    paths = (f"{folder}/{name}" for folder in os.get_exec_path())
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def _start_slirp4netns(program: str, network: int, its_end: int, log: str) -> bool:
    """Return whether it has made the interface. Its messages are in `log`."""
    is_ready, ready = os.pipe()
    with opened(is_ready):
        words = ["--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]
        words += ["--enable-ipv6"] if os.path.exists(_IPV6) else []
        words += ["--exit-fd=4", "--ready-fd=5", "--netns-type=path", "/proc/self/fd/3", _INTERFACE]
        with opened(ready):
            _spawn(program, words, log, {3: network, 4: its_end, 5: ready})
        waiting = select.poll()
        waiting.register(is_ready, select.POLLIN)
        return bool(waiting.poll(_PATIENCE * 1000)) and os.read(is_ready, 1) == b"1"


def _start_pasta(program: str, network: int, its_end: int, log: str) -> bool:
    """The same with pasta. It would make itself known to all that listens in the namespace: ports are our own work."""
    name = f"{log}.pid"
    whole_file.replace(name, b"", f"{name}.new")  # it must not be that of an earlier one

    def stay(channel: "Channel") -> None:
        setns(network, CLONE_NEWNET)
        capset(0, 0, 0)  # pasta drops most of its own, and may only look at processes that have no others
        channel.say("ready")
        channel.hear_end()

    with Child(stay) as channel:
        pid = channel.hear("ready").pid
        words = ["--foreground", "--stderr", "--quiet", "--config-net", "--no-map-gw", "--no-netns-quit"]
        words += [word for option in ("-t", "-u", "-T", "-U") for word in (option, "none")]
        words += ["--ns-ifname", _INTERFACE, "--pid", name, "--netns", f"/proc/{pid}/ns/net"]
        pasta = _spawn(program, words, log, {})
        with opened(os.pidfd_open(pasta)) as pidfd:
            deadline = time.monotonic() + _PATIENCE
            while not whole_file.read(name):  # it is written when all is ready
                if os.waitpid(pasta, os.WNOHANG)[0]:
                    return False
                if time.monotonic() > deadline:
                    _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
                    return False
                time.sleep(_PAUSE)
            _end_with(its_end, pidfd)
    return True


def _end_with(its_end: int, pidfd: int) -> None:
    """Start the process that ends the one of `pidfd` when nobody has the pipe any more. Python has gone from it.

    It ends with that one, too: then nobody reads the pipe.
    """

    def wait() -> None:
        os.setsid()
        table = Table(report=-1, inherited=(its_end, pidfd))
        table.call("prctl", PR_SET_NAME, table.string(b"pyrund:uplink"))
        pollfds = b"".join(word.to_bytes(4, "little") for fd in (its_end, pidfd) for word in (fd, select.POLLIN))
        table.call("ppoll", table.block(pollfds), 2, 0, 0, 0)
        table.call("pidfd_send_signal", pidfd, _signal.SIGTERM, 0, 0, excused=(ESRCH,))
        table.call("exit_group", 0)
        carrier.carry_out(carrier.open_program(), table, (b"uplink",))

    if os.fork() == 0:
        run(wait, _warn)


def _spawn(program: str, words: "list[str]", log: str, descriptors: "dict[int, int]") -> int:
    """Start the program with `descriptors`, as {number: descriptor}, and the log for its output; return its pid."""
    with opened(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)) as messages:
        given = {1: messages, 2: messages, **descriptors}
        above = max(*given.values(), *given) + 1
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, fd, above + number) for number, fd in given.items()]
        actions += [(os.POSIX_SPAWN_DUP2, above + number, number) for number in given]
        actions += [(os.POSIX_SPAWN_CLOSE, above + number) for number in given]
        actions += [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        # Python ignores SIGPIPE; pasta does not begin if that is ignored already.
        all_ = _signal.valid_signals()
        return os.posix_spawn(
            program, [program, *words], os.environ, file_actions=actions, setsid=True, setsigdef=all_, setsigmask=()
        )


def _warn(text: str) -> None:
    print(f"pyrund: warning: {text}", file=sys.stderr, flush=True)

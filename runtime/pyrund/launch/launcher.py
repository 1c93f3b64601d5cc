"""The launcher: a process with pyrun and pyfetch imported, which forks a worker for each request.

So no interpreter starts when a container does. The launcher has one thread, no loop and no state: that is what makes
fork(2) safe. It forks a worker before there is a request for it, and the next one when that worker has taken one: a
fork takes 1 ms, and what it copies, which no request waits for. A worker gets its request, and a port of its own to
answer on; if that closes without an answer, it was killed. A worker that starts a container or an exec becomes its
monitor (pyrun's stub/monitor.py).
"""

import _signal
import gc

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.prctl import end_with, set_name
from foundation.linux.sched import CLONE_NEWNET, setns
from pyrund.errors import ApiError, show_bug
from pyrund.loop import Turns
from pyrund.messages import Port, pair, receive
from pyrund.process import NETWORK, PORT, restore_limit_of_files, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pyrund.loop import Loop
    from pyrund.messages import Message
    from pyrund.places import Places

_READY = {"ready": True}
_ATTEMPTS = 2  # to begin another launcher for a request, or to repeat it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 10.0  # seconds before another one begins, if the last one has never been ready
IS_WATCHED: "Any" = 1  # what a monitor says when it watches a process
# What the launcher imports when it begins, and what when it is first asked for: an engine that builds nothing needs no
# builder, which takes 3 MB. The rest, what talks to registries, is imported by each worker: ssl would make the launcher
# larger by half.
_FIRST = (
    "start execute remove untag tag freeze check processes measure remove_volume update networks "
    "unpublish join leave relink resolver forward"
).split()
_LATER = frozenset(
    "populate copy_out copy_in export changes stats save load "
    "commit bring build clear_build build_cache checkpoint".split()
)
# What acts on networks and cgroups: in a rootless engine others are in the network of the host.
_INSIDE = frozenset("start execute remove update networks unpublish join leave relink resolver forward".split())
_REPEATABLE = frozenset("freeze remove remove_volume clear_build unpublish join leave relink networks resolver".split())


class Launcher:
    """The daemon's side. begin() starts the process; it ends when the daemon does, and so do its workers.

    `inside` are the descriptors of a rootless engine for its workers, process.NETWORK and process.UPLINK.
    """

    def __init__(self, places: "Places", lock: int, inside: "tuple[int, ...]" = ()) -> None:
        self._places = places
        self._lock = lock
        self._inside = inside
        self._pause = 0.0
        self._turns = Turns()
        self._port = self._begin()

    def _begin(self) -> Port:
        ours, theirs = pair()
        if os.fork() == 0:
            _run(self._places, theirs, self._lock, self._inside)
        theirs.close()
        ours.set_blocking(False)
        return ours

    async def ask(self, loop: "Loop", message: "Message", descriptors: "tuple[int, ...]" = ()) -> Port:
        """Have a worker do what `message` says; return the port on which it answers, which the caller closes.

        `descriptors` stay open here. If the launcher has ended, another one is started.
        """
        ours, theirs = pair()
        try:
            await self._send(loop, message, (theirs.fileno(), *descriptors))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.set_blocking(False)
        return ours

    async def _send(self, loop: "Loop", message: "Message", descriptors: "tuple[int, ...]") -> None:
        attempts = 0
        while True:
            port = self._port
            try:
                port.send(message, descriptors)
                return
            except BlockingIOError:
                await loop.writable(port.fileno())
            except (BrokenPipeError, ConnectionResetError):
                attempts += 1
                if attempts > _ATTEMPTS:
                    raise ApiError(500, "the engine's launcher ends when it begins: its log says why") from None
                await self._begin_again(loop, port)

    async def _begin_again(self, loop: "Loop", ended: Port) -> None:
        """Begin another launcher: at once if the last one has worked, else after a pause that grows."""
        async with self._turns:
            if ended is not self._port:
                return  # another request has done it
            has_worked = ended.receive()[0] == _READY
            self._pause = 0.0 if has_worked else min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            await loop.sleep(self._pause)
            begun = self._begin()  # if it fails, the next request tries again
            loop.close(ended.detach())
            self._port = begun

    async def do(self, loop: "Loop", message: "Message", descriptors: "tuple[int, ...]" = ()) -> "Message":
        """Have a worker do what `message` says, and return its only answer. Raises ApiError if it failed.

        What can be done twice is tried again if the worker was killed: otherwise something would be left behind.
        """
        return (await self.fetch(loop, message, descriptors))[0]

    async def fetch(
        self, loop: "Loop", message: "Message", descriptors: "tuple[int, ...]" = ()
    ) -> "tuple[Message, list[int]]":
        """The same; return the descriptors of the answer, too, which the caller closes."""
        attempts = _ATTEMPTS if message["do"] in _REPEATABLE else 0
        while True:
            port = await self.ask(loop, message, descriptors)
            try:
                answer, received = await receive(loop, port)
                return checked(answer), received
            except WorkerLost:
                if not attempts:
                    raise
            finally:
                loop.close(port.detach())
            attempts -= 1
            await loop.sleep(_FIRST_PAUSE)  # a launcher that is just being killed may have taken the request


class WorkerLost(ApiError):
    """The worker was killed before it could answer."""

    def __init__(self) -> None:
        super().__init__(500, "the process that was doing this was killed")


def checked(answer: "Message | None") -> "Message":
    """Return a worker's answer, or raise the ApiError that it stands for."""
    if answer is None:
        raise WorkerLost
    if answer != IS_WATCHED and "error" in answer:
        raise ApiError(answer["status"], answer["error"])
    return answer


def _run(places: "Places", port: Port, lock: int, inside: "tuple[int, ...]") -> "NoReturn":
    """Be the launcher."""
    try:
        settle(b"pyrund:launcher", port.detach(), lock, *inside)
        restore_limit_of_files()
        for verb in _FIRST:
            _imported(verb)
        _imported("start").prepare()
        _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel collects workers and monitors
        _freeze()
        own, imported = Port.of(PORT), set(_FIRST)
        own.send(_READY)
        while (done := _serve(places, own)) is not None:
            if not done:
                own.wait()  # if memory is short, workers may be killed as fast as they are forked
            if done in _LATER - imported:  # for the next time
                imported.add(done)
                _imported(done)
                _freeze()
    except ConnectionError:
        pass  # the daemon has ended, perhaps before it has heard that we are ready
    except BaseException as error:
        show_bug(error)
    finally:
        os._exit(0)


def _serve(places: "Places", own: Port) -> "str | None":
    """Fork a worker; return what it does when it has taken a request, "" if it was killed before.

    None: the daemon has ended.
    """
    ours, theirs = pair()
    launcher = os.getpid()
    try:
        child = _fork(own)
    except OSError as error:
        ours.close()
        theirs.close()
        return _refuse(own, error)
    if child == 0:
        ours.close()
        _wait(places, own, launcher, theirs)
    theirs.close()
    taken, _ = ours.receive()
    ours.close()
    return taken["do"] if taken else ""


def _fork(own: Port) -> int:
    """fork(2). There may be too many processes, or too little memory: that is an error only if a request comes then."""
    try:
        return os.fork()
    except OSError:
        own.wait()
        return os.fork()


def _refuse(own: Port, error: OSError) -> "str | None":
    """Let the next request fail, and nothing else. Returns what _serve() does."""
    message, descriptors = own.receive()
    if message is None:
        return None
    try:
        Port.of(os.dup(descriptors[0])).send({"error": reason(error), "status": 500})
    except OSError:
        pass  # the daemon has ended
    finally:
        for fd in descriptors:
            os.close(fd)
    return ""


def _wait(places: "Places", own: Port, launcher: int, tell: Port) -> "NoReturn":
    """Be a worker: take the next request, and tell the launcher."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    end_with(launcher, _signal.SIGKILL)
    message, descriptors = own.receive()
    tell.send({"do": message["do"] if message else None})
    tell.close()
    own.close()
    if message is None:
        os._exit(0)
    set_name(b"pyrund:worker")
    if places.is_rootless and message["do"] in _INSIDE:
        setns(NETWORK, CLONE_NEWNET)
        os.environment["XDG_RUNTIME_DIR"] = places.systemd  # pyrun asks the user's systemd
    _work(places, message, descriptors)


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # a collection in a worker would copy the pages of all objects


def _imported(verb: str) -> "Any":
    return __import__(f"pyrund.launch.{verb}", fromlist=["run"])


def _work(places: "Places", message: "Message", descriptors: "list[int]") -> "NoReturn":
    """Be a worker: answer with what `run` of the verb's module returns, or with the error that it raises."""
    answers = Port.of(descriptors[0])
    try:
        result = _imported(message["do"]).run(places, message, answers, descriptors[1:])
        answers.send(result or {})
    except ApiError as error:
        answers.send({"error": str(error), "status": error.status})
    except BaseException as error:
        answers.send({"error": reason(error), "status": 500})
        if not isinstance(error, (Error, OSError)):
            show_bug(error)
    finally:
        os._exit(0)

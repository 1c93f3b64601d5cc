"""pyrund serve: the daemon."""

import _signal
import _socket
import gc
import sys
import time

from foundation.linux import os
from pyrund import lock, settings
from pyrund.api.routes import handler
from pyrund.daemon import recovery
from pyrund.daemon.engine import Engine
from pyrund.errors import ApiError, Refused
from pyrund.http.connection import Connection
from pyrund.http.guard import guarded
from pyrund.http.router import for_readers
from pyrund.launch.launcher import Launcher
from pyrund.listening import Listener, inherited, listeners
from pyrund.loop import Loop
from pyrund.model import init_layer
from pyrund.net import table
from pyrund.places import Places
from pyrund.process import raise_limit_of_files
from pyrund.settings import Settings
from pyrund.spec import host_config
from pyrund.streams.process import StreamsProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.http.connection import Handler
    from pyrund.launch.encrypted import EncryptedProcess
    from pyrund.loop import Future
    from pyrund.options import Options

_UPLINK_PAUSE = 0.2  # seconds: an uplink that ends at once shall not keep the machine busy
# What a login has and a daemon must not use: registries get the credentials that a client sends.
_PERSONAL = (
    "DOCKER_CONFIG DOCKER_AUTH_CONFIG REGISTRY_AUTH_FILE XDG_CONFIG_HOME XDG_RUNTIME_DIR LISTEN_FDS LISTEN_PID "
    "NOTIFY_SOCKET DOCKER_DEFAULT_PLATFORM PYFETCH_STORE"
).split()


def run(server: None, words: "list[str]", options: "Options") -> int:
    """Serve until SIGTERM or SIGINT. Containers go on after that."""
    given, manager = inherited(os.environment), os.environment.get("NOTIFY_SOCKET", "")
    told = settings.read(options)
    for warning in told.warnings:
        print(f"pyrund: warning: {warning}", file=sys.stderr, flush=True)
    _check_logs(told)
    places = Places(told.data_root, told.exec_root, told.file, table.name_of(told.bridge_name))
    os.umask(0o022)
    _make_folders(places)
    held = lock.take(places.run)
    inside: tuple[int, ...] = ()
    has_uplink = False
    if told.is_rootless:
        from pyrund import rootless  # root has no use for it, and it takes long to import

        inside, has_uplink = rootless.enter(places)
    else:  # who makes his own network shares the table with nobody
        table.refuse_other(places.table, places.run)
    _clean_environment(places)
    signals = _receive_signals()  # before a client can see us
    opened = listeners(told, given)
    try:
        Daemon(told, places, held, inside, opened).serve(signals, manager, has_uplink)
    finally:
        for listener in opened:
            listener.close()
    return 0


class Daemon:
    """The engine and the connections of its clients; `held` is the descriptor of its lock."""

    def __init__(
        self, told: Settings, places: Places, held: int, inside: "tuple[int, ...]", opened: "list[Listener]"
    ) -> None:
        self._settings = told
        self._places = places
        self._lock = held
        self._inside = inside
        encrypted = [one for one in opened if one.is_tcp and told.tls]
        self._encrypted = self._encrypt(encrypted) if encrypted else None
        # Later garbage collections leave the present objects alone. They would write to each of them, and this process
        # would get copies of the pages that it shares with the processes that it forks: 2.5 MB.
        gc.freeze()
        self._launcher = Launcher(places, held, inside)  # early, because it gets a copy of all that is in memory
        raise_limit_of_files()  # after that, because containers shall not have it
        self._opened = [one for one in opened if one not in encrypted]
        self._loop = Loop()
        self.connections: set[Connection] = set()  # that the process for TLS has accepted
        self._engine: Engine

    def _encrypt(self, opened: "list[Listener]") -> "EncryptedProcess":
        from pyrund.launch.encrypted import EncryptedProcess  # imported here because few listen at a network

        verifies = self._settings.tls == "tlsverify"
        return EncryptedProcess([one.socket for one in opened], self._settings.tls_files, verifies, self._lock)

    def serve(self, signals: int, manager: str, has_uplink: bool) -> None:
        """Serve until a signal comes, or nobody has needed the daemon for too long; tell the service `manager` of both.
        A rootless engine that `has_uplink` keeps it.

        Raises Refused, Error and OSError if the engine cannot begin.
        """
        streams = StreamsProcess(
            self._loop,
            self._lock,
            give_again=lambda: recovery.give_streams_again(self._engine),
            has_detached=lambda id_: self._engine.tell_detached(id_),
        )
        self._engine = Engine(self._places, self._launcher, self._loop, streams, self._settings)
        self._loop.run(self._loop.spawn(self._serve(signals, manager, has_uplink)))
        _notify(manager, b"STOPPING=1\n")

    async def _serve(self, signals: int, manager: str, has_uplink: bool) -> None:
        loop = self._loop
        await recovery.recover(self._engine)
        handle = handler(self._engine)
        for listener in self._opened:
            guard = guarded(handle, listener.names) if listener.is_tcp else handle
            loop.spawn(self._accept(listener, for_readers(guard) if listener.only_reads else guard))
        if self._encrypted:
            guard = guarded(handle, None)
            loop.spawn(self._encrypted.serve(loop, lambda fd: self._take(fd, guard, self)))
        gc.collect()
        gc.freeze()
        _notify(manager, b"READY=1\n")
        ending = loop.readable(signals)
        if self._settings.idle:
            loop.spawn(self._watch_idleness(ending))
        if has_uplink:
            loop.spawn(self._keep_uplink(self._inside[1]))
        await ending

    async def _accept(self, listener: Listener, handle: "Handler") -> None:
        loop, socket = self._loop, listener.socket
        while True:
            if listener.is_full:
                await loop.readable(socket.fileno())
                listener.make_room()
                await loop.sleep(0.1)
                continue
            try:
                fd, _ = socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                await loop.readable(socket.fileno())
                continue
            except OSError as error:  # too many open files: others will close theirs
                print(f"pyrund: accept: {error.strerror}", file=sys.stderr)
                await loop.sleep(0.1)
                continue
            self._take(fd, handle, listener)

    def _take(self, fd: int, handle: "Handler", counting: "Daemon | Listener") -> None:
        os.set_blocking(fd, False)
        connection = Connection(self._loop, fd)
        counting.connections.add(connection)
        self._loop.spawn(self._attend(connection, handle, counting))

    async def _attend(self, connection: Connection, handle: "Handler", counting: "Daemon | Listener") -> None:
        await connection.serve(handle)
        counting.connections.remove(connection)

    async def _keep_uplink(self, pipe: int) -> None:
        """Have the uplink begin again whenever nobody reads the pipe any more, until it cannot: the log says why."""
        is_begun = True
        while is_begun:
            await self._loop.broken(pipe)
            await self._loop.sleep(_UPLINK_PAUSE)
            try:
                is_begun = (await self._launcher.do(self._loop, {"do": "uplink"}))["is_begun"]
            except ApiError as error:
                print(f"pyrund: warning: the uplink does not begin again: {error}", file=sys.stderr, flush=True)

    def _has_clients(self) -> bool:
        return bool(self.connections) or any(listener.connections for listener in self._opened)

    async def _watch_idleness(self, ending: "Future[None]") -> None:
        """End the daemon when for some time no container has run and no client was there."""
        since = time.monotonic()
        while time.monotonic() < since + self._settings.idle:
            await self._loop.sleep(min(1.0, self._settings.idle))
            if self._has_clients() or any(one.is_active for one in self._engine.containers):
                since = time.monotonic()
        ending.set(None)


def _notify(manager: str, text: bytes) -> None:
    """Tell the service manager, sd_notify(3), if there is one."""
    if not manager:
        return
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        socket.connect(f"\0{manager[1:]}" if manager.startswith("@") else manager)
        socket.send(text)
    except OSError as error:
        print(f"pyrund: NOTIFY_SOCKET: {manager}: {error.strerror}", file=sys.stderr)
    finally:
        socket.close()


def _check_logs(told: Settings) -> None:
    """Raise Refused for defaults of logs that no container could have."""
    try:
        host_config.checked({}, told)
    except ApiError as error:
        raise Refused(f"log-driver, log-opts: {error}") from None


def _make_folders(places: Places) -> None:
    for path in (places.data, places.run, places.containers, places.images):
        os.makedirs(path, 0o700, exist_ok=True)
    init_layer.make(places.init)


def _clean_environment(places: Places) -> None:
    for name in _PERSONAL:
        os.environment.pop(name, None)
    os.environment["HOME"] = places.data  # nobody's


def _receive_signals() -> int:
    """Return a descriptor that becomes readable when SIGTERM or SIGINT comes."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, lambda received, frame: None)
    _signal.signal(
        _signal.SIGCHLD, _signal.SIG_IGN
    )  # the kernel collects a launcher or streams process that was killed
    _signal.set_wakeup_fd(writer)
    return reader

"""The request of `create` and its plan: everything that can be checked before anything is made."""

import _stat as stat

from foundation.linux import os
from foundation.rootless import rootless
from pyrun.cgroup.driver import Nowhere, locate
from pyrun.config.document import Config, Process, no_config
from pyrun.config.node import Node
from pyrun.config.validate import validate, warnings
from pyrun.container import state
from pyrun.errors import ConfigError, UsageError
from pyrun.namespaces.namespaces import Namespaces
from pyrun.rootfs.planned_root import PlannedRoot
from pyrun.stdio import descriptors
from pyrun.stdio.console import Console
from pyrun.stub.privileges import Confinement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cgroup.driver import Driver


class Request:
    """The options of `create` or `run`, named as in cli.py. `root_directory` holds all state directories.

    Makes relative paths absolute, but for the bundle's: Plan changes to that directory. `arguments` replace
    process.args. Raises UsageError.

    An engine that calls create() itself may set four more attributes:

    streams   descriptors for the container's standard streams; if the container has a terminal, the engine takes its
              master as it is, so they are not used
    layers    the directories that the writable layer of `overlay` covers, the lowest first, instead of the root file
              system, which is then only the place where they are mounted
    sources   detached mounts of what binds shall have, by the source and the destination in config.json: for sources
              that another container may exchange meanwhile. The engine closes them. A container with a user namespace
              cannot have any, because its root could change their attributes
    connect   called with the pid of the init when its network namespace is there, before any program runs in it
    """

    def __init__(
        self,
        root_directory: str,
        id_: str,
        bundle: str = ".",
        config: str = "config.json",
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: str = "0",
        cgroup_manager: str = "cgroupfs",
        detach: bool = True,
        monitor: bool = False,
        init: bool = False,
        overlay: "str | None" = None,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        arguments: "list[str] | None" = None,
    ) -> None:
        state.check_id(id_)
        self.root_directory = root_directory
        self.id = id_
        self.bundle = bundle
        self.pivot = not no_pivot
        self.keyring = "" if no_new_keyring else f"_ses.{id_}"
        self.preserved = descriptors.receive(preserve_fds)
        self.cgroup_manager = cgroup_manager
        self.detach = detach
        self.monitor = monitor
        self.init = init
        self.arguments = arguments
        self.config_file = os.path.abspath(config) if config != "config.json" else config
        self.console_socket = os.path.abspath(console_socket) if console_socket else ""
        self.pidfd_socket = os.path.abspath(pidfd_socket) if pidfd_socket else ""
        self.pid_file = os.path.abspath(pid_file) if pid_file else ""
        self.overlay = os.path.abspath(overlay) if overlay else overlay
        files = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self.files = {name: os.path.abspath(file) for name, file in files.items() if file}
        self.streams: list[int] | None = None
        self.layers: list[str] = []
        self.sources: dict[tuple[str, str], int] = {}
        self.connect: Callable[[int], None] | None = None
        # "keep", "drop" or "look": see streams.py. A caller that asks for a pid file is an engine, and passes pipes on
        # purpose.
        self.pipes = "keep" if pid_file or not detach else "look"
        self.offers_notify = bool(os.environment.get("NOTIFY_SOCKET"))  # the caller is a service


class Plan:
    """The checked config.json and what create makes of it. Changes the working directory to the bundle.

    Once made, it does not change, and `explain` prints it: what a run opens is in Inherited (inherited.py) and in Root
    (rootfs/setup.py).

    Raises ConfigError, UsageError or OSError; nothing has been made then.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        # Not before carrier.prepare(), which may restart the command: its relative paths are of the first directory.
        os.chdir(request.bundle)
        try:
            self.data = Node.read(request.config_file, "config.json")
        except FileNotFoundError:
            raise no_config(request.config_file) from None
        self.config = Config(Node.decode(self.data, "config.json"))
        if request.arguments:
            if self.config.process is None:
                raise ConfigError("config.json: process is required")
            self.config.process.args = request.arguments
        validate(self.config)
        assert self.config.process is not None  # validated
        self.process: Process = self.config.process
        self.console = Console(self.process, request.detach, request.console_socket, request.streams is not None)
        linux = self.config.linux
        if linux.namespace("user") and not linux.namespace("mount"):
            raise linux.json.error(
                "namespaces", '"mount" is required with "user": root of a user namespace may not mount on the host'
            )
        if request.overlay is not None and not linux.namespace("mount"):
            raise UsageError("--overlay: config.json must have a mount namespace, or the layer would cover the host's")
        if not request.pivot and linux.rootfs_propagation in ("private", "rprivate"):
            raise linux.json.error("rootfsPropagation", "private is not safe without pivot_root: leave out --no-pivot")
        self.bundle = os.getcwd()
        self.root = PlannedRoot(self.config, self.bundle, request.overlay, request.layers)
        if request.offers_notify:
            from pyrun.launch import notify  # few callers are services that report when they are ready

            self.root.mounts.append(notify.mount(f"{request.root_directory}/{request.id}"))
            self.process.env.append(notify.VARIABLE)
        self.namespaces = Namespaces(linux)
        self.cgroup = _locate(self.config, request)
        self.cgroup.check(linux.resources)
        self.class_of_service = None
        if linux.intel_rdt:
            from pyrun.confine import intel_rdt  # few containers have some

            self.class_of_service = intel_rdt.plan(linux.intel_rdt, request.id)
        self.confinement = Confinement(self.process, self.config)
        self.warnings = warnings(self.config) + [one for mount in self.root.mounts for one in mount.warnings]
        self.has_early_hooks = any(self.config.hooks[kind] for kind in ("prestart", "createRuntime", "createContainer"))
        # The runtime runs hooks, or takes the terminal, while the init waits between its mounts and pivot_root.
        self.pauses_before_pivot = self.has_early_hooks or self.process.terminal
        # The runtime connects interfaces to the init's network while the init mounts.
        self.connects_interfaces = bool(request.connect or linux.net_devices)
        self.streams = _streams(request, self.process.terminal)

    def give_cgroup_away(self) -> None:
        """Make the container's user the owner of its cgroup v2, if the container can write to it. Must run on the host
        after the cgroup is made."""
        linux = self.config.linux
        if linux.makes("cgroup") and self.root.has_writable_cgroups and self.cgroup.v2_only and os.geteuid() == 0:
            self.cgroup.own(linux.host_uid(self.process.user.uid))


def _streams(request: Request, terminal: bool) -> "list[int]":
    """Return descriptors for the container's standard streams; [] for its terminal, or to inherit ours."""
    if request.streams is not None:
        return [] if terminal else request.streams
    if terminal and request.files:
        raise UsageError(f"--{next(iter(request.files))}: the container's streams are its terminal (process.terminal)")
    has_pipe = request.pipes != "keep" and any(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1, 2))
    if terminal or not (request.files or has_pipe):
        return []
    from pyrun.stdio import streams  # few callers need it

    return streams.select(request.files, request.pipes)


def _locate(config: Config, request: Request) -> "Driver":
    path = config.linux.cgroups_path
    if request.cgroup_manager == "systemd":
        from pyrun.cgroup import systemd  # with D-Bus it is larger than the other driver

        return systemd.locate(path, request.id, config.annotations)
    if request.cgroup_manager == "disabled":
        return Nowhere()
    driver = locate(path, request.id)
    if not path and rootless():
        driver.forget_forbidden()  # as runc does: without limits, an ordinary user's container needs no cgroup
    return driver

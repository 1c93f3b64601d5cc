"""What create has to do: what the caller wants of it, and all of it that can be refused before the first effect."""

import os
import stat

from pyrun.cgroup.hierarchies import locate
from pyrun.container import state
from pyrun.errors import ConfigError, UsageError
from pyrun.launch import descriptors
from pyrun.launch.console import Console
from pyrun.launch.namespaces import Namespaces
from pyrun.launch.process import Confinement
from pyrun.rootfs.setup import PlannedRoot
from pyrun.rootless import rootless
from pyrun.spec.config import Config, Process
from pyrun.spec.node import decode, read
from pyrun.spec.validate import validate, warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.group import Cgroup


class Request:
    """What the caller of `create` or `run` wants, beside the bundle's config; the options as cli.py names them.

    Enters the bundle, after making absolute what is relative to where the caller is. `arguments` are executed instead
    of process.args.
    """

    def __init__(
        self,
        root: str,
        id_: str,
        bundle: str = ".",
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
        self.root = root
        self.id = id_
        self.pivot = not no_pivot
        self.keyring = not no_new_keyring
        self.preserved = descriptors.receive(preserve_fds)
        self.cgroup_manager = cgroup_manager
        self.detach = detach
        self.monitor = monitor
        self.init = init
        self.arguments = arguments
        self.console_socket = os.path.abspath(console_socket) if console_socket else ""
        self.pidfd_socket = os.path.abspath(pidfd_socket) if pidfd_socket else ""
        self.pid_file = os.path.abspath(pid_file) if pid_file else ""
        self.overlay = os.path.abspath(overlay) if overlay else overlay
        files = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self.files = {name: os.path.abspath(file) for name, file in files.items() if file}
        # "keep", "drop" or "look": see streams.py. Who asks for the pid is an engine, and hands on pipes on purpose.
        self.pipes = "keep" if pid_file or not detach else "look"
        os.chdir(bundle)


class Plan:
    """All that can be refused before the first effect. The working directory must be the bundle."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.data = read("config.json", "config.json")
        self.config = Config(decode(self.data, "config.json"))
        if request.arguments:
            if self.config.process is None:
                raise ConfigError("config.json: process is required")
            self.config.process.args = request.arguments
        validate(self.config)
        assert self.config.process is not None  # validated
        self.process: Process = self.config.process
        self.console = Console(self.process, request.detach, request.console_socket)
        linux = self.config.linux
        if not linux.namespace("mount"):
            raise ConfigError(
                'config.json: linux.namespaces: "mount" is required: without it the mounts would be made on the host'
            )
        if not request.pivot and linux.rootfs_propagation in ("private", "rprivate"):
            raise linux.json.error("rootfsPropagation", "private is not safe without pivot_root: leave out --no-pivot")
        self.bundle = os.getcwd()
        self.root = PlannedRoot(self.config, self.bundle, request.overlay)
        self.namespaces = Namespaces(linux)
        self.cgroup = _locate(self.config, request)
        self.cgroup_is_optional = not linux.cgroups_path and rootless()
        self.cgroup.check(linux.resources)
        self.class_of_service = None
        if linux.intel_rdt:
            from pyrun.confine import intel_rdt  # few containers have some

            self.class_of_service = intel_rdt.plan(linux.intel_rdt, request.id)
        self.confinement = Confinement(self.process, self.config)
        self.hook_output: list[int] = []
        self.warnings = warnings(self.config)
        self.init = -1  # a descriptor of the program of --init
        early_hooks = any(self.config.hooks[kind] for kind in ("prestart", "createRuntime", "createContainer"))
        self.needs_meeting = early_hooks or self.process.terminal  # both sides stop between mounts and pivot_root
        self.streams = _streams(request, self.process.terminal)

    def give_cgroup_away(self) -> None:
        """Let the container's user own the cgroup, which is there by now, where it can see and write it."""
        linux = self.config.linux
        if linux.makes("cgroup") and self.root.has_writable_cgroups and self.cgroup.v2_only and os.geteuid() == 0:
            self.cgroup.own(linux.host_uid(self.process.user.uid))


def _streams(request: Request, terminal: bool) -> "list[int]":
    """Return the standard streams of the container, [] for the terminal, or for those that we have."""
    if terminal and request.files:
        raise UsageError(f"--{next(iter(request.files))}: the container's streams are its terminal (process.terminal)")
    has_pipe = request.pipes != "keep" and any(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1, 2))
    if terminal or not (request.files or has_pipe):
        return []
    from pyrun.launch import streams  # few callers need it

    return streams.select(request.files, request.pipes)


def _locate(config: Config, request: Request) -> "Cgroup":
    path = config.linux.cgroups_path
    if request.cgroup_manager == "systemd":
        from pyrun.cgroup import systemd

        return systemd.locate(path, request.id, config.annotations)
    if request.cgroup_manager == "disabled":
        from pyrun.cgroup.group import Nowhere

        return Nowhere()
    return locate(path, request.id)

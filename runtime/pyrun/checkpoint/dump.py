"""Checkpoint: criu stops the processes of a container, writes them to an image, and kills them or lets them go on."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.whole_file import write_all
from pyrun.checkpoint import external, rpc
from pyrun.checkpoint.criu import Criu
from pyrun.checkpoint.options import Images, from_config
from pyrun.config.document import LANDLOCK, Config, load_config
from pyrun.container.state import Container

_READY = "status-ready"


def checkpoint(
    container: Container,
    images: Images,
    program: str,
    wanted: "dict[str, rpc.Value]",
    pre: bool = False,
    status_fd: int = -1,
    keeps_layer: bool = False,
) -> None:
    """Write `container` to `images`; its processes then end, unless `wanted` has "leave_running" or for a `pre`-dump.

    `keeps_layer`: the caller restores a container that has a writable layer over the same directories. If it raises
    Error, the container goes on, and nothing has changed except for criu's log in a --work-path.
    """
    with container.locked() as container:
        _refuse(container)
        config = load_config(container.config_file)
        _refuse_what_criu_forgets(container, config, keeps_layer)
        images.make()
        images.remember()
        # Freeze before we look at the mounts, so that no process in the container can move them meanwhile. criu leaves
        # a frozen cgroup frozen.
        frozen = container.status() == "running" and container.cgroup().freeze_if_possible()
        try:
            _dump(container, config, images, program, wanted, pre, status_fd)
        except BaseException:
            images.forget()
            raise
        finally:
            if frozen:
                container.cgroup().thaw()


def _refuse(container: Container) -> None:
    status = container.status()
    if status not in ("running", "paused"):
        raise Error(f"Container cannot be checkpointed in {status} state")


def _refuse_what_criu_forgets(container: Container, config: Config, keeps_layer: bool) -> None:
    """Raise Error if criu would restore the container without one of its properties."""
    why = f"cannot checkpoint container {container.id}: "
    if container.mounts:
        paths = " ".join(path for path, _ in container.mounts)
        raise Error(f"{why}it has mounts of `pyrun mount`, which no config.json tells of: pyrun umount {paths}")
    if container.root_mount:
        raise Error(f"{why}it has no mount namespace: criu would take the mounts of the host for its own")
    if not keeps_layer and not os.path.samestat(os.stat(f"/proc/{container.pid}/root"), os.stat(container.rootfs)):
        raise Error(f"{why}its root is not {container.rootfs}: the layer of --overlay is not part of an image")
    for pid in container.processes():
        if _program(pid).startswith("/memfd:"):
            raise Error(f"{why}the program of process {pid} is in memory only (--init): criu does not restore that")
    if LANDLOCK in config.annotations:
        raise Error(f"{why}it is restricted by Landlock (annotation {LANDLOCK}), and criu does not restore that")


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended


def _dump(
    container: Container,
    config: Config,
    images: Images,
    program: str,
    wanted: "dict[str, rpc.Value]",
    pre: bool,
    status_fd: int,
) -> None:
    options = {**wanted, **from_config(config), "pid": container.pid, "root": container.rootfs}
    freezer = container.cgroup().freezer_directory()
    if freezer:
        options["freeze_cgroup"] = freezer
    outside = external.namespaces_to_leave_out(config.linux)
    if not pre:
        streams = external.Streams.of(container, bool(wanted.get("shell_job")))
        streams.save(images.path)
        outside += external.mounts_to_leave_out(config, container) + streams.to_leave_out()
    options["external"] = list(outside)

    def notified(stage: str, pid: int, descriptors: "list[int]") -> None:
        if stage == _READY and status_fd >= 0:  # the page server listens: criu(8), --status-fd
            write_all(status_fd, b"\0")
            os.close(status_fd)

    # criu gets its own session: a signal of the terminal, like ^C, must not end it while the container is stopped.
    with Criu(program, images, prepare=os.setsid) as criu:
        criu.check_version()
        criu.carry_out(rpc.PRE_DUMP if pre else rpc.DUMP, options, notified)

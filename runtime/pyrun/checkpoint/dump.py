"""How a container becomes an image: criu stops its processes, writes them down and kills them, or lets them go on."""

import os

from pyrun.checkpoint import external, rpc
from pyrun.checkpoint.criu import Criu
from pyrun.checkpoint.options import Images, from_config
from pyrun.container.end import delete_ended
from pyrun.container.state import Container
from pyrun.errors import Error
from pyrun.spec.config import LANDLOCK, Config, load_config

_READY = "status-ready"


def checkpoint(
    container: Container, images: Images, program: str, wanted: "dict[str, rpc.Value]", pre: bool, status_fd: int = -1
) -> None:
    """Write `container` to `images`, and delete it unless `wanted` says that it goes on, or this is a `pre`-dump only.

    Raises Error; then the container goes on, and nothing has changed but the log in a directory that was given for it.
    """
    lock = container.lock()
    try:
        _refuse(container)
        config = load_config(container.config_file)
        _refuse_what_criu_forgets(container, config)
        images.make()
        images.remember()
        # Before it is looked at: nobody in there must move mounts meanwhile. criu leaves frozen what it finds so.
        frozen = container.status() == "running" and container.cgroup().freeze_if_possible()
        try:
            _dump(container, config, images, program, wanted, pre, status_fd)
        except BaseException:
            images.forget()
            raise
        finally:
            if frozen:
                container.cgroup().thaw()
    finally:
        os.close(lock)
    if not (pre or wanted.get("leave_running")):
        delete_ended(container)


def _refuse(container: Container) -> None:
    status = container.status()
    if status not in ("running", "paused"):
        raise Error(f"Container cannot be checkpointed in {status} state")


def _refuse_what_criu_forgets(container: Container, config: Config) -> None:
    """Refuse what would be another container when restored."""
    why = f"cannot checkpoint container {container.id}: "
    if container.mounts:
        paths = " ".join(path for path, _ in container.mounts)
        raise Error(f"{why}it has mounts of `pyrun mount`, which no config.json tells of: pyrun umount {paths}")
    if not os.path.samestat(os.stat(f"/proc/{container.pid}/root"), os.stat(container.rootfs)):
        raise Error(f"{why}its root is not {container.rootfs}: the layer of --overlay is no part of an image")
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
            os.write(status_fd, b"\0")
            os.close(status_fd)

    # A session of its own: what the terminal signals, like ^C, must not end it while the container is stopped.
    with Criu(program, images, prepare=os.setsid) as criu:
        criu.check_version()
        criu.carry_out(rpc.PRE_DUMP if pre else rpc.DUMP, options, notified)

"""What the caller of `checkpoint` and `restore` wants: directories, and options for criu by their names in its RPC."""

import os
import stat

from pyrun.checkpoint import rpc
from pyrun.checkpoint.rpc import OPTIONS, PAGE_SERVER, encode
from pyrun.errors import UsageError
from pyrun.linux.sched import CLONE_NEWNET
from pyrun.rootless import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.spec.config import Config

_DEFAULT_IMAGE = "checkpoint"
_INVENTORY = "inventory.img"
_PARENT = "parent"  # criu's symlink to the image that is another one's parent
_MAXIMUM_PARENTS = 100
_CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}  # criu_cg_mode
_CONFIG_FILE = "/etc/criu/pyrun.conf"
_CONFIG_ANNOTATION = "org.criu.config"
_LOG_LEVEL = 4
_QUOTED = 3  # lines of criu's log
_HARMLESS = "Can't setup RLIMIT_NOFILE for self"  # without CAP_SYS_RESOURCE


class Images:
    """The directory of an image and that of criu's log `log`, which is the same unless --work-path says otherwise.

    Absolute paths: `restore` enters the bundle.
    """

    def __init__(self, image_path: str, work_path: str, log: str) -> None:
        self.path = os.path.abspath(image_path or _DEFAULT_IMAGE)
        self.work_path = os.path.abspath(work_path) if work_path else self.path
        self.log = log
        self._before: set[str] = set()
        self._made: list[str] = []

    def make(self) -> None:
        """Make the directories that are not there; an image may have been written to this one before."""
        for directory in (self.path, self.work_path):
            self._make(directory)

    def _make(self, directory: str) -> None:
        if os.path.isdir(directory):
            return
        self._make(os.path.dirname(directory))
        os.mkdir(directory, 0o700)
        self._made.append(directory)

    def check(self) -> None:
        """Raise UsageError where there is no image."""
        if not os.path.isfile(f"{self.path}/{_INVENTORY}"):
            what = "has no image of a container" if os.path.isdir(self.path) else "is not a directory"
            raise UsageError(f"--image-path {self.path}: {what}: `pyrun checkpoint` writes one")
        self._make(self.work_path)

    def parent(self, path: str) -> "dict[str, rpc.Value]":
        """Return the options for an image that holds only what differs from an earlier one, at `path` from this one."""
        if path.startswith("/"):
            raise UsageError(f"--parent-path {path}: must be relative to --image-path, so that both can be moved")
        parent = os.path.normpath(f"{self.path}/{path}")  # our own directory need not be there yet
        if not os.path.isdir(parent):
            raise UsageError(f"invalid --parent-path: {parent} is not a directory")
        return {"parent_img": path, "track_mem": True}

    def let_in(self, gid: int) -> "Callable[[], None]":
        """Let the group `gid` reach the files of the image and of its parents, and return what takes that back.

        What criu makes in a user namespace opens them as root of that: its files are everybody's to read, and who may
        is up to the directory.
        """
        before: list[tuple[str, int, int]] = []
        directory = self.path
        while os.path.isdir(directory) and len(before) < _MAXIMUM_PARENTS:
            found = os.stat(directory)
            before.append((directory, found.st_gid, stat.S_IMODE(found.st_mode)))
            os.chown(directory, -1, gid)
            os.chmod(directory, before[-1][2] | stat.S_IXGRP)
            directory = f"{directory}/{_PARENT}"

        def take_back() -> None:
            for directory, group, mode in before:
                os.chown(directory, -1, group)
                os.chmod(directory, mode)

        return take_back

    def remember(self) -> None:
        """Take note of what is in the image's directory, for forget()."""
        self._before = set(os.listdir(self.path))

    def forget(self) -> None:
        """Remove what a failed attempt has left in the image's directory, and the directories that were made for it.

        What is in a --work-path stays: who gives one wants to read it.
        """
        for name in set(os.listdir(self.path)) - self._before:
            os.unlink(f"{self.path}/{name}")
        for directory in reversed(self._made):
            try:
                os.rmdir(directory)
            except OSError:
                pass  # ENOTEMPTY: the log

    def open(self) -> "list[int]":
        """Return descriptors of the two directories."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return [os.open(directory, flags) for directory in (self.path, self.work_path)]

    def options(self, descriptors: "list[int]") -> "dict[str, rpc.Value]":
        """Return what tells criu of the directories that are open at `descriptors`, and of its log."""
        image, work = descriptors
        return {"images_dir_fd": image, "work_dir_fd": work, "log_level": _LOG_LEVEL, "log_file": self.log}

    def complaint(self) -> str:
        """Return the last errors in criu's log, "" where it has none: "(00.012345) Error (criu/files.c:123): ..."."""
        try:
            with open(f"{self.work_path}/{self.log}", encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip() for line in file if " Error (" in line]
        except FileNotFoundError:
            return ""  # it did not come to that
        failed = next((number for number, line in enumerate(lines) if line.endswith(" FAILED.")), len(lines))
        reasons = [line for line in lines[:failed] if _HARMLESS not in line]
        wanted = [line.partition(" Error (")[2].partition("): ")[2] for line in reasons[-_QUOTED:]]
        # Names of the container's files are in it, and must not steer our caller's terminal.
        text = "".join(character if character.isprintable() else "?" for character in "; ".join(wanted))
        where = f" (all of it: {self.work_path}/{self.log})" if self.work_path != self.path else ""
        return text + where if text else ""


def requested(
    manage_cgroups_mode: str = "soft", empty_ns: "list[str] | None" = None, **flags: "bool | str"
) -> "dict[str, rpc.Value]":
    """Return what the options of the command line ask of criu; the others have the name that its RPC has for them."""
    if rootless():
        raise UsageError("criu needs the machine's root: containers without that cannot be checkpointed")
    if manage_cgroups_mode not in _CGROUP_MODES:
        raise UsageError(f'invalid manage-cgroups-mode "{manage_cgroups_mode}": soft, full, strict or ignore')
    wanted: dict[str, rpc.Value] = {
        "notify_scripts": True,
        "orphan_pts_master": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": _CGROUP_MODES[manage_cgroups_mode],
    }
    for namespace in empty_ns or []:
        if namespace != "network":
            raise UsageError(f'invalid empty-ns "{namespace}": criu can leave out what is in network namespaces only')
        wanted["empty_ns"] = CLONE_NEWNET
    wanted.update({name: value for name, value in flags.items() if value})
    assert wanted.keys() <= OPTIONS.keys()
    return wanted


def server(address: str) -> bytes:
    """Return the message for --page-server."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError(f'invalid page-server "{address}": ADDRESS:PORT')
    return encode(PAGE_SERVER, {"address": host, "port": int(port)})


def from_config(config: "Config") -> "dict[str, rpc.Value]":
    """Return what config.json means for criu.

    A file with more of criu's options is where the annotation says, "" for none. A network that early hooks set up is
    left to them: criu would find their devices there already.
    """
    path = config.annotations.get(_CONFIG_ANNOTATION, _CONFIG_FILE)
    wanted: dict[str, rpc.Value] = {"config_file": path} if path else {}
    if config.linux.makes("network") and (config.hooks["prestart"] or config.hooks["createRuntime"]):
        wanted["empty_ns"] = CLONE_NEWNET
    return wanted


def wants_no_cgroups(wanted: "dict[str, rpc.Value]") -> bool:
    return wanted["manage_cgroups_mode"] == _CGROUP_MODES["strict"]


def leaves_cgroups_alone(wanted: "dict[str, rpc.Value]") -> bool:
    return wanted["manage_cgroups_mode"] == _CGROUP_MODES["ignore"]

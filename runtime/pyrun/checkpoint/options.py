"""The options of `checkpoint` and `restore`: directories, and options for criu by their names in its RPC."""

import _stat as stat

from foundation.linux import os
from foundation.linux.sched import CLONE_NEWNET
from foundation.rootless import rootless
from pyrun.checkpoint import rpc
from pyrun.checkpoint.rpc import OPTIONS, PAGE_SERVER, encode
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.config.document import Config

_DEFAULT_IMAGE = "checkpoint"
INVENTORY = "inventory.img"
_PARENT = "parent"  # criu's symlink from an image to its parent image
_MAXIMUM_PARENTS = 100
_CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}  # criu_cg_mode
_CONFIG_FILE = "/etc/criu/pyrun.conf"
_CONFIG_ANNOTATION = "org.criu.config"
_LOG_LEVEL = 4
_QUOTED = 3  # lines of criu's log
_HARMLESS = "Can't setup RLIMIT_NOFILE for self"  # without CAP_SYS_RESOURCE


class Images:
    """The directory of an image, and the directory of criu's log `log` (the same without --work-path).

    The paths are absolute, because `restore` changes its working directory to the bundle.
    """

    def __init__(self, image_path: str, work_path: str, log: str) -> None:
        self.path = os.path.abspath(image_path or _DEFAULT_IMAGE)
        self.work_path = os.path.abspath(work_path) if work_path else self.path
        self.log = log
        self._before: set[str] = set()
        self._made: list[str] = []

    def make(self) -> None:
        """Create the missing directories; an existing one may already hold an image."""
        for directory in (self.path, self.work_path):
            self._make(directory)

    def _make(self, directory: str) -> None:
        if os.path.isdir(directory):
            return
        self._make(os.path.dirname(directory))
        os.mkdir(directory, 0o700)
        self._made.append(directory)

    def check(self) -> None:
        """Raise UsageError if there is no image; create the --work-path if it is missing."""
        if not os.path.isfile(f"{self.path}/{INVENTORY}"):
            what = "has no image of a container" if os.path.isdir(self.path) else "is not a directory"
            raise UsageError(f"--image-path {self.path}: {what}: `pyrun checkpoint` writes one")
        self._make(self.work_path)

    def parent(self, path: str) -> "dict[str, rpc.Value]":
        """Return the options for an image that holds only the difference from an earlier one at the relative `path`."""
        if path.startswith("/"):
            raise UsageError(f"--parent-path {path}: must be relative to --image-path, so that both can be moved")
        parent = os.path.normpath(f"{self.path}/{path}")  # our own directory may not exist yet
        if not os.path.isdir(parent):
            raise UsageError(f"invalid --parent-path: {parent} is not a directory")
        return {"parent_img": path, "track_mem": True}

    def let_in(self, gid: int) -> "Callable[[], None]":
        """Let the group `gid` reach the files of the image and of its parents, and return a function that undoes that.

        criu's processes in a user namespace open the files as its root. The files themselves are readable by everybody;
        access is controlled by the directory.
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
        """Note the files in the image's directory, for forget()."""
        self._before = set(os.listdir(self.path))

    def forget(self) -> None:
        """Remove the files that a failed attempt left in the image's directory, and the directories made for it.

        Files in a --work-path stay: the user named it to keep the log.
        """
        for name in set(os.listdir(self.path)) - self._before:
            os.unlink(f"{self.path}/{name}")
        for directory in reversed(self._made):
            try:
                os.rmdir(directory)
            except OSError:
                pass  # ENOTEMPTY: criu's log is in it

    def open(self) -> "list[int]":
        """Open the two directories; the caller closes the descriptors."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return [os.open(directory, flags) for directory in (self.path, self.work_path)]

    def options(self, descriptors: "list[int]") -> "dict[str, rpc.Value]":
        """Return the options that name the two directories by their `descriptors`, and the log."""
        image, work = descriptors
        return {"images_dir_fd": image, "work_dir_fd": work, "log_level": _LOG_LEVEL, "log_file": self.log}

    def complaint(self) -> str:
        """Return the last errors in criu's log ("(00.012345) Error (criu/files.c:123): ..."), "" if it has none."""
        try:
            with open(f"{self.work_path}/{self.log}", encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip() for line in file if " Error (" in line]
        except FileNotFoundError:
            return ""  # criu failed before it opened the log
        failed = next((number for number, line in enumerate(lines) if line.endswith(" FAILED.")), len(lines))
        reasons = [line for line in lines[:failed] if _HARMLESS not in line]
        wanted = [line.partition(" Error (")[2].partition("): ")[2] for line in reasons[-_QUOTED:]]
        text = "; ".join(wanted)
        where = f" (all of it: {self.work_path}/{self.log})" if self.work_path != self.path else ""
        return text + where if text else ""


def requested(
    manage_cgroups_mode: str = "soft", empty_ns: "list[str] | None" = None, **flags: "bool | str"
) -> "dict[str, rpc.Value]":
    """Return criu's options for those of the command line; `flags` already have the names of the RPC.

    Raises UsageError without root.
    """
    if rootless():
        raise UsageError("criu needs the machine's root: containers without that cannot be checkpointed")
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
    """Return criu's options that follow from config.json.

    The annotation org.criu.config names a file with more options, "" for none. If early hooks set up the network, criu
    restores it empty: otherwise it would find the devices of the hooks.
    """
    path = config.annotations.get(_CONFIG_ANNOTATION, _CONFIG_FILE)
    wanted: dict[str, rpc.Value] = {"config_file": path} if path else {}
    if config.linux.makes("network") and (config.hooks["prestart"] or config.hooks["createRuntime"]):
        wanted["empty_ns"] = CLONE_NEWNET
    return wanted


def wants_no_cgroups(wanted: "dict[str, rpc.Value]") -> bool:
    """Return whether criu is to create the cgroups, which must not exist (strict)."""
    return wanted["manage_cgroups_mode"] == _CGROUP_MODES["strict"]


def leaves_cgroups_alone(wanted: "dict[str, rpc.Value]") -> bool:
    """Return whether criu is to leave processes in its own cgroup (ignore)."""
    return wanted["manage_cgroups_mode"] == _CGROUP_MODES["ignore"]

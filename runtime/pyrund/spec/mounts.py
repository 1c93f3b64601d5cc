"""Mounts: from --volume, --mount, --tmpfs, --volumes-from and an image's volumes to mounts of config.json."""

from foundation.linux import os
from foundation.linux.mountinfo import mount_id
from foundation.linux.mountinfo import mounts as mounted
from foundation.linux.opened import opened
from pyrund.errors import ApiError, missing
from pyrund.model.names import new_id
from pyrund.model.volume import REMOTE_TYPES, check_driver, check_name
from pyrund.spec.shape import ANY_TEXT, FLAG, NUMBER, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.container import Container
    from pyrund.spec.shape import Shape

    Json = dict[str, Any]

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_SHARED = ("shared", "rshared")
# Of which groups the source must be, in mountinfo's words.
_NEEDED = {
    **dict.fromkeys(_SHARED, ("shared",)),
    **dict.fromkeys(("slave", "rslave"), ("shared", "master")),
}
_IGNORED = ("z", "Z", "consistent", "cached", "delegated")  # SELinux labels, other systems
# The words of a mode, of each of which it may have one.
_WORDS = (("ro", "rw"), ("z", "Z"), ("nocopy",), ("consistent", "cached", "delegated"), _PROPAGATION)
# The fields of an entry of Mounts that belong to other types than this.
_OF_OTHERS = {"bind": ("VolumeOptions",), "volume": ("BindOptions",), "tmpfs": ("BindOptions",)}
_TMPFS = ["noexec", "nosuid", "nodev"]
# The type of an entry of HostConfig.Mounts.
SHAPE: "Shape" = {
    **dict.fromkeys(("Type", "Source", "Target", "Consistency"), TEXT),
    "ReadOnly": FLAG,
    "BindOptions": {
        "Propagation": TEXT,
        **dict.fromkeys(("NonRecursive", "CreateMountpoint", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive"), FLAG),
    },
    "VolumeOptions": {
        "NoCopy": FLAG,
        "Labels": {str: ANY_TEXT},
        "Subpath": TEXT,
        "DriverConfig": {"Name": TEXT, "Options": {str: TEXT}},
    },
    "TmpfsOptions": {"SizeBytes": NUMBER, "Mode": NUMBER, "Options": [[TEXT]]},
}


class Mount:
    """A mount. All of it can be JSON, as a container's document has it.

    kind        bind, tmpfs or volume
    source      the path on the host, "" for tmpfs; a volume has its `name`, too
    subpath     what of the volume is mounted, without ".."; "" for all of it
    mode        what the client wrote after the second colon
    is_made     whether the missing source of a bind is made, as with --volume
    recursion   what a bind takes along: "all" mounts below its source, read-only ones as such; "mounts", which stay
                writable; or "none"
    is_listed   whether docker lists it: not so for --tmpfs
    is_copied   whether an empty volume gets what the image has at the target
    is_owned    whether the volume goes with the container: it has no name of the client's
    labels      of the volume, if it is made; None if the client has named none
    backing     what the volume is instead of a folder: type, device and o of mount(8)
    """

    def __init__(self, kind: str, source: str, target: str, mode: str = "", read_only: bool = False) -> None:
        self.kind = kind
        self.source = source
        self.name = ""
        self.subpath = ""
        self.target = os.path.normpath(f"/{target.lstrip('/')}")
        self.mode = mode
        self.read_only = read_only
        self.propagation = "rprivate"
        self.is_made = False
        self.recursion = "all"
        self.is_listed = True
        self.is_copied = kind == "volume"
        self.is_owned = False
        self.labels: dict[str, str] | None = None
        self.backing: dict[str, str] | None = None
        self.options: list[str] = []

    @staticmethod
    def of(document: "Json") -> "Mount":
        """Return the mount of which `document` is the vars(); one that an older engine has written may lack some."""
        mount = Mount(document["kind"], document["source"], document["target"])
        vars(mount).update(document)
        return mount

    @property
    def is_peer(self) -> bool:
        """Whether what is mounted in the container appears at the source, too."""
        return self.kind == "bind" and self.propagation in _SHARED

    @property
    def is_remote(self) -> bool:
        """Whether it is a file system of another machine."""
        return self.backing is not None and self.whole()[0] in REMOTE_TYPES

    @property
    def is_mounted_here(self) -> bool:
        """Whether a worker makes the mount, which the container gets by descriptor (launch/volume_mounts.py)."""
        return bool(self.subpath) or self.is_remote

    def described(self) -> "Json":
        """Return the mount as inspect shows it."""
        volume = {"Name": self.name} if self.kind == "volume" else {}
        return {
            "Type": self.kind,
            **volume,
            "Source": self.source,
            "Destination": self.target,
            **({"Driver": "local"} if volume else {}),
            "Mode": self.mode,
            "RW": not self.read_only,
            "Propagation": self.propagation if self.kind == "bind" else "",
        }

    def whole(self) -> "tuple[str, str, list[str]]":
        """Return the type, source and options, as in config.json, of what is mounted, or of what has the `subpath`."""
        if self.backing:
            options = [word for word in self.backing.get("o", "").split(",") if word]
            kind = "bind" if {"bind", "rbind"} & set(options) else self.backing["type"]
            return kind, self.backing["device"], options
        if self.kind == "tmpfs":
            return "tmpfs", "tmpfs", list(self.options)
        return "bind", self.source, ["bind" if self.recursion == "none" else "rbind", self.propagation, *self.options]

    def entry(self) -> "Json":
        """Return the mount for config.json. If it `is_mounted_here`, it is read-only already, and the source only tells
        what it is."""
        kind, source, options = self.whole()
        if self.is_remote:
            kind, source, options = "bind", self.source, ["rbind", self.propagation]
        read_only = "rro" if self.kind == "bind" and self.recursion == "all" else "ro"
        return {
            "destination": self.target,
            "type": kind,
            "source": f"{source}/{self.subpath}" if self.subpath else source,
            "options": [*options, read_only] if self.read_only and not self.is_mounted_here else options,
        }


def of_container(container: "Container") -> "list[Mount]":
    return [Mount.of(document) for document in container.document["Mounts"]]


def described(container: "Container") -> "list[Json]":
    """Return the container's mounts as lists and inspect show them."""
    return [mount.described() for mount in of_container(container) if mount.is_listed]


def mounts_of(host_config: "Json") -> "list[Mount]":
    """Return the mounts that HostConfig itself names. Raises ApiError."""
    binds = [_bind(text) for text in host_config.get("Binds") or []]
    mounts = [_mount(given) for given in host_config.get("Mounts") or []]
    temporary = [_tmpfs(path, options) for path, options in (host_config.get("Tmpfs") or {}).items()]
    for some in ([*binds, *mounts], [*binds, *temporary]):
        targets = [mount.target for mount in some]
        for target in targets:
            if targets.count(target) > 1:
                raise ApiError(400, f"Duplicate mount point: {target}")
    return [*binds, *_without_covered(mounts, temporary)]


def _without_covered(mounts: "list[Mount]", temporary: "list[Mount]") -> "list[Mount]":
    """Return both, but at each place only what dockerd would have on top: --tmpfs, unless --mount has a tmpfs there."""
    of_mounts = {mount.target for mount in mounts if mount.kind == "tmpfs"}
    on_top = [mount for mount in temporary if mount.target not in of_mounts]
    covered = {mount.target for mount in on_top}
    return [*(mount for mount in mounts if mount.target not in covered), *on_top]


def with_volumes(wanted: "list[Mount]", inherited: "list[Mount]", paths: "list[str]") -> "list[Mount]":
    """Return all mounts of a container, each before those that are below it.

    What the client wants takes the place of what is `inherited` from other containers; the volumes `paths`, of
    the image and of --volume without a name, are made where there is nothing else.
    """
    found = {mount.target: mount for mount in [*inherited, *wanted]}
    for path in paths:
        _check_target(path, path)
        mount = Mount("volume", "", path)
        if mount.target not in found:
            found[mount.target] = mount
            _own(mount)
    return sorted(found.values(), key=lambda mount: mount.target.count("/"))


def inherited(container: "Container", mode: str) -> "list[Mount]":
    """Return the binds and volumes of `container` for one that names it in --volumes-from. Raises ApiError."""
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise ApiError(400, f"invalid mode: {mode[:80]}")
    found = [mount for mount in of_container(container) if mount.kind != "tmpfs"]
    for mount in found:
        mount.read_only = mount.read_only or mode == "ro"
        mount.mode = mode or mount.mode
    return found


def prepare_sources(mounts: "list[Mount]") -> None:
    """Make the missing sources of binds, or raise ApiError. A worker must do this: a dead file system may block it."""
    for mount in mounts:
        if mount.kind != "bind" or os.path.exists(mount.source):
            continue
        if not mount.is_made:
            raise ApiError(
                400, f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )
        os.makedirs(mount.source, 0o755, exist_ok=True)


def check_propagation(mounts: "list[Mount]", is_rootless: bool) -> None:
    """Raise ApiError, with docker's words, for a bind that shall share mounts with a source that does not. A worker has
    to do this."""
    for mount in mounts:
        if mount.is_peer and is_rootless:  # a mount in a user namespace never reaches the host (mount_namespaces(7))
            raise missing(f"bind-propagation={mount.propagation} without root")
        kinds = _NEEDED.get(mount.propagation) if mount.kind == "bind" else None
        if kinds:
            with opened(os.open(mount.source, os.O_PATH | os.O_CLOEXEC)) as fd:
                id_ = mount_id(fd)
            where = next(one for one in mounted() if one.id == id_)
            if not any(group.partition(":")[0] in kinds for group in where.groups):
                what = " or ".join("slave" if kind == "master" else kind for kind in kinds)
                raise ApiError(500, f"path {mount.source} is mounted on {where.path} but it is not a {what} mount")


def _own(mount: Mount) -> None:
    mount.name, mount.is_owned = new_id(), True


def _bind(text: str) -> Mount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or ":" in mode:
        raise ApiError(400, f'invalid volume specification: "{text[:200]}"')
    _check_target(target, text)
    if source.startswith("/"):
        mount = Mount("bind", os.path.normpath(source), target, mode)
        mount.is_made = True
    else:
        mount = Mount("volume", "", target, mode or "z")
        mount.name = check_name(source)
    words = [word for word in mode.split(",") if word]
    if any(sum(map(words.count, alike)) > 1 for alike in _WORDS):
        raise ApiError(500, f"invalid mode: {mode[:80]}")
    for word in words:
        if word in _PROPAGATION and mount.kind == "bind":
            mount.propagation = word
        elif word in ("ro", "rw"):
            mount.read_only = word == "ro"
        elif word == "nocopy":
            if mount.kind == "bind":
                why = 'invalid mount config for type "bind": field VolumeOptions must not be specified'
                raise ApiError(400, f"invalid volume specification: '{text[:200]}': {why}")
            mount.is_copied = False
        elif word not in _IGNORED:
            raise ApiError(500, f"invalid mode: {mode[:80]}")
    return mount


def _mount(given: "Json") -> Mount:
    kind, source, target = (given.get(name) or "" for name in ("Type", "Source", "Target"))
    if kind in ("image", "cluster"):
        raise missing(f"a mount of type {kind}")
    if why := _fault(given, kind, source, target):
        raise ApiError(400, f'invalid mount config for type "{kind[:80]}": {why}')
    mount = Mount(kind, source, target, read_only=bool(given.get("ReadOnly")))
    if kind == "bind":
        options = given.get("BindOptions") or {}
        mount.propagation = options.get("Propagation") or mount.propagation
        mount.is_made = bool(options.get("CreateMountpoint"))
        mount.recursion = "mounts" if options.get("ReadOnlyNonRecursive") else mount.recursion
        mount.recursion = "none" if options.get("NonRecursive") else mount.recursion
    elif kind == "volume":
        _volume(mount, given.get("VolumeOptions") or {})
    else:
        options = given.get("TmpfsOptions") or {}
        if options.get("Options"):
            raise missing("further options of a tmpfs mount")
        mount.options = list(_TMPFS)
        if options.get("SizeBytes"):
            mount.options.append(f"size={options['SizeBytes']}")
        if options.get("Mode"):
            mount.options.append(f"mode={options['Mode']:o}")
    return mount


def _fault(given: "Json", kind: str, source: str, target: str) -> str:
    """Return what is wrong with a mount, in docker's words, or ""."""
    if kind not in _OF_OTHERS:
        return "mount type unknown"
    if not target:
        return "field Target must not be empty"
    if why := _fault_of_target(target):
        return why
    if kind == "bind" and not source:
        return "field Source must not be empty"
    for name in _OF_OTHERS[kind]:
        if given.get(name) is not None:
            return f"field {name} must not be specified"
    propagation = (given.get("BindOptions") or {}).get("Propagation") or ""
    if propagation and propagation not in _PROPAGATION:
        return f"invalid propagation mode: {propagation[:80]}"
    if kind == "bind" and not source.startswith("/"):
        return f"invalid mount path: '{source[:200]}' mount path must be absolute"
    if kind == "tmpfs" and source:
        return "field Source must not be specified"
    if kind == "volume":
        return _fault_of_volume(given, source)
    return ""


def _fault_of_volume(given: "Json", source: str) -> str:
    subpath = (given.get("VolumeOptions") or {}).get("Subpath") or ""
    if subpath and not source:
        return "must not set Subpath when using anonymous volumes"
    if os.path.normpath(subpath).split("/")[0] in ("", ".."):
        return "subpath must be a relative path within the volume"
    if not source and given.get("ReadOnly"):
        return "must not set ReadOnly mode when using anonymous volumes"
    return ""


def _volume(mount: Mount, options: "Json") -> None:
    if options.get("Subpath"):
        mount.subpath = os.path.normpath(options["Subpath"])
    driver = options.get("DriverConfig") or {}
    mount.mode = "z"
    mount.is_copied = not options.get("NoCopy")
    mount.labels = options.get("Labels")
    check_driver(mount.source, driver.get("Name") or "local")
    mount.backing = driver.get("Options")  # for the volume, if it is made
    mount.source, name = "", mount.source
    if name:
        mount.name = check_name(name)
    else:
        _own(mount)


def _tmpfs(path: str, options: str) -> Mount:
    _check_target(path, path)
    mount = Mount("tmpfs", "", path)
    mount.is_listed = False
    words = [word for word in options.split(",") if word]
    opposites = {word[2:] if word.startswith("no") else f"no{word}" for word in words}
    mount.options = [word for word in _TMPFS if word not in opposites] + words
    return mount


def _fault_of_target(target: str) -> str:
    if not target.startswith("/"):
        return f"invalid mount path: '{target[:200]}' mount path must be absolute"
    return "invalid specification: destination can't be '/'" if os.path.normpath(target) == "/" else ""


def _check_target(target: str, text: str) -> None:
    if why := _fault_of_target(target):
        raise ApiError(400, f"invalid volume specification: '{text[:200]}': {why}")

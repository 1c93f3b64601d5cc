"""The mounts of config.json: each is created detached, given its attributes, then attached to a descriptor."""

import _stat as stat
from errno import ELOOP, ENOTDIR

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsconfig_reconfigure,
    fsconfig_set_flag,
    fsconfig_set_string,
    fsmount,
    fsopen,
    fspick,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from foundation.linux.openat2 import RESOLVE_NO_SYMLINKS, openat2
from foundation.linux.opened import opened
from pyrun.rootfs.options import NOT_KEPT, OF_MOUNT_ALONE, MountOptions, shown
from pyrun.rootfs.planned_mount import PlannedMount, describe
from pyrun.rootfs.tree import Tree, descriptor_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.host import Host

# fsconfig(2) copies at most 256 bytes of a value, with its NUL.
MAXIMUM_VALUE = 255

# SELinux policy labels the files of procfs and sysfs. mqueue has no mount option for a label; its root directory takes
# one as an extended attribute.
_LABELLED_BY_POLICY = ("proc", "sysfs", "mqueue")
_LAYERS = ("lowerdir", "upperdir", "workdir")  # the options of overlayfs that name directories


def attach(tree: Tree, planned: PlannedMount, host: "Host", writable: bool = False) -> int:
    """Mount `planned` into the tree and return a descriptor of the mount's root, which the caller closes.

    If "copy-symlink" makes a symlink instead, the descriptor is open on that. `writable` leaves out "ro": /dev is made
    read-only after its devices are made (make_read_only).

    Must run in the container's namespaces: procfs shows the pid namespace of the process that calls fsopen(2), sysfs
    its network namespace, mqueue its IPC namespace.
    """
    try:
        if planned.options.copies_symlink:
            link = host.link(planned)
            if stat.S_ISLNK(os.fstat(link).st_mode):
                return _copy_symlink(tree, planned, link)
            os.close(link)
        if planned.options.remounts:
            fd = _remount(tree, planned)
        else:
            fd = _bind(tree, planned, host) if planned.is_bind else _new(tree, planned, host, writable)
        propagate(fd, planned.options)
        return fd
    except OSError as error:
        raise Error(f"{describe(planned)}: {reason(error)}") from error


def _remount(tree: Tree, planned: PlannedMount) -> int:
    """Change only the attributes that the options name, of the mount and, without "bind", of its file system."""
    options = planned.options
    target = tree.open(planned.destination)
    fd = open_tree(b"", AT_EMPTY_PATH, dirfd=target)
    os.close(target)
    change_all_attributes(fd, options)
    if not planned.is_bind:
        read_only = [name for name in ("ro", "rw") if name in options.names()]
        with opened(fspick(fd)) as context:
            _set_parameters(context, planned.type, read_only + options.words(remount=True), options.data)
            fsconfig_reconfigure(context)
    return fd


def _copy_symlink(tree: Tree, planned: PlannedMount, link: int) -> int:
    target = os.readlink(b"", dir_fd=link)
    os.close(link)
    parent, name = tree.open_parent(planned.destination)
    with opened(parent):
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            pass  # the target of the existing symlink is compared below
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        if not stat.S_ISLNK(os.fstat(fd).st_mode) or os.readlink(b"", dir_fd=fd) != target:
            raise Error(f"{describe(planned)}: the destination is there, and is not the same symlink")
        return fd


def _bind(tree: Tree, planned: PlannedMount, host: "Host") -> int:
    fd = host.source(planned)
    if planned.destination == "/proc" and not _is_procfs(fd):
        raise Error(f"{describe(planned)}: the source is not procfs")
    change_all_attributes(fd, planned.options)
    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    return attach_to(open_mount_point(tree, planned, is_directory), fd)


def open_mount_point(tree: Tree, planned: PlannedMount, is_directory: bool = True) -> int:
    """Open the destination (O_PATH), creating it if it is missing; the caller closes it.

    Raises Error if a symlink of the image leads from it into procfs or to "/".
    """
    make = tree.make_directory if is_directory else tree.make_file
    target = -1 if planned.options.follows_destination else _open_symlink(tree, planned.destination)
    if target < 0:
        target = make(planned.destination)
    resolved = tree.path_of(target)
    if resolved == "/":
        os.close(target)
        raise Error(f"{describe(planned)}: the destination is a symlink to the root file system itself")
    if resolved != planned.destination and (resolved + "/").startswith("/proc/"):
        os.close(target)
        raise Error(f"{describe(planned)}: the destination is a symlink, and {resolved} is inside /proc")
    return target


def _open_symlink(tree: Tree, path: str) -> int:
    """Open the symlink `path`; return -1 if it is not one."""
    parent, name = tree.open_parent(path)
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return -1
    finally:
        os.close(parent)
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1


def _is_procfs(fd: int) -> bool:
    """Return whether `fd` is the root of a procfs: its inode number is always 1 (fs/proc/root.c)."""
    return os.fstat(fd).st_ino == 1 and os.path.exists(descriptor_path(fd) + b"/self/stat")


def _new(tree: Tree, planned: PlannedMount, host: "Host", writable: bool) -> int:
    options = planned.options
    set_ = options.attributes[0] & ~(MOUNT_ATTR_RDONLY if writable else 0)
    if planned.type in ("proc", "sysfs"):
        target = _ordinary_directory(tree, planned)
    elif planned.type == "tmpfs":
        return _new_tmpfs(tree, planned, set_)
    else:
        target = open_mount_point(tree, planned)
    data = options.data + label_option("" if planned.type in _LABELLED_BY_POLICY else planned.label)
    if planned.type == "overlay":
        data = [(key, host.layers(value) if value and key in _LAYERS else value) for key, value in data]
    context = host.contexts.get(planned, -1)
    if context < 0 and _is_classic(options, data):
        fd = _mount_by_string(tree, target, planned, set_, data)
        os.close(target)
    else:
        try:
            context = context if context >= 0 else fsopen(planned.type.encode())
        except PermissionError:
            if planned.type != "sysfs":
                raise
            return _bind_host_sysfs(target, set_)
        fd = attach_to(target, configure(context, planned.type, planned.source, set_, options.words(), data))
    if planned.type == "mqueue" and planned.label:
        os.setxattr(descriptor_path(fd), "security.selinux", planned.label.encode())
    change_attributes(fd, *options.recursive, recursive=True)
    return fd


def _bind_host_sysfs(target: int, attributes: int) -> int:
    """Bind the host's /sys, with `attributes` for all of it and without its cgroups (CVE-2023-25809).

    Only root of the user namespace that owns the network namespace can mount sysfs. So, as with crun, a container with
    a user namespace and the host's network gets the host's /sys, which shows the same network.
    """
    # Recursive, because the mounts below /sys are locked: a copy without them is refused.
    fd = open_tree(b"/sys", OPEN_TREE_CLONE | AT_RECURSIVE)
    change_attributes(fd, attributes, 0, recursive=True)
    attach_to(target, fd)
    try:
        cgroups = openat2(fd, b"fs/cgroup", os.O_PATH | os.O_DIRECTORY, RESOLVE_NO_SYMLINKS)
    except FileNotFoundError:
        return fd  # a kernel without cgroups
    os.close(attach_to(cgroups, new_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_RDONLY, [], [("mode", "555")])))
    return fd


def _new_tmpfs(tree: Tree, planned: PlannedMount, attributes: int) -> int:
    """Mount a tmpfs with the mode of the directory that it covers, or tmpfs's default, 1777, if there was none."""
    options = planned.options
    mode = _mode(tree, planned.destination)
    target = open_mount_point(tree, planned)
    data = options.data + label_option(planned.label)
    if mode is not None and not any(key == "mode" for key, _ in data):
        data.append(("mode", f"{mode:o}"))
    late = MOUNT_ATTR_RDONLY if options.copies_up else 0
    classic = _is_classic(options, data)
    if classic:
        fd = _mount_by_string(tree, target, planned, attributes & ~late, data)
    else:
        fd = new_filesystem(planned.type, planned.source, attributes & ~late, options.words(), data)
    if options.copies_up:
        from pyrun.rootfs.copy_up import copy_up  # few mounts have the option tmpcopyup

        copy_up(target, fd)
        change_attributes(fd, attributes & late, 0)
    if classic:
        os.close(target)
    else:
        attach_to(target, fd)
    change_attributes(fd, *options.recursive, recursive=True)
    return fd


def label_option(label: str) -> "list[tuple[str, str | None]]":
    """Return the mount option that gives all files of a file system the SELinux label `label`; no option for ""."""
    return [("context", label)] if label else []


def _mode(tree: Tree, path: str) -> "int | None":
    """Return the permissions of the directory `path`, or None if it does not exist."""
    try:
        fd = tree.open(path)
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    os.close(fd)
    return mode


def _ordinary_directory(tree: Tree, planned: PlannedMount) -> int:
    """Open the mount point of procfs or sysfs, which must not be a symlink: masks and labels go below it by name.

    If /proc of the image is a symlink, the masks end up elsewhere (CVE-2019-19921, CVE-2023-27561). openat2(2) checks
    and opens it in one step: another container with the same root file system could replace it between two steps.
    """
    parent, name = tree.open_parent(planned.destination)
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            pass  # images usually have it
        return openat2(parent, name, os.O_PATH | os.O_DIRECTORY, RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno not in (ELOOP, ENOTDIR):
            raise
        raise Error(
            f'filesystem "{planned.type}" must be mounted on ordinary directory: {planned.destination}'
        ) from error
    finally:
        os.close(parent)


def new_filesystem(
    type_: str, source: str, attributes: int, flags: "list[str]", data: "list[tuple[str, str | None]]"
) -> int:
    """Return a detached mount of a new file system, which the caller closes.

    `attributes` are MOUNT_ATTR_*, `flags` the superblock's flags as words of fsconfig(2). See attach() for namespaces.
    """
    return configure(fsopen(os.fsencode(type_)), type_, source, attributes, flags, data)


def configure(
    fs: int, type_: str, source: str, attributes: int, flags: "list[str]", data: "list[tuple[str, str | None]]"
) -> int:
    """Configure and create the file system of the fsopen(2) context `fs`, and close `fs`; return a detached mount.

    Raises Error that names the option which the file system refuses.
    """
    with opened(fs):
        if source:
            fsconfig_set_string(fs, b"source", os.fsencode(source))
        _set_parameters(fs, type_, flags, data)
        fsconfig_create(fs)
        return fsmount(fs, attributes)


def _set_parameters(fs: int, type_: str, flags: "list[str]", data: "list[tuple[str, str | None]]") -> None:
    for flag in flags:
        fsconfig_set_flag(fs, flag.encode())
    for key, value in data:
        try:
            if value is None:
                fsconfig_set_flag(fs, os.fsencode(key))
            else:
                fsconfig_set_string(fs, os.fsencode(key), os.fsencode(value))
        except OSError as error:
            raise Error(f'mount option {shown((key, value))} of "{type_}": {error.strerror}') from error


def _is_classic(options: MountOptions, data: "list[tuple[str, str | None]]") -> bool:
    """Return whether only mount(2) can make it: an option (often overlayfs's lowerdir) is too long for fsconfig(2), or
    one of the two flags is set that fsconfig(2) does not know."""
    long = any(value is not None and len(os.fsencode(value)) > MAXIMUM_VALUE for _, value in data)
    return long or bool(options.superblock_flags & OF_MOUNT_ALONE)


def _mount_by_string(
    tree: Tree, target: int, planned: PlannedMount, attributes: int, data: "list[tuple[str, str | None]]"
) -> int:
    """Mount on `target` by mount(2), whose data may be as long as a page; return a descriptor of the mount's root."""
    # SELinux removes the quotes. They are needed because a label with categories contains commas.
    pairs = [(key, f'"{value}"' if key == "context" else value) for key, value in data]
    text = ",".join(key if value is None else f"{key}={value}" for key, value in pairs)
    source, type_ = os.fsencode(planned.source), planned.type.encode()
    mount(source, descriptor_path(target), type_, planned.options.superblock_flags, os.fsencode(text))
    # mount(2) returns no descriptor, and `target` is below the new mount: only the path leads to it. Another container
    # that writes to the root file system may have changed that, so check that the path still leads to the same place.
    fd = tree.open(planned.destination)
    if os.readlink(descriptor_path(fd)) != os.readlink(descriptor_path(target)):
        raise Error(f"{planned.destination} was moved while it was mounted on")
    change_attributes(fd, attributes, MOUNT_ATTR__ATIME)
    return fd


def attach_to(target: int, fd: int) -> int:
    """Attach the detached mount `fd` to `target`; close `target`, also on failure, and return `fd`."""
    with opened(target):
        move_mount(fd, target)
    return fd


def change_attributes(fd: int, set_: int, clear: int, recursive: bool = False) -> None:
    """Set and clear MOUNT_ATTR_* of a mount, with `recursive` of all mounts below it, too. Needs Linux 5.12."""
    if set_ or clear:
        # The access-time attributes share one field: setting one of them requires MOUNT_ATTR__ATIME to be cleared.
        clock = MOUNT_ATTR__ATIME if (set_ | clear) & MOUNT_ATTR__ATIME else 0
        mount_setattr(fd, set_, clear & ~set_ & ~MOUNT_ATTR__ATIME | clock, recursive=recursive)


def change_all_attributes(fd: int, options: MountOptions) -> None:
    """Give the mount of a bind or a remount the attributes that `options` name.

    As with runc, if none is named, all are kept; if any is named, the others are cleared, except the access-time mode.
    The recursive ones come last, so that "rro" holds beside "nosuid", which clears "ro".
    """
    try:
        change_attributes(fd, *options.attributes)
        if options.names_attributes:
            _clear_others(fd, options)
        change_attributes(fd, *options.recursive, recursive=True)
    except PermissionError as error:
        names = ", ".join(options.names())
        raise OSError(
            error.errno, f"{error.strerror}: a user namespace locks what the host has mounted", names
        ) from None


def _clear_others(fd: int, options: MountOptions) -> None:
    for attribute in NOT_KEPT:
        if not attribute & (options.attributes[0] | options.attributes[1]):
            try:
                mount_setattr(fd, clear=attribute)
            except PermissionError:
                pass  # the attribute is locked (mount_namespaces(7)), and the config did not ask to clear it


def propagate(fd: int, options: MountOptions) -> None:
    """Apply the propagation options, in order, to the attached mount `fd`; with MS_REC to all mounts below, too."""
    for propagation in options.propagations:
        mount_setattr(fd, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))


def make_read_only(tree: Tree, path: str) -> None:
    """Make the mount at `path` read-only. Must run before pivot_root."""
    fd = tree.open(path)
    mount_setattr(fd, MOUNT_ATTR_RDONLY)
    os.close(fd)


def bind_over(source_fd: int, target_fd: int, read_only: bool = False, recursive: bool = False) -> int:
    """Bind the file of `source_fd` over the file of `target_fd`; return a descriptor of the new mount.

    The caller closes all three.
    """
    fd = open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0), dirfd=source_fd)
    if read_only:
        mount_setattr(fd, MOUNT_ATTR_RDONLY, recursive=recursive)
    move_mount(fd, target_fd)
    return fd

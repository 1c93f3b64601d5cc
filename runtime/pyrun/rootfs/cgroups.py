"""The mount of type cgroup: the container's own part of the hierarchies, and nothing above it."""

from foundation.linux import os
from foundation.linux.mount import MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE, mount_setattr, open_tree
from pyrun.rootfs.mounts import attach_to, change_attributes, label_option, new_filesystem, open_mount_point, propagate
from pyrun.rootfs.planned_mount import PlannedMount
from pyrun.rootfs.tree import Tree


def attach(tree: Tree, planned: PlannedMount, paths: "dict[str, str]") -> None:
    """Show the cgroups `paths` (controller -> directory) at the destination.

    The directories of the host are bound. With a cgroup namespace this shows what a mount inside it would show: the
    same superblock, rooted at the cgroup in which the namespace was made (cgroup_namespaces(7)). Without one it keeps
    all cgroups above out of sight (CVE-2023-25809). Must run in the container's mount namespace, before pivot_root.
    """
    target = open_mount_point(tree, planned)
    if set(paths) == {""} or planned.type == "cgroup2" and "" in paths:
        fd = attach_to(target, _bind(paths[""], planned))
    else:
        fd = _hierarchies(target, planned, paths)
    change_attributes(fd, *planned.options.recursive, recursive=True)
    propagate(fd, planned.options)
    os.close(fd)


def _bind(path: str, planned: PlannedMount) -> int:
    fd = open_tree(os.fsencode(path), OPEN_TREE_CLONE)
    change_attributes(fd, *planned.options.attributes)
    return fd


def _hierarchies(target: int, planned: PlannedMount, paths: "dict[str, str]") -> int:
    """Mount a tmpfs with a directory for each v1 hierarchy, and symlinks from controllers that share one."""
    set_, _ = planned.options.attributes
    data = [("mode", "755"), *label_option(planned.label)]
    fd = attach_to(target, new_filesystem("tmpfs", "tmpfs", set_ & ~MOUNT_ATTR_RDONLY, [], data))
    for directory, controllers in by_directory(paths).items():
        name = ",".join(controllers)
        os.mkdir(name, 0o755, dir_fd=fd)
        point = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        os.close(attach_to(point, _bind(directory, planned)))
        for controller in controllers if len(controllers) > 1 else ():
            os.symlink(name, controller, dir_fd=fd)
    if set_ & MOUNT_ATTR_RDONLY:
        mount_setattr(fd, MOUNT_ATTR_RDONLY)
    return fd


def by_directory(paths: "dict[str, str]") -> "dict[str, list[str]]":
    """Group the names of the controllers by directory: "unified" for v2, NAME for a v1 hierarchy "name=NAME"."""
    found: dict[str, list[str]] = {}
    for controller, directory in paths.items():
        name = controller.partition("=")[2] or controller or "unified"
        found.setdefault(directory, []).append(name)
    return found

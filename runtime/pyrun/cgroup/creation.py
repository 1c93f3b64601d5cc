"""Making the directories of a cgroup, and what each version needs before processes can join."""

import os
from errno import EACCES, EPERM, EROFS

from pyrun.cgroup.controller import Controller, nearest_existing
from pyrun.cgroup.group import undo
from pyrun.cgroup.tree import processes_in
from pyrun.errors import Error


def create(paths: "dict[str, str]", controllers: "list[str]", optional: bool) -> "list[str]":
    """Make the directories of `controllers` and return those that were not there; on an error, leave none of them.

    With `optional`, what the caller may not make is taken out of `paths`.
    """
    made: list[str] = []
    try:
        for controller in controllers:
            try:
                _create_one(controller, paths[controller], made)
            except OSError as error:
                if not optional or error.errno not in (EACCES, EPERM, EROFS):
                    raise
                del paths[controller]
    except BaseException:
        undo(made)
        raise
    return made


def _create_one(controller: str, directory: str, made: "list[str]") -> None:
    if controller == "":
        for ancestor in _ancestors(directory):
            _make(ancestor, made)
            _enable_controllers(ancestor)
        _make(directory, made)
        _refuse_threaded(directory)
        return
    _make(directory, made)
    if controller == "cpuset":
        _inherit(directory, "cpuset.cpus")
        _inherit(directory, "cpuset.mems")


def _make(directory: str, made: "list[str]") -> None:
    """mkdir -p"""
    try:
        os.mkdir(directory, 0o755)
    except FileNotFoundError:
        _make(os.path.dirname(directory), made)
        _make(directory, made)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise
    else:
        made.append(directory)


def _inherit(directory: str, name: str) -> str:
    """Return cpuset.cpus or cpuset.mems, taken from the parent where empty: nothing can join an empty v1 cpuset."""
    cpuset = Controller(directory, v2=False)
    value = cpuset.read(name)
    if not value:
        value = _inherit(os.path.dirname(directory), name)
        cpuset.write(name, value)
    return value


def available(directory: str) -> "list[str]":
    """Return the controllers that the v2 cgroup `directory` has or can be given, whether it exists or not.

    They are those of the topmost cgroup that we may enable controllers in: the root, or what was delegated to us.
    """
    for ancestor in _ancestors(directory):
        if os.access(ancestor + "/cgroup.subtree_control", os.W_OK):
            return Controller(ancestor, v2=True).read("cgroup.controllers").split()
    return Controller(nearest_existing(directory), v2=True).read("cgroup.controllers").split()


def _ancestors(directory: str) -> "list[str]":
    """Return the v2 cgroups above `directory`, from the root of the mount down."""
    found: list[str] = []
    parent = os.path.dirname(directory)
    while not os.path.isdir(parent) or os.path.exists(parent + "/cgroup.controllers"):
        found.insert(0, parent)
        parent = os.path.dirname(parent)
    return found


def _enable_controllers(ancestor: str) -> None:
    """Let the children of `ancestor` have every controller that it has itself."""
    group = Controller(ancestor, v2=True)
    missing = set(group.read("cgroup.controllers").split()) - set(group.read("cgroup.subtree_control").split())
    if not missing or (group.has("cgroup.type") and processes_in(ancestor)):
        # cgroups(7), no internal processes: but for the root, which has no type, a cgroup with processes must not share
        # its controllers out.  Given those that can work on threads, it would become the root of a threaded subtree.
        return
    try:
        group.write("cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))
    except OSError:
        for name in sorted(missing):
            try:
                group.write("cgroup.subtree_control", f"+{name}")
            except OSError:
                pass  # an error only if a limit needs it, and then one that names it


def _refuse_threaded(directory: str) -> None:
    """cgroups(7), threaded mode: a cgroup below a threaded one is "domain invalid", no process can join it."""
    if Controller(directory, v2=True).read("cgroup.type") == "domain invalid":
        raise Error(f"the cgroup {directory} is below a threaded one; give a linux.cgroupsPath elsewhere")

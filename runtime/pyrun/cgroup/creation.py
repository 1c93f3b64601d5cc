"""Making the directories of a cgroup, and the settings that each version needs before processes can join."""

from foundation.errors import Error
from foundation.linux import os
from pyrun.cgroup.controller import Controller, nearest_existing
from pyrun.cgroup.tree import processes_in


def create(controller: str, directory: str, made: "list[str]") -> None:
    """Make the directory of `controller`, and append each new one to `made`, also if an OSError follows."""
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
    """Like mkdir -p. It is not recursive, because a path can have two thousand components."""
    missing = [directory]
    while missing:
        try:
            os.mkdir(missing[-1], 0o755)
        except FileNotFoundError:
            missing.append(os.path.dirname(missing[-1]))
            continue
        except FileExistsError:
            if not os.path.isdir(missing[-1]):
                raise
        else:
            made.append(missing[-1])
        missing.pop()


def _inherit(directory: str, name: str) -> None:
    """Copy cpuset.cpus or cpuset.mems from the nearest ancestor that has it: an empty v1 cpuset cannot be joined."""
    empty = []
    cpuset = Controller(directory, v2=False)
    while not (value := cpuset.read(name)):
        empty.append(cpuset)
        cpuset = Controller(os.path.dirname(cpuset.directory), v2=False)
    for cpuset in reversed(empty):
        cpuset.write(name, value)


def undo(made: "list[str]") -> None:
    """Remove the directories `made`, the last one first, unless they are in use; empty the list."""
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # EBUSY: another container is below it; ENOENT: it was removed with the container's cgroup
    made.clear()


def available(directory: str) -> "list[str]":
    """Return the controllers that the v2 cgroup `directory` has or would get; it need not exist.

    These are the controllers of the topmost cgroup in which we may enable them: the root, or one delegated to us.
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
        # cgroups(7), no internal processes: a cgroup with processes, other than the root (which has no cgroup.type),
        # must not enable controllers for its children.  A threaded controller would make it a threaded subtree's root.
        return
    try:
        group.write("cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))
    except OSError:
        for name in sorted(missing):
            try:
                group.write("cgroup.subtree_control", f"+{name}")
            except OSError:
                pass  # it is an error only if a limit needs the controller; resources.py then names it


def _refuse_threaded(directory: str) -> None:
    """Raise Error if the cgroup is "domain invalid", as all are below a threaded one: no process can join it.

    See cgroups(7), threaded mode.
    """
    if Controller(directory, v2=True).read("cgroup.type") == "domain invalid":
        raise Error(f"the cgroup {directory} is below a threaded one; give a linux.cgroupsPath elsewhere")

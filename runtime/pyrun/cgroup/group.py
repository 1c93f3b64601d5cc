"""A cgroup that exists: the same path in every hierarchy. Its processes, freezing, killing, removal.

A container's cgroup is made and limited by its driver (driver.py), which `state`, `kill` and `delete` do not import.
"""

import time
from _signal import SIGKILL  # `import signal` costs 2 ms, for the enum

from foundation.errors import Error
from foundation.linux import os, whole_file
from pyrun.cgroup import freezer
from pyrun.cgroup.controller import Controller, is_gone
from pyrun.cgroup.tree import processes_in, remove_tree, tree


class Cgroup:
    """`paths` maps each controller to its directory; "" is the v2 hierarchy. join.py has the ways into it."""

    def __init__(self, paths: "dict[str, str]") -> None:
        self.paths = paths
        self._available: list[str] | None = None  # on v2

    @property
    def directories(self) -> "list[str]":
        """The directories without duplicates: cpu and cpuacct usually share one."""
        return list(dict.fromkeys(self.paths.values()))

    @property
    def v2_only(self) -> bool:
        """Whether no v1 hierarchy is in use."""
        return list(self.paths) == [""]

    def controller(self, name: str) -> "Controller | None":
        """Return the controller `name`, of v1 if that has it, else of v2, or None. "" is the v2 cgroup itself."""
        if name in self.paths:
            return Controller(self.paths[name], v2=name == "")
        if "" not in self.paths:
            return None
        if self._available is None:
            from pyrun.cgroup.creation import available  # `state`, `kill` and `delete` rarely need it

            self._available = available(self.paths[""])
        return Controller(self.paths[""], v2=True) if name in self._available else None

    def below(self, path: str, controllers: "tuple[str, ...]" = ()) -> "Cgroup":
        """Return the cgroup `path` below this one, for `exec --cgroup`: with `controllers`, only in their hierarchies.

        Raises Error if it does not exist.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Error(f"bad sub cgroup path: {path}: it leads through '..'")
        for controller in controllers:
            if controller not in self.paths:
                raise Error(f"unknown controller {controller}: the container has no cgroup there")
        paths = dict(self.paths)
        for controller in controllers or self.paths:
            paths[controller] = "/".join((paths[controller], *parts))
            if not os.path.isdir(paths[controller]):
                raise Error(
                    f"adding pid to the container's cgroup {path}: {paths[controller]}: no such file or directory"
                )
        return Cgroup(paths)

    def beside(self, init: int) -> "Cgroup":
        """Return the cgroup for another process of the container whose init has the pid `init`.

        This is the container's cgroup, unless it has enabled v2 controllers for its children, so that no process may be
        in it (cgroups(7), no internal processes). Then it is the cgroup of `init`, which must be in one below.
        """
        unified = self.controller("")
        if unified is None or not unified.read("cgroup.subtree_control"):
            return self
        from pyrun.cgroup.hierarchies import unified_directory  # few containers have cgroups of their own

        return Cgroup({**self.paths, "": unified_directory(init)})

    def is_reused(self) -> bool:
        """Return whether the v2 cgroup exists already. Processes then join it by a file.

        Linux 6.14 and later kill a process that is cloned into a cgroup on which cgroup.kill was used, unless it was
        used as often on the cgroup of the cloning process (kill_seq in kernel/cgroup/cgroup.c).
        """
        return os.path.isdir(self.paths.get("", ""))

    def forget_missing(self) -> None:
        """Remove from `paths` the hierarchies in which the cgroup does not exist."""
        self.paths = {controller: path for controller, path in self.paths.items() if os.path.isdir(path)}

    @property
    def memory_joins(self) -> int:
        """How many of join.files() the init writes late: 1 if memory is a v1 controller, else 0."""
        return 1 if "memory" in self.paths else 0

    def processes(self) -> "list[int]":
        """Return the pids in this cgroup and all below it, as far as the caller's pid namespace can see them.

        One hierarchy is enough, since every process joins all of them; hierarchies that other programs also use to
        group processes come last.
        """
        for name in ("", "pids", "memory", "devices", *self.paths):
            if name in self.paths:
                return [pid for cgroup, _ in tree(self.paths[name]) for pid in processes_in(cgroup)]
        return []

    def kill(self) -> None:
        """Send SIGKILL to every process in the cgroup and below, except the caller."""
        myself = os.getpid()
        if self.may_hold_the_caller() and myself in self.processes():
            self._kill_one_by_one(myself)  # without freezing, which would stop the caller, too
        elif not self._kill_at_once():
            frozen = self.freeze_if_possible()
            try:
                self._kill_one_by_one(myself)
            finally:
                if frozen:
                    self.thaw()
        self.thaw_v1()

    def freeze(self) -> None:
        """Freeze, and return when all processes have stopped. Raises Error if there is no freezer or it times out."""
        if not self.paths:
            raise Error("cannot pause the container without a cgroup")
        freezers = self._freezers()
        if not freezers:
            raise Error("cannot pause: no freezer cgroup is mounted")
        freezer.freeze(freezers[0])

    def thaw(self) -> None:
        """Thaw the cgroup on v1 and v2."""
        for controller in self._freezers():
            freezer.thaw(controller)

    def frozen(self) -> bool:
        """Return whether this cgroup itself is frozen; a frozen ancestor does not count."""
        return any(freezer.frozen(controller) for controller in self._freezers())

    def freezer_directory(self) -> str:
        """Return the directory that criu is to freeze, "" if there is none: the one in which the container is frozen,
        else v1's, else v2's."""
        freezers = self._freezers()
        frozen = [controller.directory for controller in freezers if freezer.frozen(controller)]
        return frozen[0] if frozen else freezers[-1].directory if freezers else ""

    def freeze_if_possible(self) -> bool:
        """Freeze, and return whether that worked: False if there is no freezer or a process does not stop."""
        try:
            self.freeze()
        except (Error, OSError):
            return False  # callers freeze only to prevent forks, and go on without
        return True

    def remove(self, timeout: float = 10) -> None:
        """Remove the cgroup and all below it; raise Error if processes are in it for more than `timeout` seconds."""
        self.remove_directories(self.directories, timeout)

    def remove_directories(self, directories: "list[str]", timeout: float = 10) -> None:
        """As remove(), for some of the directories."""
        deadline = time.monotonic() + timeout
        for directory in directories:
            pause = 0.0005
            while not remove_tree(directory):
                if time.monotonic() > deadline:
                    pids = " ".join(str(pid) for pid in self.processes()) or "none visible from here"
                    raise Error(f"cannot remove the cgroup {directory}: busy, its processes: {pids}")
                time.sleep(pause)
                pause = min(pause * 2, 0.05)

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer has killed: both versions have a line "oom_kill N"."""
        memory = self.controller("memory")
        if memory is None:
            return 0
        try:
            text = memory.read("memory.events" if memory.v2 else "memory.oom_control")
        except OSError as error:
            if is_gone(error):
                return 0
            raise
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def _freezers(self) -> "list[Controller]":
        """Return the freezers, v2's first: it has no state FREEZING, and its frozen processes can be killed."""
        found = []
        if "" in self.paths and _is_there(self.paths[""] + "/cgroup.freeze"):  # Linux 5.2
            found.append(Controller(self.paths[""], v2=True))
        if "freezer" in self.paths:
            found.append(Controller(self.paths["freezer"], v2=False))
        return found

    def may_hold_the_caller(self) -> bool:
        """Return whether the path of our own cgroup contains this one's name. A search of the cgroups below would be
        exact, but might never end while the container adds more."""
        own = os.fsdecode(whole_file.read("/proc/self/cgroup")).replace("\n", "/").split("/")
        return any(os.path.basename(directory) in own for directory in self.directories)

    def _kill_at_once(self) -> bool:
        if "" not in self.paths:
            return False
        try:
            Controller(self.paths[""], v2=True).write("cgroup.kill", 1)
        except OSError as error:
            # Before Linux 5.14 there is no such file; a threaded cgroup says EOPNOTSUPP: then kill() goes one by one.
            return is_gone(error) and not os.path.isdir(self.paths[""])
        return True

    def _kill_one_by_one(self, but: int) -> None:
        """Kill until no new process is found: processes that are not frozen may fork meanwhile."""
        from foundation.linux.signals import send_to_all  # few systems need it: not for each start of pyrun

        killed = {but}
        for _ in range(1000):
            found = send_to_all(self.processes, SIGKILL, but=killed)
            if not found:
                break
            killed |= found

    def thaw_v1(self) -> None:
        """Thaw all v1 cgroups at and below this one: a killed process dies only when it is thawed, and the container
        may have frozen cgroups of its own."""
        if "freezer" in self.paths:
            for cgroup, _ in tree(self.paths["freezer"]):
                freezer.thaw(Controller(cgroup, v2=False))


def _is_there(path: str) -> bool:
    """Return whether the file exists. Raises other errors: criu would freeze by v1 what v2 has frozen, and wait."""
    try:
        os.stat(path)
    except OSError as error:
        if not is_gone(error):
            raise
        return False
    return True

"""A cgroup: the same path in every hierarchy."""

import os
import time
from _signal import SIGKILL  # `import signal` costs 2 ms, for the enum

from pyrun.cgroup import freezer
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.tree import processes_in, remove_tree, tree
from pyrun.errors import ConfigError, Error

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.devices import Rule
    from pyrun.spec.linux import Resources

# What resources, statistics and creation import, `state`, `kill` and `delete` can do without: they are imported below.


class Cgroup:
    """`paths` is the directory by controller, "" for the v2 hierarchy; `unit` is for those that systemd makes."""

    unit = ""

    def __init__(self, paths: "dict[str, str]") -> None:
        self.paths = paths
        self._made: list[str] = []
        self._available: list[str] | None = None  # on v2

    @property
    def directories(self) -> "list[str]":
        """Each directory once, though cpu and cpuacct may share theirs."""
        return list(dict.fromkeys(self.paths.values()))

    @property
    def v2_only(self) -> bool:
        return list(self.paths) == [""]

    def controller(self, name: str) -> "Controller | None":
        """Return the controller `name`, of v1 if it is there, else of v2, or None. "" is v2 itself."""
        if name in self.paths:
            return Controller(self.paths[name], v2=name == "")
        if "" not in self.paths:
            return None
        if self._available is None:
            from pyrun.cgroup import creation

            self._available = creation.available(self.paths[""])
        return Controller(self.paths[""], v2=True) if name in self._available else None

    def below(self, path: str, controllers: "tuple[str, ...]" = ()) -> "Cgroup":
        """Return the cgroup `path` within this one, for `exec --cgroup`, in all or only in the given hierarchies."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Error(f'cgroup {path!r} contains ".."')
        for controller in controllers:
            if controller not in self.paths:
                raise Error(f"cgroup controller {controller!r} is not among those of the container")
        paths = dict(self.paths)
        for controller in controllers or self.paths:
            paths[controller] = "/".join((paths[controller], *parts))
            if not os.path.isdir(paths[controller]):
                raise Error(f"cgroup {path!r} does not exist in the container: no {paths[controller]}")
        return Cgroup(paths)

    def beside(self, init: int) -> "Cgroup":
        """Return the cgroup for another process of the container whose first one is `init`.

        That is this one, unless it shares its v2 controllers out, so that no process may be in it (cgroups(7), no
        internal processes): then that of `init`, which must have moved to one below.
        """
        unified = self.controller("")
        if unified is None or not unified.read("cgroup.subtree_control"):
            return self
        from pyrun.cgroup.hierarchies import unified_directory

        return Cgroup({**self.paths, "": unified_directory(init)})

    def check(self, resources: "Resources") -> None:
        """Refuse, by its name, what the controllers of this machine cannot do. Changes nothing."""
        from pyrun.cgroup.resources import check

        check(self, resources)

    def create_v2(self, optional: bool = False) -> None:
        """Make the cgroup in the v2 hierarchy, after making sure that there is none of the name in use in any.

        `optional` leaves out the hierarchies in which the caller may not make one, as runc does for a rootless
        container without limits.
        """
        self.refuse_in_use()
        self._create([name for name in self.paths if name == ""], optional)

    def refuse_in_use(self) -> None:
        """Raise ConfigError where the cgroup holds a process, or could not."""
        processes = self.processes()
        if processes:
            raise ConfigError(
                f"config.json: linux.cgroupsPath: the container's cgroup is not empty: {self.directories[0]} has "
                f"{len(processes)} process(es)"
            )
        if self.frozen():
            raise ConfigError(f"config.json: linux.cgroupsPath: the cgroup {self.directories[0]} is frozen")

    def create_v1(self, optional: bool = False) -> None:
        """Make the cgroup in the v1 hierarchies. A process can be born in the v2 cgroup while this goes on."""
        self._create([name for name in self.paths if name != ""], optional)

    def forget_missing(self) -> None:
        """Leave out the hierarchies in which there is no such cgroup."""
        self.paths = {controller: path for controller, path in self.paths.items() if os.path.isdir(path)}

    def _create(self, controllers: "list[str]", optional: bool) -> None:
        from pyrun.cgroup import creation

        self._made += creation.create(self.paths, controllers, optional)

    def adopt(self, pid: int, resources: "Resources") -> None:
        """Take the init in, where it was not born here and does not join by itself."""

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        """Write the limits.

        `memory=False` leaves those of memory for limit_memory(), unless the init joins late.  `update` says
        `devices=False`: the rules of a running container are not in the resources that it is given.
        """
        from pyrun.cgroup.resources import apply

        apply(self, resources, memory, devices)

    def limit_memory(self, resources: "Resources") -> None:
        """Write what `apply(memory=False)` left out: who does not join late is charged for the runtime until that has
        gone."""
        from pyrun.cgroup.resources import limit_memory

        limit_memory(self, resources)

    def open_files(self, v2: bool) -> "list[int]":
        """Return descriptors of joining_files()."""
        return [os.open(file, os.O_WRONLY | os.O_CLOEXEC) for file in self.joining_files(v2)]

    def joining_files(self, v2: bool) -> "list[str]":
        """Return the files to join by: the `tasks` of v1, memory's last, and before them with `v2` that hierarchy's
        cgroup.procs.

        A "0" written to `tasks` moves the writing thread alone, so the kernel does not wait for an RCU grace period as
        it does for a process written to `cgroup.procs`. What is written counts as written by who opened the file
        (Linux 5.16, 5.10.111), so a process in another user namespace can join by them.
        """
        memory, unified = self.paths.get("memory"), self.paths.get("")
        files = [f"{directory}/tasks" for directory in self.directories if directory not in (memory, unified)]
        if unified and v2:
            files.insert(0, f"{unified}/cgroup.procs")
        if memory:
            files.append(f"{memory}/tasks")
        return files

    @property
    def memory_joins(self) -> int:
        """How many of joining_files() the init joins late: memory's, if that is v1."""
        return 1 if "memory" in self.paths else 0

    def open_v2(self) -> int:
        """Return the v2 directory, for clone3(CLONE_INTO_CGROUP), or -1.

        Not for a process in another user namespace: it has no right to clone into it, and root there, who can look into
        that process, would come from it by ".." to the host's root (as in CVE-2024-21626).
        """
        return os.open(self.paths[""], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if "" in self.paths else -1

    def processes(self) -> "list[int]":
        """Return the pids in this cgroup and all below it, those that the caller's pid namespace can see.

        One hierarchy tells, since a process joins all; first those that no daemon sorts its processes in.
        """
        for name in ("", "pids", "memory", "devices", *self.paths):
            if name in self.paths:
                return [pid for cgroup, _ in tree(self.paths[name]) for pid in processes_in(cgroup)]
        return []

    def kill(self) -> None:
        """Send SIGKILL to every process in the cgroup and below, but to the caller."""
        myself = os.getpid()
        if self.may_hold_the_caller() and myself in self.processes():
            self._kill_one_by_one(myself)  # without freezing: it would stop the caller too
        elif not self._kill_at_once():
            frozen = self.freeze_if_possible()
            try:
                self._kill_one_by_one(myself)
            finally:
                if frozen:
                    self.thaw()
        self._thaw_v1()

    def announce(self, rules: "list[Rule]") -> None:
        """Tell who else applies device rules here which ones are about to be in force."""

    def freeze(self) -> None:
        if not self.paths:
            raise Error("cannot pause the container without a cgroup")
        freezers = self._freezers()
        if not freezers:
            raise Error("cannot pause: no freezer cgroup is mounted")
        freezer.freeze(freezers[0])

    def thaw(self) -> None:
        for controller in self._freezers():
            freezer.thaw(controller)

    def frozen(self) -> bool:
        """Tell whether this cgroup itself is frozen, not one above it."""
        return any(freezer.frozen(controller) for controller in self._freezers())

    def freezer_directory(self) -> str:
        """Return the directory that criu shall freeze, "" where there is none: v1's where that is mounted, unless v2
        has frozen the container."""
        freezers = self._freezers()
        frozen = [controller.directory for controller in freezers if freezer.frozen(controller)]
        return frozen[0] if frozen else freezers[-1].directory if freezers else ""

    def freeze_if_possible(self) -> bool:
        """Freeze, unless there is no freezer or a process does not stop; tell whether it worked."""
        try:
            self.freeze()
        except (Error, OSError):
            return False  # the caller only wants to be ahead of forks
        return True

    def remove(self, timeout: float = 10) -> None:
        """Remove the cgroup and all below it, waiting at most `timeout` seconds for its processes to be gone."""
        deadline = time.monotonic() + timeout
        for directory in self.directories:
            pause = 0.0005
            while not remove_tree(directory):
                if time.monotonic() > deadline:
                    pids = " ".join(str(pid) for pid in self.processes()) or "none visible from here"
                    raise Error(f"cannot remove the cgroup {directory}: busy, its processes: {pids}")
                time.sleep(pause)
                pause = min(pause * 2, 0.05)
        undo(self._made)

    def own(self, uid: int) -> None:
        """Give the v2 cgroup to `uid` (-1: to nobody), who then may make cgroups in it but not change its limits.

        config-linux.md#cgroup-ownership: the directory and the files that /sys/kernel/cgroup/delegate lists, where they
        exist.  Never a v1 cgroup: to own one is to be able to set its limits.
        """
        if "" not in self.paths or uid == -1:
            return
        os.chown(self.paths[""], uid, -1)
        try:
            with open("/sys/kernel/cgroup/delegate") as file:
                names = file.read().split()
        except FileNotFoundError:
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]  # no /sys: those of every kernel
        for name in names:
            try:
                os.chown(f"{self.paths['']}/{name}", uid, -1)
            except FileNotFoundError:
                pass  # the file of a controller that this cgroup does not have

    def statistics(self) -> "dict[str, Any]":
        """Return what `events --stats` prints as "data"."""
        from pyrun.cgroup.statistics import statistics

        return statistics(self)

    def oom_kills(self) -> int:
        """Return how often the kernel killed for want of memory: both versions count it in lines "oom_kill N"."""
        memory = self.controller("memory")
        if memory is None:
            return 0
        try:
            text = memory.read("memory.events" if memory.v2 else "memory.oom_control")
        except FileNotFoundError:
            return 0  # the cgroup has been removed
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def _freezers(self) -> "list[Controller]":
        """v2's first: it has no state between frozen and thawed, and what it froze can be killed."""
        found = []
        if "" in self.paths and os.path.exists(self.paths[""] + "/cgroup.freeze"):  # Linux 5.2
            found.append(Controller(self.paths[""], v2=True))
        if "freezer" in self.paths:
            found.append(Controller(self.paths["freezer"], v2=False))
        return found

    def may_hold_the_caller(self) -> bool:
        """Judge by the name of the cgroup: a walk to see for sure might never end, while the container makes more."""
        with open("/proc/self/cgroup", "rb", buffering=0) as file:
            own = os.fsdecode(file.read()).replace("\n", "/").split("/")
        return any(os.path.basename(directory) in own for directory in self.directories)

    def _kill_at_once(self) -> bool:
        if "" not in self.paths:
            return False
        try:
            Controller(self.paths[""], v2=True).write("cgroup.kill", 1)
        except FileNotFoundError:
            return not os.path.isdir(self.paths[""])  # before Linux 5.14; or the whole cgroup has gone
        except OSError:
            return False  # EOPNOTSUPP: threaded
        return True

    def _kill_one_by_one(self, but: int) -> None:
        """Kill until no new process is found: where they are not frozen, they may be forking."""
        killed = {but}
        for _ in range(1000):
            pids = set(self.processes()) - killed
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass  # it was faster
            killed |= pids

    def _thaw_v1(self) -> None:
        """What v1 has frozen dies only when thawed; in a cgroup below it may be the container that froze it."""
        if "freezer" in self.paths:
            for cgroup, _ in tree(self.paths["freezer"]):
                freezer.thaw(Controller(cgroup, v2=False))


class Nowhere(Cgroup):
    """No cgroup of its own: the container is in the caller's, and its resources are not limited."""

    def __init__(self) -> None:
        super().__init__({})

    def check(self, resources: "Resources") -> None:
        pass

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        pass

    def limit_memory(self, resources: "Resources") -> None:
        pass


def undo(made: "list[str]") -> None:
    """Remove directories that were made in this order, as far as nobody uses them."""
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # EBUSY: another container is below it by now; ENOENT: removed as the container's own
    made.clear()

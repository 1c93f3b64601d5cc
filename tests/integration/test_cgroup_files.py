"""Real cgroups of this machine, of whichever version; test_virtual_machine runs this file where there is v2 alone."""

import errno
import os
import select
import signal
import subprocess
import time

import pytest

import pyrun
from foundation.errors import Error
from foundation.linux import bpf
from pyrun.cgroup import join
from pyrun.cgroup.device_program import compile_rules
from pyrun.cgroup.device_rules import DEFAULTS
from pyrun.cgroup.driver import Driver, locate
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.statistics import statistics
from pyrun.cgroup.tree import processes_in, tree
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.errors import ConfigError

MB = 1 << 20
PARENT = f"/pyrun-test-{os.getpid()}"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="cgroups are made by root")


def make(group):
    """Make the cgroup as the runtime does, and undo it if that fails."""
    group.refuse_in_use()
    try:
        group.create_v2()
        group.create_v1()
    except (Error, OSError):
        group.undo()
        raise


@pytest.fixture
def cgroup():
    found = locate(f"{PARENT}/container", "")
    make(found)
    yield found
    found.kill()
    locate(PARENT, "").remove()


@pytest.fixture
def start(cgroup):
    """Start processes in a cgroup; they end with the test."""
    pids = []

    def start(function, group=cgroup):
        pid = fork_into(group, function)
        pids.append(pid)
        return pid

    yield start
    cgroup.kill()
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the test has seen it die


def fork_into(group, function):
    """Fork a process that joins as the runtime does on v1, and runs `function`; return once it has joined."""
    joins, into = join.open_files(group, v2=False), join.directory(group)
    ready, joined = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for fd in joins:
                os.write(fd, b"0")
            if into != -1:
                with open(f"/proc/self/fd/{into}/cgroup.procs", "w") as file:
                    file.write("0")
            os.write(joined, b"!")
            function()
        finally:
            os._exit(1)
    for fd in [*joins, into, joined]:
        if fd != -1:
            os.close(fd)
    answer = os.read(ready, 1)
    os.close(ready)
    assert answer == b"!", "the process has not joined"
    return pid


def sleep():
    time.sleep(60)


def ask(start, function, group=None):
    """Return what `function` returns, called by a process in the cgroup."""
    reader, writer = os.pipe()

    def answer():
        try:
            text = str(function())
        except OSError as error:
            text = errno.errorcode[error.errno]
        os.write(writer, text.encode())
        os._exit(0)

    pid = start(answer, group) if group else start(answer)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


def resources(**json):
    return Resources(Node(json, "config.json: linux.resources."), "1.3.0")


def value(cgroup, controller, v1_file, v2_file):
    found = cgroup.controller(controller)
    return found.read(v2_file if found.v2 else v1_file)


def need(cgroup, controller, v1_file=None, v2_file=None):
    found = cgroup.controller(controller)
    file = v1_file if found and not found.v2 else v2_file
    if not found or (file and not found.has(file)):
        pytest.skip(f"this kernel has no {file or controller}")
    return found


def need_v2(cgroup):
    if "" not in cgroup.paths:
        pytest.skip("cgroup v2 is not mounted")


def test_a_cgroup_is_made_in_every_hierarchy_and_removed_from_every_one(cgroup):
    made = [os.path.isdir(directory) for directory in cgroup.directories]
    cgroup.remove()

    assert all(made)
    assert not any(os.path.exists(directory) for directory in cgroup.directories)


def test_what_is_undone_leaves_no_parent_either():
    group = locate(f"{PARENT}-other/a/b", "")
    make(group)
    group.undo()

    assert not any(os.path.exists(path) for path in locate(f"{PARENT}-other", "").directories)


def test_a_create_that_fails_midway_leaves_nothing(cgroup):
    other = locate(f"{PARENT}/memory.stat/x", "")  # in one hierarchy, memory.stat is a file
    with pytest.raises(OSError, match="File exists|Not a directory"):
        make(other)
    there = [directory for directory in locate(f"{PARENT}/memory.stat", "").directories if os.path.isdir(directory)]

    assert there == []


def test_a_removed_cgroup_can_be_removed_again_and_has_no_processes(cgroup):
    cgroup.remove()
    cgroup.remove()
    cgroup.kill()

    assert (cgroup.processes(), cgroup.frozen()) == ([], False)


def test_a_process_joins_every_hierarchy(cgroup, start):
    pid = start(sleep)
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    joined = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}

    assert {joined[controller] for controller in cgroup.paths} == {f"{PARENT}/container"}
    assert cgroup.processes() == [pid]


def test_the_descriptors_to_join_by_are_closed_by_exec(cgroup):
    joins = [*join.open_files(cgroup, v2=False), *([join.directory(cgroup)] if "" in cgroup.paths else [])]
    inheritable = [os.get_inheritable(fd) for fd in joins]
    for fd in joins:
        os.close(fd)

    assert inheritable and not any(inheritable)


def test_a_cgroup_with_processes_is_not_taken(cgroup, start):
    start(sleep)

    with pytest.raises(ConfigError, match="linux.cgroupsPath: container's cgroup is not empty: 1 process"):
        make(locate(f"{PARENT}/container", ""))


def test_a_frozen_cgroup_is_not_taken(cgroup):
    cgroup.freeze()

    with pytest.raises(ConfigError, match="container's cgroup unexpectedly frozen"):
        make(locate(f"{PARENT}/container", ""))


def test_who_may_not_make_a_cgroup_is_told_so_or_does_without(cgroup, start):
    def create(is_optional):
        os.setresuid(65534, 65534, 65534)
        group = locate(f"{PARENT}/rootless", "")
        if is_optional:
            group.forget_forbidden()
        make(group)
        return group.paths, group.processes(), group.remove()

    assert ask(start, lambda: create(False)) in ("EACCES", "EPERM")
    assert ask(start, lambda: create(True)) == "({}, [], None)"


def test_processes_in_cgroups_below_are_counted_and_killed(cgroup, start):
    inner = locate(f"{PARENT}/container/inner/most", "")
    make(inner)
    pid = start(sleep, inner)
    seen = cgroup.processes()
    cgroup.kill()
    _, status = os.waitpid(pid, 0)
    cgroup.remove()

    assert seen == [pid]
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not any(os.path.exists(directory) for directory in inner.directories)


def test_a_forking_process_does_not_outrun_kill(cgroup, start):
    def fork_on():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if len(os.listdir("/proc/self/task")) and os.fork() == 0:
                time.sleep(0.05)

    if "pids" in cgroup.paths or need(cgroup, "pids"):
        cgroup.apply(resources(pids={"limit": 50}), devices=False)
    pid = start(fork_on)
    time.sleep(0.1)
    cgroup.kill()
    os.waitpid(pid, 0)
    cgroup.remove(timeout=5)

    assert cgroup.processes() == []


@pytest.mark.parametrize("without", [[], ["cgroup.kill"], ["cgroup.kill", "cgroup.freeze"]])
def test_kill_works_without_the_files_of_newer_kernels(cgroup, start, without):
    paths = dict(cgroup.paths)
    if without:
        paths.pop("", None)
    if "cgroup.freeze" in without:
        paths.pop("freezer", None)
    if not paths:
        pytest.skip("there is v2 alone")
    pid = start(sleep)
    Cgroup(paths).kill()

    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_kill_spares_the_caller(cgroup, start):
    victim = start(sleep)

    assert ask(start, lambda: cgroup.kill()) == "None"
    assert os.WTERMSIG(os.waitpid(victim, 0)[1]) == signal.SIGKILL


def test_frozen_processes_stand_still_and_go_on_when_thawed(cgroup, start):
    reader, writer = os.pipe()

    def tick():
        while True:
            os.write(writer, b".")
            time.sleep(0.005)

    start(tick)
    os.read(reader, 100)
    cgroup.freeze()
    frozen = cgroup.frozen()
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 100)  # what was written before
    moved = select.select([reader], [], [], 0.1)[0]
    cgroup.thaw()
    moves = select.select([reader], [], [], 5)[0]
    os.close(reader)
    os.close(writer)

    assert (frozen, cgroup.frozen()) == (True, False)
    assert (moved, moves) == ([], [reader])


def test_a_frozen_container_can_be_killed(cgroup, start):
    pid = start(sleep)
    cgroup.freeze()
    cgroup.kill()

    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_process_cannot_hide_deeper_than_a_path_is_long(cgroup, start):
    group = only_v2(cgroup)
    reader, writer = os.pipe()

    def hide():
        os.chdir(group.paths[""])
        for _ in range(1200):
            os.mkdir("deep")
            os.chdir("deep")
        with open("cgroup.procs", "w") as file:
            file.write("0")
        os.write(writer, b"hidden")
        sleep()

    pid = start(hide)
    assert os.read(reader, 10) == b"hidden"
    seen = group.processes()
    group.kill()
    os.waitpid(pid, 0)
    group.remove()
    for fd in (reader, writer):
        os.close(fd)

    assert seen == [pid]
    assert not os.path.exists(group.paths[""])


def test_a_cgroup_that_goes_away_under_the_walk_is_no_error(cgroup):
    directory = cgroup.directories[0]
    os.makedirs(f"{directory}/a/b/c")
    os.makedirs(f"{directory}/z")
    walked = []
    for path, below in tree(directory):
        if below in ("/a/b/c", "/a/b", "/a"):
            os.rmdir(directory + below)
        walked.append((below, processes_in(path)))

    assert sorted(walked) == [("", []), ("/a", []), ("/a/b", []), ("/a/b/c", []), ("/z", [])]


def test_what_the_container_froze_itself_can_be_killed(cgroup, start):
    inner = locate(f"{PARENT}/container/inner", "")
    make(inner)
    pid = start(sleep, inner)
    inner.freeze()
    if "freezer" in inner.paths:
        inner.controller("freezer").write("freezer.state", "FROZEN")
    cgroup.kill()

    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_cgroup_frozen_from_above_is_not_itself_frozen(cgroup):
    parent = locate(PARENT, "")
    parent.freeze()
    frozen = cgroup.frozen()
    parent.thaw()

    assert not frozen


def test_remove_names_the_processes_that_are_in_the_way(cgroup, start):
    pid = start(sleep)

    with pytest.raises(Error, match=f"cannot remove the cgroup /.*/container: busy, its processes: {pid}"):
        cgroup.remove(timeout=0.01)


def test_remove_waits_for_a_process_that_is_about_to_end(cgroup, start):
    start(lambda: time.sleep(0.2))
    cgroup.remove(timeout=5)

    assert not os.path.exists(cgroup.directories[0])


@pytest.mark.parametrize("before, after", [((64, 128), (256, 512)), ((256, 512), (64, 128)), ((64, 64), (-1, -1))])
def test_memory_and_swap_rise_and_fall_together(cgroup, before, after):
    memory = need(cgroup, "memory", "memory.memsw.limit_in_bytes", "memory.max")
    for limit, swap in (before, after):
        cgroup.apply(
            resources(memory={"limit": limit * MB if limit > 0 else -1, "swap": swap * MB if swap > 0 else -1})
        )
    written = memory.read("memory.max" if memory.v2 else "memory.limit_in_bytes")

    assert written == str(after[0] * MB) or (after[0] == -1 and (written == "max" or int(written) > 1 << 60))


def test_v1_tells_the_usage_when_it_refuses_a_limit_below_it(cgroup, start):
    if need(cgroup, "memory").v2:
        pytest.skip("v2 kills instead")
    locked = "x" * (8 * MB)
    started = start(lambda: (locked.encode(), sleep()))
    time.sleep(0.2)
    del started

    with pytest.raises(
        ConfigError, match=r"memory.limit: unable to set memory limit to 4096 \(current usage: \d+, peak"
    ):
        cgroup.apply(resources(memory={"limit": 4096}))


def test_v2_checks_the_usage_before_an_update_when_asked_to(cgroup, start):
    if not need(cgroup, "memory").v2:
        pytest.skip("v1 always checks")
    pid = start(sleep)

    with pytest.raises(ConfigError, match="memory.limit: 1 is less than the .* bytes in use"):
        cgroup.apply(resources(memory={"limit": 1, "checkBeforeUpdate": True}))
    assert cgroup.processes() == [pid]


def test_v2_memory_waits_for_limit_memory(cgroup):
    memory = need(cgroup, "memory")
    if not memory.v2:
        pytest.skip("on v1 the process joins later")
    asked = resources(memory={"limit": 64 * MB}, unified={"memory.high": str(32 * MB), "pids.max": "9"})
    cgroup.apply(asked, memory=False, devices=False)
    before = [memory.read(file) for file in ("memory.max", "memory.high", "pids.max")]
    cgroup.limit_memory(asked)
    after = [memory.read(file) for file in ("memory.max", "memory.high", "pids.max")]

    assert before == ["max", "max", "9"]
    assert after == [str(64 * MB), str(32 * MB), "9"]


@pytest.mark.parametrize(
    "before, after",
    [
        ({"quota": 50000, "period": 100000}, {"quota": 5000, "period": 10000}),
        ({"quota": 5000, "period": 10000}, {"quota": 500000, "period": 1000000}),
        ({"quota": 5000, "period": 10000, "burst": 5000}, {"quota": 50000, "period": 10000, "burst": 50000}),
        ({"quota": 50000, "period": 10000, "burst": 50000}, {"quota": 5000, "period": 10000, "burst": 5000}),
    ],
)
def test_quota_period_and_burst_rise_and_fall_together(cgroup, before, after):
    cpu = need(cgroup, "cpu", "cpu.cfs_burst_us", "cpu.max.burst")
    # The kernel holds a child's share of time to its parent's.
    locate(PARENT, "").apply(resources(cpu={"quota": 500000, "period": 100000}), devices=False)
    cgroup.apply(resources(cpu=before), devices=False)
    cgroup.apply(resources(cpu=after), devices=False)
    if cpu.v2:
        written = cpu.read("cpu.max").split() + [cpu.read("cpu.max.burst")]
    else:
        written = [cpu.read(f"cpu.cfs_{name}_us") for name in ("quota", "period", "burst")]

    assert written == [str(after.get(name, 0)) for name in ("quota", "period", "burst")]


def test_a_period_alone_keeps_the_quota(cgroup):
    need(cgroup, "cpu")
    cgroup.apply(resources(cpu={"quota": 30000, "period": 100000}), devices=False)
    cgroup.apply(resources(cpu={"period": 50000}), devices=False)

    assert value(cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "30000"


def test_an_idle_cgroup_gets_its_shares_back(cgroup):
    need(cgroup, "cpu", "cpu.idle", "cpu.idle")
    for idle in (1, 1, 0):
        cgroup.apply(resources(cpu={"shares": 512, "idle": idle}), devices=False)

    assert value(cgroup, "cpu", "cpu.shares", "cpu.weight") in ("512", "59")


def test_a_cpuset_is_written_and_a_parent_without_one_gets_its_own_parents(cgroup):
    cpuset = need(cgroup, "cpuset")
    cgroup.apply(resources(cpu={"cpus": "0", "mems": "0"}), devices=False)
    parent = locate(PARENT, "").controller("cpuset")

    assert (cpuset.read("cpuset.cpus"), cpuset.read("cpuset.mems")) == ("0", "0")
    assert cpuset.v2 or parent.read("cpuset.cpus")


def test_the_pids_limit_stops_forks(cgroup, start):
    need(cgroup, "pids")
    cgroup.apply(resources(pids={"limit": 1}), devices=False)

    assert ask(start, os.fork) == "EAGAIN"


def test_huge_pages_are_limited_on_the_hierarchy_that_has_them(cgroup):
    hugetlb = need(cgroup, "hugetlb")
    cgroup.apply(resources(hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MB}]), devices=False)
    name = "max" if hugetlb.v2 else "limit_in_bytes"

    assert hugetlb.read(f"hugetlb.2MB.{name}") == hugetlb.read(f"hugetlb.2MB.rsvd.{name}") == str(4 * MB)


def test_unified_writes_any_file_of_v2(cgroup):
    need_v2(cgroup)
    cgroup.apply(resources(unified={"cgroup.max.depth": "7"}), devices=False)

    assert cgroup.controller("").read("cgroup.max.depth") == "7"


def test_a_controller_that_cannot_be_enabled_is_named_with_the_way_out(cgroup, start):
    if not need(cgroup, "pids").v2:
        pytest.skip("on v1 there is nothing to enable")
    busy, inner = locate(f"{PARENT}/busy", ""), locate(f"{PARENT}/busy/inner", "")
    os.mkdir(busy.paths[""])
    pid = start(sleep, busy)
    try:
        make(inner)
        with pytest.raises(Error, match="the pids controller could not be enabled for .*/inner: .* move them"):
            inner.apply(resources(pids={"limit": 5}), devices=False)
    finally:
        busy.kill()
        os.waitpid(pid, 0)


TWO_THREADS = """
import threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"""


def test_the_processes_of_a_threaded_cgroup_are_those_of_its_threads(cgroup):
    """The kernel lists its threads alone, and a signal is sent to a process: the first thread may be elsewhere."""
    need_v2(cgroup)
    domain = Cgroup({"": f"{os.path.dirname(cgroup.paths[''])}-domain"})
    threads = f"{domain.paths['']}/threads"
    os.makedirs(threads)
    process = subprocess.Popen(["/usr/bin/python3", "-c", TWO_THREADS], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        for path, name, value in (
            (threads, "cgroup.type", "threaded"),
            (domain.paths[""], "cgroup.procs", process.pid),
            (threads, "cgroup.threads", max(map(int, os.listdir(f"/proc/{process.pid}/task")))),
        ):
            with open(f"{path}/{name}", "w") as file:
                file.write(str(value))

        assert processes_in(threads) == [process.pid]
        Cgroup({"": threads}).kill()
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
        domain.remove()


def test_a_place_below_a_threaded_cgroup_is_refused(cgroup):
    need_v2(cgroup)
    threads = Driver({"": f"{os.path.dirname(cgroup.paths[''])}-threads/inner"})
    os.makedirs(threads.paths[""])
    try:
        threads.controller("").write("cgroup.type", "threaded")
        with pytest.raises(Error, match="is below a threaded one"):
            make(Driver({"": threads.paths[""] + "/most"}))
        left = os.path.exists(threads.paths[""] + "/most")
    finally:
        Cgroup({"": os.path.dirname(threads.paths[""])}).remove()

    assert not left


def test_an_error_names_the_file_and_the_value(cgroup):
    need_v2(cgroup)

    with pytest.raises(OSError) as refusal:
        cgroup.apply(resources(unified={"cgroup.max.depth": "-3"}), devices=False)
    assert refusal.value.filename == f'write "-3" to {cgroup.paths[""]}/cgroup.max.depth'
    assert refusal.value.errno in (errno.EINVAL, errno.ERANGE)


def only_v2(cgroup):
    """The same cgroup, its devices controlled by a program even where v1 could."""
    need_v2(cgroup)
    return Driver({"": cgroup.paths[""]})


def as_it_is(cgroup):
    return cgroup


@pytest.mark.parametrize("view", [as_it_is, only_v2])
@pytest.mark.parametrize(
    "rules, path, flags, outcome",
    [
        ([], "/dev/null", os.O_RDWR, "opened"),
        ([], "/dev/full", os.O_WRONLY, "opened"),
        ([], "/dev/console", os.O_RDONLY, "EPERM"),
        ([{"allow": True, "type": "c", "major": 5, "minor": 1, "access": "r"}], "/dev/console", os.O_RDWR, "EPERM"),
        ([{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11}], "node 1 11", os.O_RDONLY, "EPERM"),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "node 1 11", os.O_RDONLY, "opened"),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "node 1 11", os.O_WRONLY, "EPERM"),
    ],
)
def test_the_device_rules_are_in_force(cgroup, start, tmp_path, view, rules, path, flags, outcome):
    group = view(cgroup)
    if path.startswith("node"):  # kmsg, which opens on every machine
        _, major, minor = path.split()
        path = str(tmp_path / "node")
        os.mknod(path, 0o600 | 0o020000, os.makedev(int(major), int(minor)))
    asked = resources(devices=[{"allow": False, "access": "rwm"}, *rules])
    group.check(asked)
    group.apply(asked)

    def open_it():
        os.close(os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK))
        return "opened"

    assert ask(start, open_it) == outcome


@pytest.mark.parametrize("view", [as_it_is, only_v2])
def test_any_node_may_be_made_unless_a_rule_denies_all(cgroup, start, tmp_path, view):
    view(cgroup).apply(resources())

    def make():
        return os.mknod(str(tmp_path / "disk"), 0o600 | 0o060000, os.makedev(8, 0))

    assert ask(start, make) == "None"


@pytest.mark.parametrize("before", [0, 1, 2])
def test_the_device_program_takes_the_place_of_those_before(cgroup, before):
    group = only_v2(cgroup)
    fd = os.open(group.paths[""], os.O_RDONLY)
    old = [bpf.load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, compile_rules(DEFAULTS)) for _ in range(before)]
    for program in old:
        bpf.attach(fd, bpf.BPF_CGROUP_DEVICE, program)
    attached = bpf.attached(fd, bpf.BPF_CGROUP_DEVICE)
    group.apply(resources())
    now = bpf.attached(fd, bpf.BPF_CGROUP_DEVICE)
    for program in [fd, *old]:
        os.close(program)

    assert (len(attached), len(now)) == (before, 1)
    assert now[0] not in attached


def run_as_nobody(program, *prefix):
    """Run `program` with Debian's Python: another may be where only root can read it."""
    program = f'import sys; sys.path.insert(0, {pyrun.__path__[0]!r} + "/..")\n{program}'
    command = ["setpriv", "--reuid", "65534", "--clear-groups", *prefix, "/usr/bin/python3", "-IS", "-c", program]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("namespace", [[], ["unshare", "--user", "--map-root-user"]])
def test_without_privileges_there_are_no_device_rules_to_write(cgroup, namespace):
    program = f"""
from pyrun.cgroup.driver import Driver
from pyrun.config.linux import Resources
from pyrun.config.node import Node
Driver({cgroup.paths}).apply(Resources(Node({{}}, ""), "1.3.0"))
"""
    result = run_as_nobody(program, *namespace)

    assert (result.returncode, result.stderr) == (0, "")


def test_a_program_that_may_not_be_loaded_is_refused_as_by_the_kernel():
    result = run_as_nobody("from foundation.linux import bpf; bpf.load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, bytes(16))")

    assert result.stderr.splitlines()[-1] == "PermissionError: [Errno 1] Operation not permitted: 'bpf'"


def test_update_leaves_the_devices_alone(cgroup, start):
    cgroup.apply(resources(devices=[{"allow": True, "access": "rwm"}]))
    cgroup.apply(resources(pids={"limit": 20}), devices=False)

    assert ask(start, lambda: os.close(os.open("/dev/console", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))) != "EPERM"


def test_the_owner_may_move_processes_but_not_change_limits(cgroup):
    need_v2(cgroup)
    cgroup.own(1234)
    directory = cgroup.paths[""]
    owned = {name for name in os.listdir(directory) if os.stat(f"{directory}/{name}").st_uid == 1234}

    assert os.stat(directory).st_uid == 1234
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= owned
    assert not owned & {"pids.max", "memory.max", "cgroup.freeze", "cgroup.kill", "cpu.max"}
    assert all(os.stat(path).st_uid == 0 for controller, path in cgroup.paths.items() if controller)


def test_exec_can_go_to_a_cgroup_within_the_containers(cgroup, start):
    inner = locate(f"{PARENT}/container/inner", "")
    make(inner)
    below = cgroup.below("/inner/")
    pid = start(sleep, below)

    assert inner.processes() == cgroup.processes() == [pid]


@pytest.mark.parametrize("path", ["..", "inner/../../x", "/../x"])
def test_exec_cannot_leave_the_containers_cgroup(cgroup, path):
    with pytest.raises(Error, match="bad sub cgroup path"):
        cgroup.below(path)


def test_exec_into_a_cgroup_that_is_not_there_is_refused(cgroup):
    with pytest.raises(Error, match="adding pid to .* none: .*: no such file or directory"):
        cgroup.below("none")


def test_statistics_count_what_runs(cgroup, start):
    start(sleep)
    data = statistics(cgroup)

    assert data["pids"]["current"] == 1
    assert data["memory"]["usage"]["usage"] > 0 or data["memory"]["raw"]
    assert data["cpu"]["usage"]["total"] >= 0


def test_a_state_file_needs_only_the_paths(cgroup, start):
    pid = start(sleep)
    again = Cgroup(dict(cgroup.paths))
    again.kill()
    os.waitpid(pid, 0)
    again.remove()

    assert not os.path.exists(cgroup.directories[0])


def test_a_weight_goes_to_whichever_scheduler_is_there(cgroup):
    block_io = cgroup.controller("blkio") or need(cgroup, "io")
    files = ("io.bfq.weight", "io.weight") if block_io.v2 else ("blkio.weight", "blkio.bfq.weight")
    there = [file for file in files if block_io.has(file)]
    if not there:
        pytest.skip("this kernel weighs no block I/O")
    cgroup.apply(resources(blockIO={"weight": 1000}), devices=False)

    assert block_io.read(there[0]).split()[-1] == ("10000" if there[0] == "io.weight" else "1000")


def test_a_throttled_device_is_listed(cgroup):
    block_io = cgroup.controller("blkio") or need(cgroup, "io")
    devices = [name for name in os.listdir("/sys/block") if os.path.exists(f"/sys/block/{name}/dev")]
    if not devices:
        pytest.skip("this machine has no block device")
    with open(f"/sys/block/{devices[0]}/dev") as file:
        major, minor = file.read().strip().split(":")
    rate = {"major": int(major), "minor": int(minor), "rate": 1 << 20}
    cgroup.apply(resources(blockIO={"throttleReadBpsDevice": [rate]}), devices=False)
    listed = block_io.read("io.max" if block_io.v2 else "blkio.throttle.read_bps_device")

    assert f"{major}:{minor}" in listed and str(1 << 20) in listed

"""Much of everything, and little of what is needed: the cost is linear, and at the limit there is one line."""

import os
import resource
import subprocess
import time

import pytest
from harness import DescriptorSocket, cgroups_named
from hostile import HANG

pytestmark = pytest.mark.timeout(900)

# Twice as many may take this many times as long: a quadratic cost is four times.
LINEAR = 3.2


def seconds(machine, bundle):
    start = time.monotonic()
    result = machine.run(bundle, "true", timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    return time.monotonic() - start


def assert_linear(machine, bundle, grow, count):
    """`grow(n)` gives the bundle n of something. What they cost is the difference to none."""
    grow(0)
    nothing = min(seconds(machine, bundle) for _ in range(3))
    grow(count // 2)
    half = min(seconds(machine, bundle) for _ in range(3)) - nothing
    grow(count)
    whole = min(seconds(machine, bundle) for _ in range(3)) - nothing
    print(f"none {nothing:.2f} s, {count // 2} {half:.2f} s more, {count} {whole:.2f} s more")
    assert whole < max(half, 0.05) * LINEAR


def test_a_thousand_mounts_cost_twice_what_five_hundred_do(bundle, machine, full):
    source = bundle.path / "source"
    source.mkdir()
    fixed = bundle.config["mounts"]

    def grow(count):
        mounts = [{"destination": f"/m/{n}", "source": str(source), "options": ["bind", "ro"]} for n in range(count)]
        bundle.config["mounts"] = fixed + mounts

    assert_linear(machine, bundle, grow, 1000 if full else 400)


def test_ten_thousand_variables_cost_twice_what_five_thousand_do(bundle, machine):
    fixed = bundle.process["env"]

    def grow(count):
        bundle.process["env"] = fixed + [f"VARIABLE_{n}=value" for n in range(count)]

    assert_linear(machine, bundle, grow, 10_000)


def test_an_environment_that_execve_does_not_take_is_one_line(bundle, machine):
    bundle.process["env"] += ["LONG=" + "x" * (1 << 18)]

    result = machine.run(bundle, "true")

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "rgument list too long" in result.stderr


def test_a_huge_config_is_one_line(bundle, machine):
    bundle.config["annotations"] = {"large": "x" * (50 << 20)}
    bundle.save()

    start = time.monotonic()
    result = machine.pyrun("run", "--bundle", bundle.path, machine.new_id())

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 300
    assert time.monotonic() - start < HANG / 2


def test_hundreds_of_execs_at_once_all_end_well(bundle, machine, full):
    id_ = machine.start(bundle)
    command = machine.command("exec", id_, "sh", "-c", "exit 3")
    count = 200 if full else 24
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(count)]

    told = [(process.communicate(timeout=300)[1], process.returncode) for process in running]

    assert set(told) == {(b"", 3)}
    assert machine.pyrun("ps", "--format", "json", id_).stdout.count(",") == 0
    print(f"{count} execs at once")


def test_hundreds_of_containers_at_once(bundle, machine, full):
    count = 300 if full else 25
    ids = [machine.new_id() for _ in range(count)]
    bundle.process["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    start = time.monotonic()
    for id_ in ids:
        run = machine.pyrun("run", "--detach", "--bundle", bundle.path, id_, timeout=120)
        assert (run.returncode, run.stderr) == (0, "")
    made = time.monotonic() - start
    listed = machine.pyrun("list", "--quiet").stdout.split()
    deleted = machine.pyrun("delete", "--force", *ids, timeout=300)

    assert sorted(ids) == sorted(listed)
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert os.listdir(machine.root) == []
    print(f"{count} containers at once, {made / count * 1000:.0f} ms each")


@pytest.mark.parametrize("depth", [30, 2500])
def test_a_deep_cgroup_works_or_is_one_line(bundle, machine, depth):
    id_ = machine.new_id()
    bundle.linux["cgroupsPath"] = f"/{id_}" + "/d" * depth
    bundle.process["args"] = ["/bin/true"]
    bundle.save()

    result = machine.pyrun("run", "--bundle", bundle.path, id_)
    above = cgroups_named(id_)  # those above a container's are not its own
    for path in above:
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)

    assert (result.returncode, result.stderr.count("\n")) == ((0, 0) if depth == 30 else (1, 1))
    assert result.returncode == 0 or above == []


LONGEST = "/" + "/".join(["d" * 199] * 20) + "/" + "f" * 94  # 4,095 bytes, and a NUL: PATH_MAX


@pytest.mark.parametrize("path", [LONGEST, LONGEST + "g"], ids=["4095", "4096"])
@pytest.mark.parametrize("what", ["destination", "cwd", "masked", "root", "bundle", "pid file"])
def test_a_path_as_long_as_the_kernel_takes_works_or_is_one_line(bundle, machine, what, path):
    id_, options = machine.new_id(), []
    if what == "destination":
        bundle.config["mounts"].append({"destination": path, "type": "tmpfs", "source": "tmpfs"})
    elif what == "cwd":
        bundle.process["cwd"] = path
    elif what == "masked":
        bundle.linux["maskedPaths"] = [path]
    elif what == "root":
        bundle.config["root"]["path"] = path
    elif what == "pid file":
        options = ["--pid-file", path]
    bundle.process["args"] = ["/bin/true"]
    bundle.save()

    result = machine.pyrun("run", "--bundle", path if what == "bundle" else bundle.path, *options, id_)

    assert result.returncode == 0 or result.stderr.count("\n") == 1
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert cgroups_named(id_) == []


def test_a_socket_may_have_a_long_path(bundle, machine, directory):
    """107 bytes are the most of sun_path (unix(7))."""
    deep = directory / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    os.chdir(deep)
    try:
        console = DescriptorSocket("console")
    finally:
        os.chdir("/")
    bundle.process.update(terminal=True, args=["/bin/sleep", "1000"])
    bundle.save()
    result = machine.pyrun(
        "run", "--detach", "--console-socket", deep / "console", "--bundle", bundle.path, machine.new_id()
    )
    _, (master,) = console.receive()
    os.close(master)
    console.close()

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["run", "exec", "state", "list", "delete"])
@pytest.mark.parametrize("limit", [4, 8, 16, 32])
def test_few_descriptors_are_enough_or_are_one_line(bundle, machine, verb, limit):
    bundle.process["rlimits"] = []
    id_ = machine.start(bundle)
    line = {
        "run": ["run", "--bundle", bundle.path, machine.new_id()],
        "exec": ["exec", id_, "true"],
        "state": ["state", id_],
        "list": ["list"],
        "delete": ["delete", "--force", id_],
    }[verb]
    if verb == "run":
        bundle.process["args"] = ["/bin/true"]
        bundle.save()

    result = machine.pyrun(*line, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))

    assert result.returncode == 0 or (result.stderr.startswith("error: ") and result.stderr.count("\n") == 1)
    assert result.returncode == 0 or limit < 32
    if verb == "delete":
        assert (result.returncode == 0) == (not os.path.exists(f"{machine.root}/{id_}"))
        assert result.returncode == 0 or machine.state(id_)["status"] in ("running", "stopped")
    elif verb == "run":
        assert os.listdir(machine.root) == [id_]


def own_user_namespace(bundle):
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 12345, "size": 1}]


def test_a_user_without_processes_left_gets_one_line(bundle, machine, directory):
    """RLIMIT_NPROC does not bind root (setrlimit(2)): so the command is another user's."""
    root = directory / "state"
    root.mkdir()
    os.chown(root, 12345, 12345)
    own_user_namespace(bundle)
    bundle.save()
    line = [machine.program, "--root", str(root), "run", "--bundle", str(bundle.path), machine.new_id()]

    result = subprocess.run(
        line,
        user=12345,
        group=12345,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)),
    )

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "Resource temporarily unavailable" in result.stderr
    assert os.listdir(root) == []


@pytest.mark.needs("strace")
@pytest.mark.parametrize("error", ["EINVAL", "ENOSPC", "EPERM"])
def test_a_kernel_without_user_namespaces_gives_one_line(bundle, machine, error):
    """EINVAL: not compiled in; ENOSPC: user.max_user_namespaces is 0; EPERM: a distribution's switch (clone(2))."""
    own_user_namespace(bundle)
    bundle.save()
    line = machine.command("run", "--bundle", bundle.path, machine.new_id())
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=clone3,unshare:error={error}"]

    result = subprocess.run([*strace, *line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANG)

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "clone3" in result.stderr
    assert os.listdir(machine.root) == []


def test_a_read_only_state_directory_gives_one_line(bundle, machine, directory):
    root = directory / "read-only"
    root.mkdir()
    bundle.save()
    mount = f"mount -t tmpfs -o ro tmpfs {root} && exec " + '"$0" "$@"'
    machine.root = str(root)

    for line in (["create", "--bundle", bundle.path, "id"], ["run", "--bundle", bundle.path, "id"]):
        command = ["unshare", "-m", "sh", "-c", mount, *machine.command(*line)]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANG)

        assert result.returncode == 1
        assert result.stderr == f"error: {root}/id: Read-only file system\n"

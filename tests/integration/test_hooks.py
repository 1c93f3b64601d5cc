"""Hooks: all six kinds, their order, the state on their standard input, timeouts, failures."""

import json
import os
import time
from pathlib import Path

import pytest
from harness import cgroups_named, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")

IN_RUNTIME = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
OF_CREATE = ("prestart", "createRuntime", "createContainer")
OF_START = ("startContainer", "poststart")
KINDS = (*OF_CREATE, *OF_START, "poststop")


def kinds(*what, of=KINDS, differs=()):
    """Run a test for each kind of hooks; it proves `what`, and fails for `differs`: (kind, peer, why)."""
    cases = []
    for kind in of:
        marks = [pytest.mark.proves(f"hooks.{kind}{one}") for one in what]
        marks += [pytest.mark.differs(peer, why) for known, peer, why in differs if known == kind]
        cases.append(pytest.param(kind, marks=marks))
    return pytest.mark.parametrize("kind", cases)


@pytest.fixture
def directory(bundle, tmp_path):
    """Return, for a kind of hooks, a directory as they name it and as the host does: one kind is in the container."""

    def directory(kind):
        return (Path("/tmp"), bundle.rootfs / "tmp") if kind == "startContainer" else (tmp_path, tmp_path)

    return directory


def create_fails(container):
    """Return the reason; crun 1.8 ends with 255, or with 1."""
    result = container.call("create", "--bundle", container.bundle.path, container.id)
    assert result.returncode == 1 or (result.returncode and container.name == "crun")
    return result.stderr


def processes_of(container):
    """Return the command lines of the host that name the container."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue  # it has ended
    return [one for one in found if container.id in one]


def hook(script, *arguments, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script, *arguments], **more}


def test_all_kinds_run_in_order(container, bundle, tmp_path):
    log = tmp_path / "log"
    bundle.config["hooks"] = {kind: [hook(f"echo {kind} >> {log}")] for kind in IN_RUNTIME}
    bundle.config["hooks"]["startContainer"] = [hook("echo startContainer >> /tmp/log")]
    bundle.process["args"] = ["sh", "-c", "echo program >> /tmp/log"]
    container.run()

    assert log.read_text().split() == list(IN_RUNTIME)
    assert (bundle.rootfs / "tmp/log").read_text().split() == ["startContainer", "program"]


@kinds(": order")
def test_hooks_of_one_kind_run_in_the_order_of_the_config(container, bundle, directory, kind):
    inside, outside = directory(kind)  # crun 1.8 fails where a hook reads no state: not the matter here
    bundle.config["hooks"] = {kind: [hook(f"cat >/dev/null; echo {i} >> {inside}/log") for i in range(5)]}
    container.run("true")

    assert (outside / "log").read_text().split() == ["0", "1", "2", "3", "4"]


@kinds("[].path", "[].args")
def test_a_hook_is_the_program_of_its_path_with_its_arguments(container, bundle, directory, kind):
    inside, outside = directory(kind)
    (outside / "program").write_text(f'#!/bin/sh\ncat >/dev/null; printf "%s\\n" "$0" "$@" > {inside}/told\n')
    (outside / "program").chmod(0o755)
    bundle.config["hooks"] = {kind: [{"path": f"{inside}/program", "args": ["its name", "a b", "", "$HOME"]}]}
    container.run("true")

    assert (outside / "told").read_text().split("\n") == [f"{inside}/program", "a b", "", "$HOME", ""]


@kinds("[].env")
def test_a_hook_has_its_own_environment(container, bundle, directory, kind):
    inside, outside = directory(kind)
    bundle.config["hooks"] = {
        kind: [hook(f"cat >/dev/null; env > {inside}/env", env=["ONLY=this one", "PATH=/usr/bin:/bin"])]
    }
    container.run("true", env={**os.environ, "OF_THE_CALLER": "here"})

    of_the_shell = ("PWD=", "OLDPWD=", "SHLVL=", "_=")
    told = {line for line in (outside / "env").read_text().splitlines() if not line.startswith(of_the_shell)}
    assert told == {"ONLY=this one", "PATH=/usr/bin:/bin"}


STATUS = {
    **dict.fromkeys(OF_CREATE, {"creating", "created"}),  # "creating" says the spec; runc 1.1 and crun 1.8 differ
    "startContainer": {"created"},
    "poststart": {"running"},
    "poststop": {"stopped"},
}


@kinds(
    ": state",
    differs=[
        ("poststart", "runc", "1.1 runs them before the program"),
        ("createContainer", "crun", "1.8 tells no pid"),
        ("startContainer", "crun", 'of 1.8 the status is "starting"'),
    ],
)
def test_the_state_is_on_standard_input(container, bundle, directory, kind):
    inside, outside = directory(kind)
    bundle.config["hooks"] = {kind: [hook(f"cat > {inside}/state.json")]}
    bundle.config["annotations"] = {"key": "value"}
    container.sleeping()
    pid = container.pid()
    container.delete("--force")
    state = json.loads((outside / "state.json").read_text())

    assert state["status"] in STATUS[kind]
    assert (state["id"], state["bundle"]) == (container.id, str(bundle.path))
    assert state["annotations"] == {"key": "value"}
    assert state.get("pid", 0) in ((0,) if kind == "poststop" else (pid, 1))


AT_START = [(kind, peer, "goes on") for kind in OF_START for peer in ("runc", "crun")]


@kinds(": failure", of=OF_CREATE)
def test_a_hook_that_fails_before_the_start_ends_create(container, bundle, tmp_path, kind):
    log = tmp_path / "log"
    bundle.config["hooks"] = {
        kind: [hook("echo the reason >&2; exit 3"), hook(f"echo second >> {log}")],
        "poststop": [hook(f"echo poststop >> {log}")],
    }
    message = create_fails(container)

    assert kind in message or container.name != "pyrun"
    assert "exit status 3" in message or container.name == "crun"
    assert not container.exists()
    assert "second" not in (log.read_text() if log.exists() else "")


@kinds(": failure", of=OF_START, differs=AT_START)
def test_a_hook_that_fails_at_the_start_stops_the_container(container, bundle, kind):
    bundle.config["hooks"] = {kind: [hook("exit 3")]}
    bundle.process["args"] = ["sleep", "1000"]
    container.create()
    pid = container.pid()

    assert kind in container.fails("start", container.id) or container.name != "pyrun"
    wait_until(lambda: not is_alive(pid), "the init has ended")
    assert container.status() == "stopped"


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 go on")
@pytest.mark.parametrize("verb", ["start", "run", "run --detach"])
def test_a_poststart_hook_that_fails_is_named_where_the_program_has_ended_too(container, bundle, verb):
    bundle.config["hooks"] = {"poststart": [hook("sleep 1; exit 3")]}
    bundle.process["args"] = ["true"]
    if verb == "start":
        message = container.create().fails("start", container.id)
    else:
        _, *options = verb.split()
        message = container.run_fails(options=options)

    assert "error running poststart hook #0" in message


def test_the_program_does_not_run_where_a_hook_before_it_fails(container, bundle):
    bundle.config["hooks"] = {"startContainer": [hook("exit 3")]}
    bundle.process["args"] = ["touch", "/tmp/ran"]
    container.run_fails()

    assert not (bundle.rootfs / "tmp/ran").exists()


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 forget poststop where create fails")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_poststop_hooks_run_where_create_fails(container, bundle, tmp_path, kind):
    bundle.config["hooks"] = {kind: [hook("exit 3")], "poststop": [hook(f"cat > {tmp_path}/told")]}
    container.fails("create", "--bundle", bundle.path, container.id)

    assert json.loads((tmp_path / "told").read_text())["status"] == "stopped"


@pytest.mark.differs("runc", "1.1 runs no hook after one that failed")
@pytest.mark.proves("hooks.poststop: failure")
def test_a_poststop_hook_that_fails_is_only_warned_of(container, bundle, tmp_path):
    log = tmp_path / "log"
    bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook(f"echo second >> {log}")]}
    bundle.process["args"] = ["true"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.returncode == 0
    assert log.read_text() == "second\n"
    assert "poststop" in result.stderr or container.name != "pyrun"


def endless(container):
    """Return a hook that only its timeout ends; its command line names the container."""
    return hook("while :; do sleep 0.1; done", container.id, timeout=1)


@kinds("[].timeout", of=OF_CREATE)
def test_a_hook_of_create_that_takes_too_long_is_killed_and_ends_it(container, bundle, kind):
    bundle.config["hooks"] = {kind: [endless(container)]}
    begin = time.monotonic()
    container.fails("create", "--bundle", bundle.path, container.id)

    assert 1 <= time.monotonic() - begin < 15
    assert not container.exists()
    assert processes_of(container) == []


@kinds("[].timeout", of=OF_START, differs=AT_START)
def test_a_hook_of_start_that_takes_too_long_is_killed_and_stops_the_container(container, bundle, kind):
    bundle.config["hooks"] = {kind: [endless(container)]}
    bundle.process["args"] = ["sleep", "1000"]
    container.create()
    begin = time.monotonic()
    container.fails("start", container.id)

    assert 1 <= time.monotonic() - begin < 15
    container.wait_until("stopped")
    assert processes_of(container) == []


@pytest.mark.only_pyrun("runc 1.1 takes a long one for a negative one, crun 1.8 refuses it")
@kinds(of=KINDS)
@pytest.mark.parametrize("timeout", [2_147_483, 2_147_484, 10**10, 2**63 - 1])
def test_a_hook_may_take_as_long_as_any_number_says(container, bundle, tmp_path, kind, timeout):
    bundle.config["hooks"] = {kind: [hook("cat >/dev/null; exit 0", timeout=timeout)]}

    assert container.run("echo", "ran") == "ran\n"


@kinds(of=KINDS)
def test_a_hook_may_have_an_empty_name(container, bundle, directory, kind):
    inside, outside = directory(kind)
    (outside / "program").write_text(f'#!/bin/sh\ncat >/dev/null; echo "$1" > {inside}/told\n')
    (outside / "program").chmod(0o755)
    bundle.config["hooks"] = {kind: [{"path": f"{inside}/program", "args": ["", "argument"]}]}
    container.run("true")

    assert (outside / "told").read_text() == "argument\n"


@pytest.mark.only_pyrun("the warning is pyrun's own")
@pytest.mark.parametrize("what", ["missing", "too long", "no program", "a directory"])
def test_a_poststop_hook_that_cannot_run_keeps_nothing_from_being_deleted(container, bundle, tmp_path, what):
    bad = {
        "missing": {"path": "/nonexistent/hook"},
        "too long": {"path": "/bin/true", "args": ["true", "x" * (1 << 20)]},
        "no program": {"path": "/etc/passwd"},
        "a directory": {"path": "/tmp"},
    }[what]
    bundle.config["hooks"] = {"poststop": [bad, hook(f"echo second > {tmp_path}/log")]}
    container.sleeping()
    result = container.call("delete", "--force", container.id)

    assert result.returncode == 0
    assert "warning: error running poststop hook #0" in result.stderr
    assert (tmp_path / "log").read_text() == "second\n"
    assert not container.exists()


def test_a_missing_hook_is_an_error(container, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/nonexistent/hook"}]}

    assert "/nonexistent/hook" in create_fails(container)


@kinds(": namespaces", of=("prestart", "createRuntime", "poststart", "poststop"))
def test_a_hook_of_the_runtime_is_in_its_namespaces(container, bundle, tmp_path, kind):
    bundle.config["hooks"] = {kind: [hook(f"readlink /proc/self/ns/uts /proc/self/ns/mnt > {tmp_path}/ns")]}
    container.run("true")

    own = [os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "mnt")]
    assert (tmp_path / "ns").read_text().split() == own


@pytest.mark.proves("hooks.createContainer: namespaces")
def test_a_create_container_hook_is_in_the_containers_namespaces_and_the_hosts_files(container, bundle, tmp_path):
    program = tmp_path / "on-the-host"
    program.write_text(
        f"#!/bin/sh\ncat > {tmp_path}/told; readlink /proc/self/ns/uts > {tmp_path}/ns; hostname >> {tmp_path}/ns"
    )
    program.chmod(0o755)
    bundle.config["hooks"] = {"createContainer": [{"path": str(program)}]}
    container.sleeping()

    assert (tmp_path / "ns").read_text().split()[0] == os.readlink(f"/proc/{container.pid()}/ns/uts")
    assert json.loads((tmp_path / "told").read_text())["id"] == container.id


@pytest.mark.differs("crun", 'of 1.8 the status is "starting"')
@pytest.mark.proves("hooks.startContainer: namespaces")
def test_a_start_container_hook_is_a_program_of_the_container(container, bundle):
    program = bundle.rootfs / "in-the-container"
    program.write_text("#!/bin/sh\ncat > /tmp/state; hostname > /tmp/hostname; ls / > /tmp/root")
    program.chmod(0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/in-the-container"}]}
    container.run("true")
    state = json.loads((bundle.rootfs / "tmp/state").read_text())

    assert (state["id"], state["status"]) == (container.id, "created")
    assert (bundle.rootfs / "tmp/hostname").read_text() == "box\n"
    assert "in-the-container" in (bundle.rootfs / "tmp/root").read_text()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_hooks_of_create_run_before_create_returns_and_before_the_program(container, bundle, tmp_path, kind):
    bundle.config["hooks"] = {kind: [hook(f"sleep 0.2; touch {tmp_path}/ran")]}
    bundle.process["args"] = ["touch", "/tmp/program"]
    container.create()

    assert (tmp_path / "ran").exists()
    assert not (bundle.rootfs / "tmp/program").exists()


@pytest.mark.only_pyrun("runc 1.1 runs them before the program")
def test_poststart_hooks_run_when_the_program_runs_and_before_start_returns(container, bundle, tmp_path):
    find_pid = "sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'"
    script = f"cat /proc/$({find_pid})/comm > {tmp_path}/comm; sleep 0.2; touch {tmp_path}/ran"
    bundle.config["hooks"] = {"poststart": [hook(script)]}
    bundle.process["args"] = ["sleep", "1000"]
    container.create()

    assert not (tmp_path / "comm").exists()
    container.start()
    assert (tmp_path / "comm").read_text() == "sleep\n"
    assert (tmp_path / "ran").exists()


def test_poststop_hooks_run_when_the_container_is_gone_and_before_delete_returns(container, bundle, tmp_path):
    script = f"find /sys/fs/cgroup -name '*{container.id}*' > {tmp_path}/cgroups; touch {tmp_path}/ran"
    bundle.config["hooks"] = {"poststop": [hook(script)]}
    container.create()

    assert cgroups_named(container.id)
    container.delete("--force")
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "cgroups").read_text() == "" or container.name != "pyrun"


@pytest.mark.differs("runc", "1.1 runs no hook after one that failed")
@pytest.mark.proves("hooks.poststop[].timeout")
def test_a_poststop_hook_that_takes_too_long_is_killed_and_keeps_nothing(container, bundle, tmp_path):
    bundle.config["hooks"] = {"poststop": [endless(container), hook(f"touch {tmp_path}/second")]}
    container.create()
    begin = time.monotonic()
    container.delete("--force")

    assert 1 <= time.monotonic() - begin < 15
    assert not container.exists()
    assert processes_of(container) == []
    assert (tmp_path / "second").exists()


@kinds(of=("prestart", "createRuntime", "poststart", "poststop"))
def test_a_hook_without_an_environment_has_the_runtimes(container, bundle, tmp_path, kind):
    bundle.config["hooks"] = {kind: [hook(f"cat >/dev/null; echo $OF_THE_CALLER > {tmp_path}/env")]}
    container.run("true", env={**os.environ, "OF_THE_CALLER": "here"})

    assert (tmp_path / "env").read_text() == "here\n"


@kinds(of=("createContainer", "startContainer"), differs=[("createContainer", "crun", "1.8 gives it the runtime's")])
def test_a_hook_in_the_container_without_an_environment_has_the_programs(container, bundle, directory, kind):
    inside, outside = directory(kind)
    bundle.process["env"] = ["PATH=/bin:/usr/bin", "OF_THE_PROGRAM=here", "HOME=/home"]
    bundle.config["hooks"] = {kind: [hook(f"cat >/dev/null; env > {inside}/env")]}
    container.run("true", env={**os.environ, "OF_THE_CALLER": "here"})

    told = (outside / "env").read_text().splitlines()
    assert {"OF_THE_PROGRAM=here", "HOME=/home"} <= set(told)
    assert "OF_THE_CALLER=here" not in told


def test_a_start_container_hook_without_an_environment_has_the_home_of_the_program(container, bundle):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/of-root:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin"]
    bundle.config["hooks"] = {"startContainer": [hook("cat >/dev/null; echo $HOME > /tmp/home")]}
    container.run("true")

    assert (bundle.rootfs / "tmp/home").read_text() == "/of-root\n"


@kinds(differs=[(kind, "crun", "1.8 hands on all of them") for kind in KINDS])
def test_a_hook_has_one_entry_for_each_name_the_last(container, bundle, directory, kind):
    inside, outside = directory(kind)
    # Opened by the shell itself, and not by a child of it.
    script = f"cat >/dev/null; exec 3</proc/self/environ; tr '\\0' '\\n' <&3 | grep ^NAME= > {inside}/env"
    env = ["PATH=/bin:/usr/bin", "NAME=first", "NAME=last"]
    bundle.config["hooks"] = {kind: [hook(script, env=env)]}
    container.run("true")

    assert (outside / "env").read_text() == "NAME=last\n"


def where_it_is(container, bundle, tmp_path, directory, kind):
    """Let a hook of `kind` tell its working directory; create and start the container from directories of their own."""
    inside, outside = directory(kind)
    bundle.config["hooks"] = {kind: [hook(f"cat >/dev/null; pwd -P > {inside}/cwd; umask >> {inside}/cwd")]}
    bundle.process["cwd"] = "/tmp"
    for name in ("create", "start", "delete"):
        (tmp_path / name).mkdir()
    container.create(cwd=tmp_path / "create", umask=0o027)
    container.works("start", container.id, cwd=tmp_path / "start", umask=0o027)
    container.wait_until("stopped")
    container.works("delete", container.id, cwd=tmp_path / "delete", umask=0o027)
    cwd, umask = (outside / "cwd").read_text().split()
    assert umask == "0027" or kind == "startContainer"
    return cwd


@kinds(of=("prestart", "createRuntime", "poststart"))
def test_a_hook_of_the_runtime_is_in_the_bundle(container, bundle, tmp_path, directory, kind):
    assert where_it_is(container, bundle, tmp_path, directory, kind) == str(bundle.path)


@kinds(of=("createContainer",), differs=[("createContainer", "crun", "of 1.8 it is the bundle")])
def test_a_create_container_hook_is_in_the_root_file_system(container, bundle, tmp_path, directory, kind):
    assert where_it_is(container, bundle, tmp_path, directory, kind) == str(bundle.rootfs)


@kinds(of=("startContainer",))
def test_a_start_container_hook_is_where_the_program_will_be(container, bundle, tmp_path, directory, kind):
    assert where_it_is(container, bundle, tmp_path, directory, kind) == "/tmp"


@kinds(of=("poststop",), differs=[("poststop", "crun", "of 1.8 it is the bundle")])
def test_a_poststop_hook_is_where_the_caller_of_delete_is(container, bundle, tmp_path, directory, kind):
    assert where_it_is(container, bundle, tmp_path, directory, kind) == str(tmp_path / "delete")


@kinds(differs=[("createContainer", "runc", "1.1 leaves it its own")])
def test_a_hook_has_its_standard_streams_and_no_other_descriptor(container, bundle, directory, kind):
    inside, outside = directory(kind)
    script = f"cat >/dev/null; ls /proc/self/fd > {inside}/descriptors"
    bundle.config["hooks"] = {kind: [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]}
    open_file = os.open("/dev/null", os.O_RDONLY)
    container.run("true", pass_fds=[open_file])
    os.close(open_file)

    # The fourth is that of the listing itself.
    assert (outside / "descriptors").read_text().split() == ["0", "1", "2", "3"]


CONFINED = "^(Seccomp|NoNewPrivs|Cap...|Uid|Groups):|Max open files"


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_start_container_hook_is_confined_as_the_program_is(container, bundle, no_new_privileges):
    look = f"cat /proc/self/status /proc/self/limits | grep -E '{CONFINED}'"
    rule = {"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
    script = f"cat >/dev/null; {look} > /tmp/told; chmod 700 /tmp/told 2>> /tmp/told; true"
    bundle.config["hooks"] = {"startContainer": [hook(script)]}
    own = container.sh(f"{look}; chmod 700 /tmp/told 2>&1; true")

    assert "Seccomp:\t2" in own
    assert "Operation not permitted" in own
    assert (bundle.rootfs / "tmp/told").read_text().rstrip("\n") == own


def test_a_hook_has_its_arguments_the_first_as_its_name(container, bundle, tmp_path):
    bundle.config["hooks"] = {"createRuntime": [hook(f'echo "$0" "$@" > {tmp_path}/args', "name", "a b", "")]}
    container.run("true")

    assert (tmp_path / "args").read_text() == "name a b \n"

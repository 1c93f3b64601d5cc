"""Hooks: all six kinds, their order, the state on their standard input, timeouts, failures."""

import json
import os
import time

import pytest
from harness import cgroups_named, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")

IN_RUNTIME = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")


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


def test_hooks_of_one_kind_run_in_the_order_of_the_config(container, bundle, tmp_path):
    log = tmp_path / "log"
    bundle.config["hooks"] = {"createRuntime": [hook(f"echo {i} >> {log}") for i in range(5)]}
    container.run("true")

    assert log.read_text().split() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "kind, status",
    [
        ("prestart", {"creating", "created"}),
        ("createRuntime", {"creating", "created"}),
        ("createContainer", {"creating", "created"}),
        ("poststart", {"running"}),
        ("poststop", {"stopped"}),
    ],
)
def test_the_state_is_on_standard_input(container, bundle, tmp_path, kind, status):
    bundle.config["hooks"] = {kind: [hook(f"cat > {tmp_path}/state.json")]}
    bundle.config["annotations"] = {"key": "value"}
    container.run("true")
    state = json.loads((tmp_path / "state.json").read_text())

    assert state["status"] in status
    assert (state["id"], state["bundle"]) == (container.id, str(bundle.path))
    assert state["annotations"] == {"key": "value"}


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_before_the_start_ends_create(container, bundle, tmp_path, kind):
    log = tmp_path / "log"
    bundle.config["hooks"] = {
        kind: [hook("echo the reason >&2; exit 3"), hook(f"echo second >> {log}")],
        "poststop": [hook(f"echo poststop >> {log}")],
    }
    message = container.fails("create", "--bundle", bundle.path, container.id)

    assert kind in message or container.name != "pyrun"
    assert "exit status 3" in message or container.name == "crun"
    assert not container.exists()
    assert "second" not in (log.read_text() if log.exists() else "")


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_fails_at_the_start_stops_the_container(container, bundle, kind):
    bundle.config["hooks"] = {kind: [hook("exit 3")]}
    bundle.process["args"] = ["sleep", "1000"]
    container.create()
    pid = container.pid()

    assert kind in container.fails("start", container.id) or container.name != "pyrun"
    wait_until(lambda: not is_alive(pid), "the init has ended")
    assert container.status() == "stopped"


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


def test_a_poststop_hook_that_fails_is_only_warned_of(container, bundle, tmp_path):
    log = tmp_path / "log"
    bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook(f"echo second >> {log}")]}
    bundle.process["args"] = ["true"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.returncode == 0
    assert log.read_text() == "second\n"
    assert "poststop" in result.stderr or container.name != "pyrun"


def test_a_hook_that_takes_too_long_is_killed(container, bundle):
    bundle.config["hooks"] = {"createRuntime": [hook("exec sleep 100", timeout=1)]}
    begin = time.monotonic()
    container.fails("create", "--bundle", bundle.path, container.id)

    assert time.monotonic() - begin < 10


def test_a_hook_has_its_own_environment(container, bundle, tmp_path):
    bundle.config["hooks"] = {"createRuntime": [hook(f"/usr/bin/env > {tmp_path}/env", env=["ONLY=this", "PWD=/"])]}
    container.run("true")

    assert {"ONLY=this"} <= set((tmp_path / "env").read_text().split())
    assert "HOME=" not in (tmp_path / "env").read_text()


def test_a_missing_hook_is_an_error(container, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/nonexistent/hook"}]}

    assert "/nonexistent/hook" in container.fails("create", "--bundle", bundle.path, container.id)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_a_hook_of_the_runtime_is_in_its_namespaces(container, bundle, tmp_path, kind):
    bundle.config["hooks"] = {kind: [hook(f"readlink /proc/self/ns/uts /proc/self/ns/mnt > {tmp_path}/ns")]}
    container.run("true")

    own = [os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "mnt")]
    assert (tmp_path / "ns").read_text().split() == own


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


def test_a_poststop_hook_that_takes_too_long_does_not_keep_the_container(container, bundle):
    bundle.config["hooks"] = {"poststop": [hook("exec sleep 100", timeout=1)]}
    container.create()
    container.delete("--force")

    assert not container.exists()


def test_a_hook_without_an_environment_has_the_runtimes(container, bundle, tmp_path):
    bundle.config["hooks"] = {"createRuntime": [hook(f"echo $OF_THE_CALLER > {tmp_path}/env")]}
    container.run("true", env={**os.environ, "OF_THE_CALLER": "here"})

    assert (tmp_path / "env").read_text() == "here\n"


def test_a_hook_has_its_arguments_the_first_as_its_name(container, bundle, tmp_path):
    bundle.config["hooks"] = {"createRuntime": [hook(f'echo "$0" "$@" > {tmp_path}/args', "name", "a b", "")]}
    container.run("true")

    assert (tmp_path / "args").read_text() == "name a b \n"

"""Hooks: all six kinds, their order, the state on their standard input, timeouts, failures."""

import json
import time

import pytest

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

    assert kind in container.fails("start", container.id) or container.name != "pyrun"


def test_a_poststop_hook_that_fails_is_only_warned_of(container, bundle, tmp_path):
    log = tmp_path / "log"
    bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook(f"echo second >> {log}")]}
    container.run("true")

    assert log.read_text() == "second\n"


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

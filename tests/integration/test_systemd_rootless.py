"""A user without privileges, with cgroups that were delegated to that user: by systemd, or by hand."""

import os
import subprocess
from pathlib import Path

import pytest
from harness import wait_until

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "systemd", "cgroup v2 alone", "setpriv"),
    pytest.mark.only_pyrun("the wording, and the prefix of the default, are ours"),
]

UID = 4321
RUNTIME_DIRECTORY = f"/run/user/{UID}"
DELEGATED = Path("/sys/fs/cgroup/delegated")


@pytest.fixture(scope="module")
def user():
    """A user with a systemd of its own; gone with the virtual machine."""
    subprocess.run(["useradd", "-m", "-u", str(UID), "somebody"], check=True)
    services = [f"user-runtime-dir@{UID}.service", f"user@{UID}.service"]
    subprocess.run(["systemctl", "start", *services], check=True, timeout=30)
    return UID


@pytest.fixture
def rootless(container, bundle, user, tmp_path):
    """A container of that user."""
    script = tmp_path / "pyrun"
    identity = f"setpriv --reuid {UID} --regid {UID} --clear-groups"
    script.write_text(
        f'#!/bin/sh\n[ -z "$CGROUP" ] || echo $$ > $CGROUP/cgroup.procs\n'
        f'exec {identity} env XDG_RUNTIME_DIR={RUNTIME_DIRECTORY} {container.runtime} "$@"\n'
    )
    script.chmod(0o755)
    container.runtime = script
    bundle.user_namespace(host_id=UID, size=1)
    os.chown(tmp_path, UID, UID)
    os.chown(bundle.path, UID, UID)
    for mount in bundle.config["mounts"]:
        if mount["type"] == "devpts":
            mount["options"].remove("gid=5")  # that group is not mapped
    return container


def cgroup_of(container):
    return Path("/sys/fs/cgroup" + container.proc("cgroup").strip().partition("::")[2])


def test_a_users_systemd_makes_a_scope_with_the_limits(rootless, bundle):
    rootless.global_options = ["--systemd-cgroup"]
    bundle.resources["memory"] = {"limit": 64 << 20}
    bundle.resources["pids"] = {"limit": 20}
    rootless.sleeping()
    cgroup = cgroup_of(rootless)

    assert f"/user@{UID}.service/user.slice/pyrun-{rootless.id}.scope" in str(cgroup)
    assert (cgroup / "memory.max").read_text().strip() == str(64 << 20)
    assert (cgroup / "pids.max").read_text().strip() == "20"


def test_nothing_is_left_of_a_users_scope(rootless):
    rootless.global_options = ["--systemd-cgroup"]

    assert rootless.run("echo", "hello") == "hello\n"
    assert not rootless.cgroups()


def test_a_users_limits_can_be_updated_and_the_container_paused(rootless):
    rootless.global_options = ["--systemd-cgroup"]
    rootless.sleeping()
    rootless.works("update", "--pids-limit", "33", rootless.id)
    rootless.works("pause", rootless.id)

    assert (cgroup_of(rootless) / "pids.max").read_text().strip() == "33"
    assert rootless.status() == "paused"


def test_exec_joins_from_wherever_the_user_is(rootless):
    rootless.global_options = ["--systemd-cgroup"]
    rootless.sleeping()

    assert rootless.exec("echo", "joined") == "joined\n"


def test_exec_of_a_process_of_the_users_systemd_is_in_the_scope(rootless):
    rootless.global_options = ["--systemd-cgroup"]
    rootless.sleeping()
    service = Path(f"/sys/fs/cgroup/user.slice/user-{UID}.slice/user@{UID}.service/init.scope")
    environment = {**os.environ, "CGROUP": str(service)}

    assert rootless.exec("cat", "/proc/self/cgroup", env=environment) == rootless.proc("cgroup")


def test_a_user_without_a_systemd_is_told(rootless):
    rootless.global_options = ["--systemd-cgroup"]
    script = rootless.runtime.read_text()
    rootless.runtime.write_text(script.replace(RUNTIME_DIRECTORY, "/nowhere"))
    message = rootless.run_fails("true")
    rootless.runtime.write_text(script)

    assert "XDG_RUNTIME_DIR" in message and "/nowhere" in message


@pytest.fixture
def delegated(rootless, bundle):
    """The same with a cgroup that root has given to the user, who is in it."""
    runner = DELEGATED / "runner"
    runner.mkdir(parents=True)
    controllers = (DELEGATED / "cgroup.controllers").read_text().split()
    (DELEGATED / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
    for directory in (DELEGATED, runner):
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(directory / name, UID, UID)
    bundle.linux["cgroupsPath"] = f"/delegated/{rootless.id}"
    os.environ["CGROUP"] = str(runner)
    yield rootless
    rootless.call("delete", "--force", rootless.id)
    del os.environ["CGROUP"]
    wait_until(lambda: not (runner / "cgroup.procs").read_text(), "the runtime has ended")
    runner.rmdir()
    DELEGATED.rmdir()


def test_limits_are_in_force_in_a_delegated_cgroup(delegated, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20}
    bundle.resources["pids"] = {"limit": 20}
    delegated.sleeping()
    cgroup = cgroup_of(delegated)

    assert cgroup == DELEGATED / delegated.id
    assert (cgroup / "memory.max").read_text().strip() == str(64 << 20)
    assert (cgroup / "pids.max").read_text().strip() == "20"
    assert delegated.exec("cat", "/proc/self/cgroup") == delegated.proc("cgroup")


def test_without_a_place_for_cgroups_a_container_without_limits_runs(rootless):
    assert rootless.run("echo", "hello") == "hello\n"


def test_without_a_place_for_cgroups_a_limit_is_refused(rootless, bundle):
    bundle.resources["pids"] = {"limit": 20}

    assert "pids" in rootless.run_fails("true")


@pytest.mark.parametrize("mode", ["true", "auto"])
def test_the_option_rootless_is_accepted(rootless, mode):
    rootless.global_options = ["--rootless", mode]

    assert rootless.run("echo", "hello") == "hello\n"


def test_the_states_of_a_user_are_in_its_runtime_directory(rootless, bundle):
    rootless.command = lambda verb, *rest: [str(rootless.runtime), verb, *map(str, rest)]
    rootless.sleeping()

    assert Path(RUNTIME_DIRECTORY, "pyrun", rootless.id).is_dir()
    rootless.delete("--force")

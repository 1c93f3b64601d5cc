"""The options of create and run that change how a container is made: --no-pivot, --no-new-keyring, --keep."""

import json
import os
from pathlib import Path

import pytest
from harness import wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def test_without_pivot_root_the_root_is_the_containers_all_the_same(container, bundle):
    (bundle.rootfs / "mark").write_text("mine")
    listed = container.run("ls", "/", options=["--no-pivot"]).split()

    assert "mark" in listed
    assert not {"usr", "var", "root"} & set(listed)


def test_without_pivot_root_nothing_of_the_host_is_mounted(container, bundle):
    mounts = container.run("cat", "/proc/self/mounts", options=["--no-pivot"]).splitlines()

    assert {line.split()[1].split("/")[1] for line in mounts} == {"", "proc", "dev"}


@pytest.mark.differs("crun", "it runs with what is left of the host's mounts")
@pytest.mark.parametrize("propagation", ["private", "rprivate"])
def test_without_pivot_root_a_private_root_is_refused(container, bundle, propagation):
    """Unmounts of the host would not reach what the container still sees of it."""
    bundle.linux["rootfsPropagation"] = propagation

    assert "rootfsPropagation" in container.run_fails("true", options=["--no-pivot"]) or container.name != "pyrun"


def has_keyring(container, keys):
    """Tell whether /proc/keys, which lists what its reader may look at, has the container's session keyring."""
    names = {line.split()[8].rstrip(":") for line in keys.splitlines() if " keyring " in line}
    return bool(names & {f"_ses.{container.id}", container.id})  # as runc, and as crun calls it


@pytest.mark.needs("/proc/keys")
@pytest.mark.proves("process: a session keyring of its own")
def test_a_container_has_a_session_keyring_of_its_own(container):
    assert has_keyring(container, container.look("cat /proc/keys"))
    assert has_keyring(container, Path("/proc/keys").read_text())
    container.delete("--force")
    wait_until(lambda: not has_keyring(container, Path("/proc/keys").read_text()), "it has gone with the container")


@pytest.mark.needs("/proc/keys")
def test_a_container_can_stay_in_the_keyring_of_the_caller(container):
    container.bundle.process["args"] = ["sleep", "1000"]
    container.run_detached("--no-new-keyring")

    assert not has_keyring(container, container.exec("cat", "/proc/keys"))
    assert not has_keyring(container, Path("/proc/keys").read_text())


@pytest.mark.differs("crun", "no --keep before 1.15")
def test_a_container_that_is_kept_is_stopped_with_all_that_it_had(container):
    container.run("true", options=["--keep"])

    assert container.status() == "stopped"
    assert container.cgroups()
    assert os.path.isdir(container.root / container.id)


@pytest.mark.differs("runc", "an option of crun")
@pytest.mark.parametrize("how", ["--config", "-f"])
def test_another_file_can_be_the_config(container, bundle, tmp_path, how):
    bundle.process["args"] = ["echo", "from the other file"]
    (tmp_path / "other.json").write_text(json.dumps(bundle.config))
    bundle.process["args"] = ["false"]

    assert container.run(options=[how, "other.json"], cwd=tmp_path) == "from the other file\n"


@pytest.mark.only_pyrun("the wording is ours")
def test_another_config_that_is_missing_is_named(container, tmp_path):
    assert "/nowhere/x.json: No such file" in container.run_fails("true", options=["--config", "/nowhere/x.json"])

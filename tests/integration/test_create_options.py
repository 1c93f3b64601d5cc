"""The options of create and run that change how a container is made: --no-pivot, --no-new-keyring, --keep."""

import os

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def test_without_pivot_root_the_root_is_the_containers_all_the_same(container, bundle):
    (bundle.rootfs / "mark").write_text("mine")
    listed = container.run("ls", "/", options=["--no-pivot"]).split()

    assert "mark" in listed
    assert not {"usr", "var", "root"} & set(listed)


def test_without_pivot_root_nothing_of_the_host_is_mounted(container, bundle):
    mounts = container.run("cat", "/proc/self/mounts", options=["--no-pivot"]).splitlines()

    assert {line.split()[1].split("/")[1] for line in mounts} == {"", "proc", "dev"}


@pytest.mark.parametrize("propagation", ["private", "rprivate"])
def test_without_pivot_root_a_private_root_is_refused(container, bundle, propagation):
    """Unmounts of the host would not reach what the container still sees of it."""
    bundle.linux["rootfsPropagation"] = propagation

    assert "rootfsPropagation" in container.run_fails("true", options=["--no-pivot"]) or container.name != "pyrun"


def session_keyrings(keys):
    """Return the names of the keyrings of sessions in what /proc/keys shows: those that the reader may look at."""
    return {line.split()[8].rstrip(":") for line in keys.splitlines() if "_ses" in line}


@pytest.mark.needs("/proc/keys")
def test_a_container_has_a_session_keyring_of_its_own(container):
    assert f"_ses.{container.id}" in session_keyrings(container.run("cat", "/proc/keys"))


@pytest.mark.needs("/proc/keys")
def test_a_container_can_stay_in_the_keyring_of_the_caller(container):
    keys = container.run("cat", "/proc/keys", options=["--no-new-keyring"])

    assert f"_ses.{container.id}" not in session_keyrings(keys)


def test_a_container_that_is_kept_is_stopped_with_all_that_it_had(container):
    container.run("true", options=["--keep"])

    assert container.status() == "stopped"
    assert container.cgroups()
    assert os.path.isdir(container.root / container.id)

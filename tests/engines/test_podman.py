"""What only podman has, by conmon on pyrun."""

import pytest
from tools import needs, remove_pod, run_on_both

pytestmark = needs("podman", "conmon", "catatonit", "runc")


@pytest.fixture
def podman(podmen):
    yield podmen["pyrun"]
    podmen["pyrun"].remove("--all")


def test_a_pod_shares_its_namespaces(podman):
    podman("pod", "create", "--name", "p", "--share", "ipc,net,pid,uts", check=True)
    namespaces = [f"/proc/self/ns/{name}" for name in ("ipc", "net", "pid", "uts")]
    first, second = (podman.run("--rm", "--pod", "p", "busybox", "stat", "-Lc", "%i", *namespaces) for _ in range(2))
    processes = podman.run("--rm", "--pod", "p", "busybox", "ps", "-o", "args")
    remove_pod(podman, "p")

    assert first.status == 0
    assert first == second
    assert "/catatonit -P" in processes.output


@pytest.mark.parametrize(
    "options",
    [
        ("--uidmap", "0:100000:5000"),
        ("--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000", "--user", "1000:1000"),
        ("--uidmap", "0:100000:5000", "--read-only", "--tmpfs", "/t", "-t"),
    ],
)
def test_a_container_has_ids_of_its_own_as_on_runc(podmen, options):
    command = ("busybox", "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id; stat -c %u /bin; touch /tmp/x")
    ours, theirs = run_on_both(podmen, *options, *command)

    assert ours == theirs
    assert "100000" in ours.output


def test_a_health_check_is_run_in_the_container(podman):
    options = ("--health-cmd", "test -e /healthy", "--health-interval", "disable")
    podman.run("--detach", "--name", "box", *options, "busybox", "sleep", "60", check=True)
    before = podman("healthcheck", "run", "box").status
    podman("exec", "box", "touch", "/healthy", check=True)

    assert (before, podman("healthcheck", "run", "box").status) == (1, 0)

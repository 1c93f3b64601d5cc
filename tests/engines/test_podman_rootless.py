"""podman as an ordinary user: on pyrun it must look as it does on runc."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from accounts import AS_USER, UID, with_account
from podman import podman_on
from tools import PYRUN, needs, remove_pod, run_on_both, unmount_below

pytestmark = needs("podman", "conmon", "catatonit", "runc", "newuidmap")

TRAP = 'trap "exit 7" TERM; while :; do sleep 0.1; done'
IDS = pytest.mark.parametrize("podmen", [65536, 0], ids=["with-subordinate-ids", "with-one-id"], indirect=True)


@pytest.fixture(scope="module")
def podmen(request, image):
    """podman of a user who has `request.param` subordinate ids, on pyrun and on runc."""
    # Not below pytest's directory, which is root's alone.
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    shutil.copy(PYRUN, directory / "pyrun")
    shutil.copy(image, directory / "image.tar")
    user = with_account(directory / "etc", "podman", request.param)
    for name in ("home", "run"):
        (directory / name).mkdir(0o700)
        os.chown(directory / name, UID, UID)
    variables = {"HOME": "home", "XDG_RUNTIME_DIR": "run", "TMPDIR": "home"}
    environment = {"USER": "podman", **{name: str(directory / place) for name, place in variables.items()}}
    podmen = {
        runtime: podman_on(
            *(directory, directory / "pyrun", runtime, "--storage-driver", "vfs", "--log-level", "panic"),
            before=(*user, *AS_USER),
            environment=environment,
        )
        for runtime in ("pyrun", "runc")
    }
    podmen["pyrun"]("import", directory / "image.tar", "busybox", check=True)
    yield podmen
    podmen["pyrun"]("rm", "--all", "--force", "--time", "0")
    podmen["pyrun"]("pod", "rm", "--all", "--force")
    # The process that holds the namespaces of all of a user's containers.
    podmen["pyrun"]("system", "migrate")
    unmount_below(directory)
    Path(f"/dev/shm/libpod_rootless_lock_{UID}").unlink(missing_ok=True)
    shutil.rmtree(directory)


@pytest.fixture
def podman(podmen):
    yield podmen["pyrun"]
    podmen["pyrun"].remove("--all")


@IDS
@pytest.mark.parametrize(
    "options, command",
    [
        ((), "id -u; cat /proc/self/uid_map; exit 3"),
        (("-t", "--hostname", "h"), "hostname; tty"),
        (("--read-only", "--tmpfs", "/t"), "touch /t/x; touch /x"),
        (("--privileged",), "grep CapEff /proc/self/status"),
        (("--memory", "32m"), "echo limits are left out"),
        (("--network", "host", "--pid", "host"), "readlink /proc/self/ns/net; readlink /proc/self/ns/pid"),
    ],
)
def test_a_container_does_the_same_as_on_runc(podmen, options, command):
    ours, theirs = run_on_both(podmen, *options, "busybox", "sh", "-c", command)

    assert ours == theirs


@pytest.mark.parametrize("podmen", [65536], ids=["with-subordinate-ids"], indirect=True)
@pytest.mark.parametrize(
    "options, command",
    [
        (("--user", "1000"), "id -u"),
        (("--userns", "keep-id"), "id -u; cat /proc/self/uid_map"),
        (("--uidmap", "0:1:100", "--gidmap", "0:1:100"), "cat /proc/self/uid_map /proc/self/gid_map"),
    ],
)
def test_a_container_has_the_subordinate_ids_that_it_has_on_runc(podmen, options, command):
    # One after the other: podman's vfs driver gives the directory of all layers to the ids of the last one it has made,
    # and locks others out.
    ours, theirs = (podmen[name].run("--rm", *options, "busybox", "sh", "-c", command) for name in ("pyrun", "runc"))

    assert ours.status == 0
    assert ours == theirs


@IDS
def test_a_container_lives_and_ends(podman):
    podman.run("--detach", "--name", "box", "busybox", "sh", "-c", TRAP, check=True)

    assert podman("exec", "box", "sh", "-c", "echo $$; exit 6").status == 6
    assert "sh" in podman("top", "box", "comm").output.split()
    podman("stop", "box", check=True)
    assert podman("wait", "box").output == "7\n"
    podman("start", "box", check=True)
    podman("kill", "box", check=True)
    assert podman("wait", "box").output == "137\n"


@IDS
def test_a_pod_shares_its_namespaces(podman):
    podman("pod", "create", "--name", "p", check=True)
    show = ("busybox", "stat", "-L", "-c", "%i", *(f"/proc/self/ns/{name}" for name in ("ipc", "uts", "net")))
    first, second = (podman.run("--rm", "--pod", "p", *show) for _ in range(2))
    remove_pod(podman, "p")

    assert first.status == 0
    assert first == second

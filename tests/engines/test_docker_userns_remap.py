"""dockerd --userns-remap: every container in a user namespace, on pyrun as on runc."""

import pytest
from accounts import SUBORDINATE, with_account
from dockerd import Dockerd
from tools import needs, run_on_both

pytestmark = needs("dockerd", "docker", "containerd", "runc", "ip")


@pytest.fixture(scope="module")
def dockers(tmp_path_factory, image):
    directory = tmp_path_factory.mktemp("docker")
    for path in (directory, *directory.parents):
        mode = path.stat().st_mode
        if mode & 0o011 != 0o011:
            path.chmod(mode | 0o011)  # what the containers' root is must reach their root file systems
    account = with_account(directory / "etc", "dockremap")
    dockerd = Dockerd(directory, "--userns-remap", "default", before=account)
    dockerd.docker("import", image, "busybox", check=True)
    yield {runtime: dockerd.on(runtime) for runtime in ("pyrun", "runc")}
    dockerd.stop()


@pytest.mark.parametrize(
    "options, command",
    [
        ((), "id -u; cat /proc/self/uid_map; stat -c %u /bin /proc/version; touch /x"),
        (("--user", "1000:1000", "-t"), "id -u; id -g; tty"),
        (
            ("--memory", "16m", "--read-only", "--tmpfs", "/t"),
            "touch /t/x; touch /x; cat /sys/fs/cgroup/memory/*limit_in*",
        ),
        (("--network", "none"), "cat /proc/net/dev"),
        (("--userns", "host"), "cat /proc/self/uid_map"),
    ],
)
def test_a_container_does_the_same_as_on_runc(dockers, options, command):
    ours, theirs = run_on_both(dockers, *options, "busybox", "sh", "-c", command)

    assert ours == theirs


def test_a_container_lives_and_ends(dockers):
    docker = dockers["pyrun"]
    docker.run("--detach", "--name", "box", "busybox", "sleep", "60", check=True)

    assert docker("exec", "-u", "7", "box", "id", "-u").output == "7\n"
    assert str(SUBORDINATE) in docker("top", "box", "-o", "pid,uid").output.split()
    docker("restart", "--time", "0", "box", check=True)
    docker("kill", "box", check=True)
    assert docker("wait", "box").output == "137\n"
    docker("rm", "box", check=True)

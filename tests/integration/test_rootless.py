"""An ordinary user's containers: no cgroups, a user namespace, a state directory of one's own."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import accounts
import pytest
from harness import Bundle, Container, is_alive, wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming an ordinary user needs root"),
    pytest.mark.needs("cgroup v1"),  # where it has no part that was delegated to an ordinary user
]

UID = 65534
ORDINARY = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all")
# Root, but of a user namespace with one id, as podman's and buildah's runtimes are for an ordinary user.
MAPPED = (*ORDINARY, "unshare", "--user", "--map-root-user")


class RootlessContainer(Container):
    """A container of an ordinary user, whom `user` makes of us."""

    user = ORDINARY

    def command(self, verb, *arguments):
        return [*self.user, *super().command(verb, *arguments)]


def give(directory, uid):
    """Give the directory, and all below it, to a user."""
    for path in (directory, *directory.rglob("*")):
        if path.name != "busybox":  # one file, linked into every bundle
            os.lchown(path, uid, uid)


@pytest.fixture
def container(runtime, busybox):
    # Not in tmp_path, which lies below a directory that is root's alone; for the same reason with copies.
    directory = Path(tempfile.mkdtemp())
    bundle = Bundle(directory / "bundle", busybox)
    bundle.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": UID, "size": 1}]
    del bundle.config["mounts"][2]["options"][-1]  # gid=5, which is not mapped
    container = RootlessContainer(shutil.copy(runtime, directory), directory, bundle)
    give(directory, UID)
    yield container
    container.call("delete", "--force", container.id)
    shutil.rmtree(directory)


def test_an_ordinary_user_is_root_in_the_container(container):
    assert container.sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", str(UID), "1"]


@pytest.mark.differs("runc", "it gives the caller's streams to root of the container, which the caller may not")
@pytest.mark.needs("newuidmap")
@pytest.mark.proves("process.oomScoreAdj")
def test_the_oom_score_is_set_also_if_root_of_the_container_is_a_subordinate_id(container):
    directory = container.bundle.path.parent
    container.user = (*accounts.with_account(directory / "etc", "tester"), *map(str, accounts.AS_USER))
    give(directory, accounts.UID)
    directory.chmod(0o755)
    for kind in ("uidMappings", "gidMappings"):
        container.bundle.linux[kind][0]["hostID"] = accounts.SUBORDINATE
    container.bundle.process["oomScoreAdj"] = 500

    assert container.sh("cat /proc/self/oom_score_adj") == "500"


@pytest.mark.only_pyrun("the wording is ours")
def test_on_v1_systemd_is_no_manager_for_an_ordinary_user(container):
    container.global_options = ["--systemd-cgroup"]

    assert "--systemd-cgroup without root needs cgroup v2 alone" in container.run_fails("true")
    assert not container.exists()


@pytest.mark.only_pyrun("it knows the processes of cgroups only")
def test_ps_shows_the_processes_of_a_container_without_cgroups(container):
    container.sleeping()
    container.works("exec", "-d", container.id, "sh", "-c", "exec sleep 1234 > /dev/null 2>&1")

    wait_until(lambda: "sleep 1234" in container.works("ps", container.id), "the exec")
    assert str(container.pid()) in container.works("ps", container.id).split()


@pytest.mark.only_pyrun("it knows the processes of cgroups only")
def test_kill_all_reaches_the_init_of_a_container_without_cgroups(container):
    container.sleeping()
    container.works("kill", "--all", container.id, "KILL")

    wait_until(lambda: not is_alive(container.pid()), "the init has ended")


@pytest.fixture
def mapped(container):
    """The container of a root that is one in a user namespace only."""
    container.user = MAPPED
    for kind in ("uidMappings", "gidMappings"):
        container.bundle.linux[kind][0]["hostID"] = 0
    return container


def test_root_of_a_user_namespace_does_without_cgroups(mapped):
    assert mapped.sh("id -u") == "0"


@pytest.mark.only_pyrun("another view of the cgroups")
def test_a_mount_of_cgroups_is_empty_where_there_are_none(mapped):
    mapped.bundle.mount("/sys", "tmpfs", "tmpfs")
    mapped.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")

    assert mapped.sh("ls /sys/fs/cgroup") == ""


@pytest.mark.only_pyrun("the directory has its name")
def test_root_of_a_user_namespace_keeps_state_in_the_directory_of_its_user(mapped):
    mapped.bundle.save()
    own = mapped.bundle.path
    command = [*MAPPED, mapped.runtime, "run", "--bundle", mapped.bundle.path, mapped.id]
    subprocess.run(command, env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(own)}, check=True)

    assert "pyrun" in {path.name for path in own.iterdir() if path.is_dir()}


@pytest.mark.only_pyrun("it leaves them out")
def test_additional_groups_that_cannot_be_had_are_named(mapped):
    mapped.bundle.without_namespace("user")
    del mapped.bundle.linux["uidMappings"], mapped.bundle.linux["gidMappings"]
    mapped.bundle.process["user"]["additionalGids"] = [0]

    assert "setgroups 0: Operation not permitted" in mapped.run_fails("true")

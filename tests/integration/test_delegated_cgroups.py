"""Cgroups of v2 that the container itself shares out, and who joins which; test_cgroup_v2 runs this file."""

import pytest
from harness import wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox", "cgroup v2 alone")

# The init moves to a cgroup of its own and shares the controllers out: then none may be in the container's cgroup.
DELEGATE = """
mkdir /sys/fs/cgroup/init
echo 1 > /sys/fs/cgroup/init/cgroup.procs
echo +pids > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/other
echo done > /tmp/done
exec sleep 1000
"""


NOT_OWNED = pytest.mark.differs("runc", "the cgroup is the user's with the systemd driver only")


@pytest.fixture(params=[False, pytest.param(True, marks=NOT_OWNED)], ids=["", "user namespace"])
def delegated(container, bundle, request):
    """A container that shares the controllers of its cgroup out to cgroups below."""
    if request.param:
        bundle.user_namespace()
        bundle.mount("/sys", "sysfs", "sysfs")
    own_cgroup_to_write(bundle)
    bundle.process["args"] = ["sh", "-c", DELEGATE]
    container.run_detached()
    wait_until((bundle.rootfs / "tmp/done").exists, "the init is in its own cgroup")
    return container


def own_cgroup_to_write(bundle):
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")


def test_exec_follows_the_init_where_the_containers_cgroup_may_have_no_process(delegated):
    assert delegated.exec("cat", "/proc/self/cgroup") == "0::/init\n"


def test_exec_goes_to_the_cgroup_that_is_asked_for(delegated):
    assert delegated.exec("cat", "/proc/self/cgroup", options=["--cgroup", "/other"]) == "0::/other\n"


@pytest.mark.differs("runc", "the words of the kernel")
@pytest.mark.differs("crun", "it goes elsewhere")
def test_exec_to_the_containers_cgroup_itself_fails_where_that_may_have_no_process(delegated):
    message = delegated.fails("exec", "--cgroup", "/", delegated.id, "true", status=255)

    assert "Device or resource busy" in message


def test_who_joins_the_cgroup_namespace_of_another_container_is_in_a_cgroup_of_its_own(new_container):
    first, second = new_container(), new_container()
    first.bundle.namespace("cgroup")
    first.sleeping()
    for type_, name in (("pid", "pid"), ("cgroup", "cgroup")):
        second.bundle.namespace(type_, f"/proc/{first.pid()}/ns/{name}")
    second.sleeping()

    assert second.proc("cgroup") == f"0::/{second.id}\n"
    assert second.exec("cat", "/proc/self/cgroup") == f"0::/../{second.id}\n"
    second.delete("--force")


@NOT_OWNED
@pytest.mark.parametrize(
    "uid", [0, pytest.param(1000, marks=pytest.mark.differs("crun", "it is root's whoever the user is"))]
)
@pytest.mark.proves("linux.resources: the cgroup belongs to the container's root")
def test_the_user_of_a_container_owns_its_cgroup(container, bundle, uid):
    bundle.process["user"] = {"uid": uid, "gid": uid}
    bundle.user_namespace(host_id=100000)
    bundle.mount("/sys", "sysfs", "sysfs")
    own_cgroup_to_write(bundle)
    inside = container.look("cd /sys/fs/cgroup && mkdir below && stat -c %u . cgroup.procs below cgroup.freeze")
    directory = container.cgroup("")

    assert inside.split() == [str(uid), str(uid), str(uid), "65534"]
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "below"):
        assert (directory / name).stat().st_uid == 100000 + uid
    assert (directory / "cgroup.freeze").stat().st_uid == 0


def test_the_owner_of_a_cgroup_that_is_not_to_be_written_stays_the_host(container, bundle):
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}

    assert container.sh("stat -c %u /sys/fs/cgroup") == "0"

"""linux.rootfsPropagation: of the container's root, in mountinfo of either side, and what mounts it lets through."""

import subprocess

import pytest
from harness import mounts_below

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def propagation_of_root(mountinfo):
    """Return what mountinfo says of "/": a set of "shared", "master", "unbindable"; private is none of them."""
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[4] == "/":
            return {word.partition(":")[0] for word in fields[6 : fields.index("-")]}
    raise AssertionError(mountinfo)


@pytest.fixture
def shared(bundle, tmp_path):
    """A root file system that is a mount of the host, shared with others."""
    path = tmp_path / "shared"
    path.mkdir()
    subprocess.run(["mount", "--make-shared", "-t", "tmpfs", "tmpfs", path], check=True)
    subprocess.run(["cp", "-a", f"{bundle.rootfs}/.", path], check=True)
    bundle.config["root"]["path"] = str(path)
    yield path
    subprocess.run(["umount", "-R", path], check=True)


def case(name, shown):
    marks = [pytest.mark.proves(f"linux.rootfsPropagation={name}")]
    if name in ("shared", "rshared", "slave", "unbindable", "runbindable"):
        marks.append(pytest.mark.differs("runc", f"{name} has no effect, or is refused"))
    if name in ("slave", "rslave"):
        marks.append(pytest.mark.differs("crun", "the root is private whatever is asked for"))
    return pytest.param(name, shown, marks=marks)


@pytest.mark.parametrize(
    "propagation, shown",
    [
        case("private", set()),
        case("rprivate", set()),
        case("shared", {"shared"}),
        case("rshared", {"shared"}),
        case("slave", {"master"}),
        case("rslave", {"master"}),
        case("unbindable", {"unbindable"}),
        case("runbindable", {"unbindable"}),
    ],
)
def test_the_propagation_of_the_root_is_the_configs(container, bundle, shared, propagation, shown):
    bundle.linux["rootfsPropagation"] = propagation
    inside = container.look("cat /proc/self/mountinfo")

    assert propagation_of_root(inside) == propagation_of_root(container.proc("mountinfo")) == shown


@pytest.mark.parametrize(
    "propagation",
    [
        "",
        "rslave",
        pytest.param("slave", marks=pytest.mark.differs("runc", "slave has no effect")),
    ],
)
@pytest.mark.differs("crun", "the root is private whatever is asked for")
def test_a_mount_of_the_host_arrives_in_a_slave_which_the_root_is_by_default(container, bundle, shared, propagation):
    if propagation:
        bundle.linux["rootfsPropagation"] = propagation
    container.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "of-the-host", shared / "tmp"], check=True)

    assert "of-the-host" in container.exec("cat", "/proc/mounts")
    assert "of-the-host" in container.proc("mounts")


def test_a_mount_of_the_host_does_not_arrive_in_a_private_root(container, bundle, shared):
    bundle.linux["rootfsPropagation"] = "private"
    container.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "of-the-host", shared / "tmp"], check=True)

    assert "of-the-host" not in container.exec("cat", "/proc/mounts")


@pytest.mark.parametrize("propagation", ["", "shared", "rshared", "slave", "private", "rprivate"])
def test_no_mount_of_the_container_reaches_the_host(container, bundle, shared, propagation):
    if propagation:
        bundle.linux["rootfsPropagation"] = propagation
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_ADMIN"])
    (bundle.path / "data").mkdir()
    bundle.mount("/etc", "bind", bundle.path / "data")

    assert "tmpfs /tmp" in container.look("mount -t tmpfs tmpfs /tmp; cat /proc/mounts")
    assert mounts_below(shared) == []


@pytest.mark.parametrize("propagation", ["", "private", "slave", "rprivate", "shared"])
def test_the_way_out_of_the_hosts_root_unmounts_nothing_there(container, bundle, shared, propagation):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "tmp"], check=True)
    if propagation:
        bundle.linux["rootfsPropagation"] = propagation
    container.run("true")

    assert mounts_below(shared) == [str(shared / "tmp")]

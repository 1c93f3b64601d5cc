"""Binds with ids of their own: idmap, ridmap, uidMappings and gidMappings of a mount."""

import os

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")
newer = pytest.mark.differs("runc", "1.1 maps no mount")


@pytest.fixture
def source(tmp_path):
    """A directory with a file of the host's root and one of the host's user 7."""
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "of-root").touch()
    (directory / "of-seven").touch()
    os.chown(directory / "of-seven", 7, 8)
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == os.geteuid() and str(parent) != "/":
            parent.chmod(parent.stat().st_mode | 0o111)
    return directory


def mapping(container_id, host_id, size=100):
    return [{"containerID": container_id, "hostID": host_id, "size": size}]


def owners(container):
    return dict(line.split() for line in container.sh("cd /data; stat -c '%n %u:%g' *").splitlines())


@newer
@pytest.mark.proves(
    "mounts[].uidMappings[].containerID",
    "mounts[].uidMappings[].hostID",
    "mounts[].uidMappings[].size",
    "mounts[].gidMappings[].containerID",
    "mounts[].gidMappings[].hostID",
    "mounts[].gidMappings[].size",
)
def test_the_mounts_own_mappings_are_applied(container, bundle, source):
    """containerID is an id of the file system, hostID what is seen of it; what is not in `size` is nobody's."""
    os.chown(source / "of-root", 5, 5)
    bundle.mount("/data", "bind", source, "idmap")
    bundle.config["mounts"][-1].update(uidMappings=mapping(7, 1000, 1), gidMappings=mapping(5, 2000, 3))

    assert owners(container) == {"of-root": "65534:2000", "of-seven": "1000:65534"}
    os.chown(source / "of-seven", 7, 7)
    container.sleeping()
    found = os.stat(f"/proc/{container.pid()}/root/data/of-seven")
    assert (found.st_uid, found.st_gid) == (1000, 2002)
    assert (source / "of-seven").stat().st_uid == 7


@newer
def test_mappings_alone_are_enough(container, bundle, source):
    bundle.mount("/data", "bind", source)
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 1000), gidMappings=mapping(0, 2000))

    assert owners(container)["of-root"] == "1000:2000"


@newer
def test_a_user_namespace_sees_the_hosts_owners_by_idmap(container, bundle, source):
    bundle.user_namespace()
    bundle.mount("/plain", "bind", source)
    bundle.mount("/data", "bind", source, "idmap")

    assert owners(container) == {"of-root": "0:0", "of-seven": "7:8"}


def test_without_idmap_a_user_namespace_sees_nobody(container, bundle, source):
    bundle.user_namespace()
    bundle.mount("/data", "bind", source)

    assert owners(container) == {"of-root": "65534:65534", "of-seven": "65534:65534"}


@newer
def test_what_the_container_writes_belongs_to_the_hosts_id(container, bundle, source):
    bundle.user_namespace()
    bundle.mount("/data", "bind", source, "idmap")
    bundle.process["user"] = {"uid": 0, "gid": 0}
    container.sh("touch /data/new")

    assert (source / "new").stat().st_uid == 0


@pytest.fixture
def mount_below(source):
    os.mkdir(source / "below")
    assert os.system(f"mount -t tmpfs tmpfs {source}/below && touch {source}/below/file") == 0
    yield source / "below"
    os.system(f"umount {source}/below")


@newer
@pytest.mark.differs("crun", "1.8 leaves out what is below")
@pytest.mark.parametrize(
    "option, owner",
    [
        pytest.param(option, owner, marks=pytest.mark.proves(f"mounts[].options={option}"))
        for option, owner in (("idmap", "0"), ("ridmap", "1000"))
    ],
)
def test_what_is_mounted_below_is_mapped_by_ridmap_only(container, bundle, source, mount_below, option, owner):
    bundle.mount("/data", "bind", source, "rbind", option)
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 1000), gidMappings=mapping(0, 1000))

    assert container.sh("stat -c %u /data/below/file") == owner
    assert container.sh("stat -c %u /data/of-root") == "1000"
    container.sleeping()
    root = f"/proc/{container.pid()}/root"
    assert os.stat(f"{root}/data/below/file").st_uid == int(owner)


@newer
def test_exec_sees_the_mapped_owners(container, bundle, source):
    bundle.mount("/data", "bind", source, "idmap", "ro")
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 1000), gidMappings=mapping(0, 1000))
    container.sleeping()

    assert container.exec("stat", "-c", "%u", "/data/of-seven").strip() == "1007"
    assert "Read-only" in container.call("exec", container.id, "touch", "/data/x").stderr


@newer
@pytest.mark.differs("crun", "the wording is its own")
def test_a_file_system_that_cannot_be_mapped_is_refused_by_name(container, bundle):
    bundle.mount("/data", "bind", "/proc/sys", "idmap")
    bundle.config["mounts"][-1].update(uidMappings=mapping(0, 1000), gidMappings=mapping(0, 1000))

    reason = container.run_fails("true")
    assert '"/proc/sys"' in reason and "cannot map its ids" in reason


@newer
def test_mappings_may_stand_in_crun_s_option(container, bundle, source):
    """FIRST-SEEN-SIZE, several with a "#" between them."""
    bundle.mount("/data", "bind", source, "idmap=uids=0-1000-1#7-2000-3;gids=0-5-1#8-6-1")

    assert owners(container) == {"of-root": "1000:5", "of-seven": "2000:6"}


@newer
def test_mappings_of_crun_s_option_may_be_relative_to_the_container(container, bundle, source):
    bundle.user_namespace()
    bundle.mount("/data", "bind", source, "idmap=uids=@0-3-1#@7-4-1;gids=@0-5-1#@8-6-1")

    assert owners(container) == {"of-root": "3:5", "of-seven": "4:6"}


@pytest.mark.only_pyrun("the wording")
@pytest.mark.parametrize("option", ["idmap=uids=0-1-1", "idmap=uids=x-1-1;gids=0-0-1", "idmap=uids=0-1;gids=0-0-1"])
def test_another_form_of_the_option_is_refused(container, bundle, source, option):
    bundle.mount("/data", "bind", source, option)

    assert 'idmap takes "uids=' in container.run_fails("true")


@pytest.mark.only_pyrun("the wording")
def test_an_id_that_the_container_does_not_have_is_refused(container, bundle, source):
    bundle.user_namespace()
    bundle.mount("/data", "bind", source, "idmap=uids=@0-70000-1;gids=@0-0-1")

    assert "does not map the id 70000" in container.run_fails("true")

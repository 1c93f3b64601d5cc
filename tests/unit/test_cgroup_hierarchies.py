"""Where linux.cgroupsPath leads, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""

import pytest

from foundation.errors import Error
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.hierarchies import clean, place
from pyrun.errors import ConfigError

V2 = "25 30 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_MEMBERSHIP = "0::/user.slice/session-1.scope\n"
HYBRID = """\
22 28 0:21 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
HYBRID_MEMBERSHIP = "9:name=systemd:/\n4:memory:/own:er\n1:cpu,cpuacct:/\n0::/\n"


def test_v2_is_the_controller_with_the_empty_name():
    assert place("/pods/a", V2, V2_MEMBERSHIP) == {"": "/sys/fs/cgroup/pods/a"}


def test_an_absolute_path_starts_at_the_root_of_each_mount():
    assert place("/a", HYBRID, HYBRID_MEMBERSHIP) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a",
        "memory": "/sys/fs/cgroup/memory/a",
        "name=systemd": "/sys/fs/cgroup/systemd/a",
        "": "/sys/fs/cgroup/unified/a",
    }


def test_controllers_that_are_mounted_together_share_one_directory():
    group = Cgroup(place("/a", HYBRID, HYBRID_MEMBERSHIP))

    assert (len(group.paths), len(group.directories)) == (5, 4)


def test_a_relative_path_starts_at_the_own_cgroup_in_each_hierarchy():
    paths = place("a", HYBRID, HYBRID_MEMBERSHIP)

    assert (paths["memory"], paths["cpu"]) == ("/sys/fs/cgroup/memory/own:er/a", "/sys/fs/cgroup/cpu,cpuacct/a")


def test_in_a_container_the_mount_shows_only_the_part_below_its_root():
    mounts = "50 40 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"

    assert place("/x", mounts, "0::/docker/abc\n") == {"": "/sys/fs/cgroup/x"}
    assert place("x", mounts, "0::/docker/abc/inner\n") == {"": "/sys/fs/cgroup/inner/x"}


@pytest.mark.parametrize("root, own", [("/docker/abc", "/docker/abcd"), ("/..", "/"), ("/", "/../other")])
def test_a_relative_path_is_refused_where_the_mount_does_not_show_the_own_cgroup(root, own):
    with pytest.raises(Error, match="make linux.cgroupsPath absolute"):
        place("x", f"50 40 0:26 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n", f"0::{own}\n")


def test_of_two_mounts_of_a_hierarchy_the_one_that_shows_it_whole_is_taken():
    part = "60 40 0:26 /docker/abc /mnt/part rw - cgroup2 cgroup rw\n"

    assert place("/x", part + V2, V2_MEMBERSHIP) == place("/x", V2 + part, V2_MEMBERSHIP) == {"": "/sys/fs/cgroup/x"}


def test_what_criu_mounts_for_itself_is_left_alone():
    yard = "99 23 0:50 / /run/b/.criu.cgyard.J9ysRF/net_cls,net_prio rw - cgroup none rw,net_cls,net_prio\n"

    paths = place("/a", HYBRID + yard, HYBRID_MEMBERSHIP + "2:net_cls,net_prio:/\n")
    assert paths == place("/a", HYBRID, HYBRID_MEMBERSHIP)


def test_a_mount_hides_the_one_below_it():
    part = "60 25 0:26 /part /sys/fs/cgroup rw - cgroup2 cgroup rw\n"

    assert place("x", V2 + part, "0::/part/init\n") == {"": "/sys/fs/cgroup/init/x"}


def test_a_mount_point_with_a_space_is_read_from_its_octal_form():
    mounts = "50 40 0:26 / /mnt/a\\040b\\134c rw - cgroup2 cgroup rw\n"

    assert place("/x", mounts, "0::/\n") == {"": "/mnt/a b\\c/x"}


def test_without_a_cgroup_file_system_the_error_tells_how_to_mount_one():
    with pytest.raises(Error, match="mount -t cgroup2"):
        place("/x", "22 28 0:21 / /proc rw - proc proc rw\n", "0::/\n")


@pytest.mark.parametrize("path", ["../x", "/a/../../b", "/..", "a/..", "a\0b", "a\nb", "/", "/./", "."])
def test_a_path_that_could_leave_its_place_is_refused_by_name(path):
    with pytest.raises(ConfigError, match="config.json: linux.cgroupsPath: "):
        clean(path)


@pytest.mark.parametrize("path, cleaned", [("//a///b/", "/a/b"), ("a/./b", "a/b"), ("/a..b", "/a..b")])
def test_empty_components_are_left_out(path, cleaned):
    assert clean(path) == cleaned

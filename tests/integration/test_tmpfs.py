"""A tmpfs over a directory of the image: its mode, and with tmpcopyup its content."""

import os

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def test_directories_links_and_modes_are_copied(container, bundle):
    (bundle.rootfs / "data/sub").mkdir(parents=True)
    (bundle.rootfs / "data/sub/file").write_text("content\n")
    os.chown(bundle.rootfs / "data/sub/file", 1000, 1001)
    (bundle.rootfs / "data/sub/file").chmod(0o4755)
    (bundle.rootfs / "data/link").symlink_to("/etc/shadow")
    bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")

    found = container.sh("cd /data; cat sub/file; stat -c '%a %u %g' sub/file; readlink link")

    assert found == "content\n4755 1000 1001\n/etc/shadow"


@pytest.mark.only_pyrun("the wording is ours")
def test_a_bind_is_nothing_to_copy_to(container, bundle):
    bundle.mount("/data", "bind", "/tmp", "tmpcopyup")

    assert '"tmpcopyup" is for a mount of type "tmpfs"' in container.run_fails("true")


@pytest.mark.differs("crun", "1.8 makes it for everybody")
def test_it_has_the_mode_of_what_it_covers(container, bundle):
    (bundle.rootfs / "data").mkdir(mode=0o750)
    bundle.mount("/data", "tmpfs", "tmpfs", "nosuid", "nodev")

    assert container.sh("stat -c %a /data") == "750"


def test_one_that_covers_nothing_is_for_everybody(container, bundle):
    bundle.mount("/data", "tmpfs", "tmpfs", "nosuid", "nodev")

    assert container.sh("stat -c %a /data") == "1777"

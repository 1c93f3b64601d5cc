"""linux.maskedPaths and linux.readonlyPaths: what the program finds there, and what the host sees mounted."""

import os
import stat

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def mounts(mountinfo):
    """Return (type of the file system, options of the mount) by mount point."""
    found = {}
    for line in mountinfo.splitlines():
        fields = line.split()
        found[fields[4]] = (fields[fields.index("-") + 1], set(fields[5].split(",")))
    return found


@pytest.fixture
def secrets(bundle):
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret/file").write_text("secret")
    (bundle.rootfs / "password").write_text("secret")
    bundle.linux["maskedPaths"] = ["/secret", "/password", "/secret", "/nonexistent/at/all"]


@pytest.mark.proves("linux.maskedPaths")
def test_masked_paths_show_nothing(container, bundle, secrets):
    script = "ls -A /secret; cat /password; touch /secret/x 2>/dev/null || echo no; stat -c %F /password"

    assert container.look(script).splitlines() == ["no", "character special file"]
    found = mounts(container.proc("mountinfo"))
    assert found["/secret"][0] == "tmpfs" and "ro" in found["/secret"][1]
    root = f"/proc/{container.pid()}/root"
    assert os.listdir(f"{root}/secret") == []
    hidden = os.stat(f"{root}/password")
    assert stat.S_ISCHR(hidden.st_mode) and hidden.st_rdev == os.makedev(1, 3)
    assert not os.path.exists(f"{root}/nonexistent")
    assert (bundle.rootfs / "password").read_text() == "secret"


def test_masked_paths_stay_masked_for_root_with_capabilities(container, secrets):
    assert "secret" not in container.sh("cat /password; cp /password /tmp/copy; cat /tmp/copy")


@pytest.mark.proves("linux.readonlyPaths")
def test_read_only_paths_cannot_be_written(container, bundle):
    (bundle.rootfs / "fixed").mkdir()
    bundle.linux["readonlyPaths"] = ["/fixed", "/proc/sys", "/nonexistent/at/all"]
    script = "touch /fixed/x; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /tmp/x && echo tmp"

    output = container.look(f"{{ {script}; }} 2>&1")
    assert output.count("Read-only file system") == 2
    assert output.endswith("tmp")
    found = mounts(container.proc("mountinfo"))
    assert "ro" in found["/fixed"][1] and "ro" in found["/proc/sys"][1]
    assert "/nonexistent/at/all" not in found
    (bundle.rootfs / "fixed/of-the-host").touch()

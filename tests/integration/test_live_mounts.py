"""pyrun mount and umount: binds of the host's files into a container that runs."""

import os
import subprocess
import time

import pytest
from harness import mounts_below

pytestmark = pytest.mark.only_pyrun("has no mount")


@pytest.fixture
def data(tmp_path):
    directory = tmp_path / "data"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("of the host\n")
    directory.chmod(0o755)
    return directory


@pytest.fixture
def web(container):
    return container.sleeping()


def mounted(container, destination):
    """Return the options of the mount at `destination`, as the container sees it."""
    for line in container.proc("mountinfo").splitlines():
        if line.split()[4] == destination:
            return line.split()[5].split(",")
    return None


def test_a_directory_of_the_host_appears_in_a_running_container(web, data):
    web.works("mount", web.id, data, "/mnt/data")
    seen = web.exec("cat", "/mnt/data/file")
    web.exec("sh", "-c", "echo changed >/mnt/data/file")

    assert seen == "of the host\n"
    assert (data / "file").read_text() == "changed\n"


def test_it_goes_away_again(web, data):
    web.works("mount", web.id, data, "/mnt")
    web.works("umount", web.id, "/mnt")

    assert mounted(web, "/mnt") is None
    assert web.exec("ls", "/mnt") == ""


def test_a_file_can_be_bound(web, data):
    web.works("mount", web.id, data / "file", "/etc/file")
    seen = web.exec("cat", "/etc/file")
    web.works("umount", web.id, "etc/file")

    assert seen == "of the host\n"
    assert web.exec("cat", "/etc/file") == ""


def test_options_are_those_of_config_json(web, data):
    web.works("mount", "-o", "ro,nosuid", "-o", "noexec", web.id, data, "/mnt")

    assert {"ro", "nosuid", "noexec"} <= set(mounted(web, "/mnt"))
    assert "Read-only file system" in web.call("exec", web.id, "touch", "/mnt/x").stderr


def test_a_relative_source_is_the_callers(web, data):
    web.works("mount", web.id, "data", "/mnt", cwd=data.parent)

    assert web.exec("cat", "/mnt/file") == "of the host\n"


def test_mounts_below_the_source_come_with_rbind_only(web, data):
    subprocess.run(["mount", "-t", "tmpfs", "below", data / "sub"], check=True)
    try:
        (data / "sub/x").touch()
        web.works("mount", web.id, data, "/plain")
        web.works("mount", "-o", "rbind", web.id, data, "/with")
        seen = web.exec("ls", "/plain/sub"), web.exec("ls", "/with/sub")
    finally:
        subprocess.run(["umount", data / "sub"], check=True)

    assert seen == ("", "x\n")


def test_a_paused_and_a_created_container_can_be_given_mounts(container, data):
    container.bundle.process["args"] = ["cat", "/mnt/file"]
    container.create()
    container.works("mount", container.id, data, "/mnt")
    container.start().wait_until("stopped")

    assert container.output() == "of the host\n"


@pytest.mark.needs("namespace user")
def test_mount_points_in_a_user_namespace_belong_to_its_root(container, data):
    container.bundle.user_namespace()
    container.sleeping()
    container.works("mount", container.id, data, "/made/mnt")
    container.works("mount", container.id, data / "file", "/tmp/made")

    assert container.exec("stat", "-c", "%u %g", "/made") == "0 0\n"
    assert container.exec("cat", "/made/mnt/file", "/tmp/made") == "of the host\n" * 2


def test_symlinks_of_the_container_lead_nowhere_but_into_it(web, data, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    web.exec("sh", "-c", f"mkdir -p /d; ln -s {victim} /d/abs; ln -s ../../../../../../..{victim} /d/rel")
    for name in ("abs", "rel"):
        web.works("mount", web.id, data, f"/d/{name}")

    assert os.listdir(victim) == []
    assert mounts_below(victim.parent) == []
    assert mounted(web, str(victim)) is not None


def test_a_path_that_changes_all_the_time_leads_nowhere_but_into_it(container, data, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    swap = f"mv /d /e; ln -s {victim} /d; rm /d; mv /e /d"
    container.bundle.process["args"] = ["sh", "-c", f"mkdir /d; while :; do {swap}; done 2>/dev/null"]
    container.run_detached()
    results = [container.call("mount", container.id, data, f"/d/{n}/x") for n in range(20)]

    assert os.listdir(victim) == []
    assert mounts_below(tmp_path) == []
    assert all(len(one.stderr.splitlines()) == (one.returncode != 0) for one in results)


def test_a_symlink_into_proc_is_refused(web, data):
    web.exec("ln", "-s", "/proc/sys", "/p")

    assert "the destination is in /proc" in web.fails("mount", web.id, data, "/p")
    assert "/proc" in web.fails("mount", web.id, data, "/proc/sys")
    assert "/proc" in web.fails("mount", web.id, data, "/proc")


def test_only_what_was_mounted_is_unmounted(web, data):
    """A mask must not go by a symlink that the container has put in its way."""
    web.works("mount", web.id, data, "/a/pts")
    web.exec("sh", "-c", "mv /a /b; ln -s /dev /a")
    message = web.fails("umount", web.id, "/a/pts")

    assert "is not what `pyrun mount` has mounted" in message
    assert mounted(web, "/dev/pts") is not None
    assert "is not a mount of `pyrun mount`" in web.fails("umount", web.id, "/dev/pts")


def test_the_last_of_two_mounts_at_one_place_goes_first(web, data, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("other\n")
    web.works("mount", web.id, data, "/mnt")
    web.works("mount", web.id, other, "/mnt")
    seen = [web.exec("cat", "/mnt/file")]
    web.works("umount", web.id, "/mnt")
    seen.append(web.exec("cat", "/mnt/file"))

    assert seen == ["other\n", "of the host\n"]


def test_mounts_at_the_same_time_are_all_remembered(web, data):
    started = [subprocess.Popen(web.command("mount", web.id, data, f"/m{n}")) for n in range(8)]
    statuses = [one.wait(30) for one in started]
    for n in range(8):
        web.works("umount", web.id, f"/m{n}")

    assert statuses == [0] * 8
    assert all(mounted(web, f"/m{n}") is None for n in range(8))


def test_what_the_container_mounts_below_stays_in_it(container, data):
    subprocess.run(["mount", "--bind", data, data], check=True)
    try:
        subprocess.run(["mount", "--make-shared", data], check=True)
        for kind in ("bounding", "effective", "permitted"):
            container.bundle.process["capabilities"][kind].append("CAP_SYS_ADMIN")
        container.sleeping()
        container.works("mount", container.id, data, "/mnt")
        container.exec("mount", "-t", "tmpfs", "x", "/mnt/sub")
        leaked = mounts_below(data)
    finally:
        container.works("delete", "-f", container.id)
        subprocess.run(["umount", "-R", data], check=True)

    assert leaked == []


def test_no_interpreter_is_seen_in_the_container(container, data):
    script = (
        "while :; do for p in /proc/[0-9]*; do readlink $p/exe; cat $p/comm; done; done 2>/dev/null | grep -i -m1 py"
    )
    container.bundle.process["args"] = ["sh", "-c", f"{script}; sleep 100"]
    container.run_detached()
    for n in range(10):
        container.works("mount", container.id, data, f"/m{n}")
    time.sleep(0.2)

    assert container.output() == ""


@pytest.mark.parametrize(
    ("source", "destination", "options", "message"),
    [
        ("/not/there", "/mnt", "", "/not/there: No such file or directory"),
        ("{data}", "/etc/passwd-file", "", "Not a directory"),
        ("{data}", "/mnt", "ro,size=1m", 'a bind mount takes no option "size=1m"'),
        ("{data}", "/", "", ""),
    ],
)
def test_what_cannot_be_mounted_is_told_and_forgotten(web, data, source, destination, options, message):
    web.exec("touch", "/etc/passwd-file")
    result = web.fails("mount", web.id, source.format(data=data), destination, "-o", options) if message else ""

    assert message in result
    assert "is not a mount of `pyrun mount`, which has mounted nothing" in web.fails("umount", web.id, destination)


def test_a_container_that_has_ended_takes_none(container, data):
    container.run_detached().wait_until("stopped")

    assert container.fails("mount", container.id, data, "/mnt").endswith("container not running")

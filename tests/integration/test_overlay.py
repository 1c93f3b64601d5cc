"""--overlay: a writable layer over a bundle that stays untouched."""

import hashlib
import os
import signal
import stat
import subprocess
import tempfile
import time

import pytest
from harness import Container, mounts_below, wait_until

pytestmark = pytest.mark.only_pyrun("has no --overlay")

CONTAINERS = 20


def digest(directory):
    """Return a digest of all that a tree is: names, types, owners, modes, times, contents."""
    whole = hashlib.sha256()
    for parent, directories, files in os.walk(directory):
        directories.sort()
        for name in [".", *sorted([*directories, *files])]:
            path = os.path.join(parent, name)
            found = os.lstat(path)
            whole.update(f"{path} {found.st_mode} {found.st_uid} {found.st_gid} {found.st_mtime_ns}".encode())
            if stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    whole.update(file.read())
            elif stat.S_ISLNK(found.st_mode):
                whole.update(os.readlink(path).encode())
    return whole.hexdigest()


@pytest.fixture
def lower(bundle):
    """The bundle's root file system, with something to change in it."""
    (bundle.rootfs / "etc/file").write_text("of the bundle\n")
    (bundle.rootfs / "data/deep").mkdir(parents=True)
    (bundle.rootfs / "data/deep/file").write_text("deep\n")
    return bundle.rootfs


CHANGES = "echo new >/etc/file; rm -r /data; mkdir /data; echo x >/data/x; chmod 700 /etc; mkdir -p /a/b; rm /bin/ls"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_directory_that_cannot_be_made_leaves_no_container(container, tmp_path, place):
    (tmp_path / "file").write_text("mine")

    message = container.run_fails("true", options=[f"--overlay={tmp_path}/{place}"])

    assert message.endswith(": Not a directory")
    assert container.works("list", "-q") == ""
    assert (tmp_path / "file").read_text() == "mine"


def test_what_the_container_writes_does_not_reach_the_bundle(container, lower):
    before = digest(lower)
    output = container.run("sh", "-c", f"{CHANGES}; cat /etc/file; echo /data/*", options=["--overlay"])

    assert output == "new\n/data/x\n"
    assert digest(lower) == before


def test_nothing_is_left_of_an_ephemeral_layer(container, lower):
    container.run("sh", "-c", CHANGES, options=["--overlay"])

    assert container.run("cat", "/etc/file", options=["--overlay"]) == "of the bundle\n"


def test_an_id_after_the_option_is_not_its_value(container, lower):
    container.bundle.process["args"] = ["cat", "/etc/file"]

    assert container.works("run", "-b", container.bundle.path, "--overlay", container.id) == "of the bundle\n"
    assert not os.path.exists(container.id)


def test_twenty_containers_share_one_bundle(runtime, tmp_path, container, lower):
    before = digest(lower)
    container.bundle.process["args"] = ["sh", "-c", "hostname >/dev/null; echo $$ >/etc/file; sleep 1000"]
    container.bundle.save()
    many = [Container(runtime, tmp_path, container.bundle) for _ in range(CONTAINERS)]
    try:
        for one in many:
            one.run_detached("--overlay")
        for n, one in enumerate(many):
            one.exec("sh", "-c", f"echo {n} >/mine")
        found = [one.exec("cat", "/mine") for one in many]
    finally:
        container.works("delete", "-f", *(one.id for one in many))

    assert found == [f"{n}\n" for n in range(CONTAINERS)]
    assert digest(lower) == before


def test_a_layer_is_kept_where_the_option_says(container, lower, tmp_path):
    before = digest(lower)
    kept = tmp_path / "a/kept"
    container.run("sh", "-c", CHANGES, options=[f"--overlay={kept}"])
    output = container.run("sh", "-c", "cat /etc/file; echo /data/*", options=[f"--overlay={kept}"])

    assert output == "new\n/data/x\n"
    assert (kept / "upper/etc/file").read_text() == "new\n"
    assert digest(lower) == before


def test_a_layer_is_kept_relative_to_the_caller(container, lower, tmp_path):
    container.run("touch", "/here", options=["--overlay=kept"], cwd=tmp_path)

    assert (tmp_path / "kept/upper/here").exists()


def test_a_layer_that_a_container_writes_to_is_refused(container, new_container, lower, tmp_path):
    container.bundle.process["args"] = ["sleep", "1000"]
    container.run_detached(f"--overlay={tmp_path}/kept")
    message = new_container().run_fails("true", options=[f"--overlay={tmp_path}/kept"])

    assert message == f"error: --overlay={tmp_path}/kept: in use by the container {container.id}"


@pytest.mark.needs("namespace user")
@pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
def test_a_container_with_a_user_namespace_has_its_layer(container, lower, tmp_path, kept):
    container.bundle.user_namespace()
    before = digest(lower)
    option = f"--overlay={tmp_path}/kept" if kept else "--overlay"
    output = container.run("sh", "-c", f"{CHANGES}; cat /etc/file; echo /data/*; stat -c %u /", options=[option])

    assert output == "new\n/data/x\n0\n"
    assert digest(lower) == before


def test_a_read_only_root_has_no_writable_layer(container, lower):
    before = digest(lower)
    container.bundle.config["root"]["readonly"] = True
    container.bundle.mount("/not/there/yet", "tmpfs", "tmpfs")
    output = container.run(
        "sh", "-c", "echo x 2>&1 >/etc/file; touch /not/there/yet/x && echo ok", options=["--overlay"]
    )

    assert output == "sh: can't create /etc/file: Read-only file system\nok\n"
    assert digest(lower) == before


def test_the_root_has_the_owner_and_the_mode_of_the_bundles(container, lower):
    os.chown(lower, 7, 8)
    os.chmod(lower, 0o751)

    assert container.run("stat", "-c", "%a %u %g", "/", options=["--overlay"]) == "751 7 8\n"


def test_no_path_of_the_host_can_be_read_in_the_container(container, lower, tmp_path):
    text = container.run("cat", "/proc/self/mountinfo", options=[f"--overlay={tmp_path}/kept"])

    assert " - overlay overlay " in text
    assert str(tmp_path) not in text


def test_nothing_is_left_when_all_are_killed(container, lower):
    before = digest(lower)
    container.bundle.process["args"] = ["sh", "-c", f"{CHANGES}; sleep 1000"]
    container.run_detached("--overlay")
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")
    container.delete()

    assert mounts_below(container.bundle.path) == []
    assert digest(lower) == before


def test_nothing_is_left_when_the_runtime_is_killed_half_way(container, lower, tmp_path):
    before = digest(lower)
    container.bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"]}]}
    container.bundle.save()
    command = container.command("create", "-b", container.bundle.path, "--overlay", container.id)
    with open(tmp_path / "log", "w") as log:
        runtime = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    wait_until((container.root / container.id / "state.json").exists, "the state is there")
    time.sleep(0.3)
    os.killpg(runtime.pid, signal.SIGKILL)
    runtime.wait()
    container.delete("--force")

    assert mounts_below(container.bundle.path) == []
    assert digest(lower) == before


@pytest.mark.parametrize("before", [None, 0o755, 0o2770], ids=["missing", "readable", "of a group"])
@pytest.mark.parametrize("user_namespace", [False, True])
def test_no_user_of_the_host_reaches_the_files_of_a_kept_layer(container, lower, before, user_namespace):
    """A set-user-ID file of the container's root is the host's root's, without a user namespace."""
    with tempfile.TemporaryDirectory(prefix="pyrun-layer-", dir="/tmp") as directory:  # pytest's own are 0700
        os.chmod(directory, 0o755)
        kept = f"{directory}/a/kept"
        if before:
            os.makedirs(kept)
            os.chmod(kept, before)
        if user_namespace:
            container.bundle.user_namespace()
        script = "cp /bin/busybox /tmp/mine; chmod 4755 /tmp/mine"
        container.run("sh", "-c", script, options=[f"--overlay={kept}"])

        assert os.stat(f"{kept}/upper/tmp/mine").st_mode & 0o7777 == 0o4755
        with pytest.raises(PermissionError):
            subprocess.run([f"{kept}/upper/tmp/mine", "id", "-u"], user=65534)
        assert stat.S_IMODE(os.stat(f"{directory}/a").st_mode) == 0o755


def test_a_directory_with_other_files_keeps_its_mode_and_is_no_place_for_a_layer(container, lower, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    kept.chmod(0o755)
    message = container.run_fails("true", options=[f"--overlay={kept}"])

    assert message.startswith(f"error: --overlay={kept}: others may enter it, ")
    assert f"chmod 700 {kept}" in message
    assert os.listdir(kept) == ["file"]
    kept.chmod(0o700)
    container.run("true", options=[f"--overlay={kept}"])


def test_an_option_without_its_directory_is_refused(container):
    assert container.run_fails(options=["--overlay="]) == "error: flag needs an argument: -overlay="


def test_a_layer_in_the_root_file_system_is_refused_and_nothing_made(container, lower):
    message = container.run_fails("true", options=[f"--overlay={lower}/layer"])

    assert message.startswith(f"error: --overlay={lower}/layer: neither may be in the other: the root file system is ")
    assert not (lower / "layer").exists()


def test_created_containers_have_it_too(container, lower):
    before = digest(lower)
    container.bundle.process["args"] = ["sh", "-c", "echo new >/etc/file"]
    container.create("--overlay").start().wait_until("stopped")

    assert digest(lower) == before

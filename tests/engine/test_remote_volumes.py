"""Volumes of NFS, whose server is in the engine's own network: that of a container need not lead there."""

from pathlib import Path

import nfs
import pytest

pytestmark = [pytest.mark.needs("NFS"), pytest.mark.usefixtures("removed")]

TEXT = "of the server\n"


@pytest.fixture(scope="module")
def served(hub):
    """The folder that the server has, on tmpfs."""
    folder = Path("/tmp/served")
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_text(TEXT)
    nfs.serve(folder, hub.inside)
    return folder


@pytest.fixture
def removed(engine):
    yield
    engine.remove_all()
    for one in engine.call("GET", "/volumes")[1]["Volumes"]:
        engine.call("DELETE", f"/volumes/{one['Name']}")


def make(engine, name="vol", device=":/", options="addr=127.0.0.1,vers=4,soft"):
    engine.ok("volume", "create", "-o", "type=nfs", "-o", f"device={device}", "-o", f"o={options}", name)


def run(engine, volume, program):
    return engine.docker("run", "--rm", "--network=none", "-v", volume, "busybox", "sh", "-c", program)


def test_a_container_has_the_files_of_the_server_without_a_network(engine, served):
    make(engine)

    done = run(engine, "vol:/x", "cat /x/file; echo new > /x/sub/new; grep ' /x ' /proc/mounts")

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith(TEXT)
    assert " /x nfs4 rw,relatime,vers=4" in done.stdout
    assert (served / "sub/new").read_text() == "new\n"
    assert "nfs4" not in Path(f"/proc/{engine.process.pid}/mounts").read_text()


def test_a_name_of_the_server_is_looked_up_and_options_hold(engine, served):
    make(engine, device=":/sub", options="addr=localhost,nfsvers=4.1,soft,nosuid,noexec,ro")

    done = run(engine, "vol:/x", "touch /x/new; grep ' /x ' /proc/mounts")
    read_only = run(engine, "vol:/x:ro", "grep ' /x ' /proc/mounts").stdout

    assert "Read-only file system" in done.stderr
    assert " /x nfs4 ro,nosuid,noexec,relatime,vers=4.1," in done.stdout
    assert " /x nfs4 ro,nosuid,noexec,relatime," in read_only


def test_cp_reaches_the_server_through_a_container_that_does_not_run(engine, served, tmp_path):
    make(engine)
    engine.ok("create", "--name", "web", "-v", "vol:/x", "busybox")
    (tmp_path / "sent").write_text("sent\n")

    engine.ok("cp", tmp_path / "sent", "web:/x/sent")
    engine.ok("cp", "web:/x/file", tmp_path / "got")

    assert (served / "sent").read_text() == "sent\n"
    assert (tmp_path / "got").read_text() == TEXT


@pytest.mark.parametrize(
    ("device", "options", "error"),
    [
        (":/nosuch", "addr=127.0.0.1,vers=4,soft", "No such file or directory"),
        (":/", "addr=127.0.0.1,vers=4,soft,port=9", "Connection refused"),
        (":/", "addr=nosuch.invalid", "error resolving passed in network volume address: lookup nosuch.invalid"),
        (":/", "vers=4", "Invalid argument"),
        (":/", "addr=127.0.0.1,nosuch", "nosuch"),
    ],
)
def test_what_cannot_be_mounted_is_told_at_the_start(engine, served, device, options, error):
    make(engine, device=device, options=options)

    done = run(engine, "vol:/x", "true")

    words = (
        f"error while mounting volume '{engine.data}/volumes/vol/_data': failed to mount local volume: mount {device}:"
    )
    assert done.returncode == 125
    assert words in done.stderr and error in done.stderr, done.stderr
    assert engine.ok("ps", "-aq") == ""

"""`-H ssh://` by a real ssh and sshd, which listens at loopback in the daemons' network, with keys of the test."""

import shutil
import subprocess
from pathlib import Path

import pytest
from daemon import PYRUND, wait_until

SSHD = "/usr/sbin/sshd"
PORT = 2222

pytestmark = pytest.mark.needs(SSHD, "ssh")


@pytest.fixture
def environment(engine, tmp_path):
    """Variables for a client of the engine; the server ends with the test."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    program = tmp_path / "bin/pyrund"
    program.parent.mkdir()
    program.symlink_to(PYRUND)
    settings = [
        f"ListenAddress 127.0.0.1:{PORT}",
        f"HostKey {tmp_path}/host",
        f"AuthorizedKeysFile {tmp_path}/user.pub",
        f"SetEnv PATH={program.parent}:/usr/bin:/bin DOCKER_HOST=unix://{engine.socket}",
        *("StrictModes no", "PidFile none", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin yes"),
    ]
    (tmp_path / "sshd").write_text("\n".join(settings))
    own = Path("/run/sshd")  # where it confines itself; the service would make it
    is_new = not own.exists()
    own.mkdir(exist_ok=True)
    log = open(tmp_path / "log", "w")
    server = subprocess.Popen([*engine.hub.inside, SSHD, "-D", "-e", "-f", tmp_path / "sshd"], stderr=log)
    wait_until(lambda: "Server listening" in (tmp_path / "log").read_text(), "sshd")
    # Of the options of ssh only those of its own configuration can be given, and that is the machine's or root's.
    known = (tmp_path / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{PORT} {known}")
    (tmp_path / "config").write_text(
        f"IdentityFile {tmp_path}/user\nUserKnownHostsFile {tmp_path}/known\nBatchMode yes\nIdentitiesOnly yes\n"
    )
    ssh = tmp_path / "client/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    ssh.chmod(0o755)
    yield {"PATH": f"{ssh.parent}:/usr/bin:/bin", "DOCKER_HOST": f"ssh://root@127.0.0.1:{PORT}", "HOME": str(tmp_path)}
    server.kill()
    server.wait()
    log.close()
    if is_new:
        own.rmdir()


def client(engine, environment, *words, **options):
    command = [*engine.hub.inside, "env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    return subprocess.run([*command, PYRUND, *words], capture_output=True, text=True, timeout=60, **options)


def test_a_daemon_is_used_by_way_of_sshd(engine, environment, removed):
    words = ("run", "--name", "web", "-i", "busybox", "sh", "-c", "cat; exit 7")
    done = client(engine, environment, *words, input="sent and received")

    assert (done.returncode, done.stdout) == (7, "sent and received"), done.stderr
    assert client(engine, environment, "ps", "-a", "--format", "{{.Names}}").stdout == "web\n"


def test_a_key_that_sshd_does_not_know_is_an_error_of_ssh_s(engine, environment, tmp_path):
    (tmp_path / "user.pub").write_text("")
    done = client(engine, environment, "ps")

    assert done.returncode == 1
    assert "Permission denied (publickey" in done.stderr and "Traceback" not in done.stderr

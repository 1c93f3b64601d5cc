"""`pyrund run hello-world` on a machine where nothing is set up: the command starts a daemon."""

import grp
import os
import socket
import struct
import subprocess

import pytest
from daemon import PYRUND, wait_until

FRESH = "mount -t tmpfs run /run && mount -t tmpfs lib /var/lib && exec sleep infinity"


class Machine:
    """Namespaces with an empty /run and /var/lib, in which the registry of `hub` is reached."""

    def __init__(self, hub):
        self._holder = subprocess.Popen([*hub.inside, "unshare", "--mount", "sh", "-ec", FRESH])
        wait_until(lambda: self._name() == "sleep\n", "the namespaces")
        self._inside = ["nsenter", "--net", "--mount", "--target", str(self._holder.pid)]
        self._socket = f"/proc/{self._holder.pid}/root/run/docker.sock"
        self.log = f"/proc/{self._holder.pid}/root/run/pyrund/log"

    def _name(self):
        with open(f"/proc/{self._holder.pid}/comm") as comm:
            return comm.read()

    def begin(self, *words):
        environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
        environment.update(SECRET="of the user", NO_PROXY="example.org")
        command = [*self._inside, *words]
        return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1)

    def run(self, *words):
        process = self.begin(*words)
        output, errors = process.communicate(timeout=30)
        return process.returncode, output, errors

    def daemon(self):
        """Return the pid of the daemon, None if there is none."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self._socket)
            except OSError:
                return None
            return struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def stop(self):
        daemon = self.daemon()
        if daemon:
            os.kill(daemon, 15)
            wait_until(lambda: self.daemon() is None, "the daemon's end")
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def machine(hub):
    made = Machine(hub)
    yield made
    made.stop()


def test_the_first_command_of_a_new_user_needs_no_set_up(machine):
    status, output, errors = machine.run(PYRUND, "run", "--rm", "hello-world")

    lines = errors.splitlines()
    assert (status, output) == (0, "Hello from Docker!\n"), errors
    assert lines[:2] == [
        "Unable to find image 'hello-world:latest' locally",
        "latest: Pulling from library/hello-world",
    ]
    assert lines[-1] == "Status: Downloaded newer image for hello-world:latest"
    daemon = machine.daemon()
    assert machine.run(PYRUND, "run", "--rm", "hello-world") == (0, "Hello from Docker!\n", "")
    assert machine.daemon() == daemon


def test_the_daemon_starts_if_the_program_has_a_relative_path(machine):
    directory, name = os.path.split(PYRUND)

    assert machine.run("sh", "-c", f"cd {directory} && exec ./{name} ps -q") == (0, "", "")


def test_commands_that_begin_at_once_share_one_daemon(machine):
    clients = [machine.begin(PYRUND, "ps", "-q") for _ in range(4)]

    assert [(*client.communicate(timeout=30), client.returncode) for client in clients] == [("", "", 0)] * 4
    with open(machine.log) as log:
        assert "Traceback" not in log.read()


def test_the_daemon_has_nothing_of_its_first_client_s(machine):
    machine.run(PYRUND, "ps")
    daemon = machine.daemon()

    assert os.readlink(f"/proc/{daemon}/cwd") == "/"
    assert os.getsid(daemon) == daemon
    with open(f"/proc/{daemon}/cmdline") as words:
        assert words.read().split("\0")[-4:-1] == ["serve", "--idle", "300"]
    assert os.readlink(f"/proc/{daemon}/fd/1") == "/dev/null"
    with open(f"/proc/{daemon}/environ") as variables:
        names = {variable.partition("=")[0] for variable in variables.read().split("\0") if variable}
    assert {"PATH", "NO_PROXY"} <= names
    assert "SECRET" not in names


def test_completion_starts_no_daemon(machine):
    assert machine.run(PYRUND, "completion", "containers")[:2] == (1, "")
    assert machine.daemon() is None


def test_version_starts_no_daemon(machine):
    status, output, errors = machine.run(PYRUND, "version")

    assert (status, output.splitlines()[0]) == (1, "Client: pyrund")
    assert errors.startswith("pyrund: Cannot connect to the Docker daemon at unix:///var/run/docker.sock")
    assert machine.daemon() is None


def test_a_daemon_that_cannot_start_is_said_in_one_line(machine):
    status, _, errors = machine.run("sh", "-c", f"mkdir -p /var/lib/pyrund/overlay2; exec {PYRUND} run hello-world")

    assert status == 125
    assert errors == (
        "pyrund: the daemon does not start: /var/lib/pyrund: has the data of dockerd; "
        "name another folder with --data-root\n"
    )


def test_a_user_who_may_use_root_s_daemon_starts_none(machine):
    machine.run(PYRUND, "run", "--name", "of-root", "hello-world")
    docker = grp.getgrnam("docker").gr_gid
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--groups", str(docker))

    for runtime in ("XDG_RUNTIME_DIR=/nonexistent", "XDG_RUNTIME_DIR="):
        words = ("env", runtime, PYRUND, "ps", "-a", "--format", "{{.Names}}")
        assert machine.run(*user, *words) == (0, "of-root\n", "")


def test_a_user_without_a_login_is_told_what_is_missing(machine):
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR")
    words = (*user, PYRUND, "run", "hello-world")
    status, _, errors = machine.run(*words)

    assert status == 1
    assert errors == (
        "pyrund: XDG_RUNTIME_DIR is not set: it has to name a folder of your own, such as /run/user/65534\n"
    )

"""NOTIFY_SOCKET: who started the runtime as a service learns when the container is ready."""

import contextlib
import os
import socket
import subprocess

import pytest
from harness import TIMEOUT, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox", "/usr/bin/python3")

# busybox has no client for datagrams.
READY = (
    "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET'])"
)


class Manager:
    """A service manager: its socket, and what it was told."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.bind(str(path))
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(path)}

    def hear(self):
        """Return what is said until the barrier, which is acknowledged."""
        said = []
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            for fd in descriptors:
                os.close(fd)
            if message == b"BARRIER=1":
                assert descriptors
                return said
            said.append(message.decode())


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "manager.sock")
    yield made
    made.socket.close()


@pytest.fixture
def python(bundle):
    """The host's interpreter in the container; returns what makes a command of a script."""
    for directory in ("/usr", "/lib", "/lib64"):
        if os.path.isdir(directory):
            bundle.mount(directory, "bind", os.path.realpath(directory), "rbind", "ro")
    bundle.process["env"] = ["PATH=/bin:/usr/bin", "HOME=/", "LC_ALL=C.UTF-8"]
    return lambda script: ["/usr/bin/python3", "-ISBc", script]


def tell(*messages):
    return "; ".join([READY, *(f"s.send(b'{message}')" for message in messages), "import time", "time.sleep(1000)"])


def test_start_returns_when_the_container_is_ready_and_tells_the_manager(container, bundle, python, manager):
    bundle.process["args"] = python(tell("STATUS=busy", "READY=1"))
    container.create(env=manager.environment)
    with subprocess.Popen(container.command("start", container.id), env=manager.environment) as start:
        said = manager.hear()

        assert said == ["READY=1\n", f"MAINPID={container.pid()}\n"]
        assert start.wait(TIMEOUT) == 0


def test_run_detached_tells_the_manager_too(container, bundle, python, manager):
    bundle.process["args"] = python(tell("READY=1"))
    bundle.save()
    with open(container.output_file, "w") as output:
        command = container.command("run", "-d", "-b", bundle.path, "--pid-file", container.pid_file, container.id)
        with subprocess.Popen(command, env=manager.environment, stdout=output, stderr=output) as run:
            said = manager.hear()

            assert said == ["READY=1\n", f"MAINPID={container.pid()}\n"]
            assert run.wait(TIMEOUT) == 0


def test_run_in_the_foreground_tells_the_manager_too(container, bundle, python, manager):
    bundle.process["args"] = python(tell("READY=1").replace("time.sleep(1000)", "os._exit(7)"))
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, env=manager.environment, stdin=subprocess.DEVNULL) as run:
        assert manager.hear()[0] == "READY=1\n"
        assert run.wait(TIMEOUT) == 7


def test_the_manager_is_told_also_if_the_container_has_ended_before_it_could_be(container, bundle, python, manager):
    bundle.process["args"] = python(tell("READY=1").replace("time.sleep(1000)", "os._exit(7)"))
    bundle.save()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        others.connect(manager.environment["NOTIFY_SOCKET"])
        with contextlib.suppress(BlockingIOError):
            while True:
                others.send(b"STATUS=the queue is full")
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, env=manager.environment, stdin=subprocess.DEVNULL) as run:
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(1)

        assert [line for line in manager.hear() if line.startswith("READY")] == ["READY=1\n"]
        assert run.wait(TIMEOUT) == 7


def test_another_user_in_another_user_namespace_can_tell(container, bundle, python, manager):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["args"] = python(tell("READY=1"))
    bundle.user_namespace()
    container.create(env=manager.environment)
    with subprocess.Popen(container.command("start", container.id), env=manager.environment) as start:
        assert manager.hear()[0] == "READY=1\n"
        assert start.wait(TIMEOUT) == 0


def test_start_returns_when_the_container_ends_without_having_been_ready(container, bundle, manager):
    bundle.process["args"] = ["true"]
    container.create(env=manager.environment)

    container.works("start", container.id, env=manager.environment)


def test_the_container_can_put_nothing_in_the_place_of_the_socket(container, bundle, manager):
    bundle.process["args"] = ["sh", "-c", "touch /run/notify/mine || echo $NOTIFY_SOCKET"]
    container.create(env=manager.environment)
    container.works("start", container.id, env=manager.environment)

    assert container.output().splitlines()[-1] == "/run/notify/notify.sock"


def test_without_a_manager_there_is_no_such_variable(container):
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}

    assert "NOTIFY_SOCKET" not in container.run("env", env=environment)


@pytest.mark.only_pyrun("runc 1.1 ends the container")
@pytest.mark.parametrize("options", [[], ["--detach"]])
def test_a_manager_that_has_gone_costs_no_container(container, bundle, python, tmp_path, options):
    ready = "s.send(b'READY=1'); import time; time.sleep(0.5); open('/tmp/ran', 'w'); time.sleep(1000)"
    bundle.process["args"] = python(f"{READY}; {ready}")
    bundle.save()
    command = container.command("run", *options, "--bundle", bundle.path, container.id)
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody")}
    with open(tmp_path / "stderr", "w") as output:
        options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "env": environment}
        command = subprocess.Popen(command, **options)
    wait_until(lambda: "NOTIFY_SOCKET" in (tmp_path / "stderr").read_text(), "it is warned of")

    assert (tmp_path / "stderr").read_text().count("\n") == 1
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    wait_until((bundle.rootfs / "tmp/ran").exists, "the container goes on")
    container.works("kill", container.id, "KILL")
    command.wait(10)

"""What a process gets of its caller, and the caller of it: LISTEN_FDS, --preserve-fds, --pidfd-socket."""

import os
import subprocess

import pytest
from harness import TIMEOUT, DescriptorSocket

pytestmark = pytest.mark.needs("root", "/bin/busybox")

READ_BOTH = ["sh", "-c", "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID"]


@pytest.fixture
def given(tmp_path):
    """Run a command of the runtime with files that hold "three" and "four" as its descriptors 3 and 4."""
    for name in ("three", "four"):
        (tmp_path / name).write_text(f"{name}\n")

    def call(command, **environment):
        redirected = f"exec 3<{tmp_path}/three 4<{tmp_path}/four; exec {' '.join(command)}"
        environment = {**os.environ, **environment}
        return subprocess.run(
            ["sh", "-c", redirected], env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )

    return call


def run(container, *options):
    container.bundle.save()
    return container.command("run", *options, "--bundle", container.bundle.path, container.id)


@pytest.mark.differs("runc", "1.1 does not pass both on")
@pytest.mark.differs("crun", "1.8 counts LISTEN_FDS otherwise")
def test_descriptors_of_listen_fds_come_first_and_those_to_preserve_after_them(container, bundle, given):
    bundle.process["args"] = READ_BOTH

    assert given(run(container, "--preserve-fds", "1"), LISTEN_FDS="1").stdout == "three\nfour\n1 1\n"


def test_no_more_descriptors_are_passed_on_than_were_asked_for(container, bundle, given):
    bundle.process["args"] = ["sh", "-c", "ls /proc/$$/fd; true"]

    assert given(run(container, "--preserve-fds", "1")).stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.only_pyrun("runc hangs with so few")
@pytest.mark.parametrize("options", [[], ["--tty"]])
def test_exec_works_with_as_few_descriptors_as_run(container, options):
    container.prefix = ["prlimit", "--nofile=24"]
    container.run("true")
    container.sleeping()

    container.exec("true", options=options)


@pytest.mark.differs("crun", "1.8 does not look at LISTEN_PID")
def test_listen_fds_that_are_meant_for_another_process_are_not_passed_on(container, bundle, given):
    bundle.process["args"] = ["sh", "-c", "ls /proc/$$/fd; echo $LISTEN_FDS"]

    assert given(run(container), LISTEN_FDS="2", LISTEN_PID="1").stdout.split() == ["0", "1", "2"]


def test_what_is_preserved_by_create_is_there_at_the_start(container, bundle, given):
    bundle.process["args"] = ["sh", "-c", "cat <&3 >/tmp/read"]
    bundle.save()
    create = [*container.command("create", "--preserve-fds", "1", "--bundle", bundle.path), container.id]
    assert given([*create, "</dev/null", ">/dev/null", "2>&1"]).returncode == 0
    container.start().wait_until("stopped")

    assert (bundle.rootfs / "tmp/read").read_text() == "three\n"


@pytest.mark.differs("runc", "1.1 does not pass both on")
@pytest.mark.differs("crun", "1.8 counts LISTEN_FDS otherwise")
def test_exec_passes_descriptors_on_in_the_same_way(container, given):
    container.sleeping()
    script = "'cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID'"
    command = container.command("exec", "--preserve-fds", "1", container.id, "sh", "-c", script)

    assert given(command, LISTEN_FDS="1").stdout == "three\nfour\n1 1\n"


@pytest.mark.differs("runc", "1.1 does not look")
@pytest.mark.differs("crun", "1.8 does not look")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_descriptor_to_preserve_that_is_not_open_is_named(container, given, verb):
    if verb == "exec":
        container.sleeping()
        command = container.command("exec", "--preserve-fds", "3", container.id, "true")
    else:
        command = run(container, "--preserve-fds", "3")
    result = given(command)

    assert result.returncode == {"run": 1, "exec": 255}[verb]
    assert "5" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.fixture
def pidfd_socket(tmp_path):
    made = DescriptorSocket(tmp_path / "pidfd.sock")
    yield made
    made.close()


def received_pid(pidfd_socket):
    """Return the pid of the process that the one received descriptor refers to."""
    _, (pidfd,) = pidfd_socket.receive()
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
    os.close(pidfd)
    return pid


@pytest.mark.differs("runc", "it knows no annotation of crun's")
@pytest.mark.proves("annotations: run.oci.pidfd_receiver")
def test_a_pidfd_of_the_init_is_sent_where_an_annotation_of_crun_says(container, bundle, pidfd_socket):
    bundle.config["annotations"] = {"run.oci.pidfd_receiver": str(pidfd_socket.path)}
    container.create()

    assert received_pid(pidfd_socket) == container.pid()


@pytest.mark.only_pyrun("runc before 1.2 and crun have no --pidfd-socket")
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_pidfd_of_the_init_is_sent(container, bundle, pidfd_socket, verb):
    bundle.process["args"] = ["sleep", "1000"]
    (container.create if verb == "create" else container.run_detached)("--pidfd-socket", pidfd_socket.path)

    assert received_pid(pidfd_socket) == container.pid()


@pytest.mark.only_pyrun("runc before 1.2 and crun have no --pidfd-socket")
def test_a_pidfd_of_the_process_that_joins_is_sent(container, pidfd_socket, tmp_path):
    container.sleeping()
    options = ["--detach", "--pid-file", tmp_path / "pid", "--pidfd-socket", pidfd_socket.path]
    command = container.command("exec", *options, container.id, "sleep", "1000")
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT)

    assert received_pid(pidfd_socket) == int((tmp_path / "pid").read_text())

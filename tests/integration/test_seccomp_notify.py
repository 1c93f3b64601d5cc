"""linux.seccomp with SCMP_ACT_NOTIFY: an agent on the host answers for system calls of the container."""

import json
import os
import re
import socket
import threading
from fcntl import ioctl

import pytest
from harness import wait_until, without_executable_memfds

pytestmark = pytest.mark.needs("root", "/bin/busybox")

SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
EDQUOT = 122


class Agent:
    """Takes listeners at `path`; refuses the calls that they tell of with EDQUOT, or lets them go on."""

    def __init__(self, path):
        self.path = path
        self.lets_go_on = False
        self.states = []
        self.asked = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self._listening.accept()
            data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            self.states.append((json.loads(data), descriptors))
            for fd in descriptors:
                threading.Thread(target=self._answer, args=(fd,), daemon=True).start()

    def _answer(self, fd):
        while True:
            call = bytearray(80)  # struct seccomp_notif
            try:
                ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, call)
            except OSError:
                return os.close(fd)  # nobody has the filter any more
            self.asked.append(int.from_bytes(call[8:12], "little"))
            error, flags = (0, SECCOMP_USER_NOTIF_FLAG_CONTINUE) if self.lets_go_on else (-EDQUOT, 0)
            answer = error.to_bytes(4, "little", signed=True) + flags.to_bytes(4, "little")
            try:
                ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, bytes(call[:8]) + bytes(8) + answer)
            except FileNotFoundError:
                pass  # who asked has been killed


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "agent.sock")


@pytest.fixture
def notified(bundle, agent):
    """Let the agent answer for `names`."""

    def notified(*names, metadata=""):
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(agent.path),
            "listenerMetadata": metadata,
            "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
        }
        return bundle.linux["seccomp"]

    return notified


@pytest.mark.proves("linux.seccomp.listenerPath", "linux.seccomp.syscalls[].action=SCMP_ACT_NOTIFY")
def test_the_agent_answers_for_the_program(container, notified, agent):
    notified("mkdir", "mkdirat")

    assert "uota exceeded" in container.sh("mkdir /made 2>&1; ls / ; true")
    assert not (container.bundle.rootfs / "made").exists()
    assert len(agent.asked) == 1


@pytest.mark.proves("linux.seccomp.listenerPath", "linux.seccomp.listenerMetadata")
def test_the_agent_learns_whose_filter_it_is(container, notified, agent, bundle):
    notified("mkdir", "mkdirat", metadata="of the test")
    bundle.config["annotations"] = {"com.example": "1"}
    container.sleeping()
    wait_until(lambda: agent.states, "the agent has heard")
    ((state, descriptors),) = agent.states

    assert len(descriptors) == 1
    assert state["fds"] == ["seccompFd"]
    assert state["pid"] == container.pid()
    assert state["metadata"] == "of the test"
    assert state["state"]["id"] == container.id
    assert state["state"]["pid"] == container.pid()
    assert state["state"]["bundle"] == str(bundle.path)
    assert state["state"]["annotations"] == {"com.example": "1"}


@pytest.mark.differs("runc", "it knows no annotation of crun's")
@pytest.mark.proves("annotations: run.oci.seccomp.receiver")
def test_an_annotation_of_crun_names_the_agent(container, notified, agent, bundle):
    del notified("mkdir", "mkdirat")["listenerPath"], bundle.linux["seccomp"]["listenerMetadata"]
    bundle.config["annotations"] = {"run.oci.seccomp.receiver": str(agent.path)}

    assert "uota exceeded" in container.sh("mkdir /made 2>&1; true")
    assert len(agent.asked) == 1


@pytest.mark.differs("runc", "it knows no annotation of crun's")
@pytest.mark.proves("annotations: run.oci.seccomp_fail_unknown_syscall")
def test_an_annotation_of_crun_refuses_unknown_calls(container, bundle):
    rule = {"names": ["mkdir", "mkdri"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "1"}

    assert "mkdri" in container.run_fails("true")


def test_the_agent_answers_for_execve_itself(container, notified, agent):
    notified("execve")

    assert "uota exceeded" in container.run_fails("true")
    assert len(agent.asked) == 1


@pytest.mark.only_pyrun("runc hands over the listener at create")
def test_a_created_container_has_no_filter_yet(container, notified, agent):
    notified("mkdir", "mkdirat")
    container.create()

    assert agent.states == []
    container.start()
    wait_until(lambda: len(agent.states) == 1, "the agent has heard")


def test_exec_has_a_listener_of_its_own(container, notified, agent):
    notified("mkdir", "mkdirat")
    container.sleeping()

    result = container.call("exec", container.id, "mkdir", "/made")

    assert "uota exceeded" in result.stderr
    assert [state["state"]["status"] for state, _ in agent.states][1] == "running"
    assert agent.states[1][0]["pid"] != container.pid()


def test_a_start_container_hook_is_under_the_filter_and_the_agent_answers_for_it(container, notified, agent, bundle):
    notified("mkdir", "mkdirat")
    script = "cat >/dev/null; mkdir /made 2>/tmp/told; true"
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    container.sleeping()

    assert "uota exceeded" in (bundle.rootfs / "tmp/told").read_text()


def test_descriptors_that_are_passed_on_do_not_disturb(container, notified, agent, tmp_path):
    notified("mkdir", "mkdirat")
    with open(tmp_path / "passed", "w") as file:

        def place():  # in the child: the numbers may be taken here
            os.dup2(file.fileno(), 3)
            os.dup2(file.fileno(), 4)

        options = {"options": ("--preserve-fds", "2"), "close_fds": False, "preexec_fn": place}
        listing = container.sh("mkdir /made; ls /proc/self/fd", **options)

    assert len(agent.asked) == 1
    assert listing.split() == ["0", "1", "2", "3", "4", "5"]  # the last is that of ls


def test_the_program_has_no_listener_itself(container, notified):
    notified("mkdir", "mkdirat")

    assert container.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_without_an_agent_the_program_does_not_run(container, notified, bundle):
    notified("mkdir")["listenerPath"] = "/nowhere/agent.sock"

    assert "/nowhere/agent.sock" in container.run_fails("touch", "/ran")
    assert not (bundle.rootfs / "ran").exists()


@pytest.mark.differs("crun", "exec runs without the filter's agent")
def test_without_an_agent_exec_runs_nothing(container, notified, agent, bundle):
    notified("mkdir", "mkdirat")
    container.sleeping()
    agent.path.unlink()

    assert str(agent.path) in container.fails("exec", container.id, "touch", "/ran", status=255)
    assert not (bundle.rootfs / "ran").exists()


@pytest.mark.differs("crun", "it runs the program")
@pytest.mark.parametrize(
    "call", ["read", pytest.param("write", marks=pytest.mark.differs("runc", "it gives another reason"))]
)
def test_a_filter_that_forbids_what_hands_the_listener_over_is_an_error(call, container, notified, agent, bundle):
    seccomp = notified("mkdir")
    seccomp["syscalls"].append({"names": [call], "action": "SCMP_ACT_KILL_PROCESS"})
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.returncode != 0
    assert not (bundle.rootfs / "ran").exists()
    # A filter that kills at read may do so when it has been told that all is well, as one that kills at execve does.
    assert call == "read" or "must allow read and write" in result.stderr


@pytest.mark.differs("crun", "it does not know that")
def test_the_agent_cannot_answer_for_what_hands_the_listener_over(container, notified):
    notified("write")

    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in container.run_fails("true")


def test_the_agent_can_answer_for_read(container, notified, agent):
    notified("read", "readv", "close")
    agent.lets_go_on = True
    container.sleeping()

    assert container.exec("sh", "-c", "read line </proc/version; echo $line").startswith("Linux version")
    assert len(agent.asked) > 2


def test_the_agent_can_answer_for_read_where_no_memfd_can_be_executed(container, notified, agent):
    notified("read", "close")
    agent.lets_go_on = True
    container.prefix = without_executable_memfds()

    assert container.sh("read line </proc/version; echo $line").startswith("Linux version")
    assert len(agent.asked) > 1


@pytest.mark.needs("strace")
@pytest.mark.differs("runc", "it takes no flags before 1.2")
@pytest.mark.proves("linux.seccomp.flags=SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
def test_a_call_that_the_agent_has_is_not_interrupted(container, notified, tmp_path):
    notified("mkdir", "mkdirat")["flags"] = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    log = tmp_path / "log"
    container.prefix = ["strace", "-f", "-qq", "-e", "trace=seccomp", "-e", "signal=none", "-o", log]

    assert "uota exceeded" in container.sh("mkdir /made 2>&1; true")
    (line,) = [one for one in log.read_text().splitlines() if "SECCOMP_SET_MODE_FILTER" in one and "{len=" in one]
    assert {"SECCOMP_FILTER_FLAG_NEW_LISTENER", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"} <= set(
        re.split("[|, ]", line)
    )

"""`docker exec`."""

import json
import os

import pytest
from beside_dockerd import asked
from daemon import DOCKER, Daemon, changed_program, read_all, read_until, wait_until
from terminals import expect, in_terminal

pytestmark = pytest.mark.usefixtures("removed", "web")


@pytest.fixture
def web(removed, engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "-e", "OWN=1", "busybox", "sleep", "1000")


def test_output_and_exit_code_arrive(engine):
    done = engine.docker("exec", "web", "sh", "-c", "echo out; echo error >&2; exit 4")

    assert (done.returncode, done.stdout, done.stderr) == (4, "out\n", "error\n")


def test_standard_input_is_read_to_its_end(engine):
    assert engine.ok("exec", "-i", "web", "cat", input="data\n") == "data"


@pytest.mark.parametrize(
    ("options", "command", "expected"),
    [
        (["-e", "A=b"], "echo $A $OWN", "b 1"),
        (["-w", "/tmp"], "pwd", "/tmp"),
        (["-u", "web"], "id -un; id -G", "web\n34 8 99"),
        (["-t"], "echo $TERM", "xterm"),
        (["-t", "-e", "TERM=vt100"], "echo $TERM", "vt100"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_has_its_effect(engine, options, command, expected):
    assert engine.ok("exec", *options, "web", "sh", "-c", command) == expected


def test_a_program_that_does_not_exist_has_status_127(engine):
    done = engine.docker("exec", "web", "nosuch")

    assert done.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stdout + done.stderr


def test_a_program_that_may_not_run_has_status_126(engine):
    assert engine.docker("exec", "web", "/etc").returncode == 126


def test_an_unknown_user_is_named(engine):
    done = engine.docker("exec", "-u", "nosuch", "web", "true")

    assert done.returncode == 126
    assert "unable to find user nosuch: no matching entries in passwd file" in done.stdout + done.stderr


def test_a_terminal_works(engine):
    master, pid = in_terminal(DOCKER, "-H", f"unix://{engine.socket}", "exec", "-it", "web", "sh")
    try:
        expect(master, b"# ")
        os.write(master, b"tty; exit 6\n")
        expect(master, b"/dev/pts/")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    finally:
        os.close(master)


def test_d_does_not_wait(engine):
    engine.ok("exec", "-d", "web", "sh", "-c", "sleep 1000")

    assert engine.ok("top", "web").count("sleep 1000") == 2


def test_an_exec_runs_once(engine):
    created = engine.call("POST", "/containers/web/exec", {"Cmd": ["true"]})[1]
    engine.call("POST", f"/exec/{created['Id']}/start", {"Detach": True})

    status, answer = engine.call("POST", f"/exec/{created['Id']}/start", {"Detach": True})

    assert status == 409
    assert created["Id"] in answer["message"]


def test_it_needs_a_running_container_and_a_command(engine):
    engine.ok("kill", "web")

    assert "is not running" in engine.fails("exec", "web", "true")[1]
    assert engine.call("POST", "/containers/web/exec", {}) == (400, {"message": "No exec command specified"})
    assert engine.call("GET", "/exec/nosuch/json") == (404, {"message": "No such exec instance: nosuch"})


def test_the_head_of_a_stream_comes_alone_even_to_a_slow_reader(engine):
    """docker-py drops what it reads together with the head."""
    created = engine.call("POST", "/containers/web/exec", {"Cmd": ["echo", "out"], "AttachStdout": True})[1]
    head = f"POST /exec/{created['Id']}/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n"
    with engine.connect() as connection:
        connection.sendall(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n{{}}".encode())
        wait_until(lambda: engine.call("GET", f"/exec/{created['Id']}/json")[1]["ExitCode"] == 0, "the end")

        first = connection.recv(65536)
        assert first.startswith(b"HTTP/1.1 101 ") and first.endswith(b"\r\n\r\n")
        assert read_all(connection).endswith(b"out\n")


# A worker finds an obstacle when it writes down what it has started.
HINDERED = """
import os
from pyrund.launch import execute
process_stat = execute.process_stat
def hinder(pid):
    for name in os.listdir("{execs}"):
        os.mkdir(f"{execs}/{{name}}/exec.json.new")
    return process_stat(pid)
execute.process_stat = hinder
"""


def test_an_exec_that_cannot_be_noted_when_it_has_begun_is_ended(hub, tmp_path, monkeypatch):
    change = HINDERED.format(execs=tmp_path / "engine/run/execs")
    monkeypatch.setattr("daemon.PYRUND", changed_program(tmp_path, change))
    engine = Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    try:
        assert str(engine.run) in change
        engine.ok("pull", "busybox")
        engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
        id_ = engine.call("POST", "/containers/web/exec", {"Cmd": ["sleep", "1000"]})[1]["Id"]
        status, answer = engine.call("POST", f"/exec/{id_}/start", {"Detach": True})

        assert (status, "exec.json: Is a directory" in answer["message"]) == (500, True)
        assert engine.call("GET", f"/exec/{id_}/json")[1]["Running"] is False
        assert len(engine.ok("top", "web").splitlines()) == 2
    finally:
        engine.remove_all()
        engine.stop()


def test_a_client_of_an_exec_that_cannot_be_noted_is_told(engine):
    exec_ = engine.call("POST", "/containers/web/exec", {"Cmd": ["true"], "AttachStdout": True})[1]["Id"]
    obstacle = engine.run / "execs" / exec_ / "exec.json.new"
    obstacle.mkdir()
    head = f"POST /exec/{exec_}/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{{}}"

    answered = engine.exchange(head.encode())

    assert b"exec.json: Is a directory" in answered
    obstacle.rmdir()


def test_a_command_is_a_list_as_with_dockerd(engine):
    status, answer = engine.call("POST", "/containers/web/exec", {"Cmd": "id"})

    assert (status, answer["message"]) == (400, "invalid JSON: Cmd: expected strings")


@pytest.mark.parametrize(("keys", "shown"), [("", ""), ("ctrl-p,ctrl-q", "EBE="), ("a,b", "YWI=")])
@pytest.mark.parametrize("terminal", [True, False])
def test_inspect_shows_the_keys_that_were_given_as_dockerd_does(engine, dockerd, keys, shown, terminal):
    dockerd.docker("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    body = json.dumps({"Cmd": ["true"], "Tty": terminal, "DetachKeys": keys}).encode()
    headers = {"Content-Type": "application/json"}
    found = []
    for daemon in (engine, dockerd):
        id_ = asked(daemon, "POST", "/containers/web/exec", body, headers)[1][0]["Id"]
        found.append(asked(daemon, "GET", f"/exec/{id_}/json")[1][0]["DetachKeys"])
    dockerd.docker("rm", "-f", "web")

    assert found == [shown, shown]


def test_a_variable_that_the_client_does_not_have_is_taken_away(engine):
    engine.ok("run", "-d", "--name", "with-a", "--network=none", "-e", "A=1", "busybox", "sleep", "1000")

    shown = engine.ok("exec", "-e", "A", "-e", "NONE", "-e", "B=2", "with-a", "env").split()

    assert "B=2" in shown
    assert not [one for one in shown if one.startswith(("A", "NONE"))]


def test_a_client_may_resize_an_exec_that_is_about_to_start(engine):
    created = {"Cmd": ["sh", "-c", "sleep 0.3; stty size"], "Tty": True, "AttachStdout": True}
    exec_ = engine.call("POST", "/containers/web/exec", created)[1]["Id"]
    body = b'{"Tty":true}'
    head = f"POST /exec/{exec_}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    with engine.connect() as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        read_until(connection, b"\r\n\r\n")

        assert engine.call("POST", f"/exec/{exec_}/resize?h=33&w=99")[0] == 200
        assert read_all(connection) == b"33 99\r\n"


def test_an_exec_that_was_never_started_cannot_be_resized(engine):
    exec_ = engine.call("POST", "/containers/web/exec", {"Cmd": ["true"]})[1]["Id"]

    assert engine.call("POST", f"/exec/{exec_}/resize?h=33&w=99")[0] == 409

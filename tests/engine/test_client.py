"""pyrund's own client beside docker's, at the same daemon: the same output, exit status and effect."""

import os
import signal
import socket
import subprocess
import time

import pytest
from clients import assert_same, begin, ok, on_terminal, ours
from daemon import DOCKER, PYRUND, wait_until
from hello import hello
from terminals import expect, in_terminal, rest_of, set_size

from pyrund.commands.help import TEXTS
from pyrund.options import VERBS

pytestmark = pytest.mark.usefixtures("removed")


PYRUND_FOLDER = os.path.dirname(PYRUND)
RUN = ("run", "--rm", "--network=none")


@pytest.mark.parametrize(
    "words",
    [
        ("busybox", "sh", "-c", "echo out; echo error >&2; exit 3"),
        ("-e", "A=b", "-w", "/tmp", "-u", "5:6", "busybox", "sh", "-c", "echo $A; pwd; id -u"),
        ("--entrypoint", "echo", "busybox", "-n", "word"),
        ("busybox", "nosuch"),
        ("busybox", "/etc"),
        ("-m", "1m", "busybox"),
        ("--name", "a b", "busybox"),
        ("--nosuch", "busybox"),
        ("-it", "busybox"),
        ("busybox", "sh", "-c", "kill -9 $$"),
    ],
    ids=" ".join,
)
def test_run_is_docker_s(engine, words):
    assert_same(engine, *RUN, *words)


def test_standard_input_is_read_to_its_end(engine):
    shown = assert_same(engine, *RUN, "-i", "busybox", "sh", "-c", "cat; echo end", input="data\n" * 30_000)

    assert shown.endswith("data\nend\n")


def test_much_output_arrives_whole(engine):
    done = ours(engine, *RUN, "busybox", "cat", "/bin/busybox", text=False)

    with open("/bin/busybox", "rb") as file:
        assert done.stdout == file.read()


def test_input_and_output_that_are_much_do_not_wait_for_each_other(engine):
    data = os.urandom(2 << 20)

    assert ours(engine, *RUN, "-i", "busybox", "cat", input=data, text=False).stdout == data


# Terminals.


def test_a_terminal_has_our_size_and_follows_it(engine):
    master, pid = on_terminal(engine, *RUN, "-it", "busybox", "sh")
    expect(master, b"# ")
    os.write(master, b"stty size\n")
    expect(master, b"33 101\r\n")
    set_size(master, 20, 50)
    wait_until(lambda: b"20 50\r\n" in size_of(master), "the second size")
    os.write(master, b"exit 7\n")

    assert rest_of(master, pid)[1] == 7


def size_of(master):
    os.write(master, b"stty size; echo done\n")
    return expect(master, b"done\r\n")


def test_our_terminal_is_as_before_when_the_container_has_ended(engine):
    words = f"{PYRUND} -H unix://{engine.socket} run --rm -it --network=none busybox tty"
    master, pid = in_terminal("/bin/sh", "-c", f"stty -g; {words}; stty -g")

    first, second, third = rest_of(master, pid)[0].split()
    assert (first, second) == (third, b"/dev/pts/0")


@pytest.mark.parametrize("keys", [(), ("--detach-keys", "ctrl-x,q")], ids=str)
def test_the_detach_keys_leave_the_container_running(engine, keys):
    seen = {}
    for name, client in (("ours", on_terminal), ("docker's", docker_on_terminal)):
        master, pid = client(engine, "run", "--name", name[:4], "-it", "--network=none", *keys, "busybox", "sh")
        expect(master, b"# ")
        os.write(master, b"\x18q" if keys else b"\x10\x11")
        seen[name] = rest_of(master, pid)

    assert seen["ours"][1] == seen["docker's"][1] == 0
    assert len(engine.ok("ps", "-q").split()) == 2


def docker_on_terminal(engine, *words):
    return in_terminal(DOCKER, "-H", f"unix://{engine.socket}", *words)


@pytest.mark.parametrize("verb", ["exec", "attach"])
def test_a_terminal_of_a_running_container_is_left_by_the_detach_keys(engine, verb):
    engine.ok("run", "-dit", "--name", "web", "--network=none", "busybox", "sh")
    words = ("exec", "-it", "web", "sh") if verb == "exec" else ("attach", "web")
    master, pid = on_terminal(engine, *words)
    expect(master, b"# ")
    os.write(master, b"echo a$((1 + 1))b\n")
    expect(master, b"a2b\r\n")
    os.write(master, b"\x10\x11")

    data, status = rest_of(master, pid)
    assert (status, data[-22:]) == (1, b"read escape sequence\r\n")
    assert engine.inspect("web", ".State.Running")
    if verb == "attach":
        master, pid = on_terminal(engine, *words)
        expect(master, b"# ")  # the shell shows its prompt again
        os.write(master, b"\x10\x11")
        rest_of(master, pid)


def test_an_image_that_is_fetched_is_shown_by_bars_that_are_drawn_again(engine):
    engine.docker("rmi", "hello-world")
    master, pid = on_terminal(engine, "run", "--rm", "--network=none", "hello-world")

    data, status = rest_of(master, pid)
    assert status == 0
    assert b"latest: Pulling from library/hello-world\r\n" in data
    assert data.count(b"Pull complete") > 2  # drawn again with each change, by moving the cursor up
    assert b"\x1b[2A\x1b[J" in data
    assert data.endswith(b"Hello from Docker!\r\n")


# Signals.


def test_signals_reach_the_program(engine):
    program = "trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done"
    client = begin(engine, *RUN, "busybox", "sh", "-c", program, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"up\n"
    client.terminate()

    assert client.wait(20) == 9


@pytest.mark.parametrize("flags", ["-t", "-it"])
def test_signals_for_run_reach_a_program_on_a_terminal_too(engine, flags):
    program = "trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done"
    master, pid = on_terminal(engine, *RUN, flags, "busybox", "sh", "-c", program)
    expect(master, b"up")
    os.kill(pid, signal.SIGTERM)

    assert rest_of(master, pid)[1] == 9


def test_a_signal_ends_attach_to_a_terminal_alone(engine):
    engine.ok("run", "-dit", "--name", "web", "--network=none", "busybox", "sh")
    master, pid = on_terminal(engine, "attach", "web")
    expect(master, b"# ")
    os.kill(pid, signal.SIGTERM)

    assert rest_of(master, pid)[1] == 143
    assert engine.inspect("web", ".State.Running")


def test_signals_reach_a_program_that_has_closed_its_output(engine):
    program = "trap 'exit 9' TERM; echo up; exec >&- 2>&-; while true; do sleep 0.1; done"
    client = begin(engine, *RUN, "busybox", "sh", "-c", program, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"up\n"
    time.sleep(0.5)
    client.terminate()

    assert client.wait(20) == 9


def test_the_end_of_the_daemon_is_an_error_of_125(own_engine):
    client = begin(own_engine, *RUN, "busybox", "sh", "-c", "echo up; sleep 2", stdout=-1, stderr=-1)
    assert client.stdout.readline() == b"up\n"
    own_engine.kill()

    assert (client.wait(20), client.stderr.read()[:37]) == (125, b"pyrund: error waiting for container: ")
    own_engine.start()


def test_without_sig_proxy_a_signal_ends_the_client_alone(engine):
    program = "echo up; sleep 1000"
    client = begin(
        engine, "run", "--name", "web", "--sig-proxy=false", "busybox", "sh", "-c", program, stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"up\n"
    client.send_signal(signal.SIGINT)

    assert client.wait(20) == 130
    assert engine.inspect("web", ".State.Running")


def test_a_reader_that_has_gone_ends_the_client(engine):
    client = begin(engine, *RUN, "busybox", "sh", "-c", "while echo line; do true; done", stdout=subprocess.PIPE)
    client.stdout.readline()
    client.stdout.close()

    assert client.wait(20) == 141


# The rest of a container's life.


def test_a_container_s_life(engine):
    id_ = ok(engine, "create", "--name", "web", "--network=none", "-i", "busybox", "cat")
    assert len(id_) == 64
    assert ours(engine, "start", "-ai", "web", input="typed\n").stdout == "typed\n"
    assert ok(engine, "start", "web") == "web"
    assert ok(engine, "restart", "-t", "0", "web") == "web"
    assert ok(engine, "kill", "-s", "CONT", "web") == "web"
    assert ok(engine, "kill", "web") == "web"
    assert ok(engine, "wait", "web") == "137"
    assert ok(engine, "rm", "web") == "web"


def test_d_prints_the_id_and_cidfile_has_it(engine, tmp_path):
    id_ = ok(engine, "run", "-d", "--cidfile", tmp_path / "id", "--network=none", "busybox", "sleep", "1000")

    assert (tmp_path / "id").read_text() == id_
    assert engine.ok("ps", "-q", "--no-trunc") == id_
    status = ours(engine, "run", "--cidfile", tmp_path / "id", "busybox")
    assert (status.returncode, len(engine.ok("ps", "-aq").split())) == (125, 1)


def test_logs_follow_to_the_end(engine):
    ok(engine, "run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "echo one; sleep 1; echo two")

    assert ok(engine, "logs", "-f", "web") == "one\ntwo"


def test_attach_has_the_program_s_output_and_exit_code(engine):
    program = "while [ ! -e /go ]; do sleep 0.05; done; echo seen; exit 5"
    id_ = ok(engine, "run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    client = begin(engine, "attach", "web", stdout=subprocess.PIPE)
    wait_until(lambda: engine.has_seen("event=attach", f"container={id_}"), "the client")
    ok(engine, "exec", "web", "touch", "/go")

    assert (client.stdout.read(), client.wait(20)) == (b"seen\n", 5)


def test_events_come_as_they_happen(engine):
    options = ("--since", f"{time.time():.9f}", "--format", "{{.Action}}", "--filter", "type=container")
    client = begin(engine, "events", *options, stdout=subprocess.PIPE)
    ok(engine, *RUN, "busybox", "true")

    assert [client.stdout.readline().strip() for _ in range(3)] == [b"create", b"attach", b"start"]
    client.send_signal(signal.SIGINT)
    assert client.wait(20) == 130


def test_an_image_is_tagged_and_untagged(engine):
    ok(engine, "tag", "busybox", "mine:1")
    assert "mine" in ok(engine, "images", "mine")
    assert ok(engine, "rmi", "mine:1") == "Untagged: mine:1"


# What is refused.


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["strat"], 1, "unknown command: pyrund strat: did you mean 'start'?"),
        (["ps", "extra"], 1, "'pyrund ps' accepts no arguments: see `pyrund help ps`"),
        (["logs"], 1, "'pyrund logs' requires 1 argument: CONTAINER"),
        (["run", "--nmae", "x", "busybox"], 125, "unknown flag: --nmae: did you mean '--name'?"),
        (["ps", "--zzzz"], 125, "unknown flag: --zzzz: see `pyrund help ps`"),
        (["swarm", "init"], 1, "pyrund has no swarm: docker's client has, with DOCKER_HOST=unix://{socket}"),
        (["run", "-iz", "busybox"], 125, "unknown shorthand flag: 'z' in -iz: see `pyrund help run`"),
        (["run", "-name", "x", "busybox"], 125, "unknown shorthand flag: 'n' in -name: did you mean '--name'?"),
        (["logs", "--tail"], 125, "flag needs an argument: --tail"),
        (["run", "--rm=abc", "busybox"], 125, 'invalid argument "abc" for "--rm" flag: true or false'),
        (["run", "-m", "abc", "busybox"], 125, 'invalid argument "abc" for "--memory" flag: invalid size: \'abc\''),
        (["run", "-p", "abc:x", "busybox"], 125, "invalid containerPort: x"),
        (
            ["run", "--rm", "--restart", "always", "b"],
            125,
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (["ps", "-a", "--format", "{{.Nosuch}}"], 1, 'template parsing error: map has no entry for key "Nosuch"'),
        (["ps", "-a", "--format", "{{if}"], 1, "template parsing error: unclosed action"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_is_one_line(engine, words, status, error):
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    done = ours(engine, *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == f"pyrund: {error.replace('{socket}', str(engine.socket))}\n"


def test_a_daemon_that_is_not_there_is_named(tmp_path):
    done = subprocess.run([PYRUND, "-H", f"unix://{tmp_path}/none", "ps"], capture_output=True, text=True)

    expected = f"pyrund: Cannot connect to the Docker daemon at unix://{tmp_path}/none. Is the docker daemon running?\n"
    assert (done.returncode, done.stderr) == (1, expected)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-server\r\n\r\n\r\n", "no answer of HTTP, but 'SSH-2.0-server'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no JSON in the answer, but '<html>'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "a length in the answer is no number: 'x'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a length in the answer is no number: 'zz'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n[", "the daemon has closed the connection"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>", "Error response from daemon: <html>"),
        (b"", "Cannot connect to the Docker daemon"),
    ],
)
def test_what_is_no_daemon_is_said_in_one_line(tmp_path, answer, words):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        client = subprocess.Popen([PYRUND, "-H", f"unix://{tmp_path}/socket", "ps"], stderr=subprocess.PIPE, text=True)
        with listening.accept()[0] as connection:
            connection.recv(65536)
            if b"HTTP" in answer:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
                connection.recv(65536)
            connection.sendall(answer)
        errors = client.communicate(timeout=30)[1]

    assert client.returncode == 1
    assert words in errors
    assert len(errors.splitlines()) == 1


# ssh


def test_a_daemon_is_reached_by_ssh(engine, tmp_path):
    """A program in the place of ssh does what sshd would: it has a shell execute the last word."""
    (tmp_path / "ssh").write_text('#!/bin/sh\necho "$@" > "$0.words"; for last; do :; done; exec sh -c "$last"\n')
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "pyrund").write_text(f'#!/bin/sh\nexec {PYRUND} -H unix://{engine.socket} "$@"\n')
    (tmp_path / "pyrund").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "DOCKER_HOST": "ssh://me@box:2222"}
    words = [PYRUND, *RUN, "-i", "busybox", "sh", "-c", "cat; exit 4"]
    done = subprocess.run(words, input="typed\n", capture_output=True, text=True, env=environment, timeout=30)

    assert (done.returncode, done.stdout, done.stderr) == (4, "typed\n", "")
    assert (tmp_path / "ssh.words").read_text().startswith("-T -p 2222 -l me -- box ")


# Completion.


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["sto"], ["stop"]),
        (["stop", "we"], ["web"]),
        (["exec", "we"], ["web"]),
        (["run", "--na"], ["--name"]),
        (["-H", "x", "ver"], ["version"]),
        (["run", "--pull", "al"], ["always"]),
    ],
    ids=" ".join,
)
def test_bash_completes_verbs_options_and_containers(engine, words, reply):
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    program = (
        f'source <("{PYRUND}" completion bash); COMP_WORDS=("{PYRUND}" "$@"); COMP_CWORD=$#; _pyrund; '
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}"}
    done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, env=environment)

    assert (done.stdout.split(), done.stderr) == (reply, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_completion_is_well_formed(shell, tmp_path):
    (tmp_path / "script").write_text(
        subprocess.run([PYRUND, "completion", shell], capture_output=True, text=True).stdout
    )

    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"serve", "search"}))
def test_the_example_of_a_verb_works_when_pasted(engine, verb):  # a search would be one of Docker Hub
    environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}", "PATH": f"{PYRUND_FOLDER}:/usr/bin:/bin"}
    environment["DOCKER_CONFIG"] = str(engine.directory)
    done = subprocess.run(["bash", "-ec", TEXTS[verb][1]], capture_output=True, text=True, env=environment, timeout=30)

    assert done.returncode == 0, done.stderr
    assert engine.ok("ps", "-aq") == ""


def test_all_tags_of_a_repository_are_fetched(engine, hub):
    for tag in ("1", "2"):
        hub.push(hello(f"of {tag}"), f"tagged:{tag}")

    assert assert_same(engine, "pull", "-a", "-q", "tagged") == "docker.io/library/tagged\n"
    assert sorted(engine.ok("images", "--format", "{{.Tag}}", "tagged").split()) == ["1", "2"]
    assert ours(engine, "pull", "-a", "tagged:1").stderr == "pyrund: tag can't be used with --all-tags/-a\n"


def test_a_container_goes_on_from_a_checkpoint_of_a_name(engine):
    ok(engine, "create", "--name", "web", "--network=none", "busybox")

    done = ours(engine, "start", "--checkpoint", "none", "web")
    several = ours(engine, "start", "--checkpoint", "none", "web", "other")

    assert "checkpoint none does not exist for container /web" in done.stderr
    assert "you cannot restore multiple containers at once" in several.stderr

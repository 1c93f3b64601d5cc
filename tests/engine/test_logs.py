"""`docker logs`: nothing is lost, and each option chooses what it says."""

import json
import os
import subprocess

import pytest
from beside_dockerd import said_by_both
from daemon import REPOSITORY, read_all, read_until, wait_until

pytestmark = pytest.mark.usefixtures("removed")


def run(engine, program, *options):
    engine.ok("run", "--name", "web", "--network=none", *options, "busybox", "sh", "-c", program)
    return engine.inspect("web", ".LogPath")


def test_both_streams_are_kept_apart(engine):
    run(engine, "echo out; echo error >&2")

    done = engine.docker("logs", "web")

    assert (done.stdout, done.stderr) == ("out\n", "error\n")


def test_the_file_is_what_docker_writes(engine):
    path = run(engine, "echo '<a> \"b\"'")

    with open(path) as file:
        entry = json.loads(file.read())
    assert (entry["log"], entry["stream"]) == ('<a> "b"\n', "stdout")
    assert len(entry["time"]) == len("2026-11-28T20:40:05.123456789Z")


@pytest.mark.parametrize(("tail", "first"), [("all", 1), ("3", 198), ("200", 1), ("1000", 1), ("0", 201)])
def test_tail_gives_the_last_lines(engine, tail, first):
    run(engine, "seq 200")

    assert engine.ok("logs", "--tail", tail, "web").split() == [str(number) for number in range(first, 201)]


def test_since_and_until_choose_by_the_time(engine):
    run(engine, "echo one; sleep 0.6; echo two; sleep 0.6; echo three")
    times = [line.split(" ")[0] for line in engine.ok("logs", "-t", "web").splitlines()]

    assert engine.ok("logs", "--since", times[1], "web") == "two\nthree"
    assert engine.ok("logs", "--until", times[1], "web") == "one\ntwo"


def test_follow_goes_on_to_the_end_of_the_container(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "echo one; sleep 1; echo two")

    assert engine.ok("logs", "-f", "web") == "one\ntwo"


def test_follow_ends_when_the_client_goes(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    streams = engine.children()["streams"]
    before = len(descriptors(streams))
    client = engine.begin("logs", "-f", "web", stdout=subprocess.DEVNULL)
    wait_until(lambda: len(descriptors(streams)) > before, "the follower")

    client.kill()
    client.wait()

    # What an earlier test has left may have been closed meanwhile.
    wait_until(lambda: len(descriptors(streams)) <= before, "the end of the follower")


def test_clients_that_go_leave_nothing_at_a_silent_container(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    streams = engine.children()["streams"]
    before = len(descriptors(streams))
    for _ in range(20):
        with engine.connect() as connection:
            connection.sendall(b"POST /containers/web/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
            read_until(connection, b"\r\n\r\n")

    wait_until(lambda: len(descriptors(streams)) <= before, "the ends of the connections")


def descriptors(pid):
    return os.listdir(f"/proc/{pid}/fd")


def test_a_line_without_an_end_is_shown_when_the_program_ends(engine):
    run(engine, "printf 'no newline'")

    assert engine.docker("logs", "web").stdout == "no newline"


def test_long_lines_and_strange_bytes_come_back_as_they_were(engine):
    engine.docker("run", "--name", "web", "--network=none", "busybox", "cat", "/bin/busybox", text=False)

    with open("/bin/busybox", "rb") as file:
        assert engine.docker("logs", "web", text=False).stdout == file.read()


def test_a_log_is_rotated_and_read_over_all_its_files(engine):
    path = run(engine, "seq 1000", "--log-opt", "max-size=20k", "--log-opt", "max-file=3")

    numbers = list(map(int, engine.ok("logs", "web").split()))

    assert numbers == list(range(numbers[0], 1001))
    assert 300 < len(numbers) < 1000  # three files of at least 20 KiB, with 70 bytes a line
    assert engine.ok("logs", "--tail", "400", "web").split() == [str(number) for number in range(601, 1001)]
    with open(f"{path}.2") as file:
        assert file.readline()


def test_a_container_without_a_log_says_so(engine):
    run(engine, "echo out", "--log-driver", "none")

    assert "configured logging driver does not support reading" in engine.fails("logs", "web")[1]


def test_a_stream_must_be_chosen(engine):
    run(engine, "true")

    answered = engine.call("GET", "/containers/web/logs")

    assert answered == (400, {"message": "Bad parameters: you must choose at least one stream"})


def test_attach_may_begin_with_the_log(engine):
    program = "echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    wait_until(lambda: engine.ok("logs", "web") == "before", "the first line")

    with engine.connect() as connection:
        connection.sendall(b"POST /containers/web/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        data = read_until(connection, b"before\n")
        engine.ok("exec", "web", "touch", "/go")
        data += read_all(connection)

    assert data.endswith(b"\x01\0\0\0\0\0\0\x07before\n\x01\0\0\0\0\0\0\x06after\n")


LONG = "seq 200000; while [ ! -e /go ]; do sleep 0.05; done; rm /go; echo after"


def test_attach_with_the_log_ends_with_a_program_that_ends_before_its_client_has_read(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", LONG)
    wait_until(lambda: engine.ok("logs", "--tail", "1", "web") == "200000", "the last line")

    with engine.connect() as connection:
        connection.sendall(b"POST /containers/web/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        data = read_until(connection, b"\r\n\r\n")
        engine.ok("exec", "web", "touch", "/go")
        engine.ok("wait", "web")
        data += read_all(connection)

    assert data.endswith(b"after\n")


def test_attach_with_the_log_sees_a_start_that_comes_before_its_client_has_read(engine):
    engine.ok("run", "--name", "web", "--network=none", "busybox", "sh", "-c", f"touch /go; {LONG}")

    with engine.connect() as connection:
        connection.sendall(b"POST /containers/web/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        data = read_until(connection, b"\r\n\r\n")
        assert engine.ok("logs", "--tail", "1", "web") == "after"
        engine.ok("start", "web")
        data += read_all(connection)

    assert data.count(b"after\n") == 2


def test_a_log_that_can_be_neither_written_nor_cut_stops_no_container(engine):
    program = "echo before; until test -e /lost; do sleep 0.1; done; echo lost; touch /told; sleep 1000"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    log = engine.inspect("web", ".LogPath")
    wait_until(lambda: engine.ok("logs", "web") == "before", "the first line")
    if subprocess.run(["chattr", "+i", log], capture_output=True).returncode != 0:
        pytest.skip("this file system lacks immutable files")
    try:
        engine.ok("exec", "web", "touch", "/lost")
        wait_until(lambda: engine.docker("exec", "web", "sh", "-c", "test -e /told").returncode == 0, "the lost line")
        engine.ok("exec", "web", "sh", "-c", "echo lost too > /proc/1/fd/1; sleep 0.5")
    finally:
        subprocess.run(["chattr", "-i", log], check=True)
    engine.ok("exec", "web", "sh", "-c", "echo after > /proc/1/fd/1")

    wait_until(lambda: engine.ok("logs", "web") == "before\nafter", "the line after it")


FULL = """
mount -t tmpfs -o nr_inodes=2 none "$1"
exec /usr/bin/python3 -c '
import sys
sys.path[:0] = sys.argv[2:]
from pyrund.streams.log import Log
log = Log(sys.argv[1] + "/log", 200, 2)
for number in range(10):
    log.write("stdout", b"line %d\\n" % number)
log.close()
print(open(sys.argv[1] + "/log").read().count("line"))
' "$@"
"""


def test_a_disk_that_has_no_room_for_another_file_stops_no_container(tmp_path):
    """Whoever writes the log reads the container's output, for which the container waits."""
    words = ["unshare", "--mount", "sh", "-ec", FULL, "sh", tmp_path, REPOSITORY / "runtime"]
    done = subprocess.run(words, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
    assert done.stderr.count("it grows on") == 1


@pytest.fixture
def both(engine, dockerd):
    yield engine, dockerd
    dockerd.docker("rm", "-f", "web")


def details(both, *options):
    """Return what each of both shows by `logs --details` of a container with these options."""
    found = []
    for one in both:
        command = ("run", "--name", "web", "--network", "none", *options, "busybox", "sh", "-c", "echo one; echo two")
        assert one.docker(*command).returncode == 0
        shown = one.docker("logs", "--details", "web").stdout
        found.append(shown if isinstance(shown, str) else shown.decode())
    return found


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--log-opt", "labels=a,c", "-l", "a=1", "-l", "b=2", "-l", "c=x y/&=ü"],
        ["--log-opt", "labels-regex=^com", "-l", "com.x=1", "-l", "org.com=2"],
        ["--log-opt", "env=V,NOSUCH", "--log-opt", "env-regex=^W", "-e", "V=a=b", "-e", "W1=", "-e", "X=3"],
        ["--log-opt", "tag={{.Name}}/{{ .ImageName }}/100%"],
        ["--log-opt", "labels=a", "--log-opt", "tag=", "-l", "a=1"],
        ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=4m"],
        ["--log-driver", "local", "-l", "a=1"],
    ],
)
def test_details_are_what_the_options_of_the_log_name_as_with_dockerd(both, options):
    ours, theirs = details(both, *options)

    assert ours == theirs
    assert [line.rpartition(" ")[2] for line in ours.splitlines()] == ["one", "two"]


def test_ids_in_a_tag_are_those_of_the_container_and_its_image(engine):
    run(engine, "echo x", "--log-opt", "tag={{.ID}}-{{.FullID}}-{{.ImageFullID}}-{{.DaemonName}}")
    id_, image = engine.inspect("web", ".Id"), engine.inspect("web", ".Image").replace(":", "%3A")

    assert engine.ok("logs", "--details", "-t", "web").split()[1:] == [f"tag={id_[:12]}-{id_}-{image}-docker", "x"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log-opt", "mode=fast"], "logger: logging mode not supported: fast"),
        (["--log-opt", "max-buffer-size=1m"], "max-buffer-size option is only supported with 'mode=non-blocking'"),
        (["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=x"], "invalid size: 'x'"),
        (["--log-opt", "tag={{.Nosuch}}"], "failed to parse log tag: {{.Nosuch}} is none of"),
        (["--log-driver", "local", "--log-opt", "labels=a"], "unknown log opt 'labels' for local log driver"),
    ],
)
def test_options_of_the_log_that_make_no_sense_are_refused(engine, options, words):
    done = engine.docker("create", "--name", "web", *options, "busybox")

    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["max-size="], 125),
        (["max-size=0"], 125),
        (["max-size=x"], 125),
        (["max-file="], 125),
        (["max-file=0"], 125),
        (["compress="], 125),
        (["compress=x"], 125),
        (["compress=true", "max-file=1"], 125),
        (["compress=1", "max-file=1"], 125),
        (["compress=t", "max-file=2", "max-size=1m"], 0),
        (["compress=F", "max-file=1"], 0),
        (["max-size=1.5m"], 0),
    ],
    ids=str,
)
def test_limits_that_cannot_be_are_refused_as_by_dockerd(engine, dockerd, options, status):
    words = [word for option in options for word in ("--log-opt", option)]

    assert said_by_both(engine, dockerd, "run", "--network=none", *words, "busybox", "true")[0] == status


def test_a_limit_of_minus_one_is_none(engine):
    engine.ok("run", "--rm", "--network=none", "--log-opt", "max-size=-1", "busybox", "true")

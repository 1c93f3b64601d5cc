"""Events of the past: they are known after a restart of the daemon, also those that no daemon has seen."""

import json
import re
import subprocess
import time

import pytest
from daemon import REPOSITORY, wait_until

pytestmark = pytest.mark.usefixtures("removed")


def past(engine, since, *filters):
    """Return the events from `since` until now, as docker's CLI shows them."""
    options = [word for one in filters for word in ("--filter", one)]
    until = f"{time.time():.9f}"
    lines = engine.ok("events", "--since", since, "--until", until, "--format", "{{json .}}", *options).splitlines()
    return [json.loads(line) for line in lines]


def actions(events):
    return [event["Action"] for event in events]


@pytest.fixture
def start():
    return f"{time.time():.9f}"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_events_from_before_a_restart_are_the_same_after_it(engine, start, end):
    engine.ok("volume", "create", f"data-{end}", "--label", "a=é\n\u2028")
    engine.ok("run", "--rm", "--network=none", "-v", f"data-{end}:/x", "--label", "b=c", "busybox", "true")
    engine.ok("volume", "rm", f"data-{end}")
    before = past(engine, start)

    getattr(engine, end)()
    engine.start()

    assert past(engine, start) == before
    told = [f"{one['Type']} {one['Action']}" for one in before]
    assert {"volume create", "container die", "volume destroy"}.issubset(told)
    assert [one["Action"] for one in past(engine, start, "label=b=c")][-1] == "destroy"


def test_the_end_of_a_container_without_a_daemon_is_an_event_at_the_time_of_that_end(engine, start, tmp_path):
    script = "while [ ! -e /ends/$0 ]; do sleep 0.05; done; exit $0"
    records = {}
    for code in (7, 5):
        options = ("--name", f"of-{code}", "--network=none", "-v", f"{tmp_path}:/ends")
        id_ = engine.ok("run", "-d", *options, "busybox", "sh", "-c", script, code)
        records[code] = engine.run / "pyrun" / id_ / "exit"
    engine.kill()
    for code in (5, 7):
        (tmp_path / str(code)).touch()
        wait_until(lambda code=code: records[code].stat().st_size > 0, "the end")
    time.sleep(0.6)
    restarted = time.time()

    engine.start()

    wait_until(lambda: len(past(engine, start, "event=die")) == 2, "both events")
    dead = past(engine, start, "event=die")
    assert [one["Actor"]["Attributes"]["exitCode"] for one in dead] == ["5", "7"]
    assert [one["Actor"]["Attributes"]["name"] for one in dead] == ["of-5", "of-7"]
    assert dead[0]["timeNano"] < dead[1]["timeNano"] < (restarted - 0.5) * 1e9
    for one in dead:
        fraction = engine.inspect(one["id"], ".State.FinishedAt").rpartition(".")[2].rstrip("Z")
        assert one["timeNano"] % 10**9 == int(fraction.ljust(9, "0"))
    engine.stop()
    engine.start()
    assert past(engine, start, "event=die") == dead  # they are told once


def test_a_container_that_removes_itself_without_a_daemon_dies_before_it_is_destroyed(engine, start):
    engine.ok("run", "-d", "--rm", "--network=none", "-v", "/x", "busybox", "sleep", "0.3")
    engine.kill()
    time.sleep(1)

    engine.start()

    wait_until(lambda: "destroy" in actions(past(engine, start, "type=container")), "its removal")
    assert actions(past(engine, start, "type=container")) == ["create", "start", "die", "destroy"]
    assert actions(past(engine, start, "type=volume")) == ["create", "mount", "unmount", "destroy"]


def test_half_a_line_in_the_record_harms_nothing(engine, start):
    engine.ok("volume", "create", "one")
    engine.kill()
    with open(engine.data / "events", "ab") as file:
        file.write(b'{"Type": "volume", "Action": "cre')

    engine.start()
    engine.ok("volume", "rm", "one")

    assert actions(past(engine, start)) == ["create", "destroy"]
    for line in (engine.data / "events").read_text().splitlines():
        json.loads(line)


def test_the_record_is_bounded_and_keeps_the_last_events(engine, start):
    label = {"big": "x" * 400_000}
    engine.call("POST", "/volumes/create", {"Name": "first", "Labels": label})
    for number in range(8):
        body = {"Image": "busybox", "Cmd": ["true"], "Labels": label, "HostConfig": {"NetworkMode": "none"}}
        created = engine.call("POST", f"/containers/create?name=big{number}", body)[1]
        engine.call("DELETE", f"/containers/{created['Id']}")

    files = sorted(path.name for path in engine.data.iterdir() if path.name.startswith("events"))
    assert files == ["events", "events.1"]
    assert sum((engine.data / name).stat().st_size for name in files) < 2 << 20
    found = [(one["Action"], one["Actor"]["Attributes"]["name"]) for one in past(engine, start, "type=container")]
    assert found[-2:] == [("create", "big7"), ("destroy", "big7")]
    assert ("create", "big0") not in found


@pytest.fixture(scope="module")
def life(engine):
    """The times before and after the life of a container."""
    since = f"{time.time():.9f}"
    labels = ("--label", "a=1", "--label", "b=2")
    engine.ok("run", "-d", "--name", "web", "--network=none", *labels, "busybox", "sleep", "1000")
    engine.call("POST", "/containers/web/exec", {"Cmd": ["true", "x"]})
    engine.ok("rm", "-f", "web")
    return since, f"{time.time():.9f}"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["container=we"], ["create", "exec_create: true x", "destroy"]),  # the beginning of a name, or of an id
        (["event=exec_create"], ["exec_create: true x"]),
        (["event=creat"], []),
        (["event=creat", "event=exec_create"], ["create", "exec_create: true x"]),
        (["event=destroy", "event=create", "type=container"], ["create", "destroy"]),
        (["image=busybox"], ["create", "exec_create: true x", "destroy"]),
        (["image=busybox:latest"], []),
        (["image=bus"], []),
        (["label=a=1", "label=b"], ["create", "exec_create: true x", "destroy"]),
        (["label=a=1", "label=b=3"], []),
        (["volume=we"], ["create", "exec_create: true x", "destroy"]),  # dockerd compares names only
        (["scope=swarm"], []),
        (["scope=local", "type=volume"], []),
        (["nonsense=1", "event=destroy"], ["destroy"]),
    ],
)
def test_filters_choose_as_dockerd_s_do(engine, life, filters, expected):
    since, until = life
    options = [word for one in filters for word in ("--filter", one)]
    lines = engine.ok("events", "--since", since, "--until", until, "--format", "{{.Action}}", *options).splitlines()

    assert [line for line in lines if line in ("create", "destroy", "exec_create: true x")] == expected


def test_times_that_cannot_be_are_refused_as_by_dockerd(engine):
    assert engine.call("GET", "/events?since=5&until=1.5") == (
        400,
        {"message": "`since` time (5) cannot be after `until` time (1.5)"},
    )
    assert engine.call("GET", "/events?since=noon")[0] == 400


def test_until_alone_begins_with_the_first_event_that_is_known(engine, start):
    engine.ok("volume", "create", "once")
    engine.ok("volume", "rm", "once")

    answer = engine.exchange(f"GET /events?until={time.time():.9f} HTTP/1.1\r\nHost: d\r\n\r\n".encode())

    assert answer.count(b'"ID":"once"') == 2


FULL = """
mount -t tmpfs -o nr_inodes=2 none "$1"
exec /usr/bin/python3 -c '
import sys
sys.path[:0] = sys.argv[2:]
from pyrund.model.event_log import EventLog
log = EventLog(sys.argv[1] + "/events")
for number in range(3):
    log.append(b"x" * 700_000 + b"%d\\n" % number)
print([line[-1:] for line in log.lines()])
' "$@"
"""


def test_a_disk_that_has_no_room_for_another_file_loses_events_alone(tmp_path):
    """Whoever tells of an event, such as the end of a container, must not be disturbed by that."""
    runtime = REPOSITORY / "runtime"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", FULL, "sh", tmp_path, runtime], capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "[b'0']\n"), done.stderr
    assert done.stderr.count("events are not recorded") == 1


def told(daemon, since):
    """Return the events since then, each with its id if that is short, and its attributes without ids."""
    listed = daemon.docker("events", "--since", since, "--until", f"{time.time():.9f}", "--format", "{{json .}}").stdout
    found = []
    for event in map(json.loads, listed.splitlines()):
        attributes = {name: without_digits(value) for name, value in event["Actor"]["Attributes"].items()}
        found.append((event["Type"], event["Action"], without_digits(event["Actor"]["ID"]), attributes))
    return found


def without_digits(text):
    return re.sub("[0-9a-f]{64}", "ID", text)


def test_what_happens_is_told_as_by_dockerd(engine, dockerd, start, tmp_path):
    empty, saved = {"input": b"\0" * 1024}, tmp_path / "saved.tar"
    seen = []
    for daemon in (engine, dockerd):
        binary = {"text": False} if daemon is engine else {}
        daemon.docker("network", "create", "n1")
        daemon.docker("run", "-d", "--name", "web", "--network", "n1", "busybox", "sleep", "1000")
        daemon.docker("top", "web")
        daemon.docker("commit", "-m", "words", "web", "made:1")
        daemon.docker("commit", "--pause=false", "web", "made/twice")
        daemon.docker("kill", "web")
        daemon.docker("rm", "web")
        daemon.docker("import", "-", "made:2", **empty, **binary)
        daemon.docker("save", "-o", str(saved), "made:2")
        daemon.docker("load", "-i", str(saved))
        daemon.docker("rmi", "made:1", "made:2", "made/twice")
        daemon.docker("network", "rm", "n1")
        wait_until(lambda one=daemon: told(one, start)[-1][:2] == ("network", "destroy"), "the last event")
        seen.append([one for one in told(daemon, start) if one[:2] != ("network", "create")])

    ours, theirs = seen
    assert ours == theirs
    assert ("image", "tag", "sha256:ID", {"name": "made:1"}) in ours
    assert [one[1] for one in ours if one[0] == "container"][2:8] == [
        "top",
        "pause",
        "commit",
        "unpause",
        "commit",
        "kill",
    ]

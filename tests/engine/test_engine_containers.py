"""Containers that are there: lists, inspection, start and stop, pause, rename, removal."""

import json
import os
import threading
import time

import pytest
from beside_dockerd import asked, said_by_both
from daemon import wait_until

pytestmark = pytest.mark.usefixtures("removed")


def sleeping(engine, name="web", *options):
    return engine.ok("run", "-d", "--name", name, "--network=none", *options, "busybox", "sleep", "1000")


def test_ps_shows_what_runs_and_with_a_all(engine):
    sleeping(engine)
    engine.ok("create", "--name", "made", "--network=none", "busybox", "echo", "a b")

    assert engine.ok("ps", "--format", "{{.Names}} {{.Image}} {{.State}}") == "web busybox running"
    shown = engine.ok("ps", "-a", "--no-trunc", "--format", "{{.Names}}|{{.Command}}|{{.Status}}").splitlines()
    assert shown[0] == "made|\"echo 'a b'\"|Created"
    assert shown[1].startswith('web|"sleep 1000"|Up ')


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("name=we", "web"),
        ("status=created", "made"),
        ("label=a=b", "web"),
        ("label=a", "web"),
        ("ancestor=busybox", "made web"),
        ("network=none", "made web"),
        ("name=nosuch", ""),
    ],
)
def test_filters_choose_containers(engine, wanted, found):
    sleeping(engine, "web", "--label", "a=b")
    engine.ok("create", "--name", "made", "--network=none", "busybox")

    assert engine.ok("ps", "-a", "--filter", wanted, "--format", "{{.Names}}").split() == found.split()


@pytest.fixture
def family(engine, dockerd):
    """Containers of busybox and of an image that was made of it, at both."""
    dockerfile = "FROM busybox\nENV A=b\nEXPOSE 53/udp\n"
    for daemon in (engine, dockerd):
        more = {"text": False} if daemon is engine else {}
        assert daemon.docker("build", "-t", "child", "-", input=dockerfile.encode(), **more).returncode == 0
        for name, image in (("plain", "busybox"), ("made", "child")):
            options = ["-v", "/tmp:/host", "-v", "named:/data", "--expose", "80"]
            done = daemon.docker("create", "--name", name, "--network=none", *options, image, "true")
            assert done.returncode == 0, done.stderr
    yield
    dockerd.docker("rm", "plain", "made")
    engine.remove_all()
    for daemon in (engine, dockerd):
        daemon.docker("rmi", "child")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("ancestor=child:latest", "made"),
        ("ancestor=busybox", "made plain"),
        ("ancestor=ID", "made plain"),
        ("ancestor=nosuch", ""),
        ("volume=/tmp", "made plain"),
        ("volume=/host", "made plain"),
        ("volume=named", "made plain"),
        ("volume=/nosuch", ""),
        ("publish=80", ""),
        ("expose=80", ""),
        ("is-task=true", ""),
        ("is-task=false", "made plain"),
        ("isolation=hyperv", "made plain"),
        ("exited=0", ""),
        ("health=none", "made plain"),
        ("network=none", "made plain"),
    ],
)
def test_filters_choose_what_dockerd_s_choose(engine, dockerd, family, wanted, found):
    wanted = wanted.replace("ID", engine.inspect("busybox", ".Id")[7:15])

    shown = said_by_both(engine, dockerd, "ps", "-a", "--filter", wanted, "--format", "{{.Names}}")[1]

    assert shown.split() == found.split()


@pytest.mark.parametrize(
    "wanted",
    ["health=foo", "exited=x", "exited=", "exited=--5", "publish=1:2", "expose=x", "status=foo", "is-task=foo"],
)
def test_a_value_that_no_container_can_have_is_refused(engine, dockerd, wanted):
    engine.ok("create", "--name", "web", "--network=none", "busybox", "false")
    assert engine.docker("start", "-a", "web").returncode == 1

    assert said_by_both(engine, dockerd, "ps", "-a", "--filter", wanted)[0] == 1
    assert "Traceback" not in engine.log.read_text()


def test_an_unknown_filter_is_refused(engine):
    assert "invalid filter 'nosuch'" in engine.fails("ps", "--filter", "nosuch=1")[1]


def test_inspect_shows_what_was_asked_and_what_is(engine):
    id_ = sleeping(engine, "web", "--label", "a=b", "-e", "X=y", "-m", "64m")

    shown = engine.inspect("web", ".")
    assert shown["Id"] == id_
    assert shown["Name"] == "/web"
    assert (shown["Path"], shown["Args"]) == ("sleep", ["1000"])
    assert shown["State"]["Status"] == "running"
    assert shown["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert shown["Config"]["Env"] == ["X=y", "PATH=/bin", "FROM=image"]
    assert shown["Config"]["Labels"] == {"a": "b"}
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["MemorySwap"] == 128 << 20
    assert shown["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert shown["Image"].startswith("sha256:")


def test_a_container_is_found_by_the_beginning_of_its_id(engine):
    id_ = sleeping(engine)

    assert engine.inspect(id_[:6], ".Id") == id_
    assert "No such container: nosuch" in engine.fails("start", "nosuch")[1]


def test_stop_sends_the_stop_signal_and_kills_after_the_time(engine):
    program = "trap 'exit 5' USR1; echo up; while true; do sleep 0.1; done"
    options = ("--stop-signal", "USR1", "--network=none", "busybox", "sh", "-c", program)
    engine.ok("run", "-d", "--name", "polite", *options)
    wait_until(lambda: engine.ok("logs", "polite") == "up", "the trap")
    sleeping(engine)

    engine.ok("stop", "polite")
    engine.ok("stop", "-t", "0", "web")

    assert engine.inspect("polite", ".State.ExitCode") == 5
    assert engine.inspect("web", ".State.ExitCode") == 137


def test_stop_of_a_stopped_container_succeeds(engine):
    engine.ok("run", "--name", "web", "--network=none", "busybox", "true")

    assert engine.ok("stop", "web") == "web"


def test_restart_starts_it_again(engine):
    sleeping(engine)
    before = engine.inspect("web", ".State.Pid")

    engine.ok("restart", "-t", "0", "web")

    assert engine.inspect("web", ".State.Running")
    assert engine.inspect("web", ".State.Pid") != before


def test_kill_of_a_stopped_container_is_refused(engine):
    id_ = engine.ok("create", "--name", "web", "--network=none", "busybox")

    assert f"annot kill container: web: container {id_} is not running" in engine.fails("kill", "web")[1]


def test_a_paused_container_does_nothing_and_can_be_killed(engine):
    id_ = sleeping(engine)

    engine.ok("pause", "web")
    state = engine.inspect("web", ".State")
    refused = engine.fails("exec", "web", "true")[1]
    again = engine.fails("pause", "web")[1]
    engine.ok("kill", "web")

    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    assert "is paused, unpause the container before exec" in refused
    assert f"container {id_} is already paused" in again
    assert engine.inspect("web", ".State.Status") == "exited"


def test_a_paused_container_that_is_asked_to_end_does_so(engine):
    program = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    wait_until(lambda: engine.ok("logs", "web"), "the trap")
    engine.ok("pause", "web")

    engine.ok("kill", "-s", "TERM", "web")

    assert engine.ok("wait", "web") == "3"


def test_one_kill_is_one_event(engine):
    id_ = sleeping(engine)

    engine.ok("kill", "web")

    until = f"{time.time():.9f}"
    options = ["--since", "1", "--until", until, "--filter", f"container={id_}", "--filter", "event=kill"]
    assert engine.ok("events", *options, "--format", "{{.Actor.Attributes.signal}}") == "9"


def test_unpause_lets_it_go_on(engine):
    sleeping(engine)
    engine.ok("pause", "web")

    engine.ok("unpause", "web")

    assert engine.ok("exec", "web", "echo", "alive") == "alive"


def test_a_running_container_is_removed_only_by_force(engine):
    sleeping(engine)

    status, errors = engine.fails("rm", "web")
    engine.ok("rm", "-f", "web")

    assert 'cannot remove container "/web": container is running: stop the container' in errors
    assert engine.ok("ps", "-aq") == ""


def test_a_removed_container_leaves_nothing(engine):
    id_ = sleeping(engine)
    cgroups = [line.split(":")[2].strip() for line in open(f"/proc/{engine.inspect('web', '.State.Pid')}/cgroup")]

    engine.ok("rm", "-f", "web")

    assert engine.left_over() == {}
    assert f"/docker/{id_}" in cgroups
    left = [folder for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names if name == id_]
    assert left == []


def test_rename_frees_the_old_name(engine):
    sleeping(engine)

    engine.ok("rename", "web", "other")

    assert engine.inspect("other", ".Name") == "/other"
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    assert "already in use" in engine.fails("rename", "other", "web")[1]


def test_a_name_that_cannot_be_noted_is_not_given(engine):
    sleeping(engine, "web")
    obstacle = engine.data / "containers" / engine.inspect("web", ".Id") / "container.json.new"
    obstacle.mkdir()

    status, answer = engine.call("POST", "/containers/web/rename?name=other")

    obstacle.rmdir()
    assert (status, "container.json" in answer["message"]) == (500, True)
    assert engine.ok("ps", "--format", "{{.Names}}") == "web"
    engine.ok("create", "--name", "other", "--network=none", "busybox")
    assert engine.call("POST", "/containers/create?name=web", {"Image": "busybox"})[0] == 409


def test_a_container_that_is_removed_while_it_is_renamed_leaves_no_name_behind(engine):
    for delay in range(8):
        sleeping(engine, "web")
        path = f"/containers/{engine.inspect('web', '.Id')}?force=1"
        removal = threading.Thread(target=engine.call, args=("DELETE", path))
        removal.start()
        time.sleep(delay / 200)
        status, answer = engine.call("POST", "/containers/web/rename?name=other")
        removal.join()

        assert status in (204, 404), answer
        for name in ("web", "other"):
            assert engine.call("POST", f"/containers/create?name={name}", {"Image": "busybox"})[0] == 201
            engine.ok("rm", name)


def test_wait_prints_the_exit_code(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "sleep 0.3; exit 4")

    assert engine.ok("wait", "web") == "4"
    assert engine.ok("wait", "web") == "4"


def test_attach_shows_what_is_printed_from_then_on(engine):
    program = "echo before; sleep 1; echo after; exit 3"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    wait_until(lambda: engine.ok("logs", "web") == "before", "the first line")

    done = engine.docker("attach", "--no-stdin", "web")

    assert (done.returncode, done.stdout) == (3, "after\n")


def test_top_lists_the_processes(engine):
    sleeping(engine)

    lines = engine.ok("top", "web", "-o", "pid,comm").splitlines()

    assert lines[0].split() == ["PID", "COMMAND"]
    assert [line.split()[1] for line in lines[1:]] == ["sleep"]


@pytest.mark.parametrize("options", ["-o pid,user,args", "-eo pid,cmd", "o pid,args", "-ef", "", "aux", "m", "-m"])
def test_top_lists_the_processes_in_a_terminal_s_session_too(engine, dockerd, options):
    """ps alone chooses those of its own terminal: of a daemon without one, all without one."""
    seen = []
    for daemon in (engine, dockerd):
        assert (
            daemon.docker("run", "-dt", "--name", "web", "--network=none", "busybox", "sleep", "1000").returncode == 0
        )
        done = daemon.docker("top", "web", *options.split())
        lines = (done.stdout if daemon is engine else done.stdout.decode()).splitlines()
        seen.append((done.returncode, lines[0].split(), [len(line.split()) for line in lines], "sleep" in lines[1]))
        assert daemon.docker("rm", "-f", "web").returncode == 0
    assert seen[0] == seen[1]


@pytest.mark.parametrize("options", ["-o nosuch,pid", "-x y", "f", "-o cmd=PID", "-o cmd= PID,pid", "-o cmd"])
def test_top_says_why_ps_refuses_its_options(engine, dockerd, options):
    errors = []
    for daemon in (engine, dockerd):
        daemon.docker("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
        done = daemon.docker("top", "web", *options.split(" "))
        errors.append((done.stderr if daemon is engine else done.stderr.decode()).strip().lower())
        assert daemon.docker("rm", "-f", "web").returncode == 0
    assert errors[0].startswith(errors[1])


def test_a_body_with_which_a_container_was_once_started_is_refused(engine, dockerd):
    for daemon in (engine, dockerd):
        daemon.docker("create", "--name", "web", "--network=none", "busybox", "true")
    said = [asked(one, "POST", "/containers/web/start", b'{"HostConfig":{}}') for one in (engine, dockerd)]
    dockerd.docker("rm", "web")

    assert said[0] == said[1]
    assert said[0][0] == 400
    assert asked(engine, "POST", "/containers/web/start", b"{}")[0] == 204


def test_top_lists_any_number_of_processes(engine):
    many = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo all; sleep 1000"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", many)
    wait_until(lambda: engine.ok("logs", "web") == "all", "the processes")

    # Forty columns for each, so that all is more than a message between the engine's processes can be.
    def listed():
        table = engine.call("GET", f"/containers/web/top?ps_args=-eo%20pid{',args' * 40}")[1]
        return sum("sleep" in line[-1] for line in table["Processes"])

    wait_until(lambda: listed() == 201, "all programs")  # one that is just being executed has no arguments


def test_top_with_options_that_no_program_can_have_is_refused(engine):
    sleeping(engine)

    assert engine.call("GET", "/containers/web/top?ps_args=-e%00f") == (
        400,
        {"message": "bad parameter: ps_args: a text cannot hold a zero byte"},
    )


def test_prune_removes_what_does_not_run(engine):
    sleeping(engine)
    id_ = engine.ok("create", "--network=none", "busybox")

    assert id_ in engine.ok("container", "prune", "-f")
    assert engine.ok("ps", "-aq", "--no-trunc") == engine.inspect("web", ".Id")


def test_events_tell_the_life_of_a_container(engine):
    since = f"{time.time():.9f}"
    engine.docker("run", "--rm", "--name", "web", "--network=none", "busybox", "sh", "-c", "exit 3")
    until = f"{time.time():.9f}"

    template = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}"
    lines = engine.ok("events", "--since", since, "--until", until, "--format", template).splitlines()

    actions = [line.split()[0] for line in lines]
    assert actions == ["create", "attach", "connect", "start", "die", "disconnect", "destroy"]
    assert "die web 3" in lines


def test_many_containers_at_once_do_not_disturb_each_other(engine):
    outputs = {}

    def run(number):
        done = engine.docker("run", "--rm", "--network=none", "busybox", "sh", "-c", f"echo {number}; exit {number}")
        outputs[number] = (done.returncode, done.stdout)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == {number: (number, f"{number}\n") for number in range(12)}
    assert engine.left_over() == {}


def test_sizes_count_what_a_container_has_written(engine):
    engine.ok("run", "--name", "web", "--network=none", "busybox", "sh", "-c", "seq 10000 > /numbers")

    shown = engine.call("GET", "/containers/web/json?size=1")[1]

    assert shown["SizeRw"] == 48894
    assert shown["SizeRootFs"] - shown["SizeRw"] == engine.inspect("busybox", ".Size")


def test_a_container_that_removes_itself_can_be_restarted(engine):
    engine.ok("run", "-d", "--rm", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    before = engine.inspect("web", ".State.Pid")

    engine.ok("restart", "-t", "0", "web")

    assert engine.inspect("web", ".State.Pid") not in (0, before)
    engine.ok("stop", "-t", "0", "web")
    wait_until(lambda: engine.ok("ps", "-aq") == "", "the removal")


def test_a_removal_that_fails_can_be_tried_again(engine):
    engine.ok("create", "--name", "web", "--network=none", "-v", "/data", "busybox")
    volume = engine.inspect("web", ".Mounts")[0]["Name"]
    obstacle = engine.data / "volumes" / volume / "volume.json.new"
    obstacle.mkdir()

    assert "Is a directory" in engine.fails("rm", "web")[1]
    obstacle.rmdir()
    assert engine.ok("rm", "-v", "web") == "web"


def test_a_volume_that_cannot_be_removed_keeps_no_client_waiting(engine):
    engine.ok("create", "--rm", "--name", "web", "--network=none", "-v", "/data", "busybox", "true")
    folder = engine.data / "volumes" / engine.inspect("web", ".Mounts")[0]["Name"]
    assert engine.hub.run("mount", "-t", "tmpfs", "busy", folder / "_data").returncode == 0
    try:
        assert engine.ok("start", "-a", "web") == ""
        assert engine.ok("ps", "-aq") == ""
    finally:
        for path in (engine.data / "volumes").glob("*/_data"):
            engine.hub.run("umount", path)


def test_what_comes_while_a_client_waits_is_not_answered_within_the_answer(engine):
    sleeping(engine)
    wait = b"POST /containers/web/wait HTTP/1.1\r\nHost: d\r\n\r\n"

    answered = engine.exchange(wait + b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")

    assert answered.count(b"HTTP/1.1 ") == 1


def test_inspect_shows_all_fields_of_what_a_client_has_left_out(engine, dockerd):
    host = {"NetworkMode": "none", "PortBindings": {"80/tcp": [{"HostPort": "1"}]}}
    wanted = json.dumps({"Image": "busybox", "HostConfig": host}).encode()
    shown = []
    for daemon in (engine, dockerd):
        made = asked(daemon, "POST", "/containers/create", wanted, {"Content-Type": "application/json"})[1][0]["Id"]
        shown.append(asked(daemon, "GET", f"/containers/{made}/json")[1][0]["HostConfig"])

    own, theirs = shown
    assert set(theirs) - set(own) == {"KernelMemory", "KernelMemoryTCP"}  # of older versions of the API
    differing = {name for name in theirs if name in own and own[name] != theirs[name]}
    assert differing == {"MaskedPaths", "RestartPolicy", "Runtime"}  # some paths more; "no" instead of ""
    assert set(theirs["MaskedPaths"]) <= set(own["MaskedPaths"])


def test_a_paused_container_is_not_started(engine):
    engine.ok("run", "-d", "--name", "still", "--network=none", "busybox", "sleep", "1000")
    engine.ok("pause", "still")

    assert "cannot start a paused container, try unpause instead" in engine.fails("start", "still")[1]
    engine.ok("unpause", "still")

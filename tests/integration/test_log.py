"""--log, --log-format, --debug: what containerd, podman and CRI-O read to learn why a command failed."""

import json
import re
import subprocess
import time
from datetime import datetime, timezone

import pytest
from harness import TIMEOUT

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("the wording is pyrun's own")]

TEXT_LINE = re.compile(r'time="(?P<time>[^"]+)" level=(?P<level>\w+) msg=(?P<msg>".*")\n')
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def logged(container, log):
    """Run the runtime with a log, and return the result."""

    def logged(*words, format_="json", options=()):
        container.bundle.save()
        command = [container.runtime, "--root", container.root, "--log", log, "--log-format", format_, *options, *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)

    return logged


def test_a_failure_is_one_object_of_three_strings(container, log, logged):
    result = logged("state", container.id)
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)

    assert result.returncode == 1
    assert entry.keys() == {"level", "msg", "time"}
    assert (entry["level"], entry["msg"]) == ("error", f"container does not exist: {container.id}")


def test_a_failure_as_text_is_one_line(container, log, logged):
    logged("state", container.id, format_="text")
    found = TEXT_LINE.fullmatch(log.read_text())

    assert found
    assert found["level"] == "error"
    assert json.loads(found["msg"]) == f"container does not exist: {container.id}"


@pytest.mark.parametrize("format_", ["json", "text"])
def test_the_time_is_that_of_rfc_3339(container, log, logged, format_):
    before = int(time.time())
    logged("state", container.id, format_=format_)
    text = log.read_text()
    stamp = json.loads(text)["time"] if format_ == "json" else TEXT_LINE.fullmatch(text)["time"]
    moment = datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()

    assert RFC_3339.fullmatch(stamp)
    assert before <= moment <= time.time()


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_failure_is_on_standard_error_too(container, logged, format_):
    assert logged("state", container.id, format_=format_).stderr == f"container does not exist: {container.id}\n"


def test_success_writes_nothing(container, log, logged):
    commands = [["run", "--bundle", container.bundle.path, container.id], ["list"], ["delete", "--force", container.id]]
    results = [logged(*command).returncode for command in commands]

    assert results == [0, 0, 0]
    assert log.read_text() == ""


def test_a_failure_of_the_container_before_its_program_runs_is_one_object(container, bundle, log, logged):
    bundle.mount("/mnt", "bind", "/nonexistent/source")
    result = logged("create", "--bundle", bundle.path, container.id)
    (entry,) = map(json.loads, log.read_text().splitlines())

    assert result.returncode == 1
    assert "/nonexistent/source" in entry["msg"]


def test_a_failure_of_exec_is_one_object(container, log, logged):
    container.sleeping()
    result = logged("exec", container.id, "/nonexistent/program")
    (entry,) = map(json.loads, log.read_text().splitlines())

    assert result.returncode == 255
    assert "no such file or directory" in entry["msg"].lower()


def test_a_warning_is_logged_when_the_command_succeeds(container, bundle, log, logged):
    bundle.process["capabilities"]["bounding"].append("CAP_OF_THE_FUTURE")
    result = logged("run", "--bundle", bundle.path, container.id)
    (entry,) = map(json.loads, log.read_text().splitlines())

    assert result.returncode == 0
    assert entry["level"] == "warning"
    assert "CAP_OF_THE_FUTURE" in entry["msg"]


def test_a_warning_does_not_come_before_a_failure(container, bundle, log, logged):
    bundle.process["capabilities"]["bounding"].append("CAP_OF_THE_FUTURE")
    bundle.process["args"] = ["/nonexistent/program"]
    logged("create", "--bundle", bundle.path, container.id)
    (entry,) = map(json.loads, log.read_text().splitlines())

    assert entry["level"] == "error"


def test_the_log_is_appended_to(container, log, logged):
    log.write_text("what was there\n")
    logged("state", container.id)

    assert log.read_text().startswith("what was there\n{")


def test_a_wrong_command_line_is_logged(log, logged):
    logged("start")
    (entry,) = map(json.loads, log.read_text().splitlines())

    assert '"pyrun start" requires exactly 1 argument' in entry["msg"]


@pytest.mark.parametrize("program", ['/with "quotes" and \\', "/with\nnewline\tand tab", "/caf\u00e9"])
def test_a_message_with_any_character_is_still_one_object(container, bundle, log, logged, program):
    bundle.process["args"] = [program]
    logged("create", "--bundle", bundle.path, container.id)
    (line,) = log.read_text().splitlines()

    assert json.loads(line)["level"] == "error"


def test_the_program_of_the_container_does_not_write_to_the_log(container, bundle, log, logged):
    bundle.process["args"] = ["sh", "-c", "echo for everybody >&2; ls /proc/self/fd"]
    result = logged("run", "--bundle", bundle.path, container.id)

    assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert log.read_text() == ""


def test_debug_adds_lines_of_its_own_level_alone(container, log, logged):
    result = logged("run", "--bundle", container.bundle.path, container.id, options=["--debug"])

    assert result.returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["level"] for line in lines} == {"debug"}
    assert "mount proc proc at /proc" in [line["msg"] for line in lines]


def test_a_failure_without_a_log_names_its_level(container):
    assert container.fails("state", container.id) == f"error: container does not exist: {container.id}"


@pytest.fixture
def full_log(tmp_path):
    """A log on a disk without room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4096", "none", disk], check=True)
    (disk / "log").write_bytes(b"x" * 4096)
    yield disk / "log"
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("where", ["a full disk", "/dev/full"])
def test_a_log_without_room_costs_the_log_alone(container, full_log, where):
    log = "/dev/full" if where == "/dev/full" else full_log
    container.global_options = ["--log", log]
    result = container.call("state", container.id)

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"warning: --log {log}: No space left on device",
        f"error: container does not exist: {container.id}",
    ]


def test_a_warning_that_cannot_be_logged_costs_no_container(container, bundle):
    bundle.process["capabilities"]["bounding"].append("CAP_OF_THE_FUTURE")
    bundle.process["args"] = ["sleep", "1000"]
    container.global_options = ["--log", "/dev/full", "--debug"]
    container.run_detached()

    container.global_options = []
    assert container.status() == "running"
    assert container.output().count("--log /dev/full: No space left on device") >= 1
    assert "CAP_OF_THE_FUTURE" in container.output()


@pytest.mark.parametrize("closed", [(), (0,), (0, 1, 2)], ids=["open streams", "closed input", "closed streams"])
def test_a_host_without_dev_null_is_told_what_it_lacks(container, closed):
    script = 'mount -t tmpfs none /dev && exec "$@"'
    container.prefix = ["unshare", "--mount", "sh", "-c", script, "sh"]
    close = " ".join(f"{fd}<&-" for fd in closed)
    container.prefix += ["sh", "-c", f'exec "$@" {close}', "sh"]
    result = container.call("run", "--bundle", container.bundle.path, container.id)

    assert result.returncode == 1  # with all streams open it is what masks are bound from
    assert result.stderr == ("" if 2 in closed else "error: /dev/null: No such file or directory\n")


def test_a_full_standard_error_changes_nothing(container, log, logged):
    with open("/dev/full", "w") as full:
        command = [container.runtime, "--root", container.root, "--log", log, "state", container.id]
        status = subprocess.run(command, stderr=full, timeout=TIMEOUT).returncode

    assert status == 1
    assert "container does not exist" in log.read_text()

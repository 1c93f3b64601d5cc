"""The standard streams: pipelines end, files take the place of pipes, and bytes pass as they are, at a pipe's speed."""

import hashlib
import os
import random
import stat
import subprocess
import time

import pytest
from harness import TIMEOUT, wait_until

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox"),
    pytest.mark.only_pyrun("runc and crun hand on all that they have"),
]

SIZE = 48 << 20


def shell(container, script, **options):
    """Run a shell script in which $PYRUN is the runtime and $BUNDLE the container's bundle."""
    container.bundle.save()
    words = {"PYRUN": f"{container.runtime} --root {container.root}", "BUNDLE": str(container.bundle.path)}
    environment = {**os.environ, **words, "ID": container.id}
    return subprocess.run(["sh", "-c", script], env=environment, timeout=TIMEOUT, stdin=subprocess.DEVNULL, **options)


def stream(container, number):
    return os.readlink(f"/proc/{container.state()['pid']}/fd/{number}")


@pytest.mark.parametrize("verb", ["run -d", "create"])
def test_a_pipeline_ends_while_the_container_lives(container, bundle, tmp_path, verb):
    bundle.process["args"] = ["sleep", "1000"]
    script = f"$PYRUN {verb} -b $BUNDLE $ID 2>$BUNDLE/errors | cat"
    with open(tmp_path / "out", "w") as output:
        shell(container, script, stdout=output, stderr=output, check=True)

    assert container.status() in ("created", "running")
    assert stream(container, 1) == "/dev/null"


def test_a_command_substitution_ends_and_has_the_id_alone(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo from inside; exec sleep 1000"]
    result = shell(
        container, "id=$($PYRUN run -d -b $BUNDLE 2>&1) && echo $id; $PYRUN delete -f $id", capture_output=True
    )

    assert len(result.stdout) == 13
    assert result.stderr == b""


def test_who_captures_all_streams_of_a_detached_run_need_not_wait_for_the_container(container, bundle):
    bundle.process["args"] = ["sleep", "1000"]
    result = container.call("run", "-d", "--bundle", bundle.path, container.id)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert [stream(container, number) for number in range(3)] == ["/dev/null"] * 3


def test_a_pid_is_written_to_what_is_no_file(container, tmp_path):
    os.mknod(tmp_path / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("device")
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("device", "link", "fifo"):
        container.run("true", options=["--pid-file", tmp_path / name])
    assert os.read(reader, 100).isdigit()
    container.sleeping()
    for name in ("device", "link", "fifo"):
        container.works("exec", "--pid-file", tmp_path / name, container.id, "true")

    assert os.read(reader, 100).isdigit()
    os.close(reader)
    assert stat.S_ISCHR((tmp_path / "device").stat().st_mode) and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("with_pid_file", [False, True])
def test_who_makes_the_pipes_of_create_hears_the_container(container, bundle, with_pid_file):
    """As containerd's shim and conmon do, with --pid-file, and the tests of other runtimes without."""
    bundle.process["args"] = ["sh", "-c", "read line; echo got $line; echo error >&2"]
    bundle.save()
    options = ["--pid-file", container.pid_file] if with_pid_file else []
    command = container.command("create", *options, "--bundle", bundle.path, container.id)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: process.poll() is not None, "it is created")
    container.start()

    assert process.communicate(b"a word\n", timeout=TIMEOUT) == (b"got a word\n", b"error\n")


def test_a_file_of_the_caller_is_handed_on(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo out"]
    container.run_detached().wait_until("stopped")

    assert container.output() == "out\n"


@pytest.mark.parametrize("verb", ["run", "run --detach", "create"])
def test_files_take_the_place_of_the_streams(container, bundle, tmp_path, verb):
    bundle.process["args"] = ["sh", "-c", "cat; echo error >&2"]
    (tmp_path / "in").write_text("a word\n")
    options = ["--stdin", "in", "--stdout", "out", "--stderr", "err", "--bundle", bundle.path]
    container.works(*verb.split(), *options, container.id, cwd=tmp_path)
    if verb == "create":
        container.start()

    wait_until(lambda: (tmp_path / "err").read_text() == "error\n", "it has written")
    assert (tmp_path / "out").read_text() == "a word\n"


def test_what_is_written_to_a_file_is_appended(container, bundle, tmp_path):
    bundle.process["args"] = ["sh", "-c", "echo out; echo error >&2; echo again"]
    log = tmp_path / "log"
    log.write_text("before\n")
    container.run(options=["--stdout", log, "--stderr", log])

    assert log.read_text() == "before\nout\nerror\nagain\n"


def test_a_pipe_can_be_asked_for(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo out"]
    result = container.call("run", "-d", "--stdout", "/dev/stdout", "--bundle", bundle.path, container.id)

    assert result.stdout == "out\n"


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_file_that_cannot_be_opened_is_told_and_nothing_is_made(container, bundle, tmp_path, name):
    message = container.run_fails("true", options=[f"--{name}", tmp_path / "missing/file"])

    assert message == f"error: --{name} {tmp_path}/missing/file: No such file or directory"
    assert not container.exists()


def test_files_are_refused_for_a_terminal(container, bundle, tmp_path):
    bundle.process["terminal"] = True
    message = container.run_fails("true", options=["--stdout", tmp_path / "out"])

    assert message == "error: --stdout: the container's streams are its terminal (process.terminal)"
    assert not (tmp_path / "out").exists()


def test_run_passes_bytes_unchanged(container, bundle, tmp_path):
    data = random.Random(1).randbytes(SIZE)
    (tmp_path / "data").write_bytes(data)
    bundle.process["args"] = ["cat"]
    result = shell(container, f"cat {tmp_path}/data | $PYRUN run -b $BUNDLE $ID | sha256sum", capture_output=True)

    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_run_passes_bytes_as_fast_as_a_pipe(container, bundle, full):
    """The same program, in the container and outside; beside its start-up `run` costs nothing."""
    size = (4096 if full else 512) << 20
    bundle.process["args"] = ["cat"]

    def seconds(command):
        start = time.monotonic()
        shell(container, f"head -c {size} /dev/zero | {command} | cat >/dev/null", check=True)
        return time.monotonic() - start

    seconds("busybox cat")
    for _ in range(5):  # the machine may have been busy with something else
        plain, through = seconds("busybox cat"), seconds("$PYRUN run -b $BUNDLE $ID")
        print(f"{size >> 20} MiB: {plain:.2f} s through a pipe, {through:.2f} s through pyrun run")
        if through < 1.5 * plain + 1:
            break

    assert through < 1.5 * plain + 1

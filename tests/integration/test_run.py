"""run: its short forms for people, and its ends."""

import os
import signal
import subprocess

import pytest
from harness import TIMEOUT, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")
only_pyrun = pytest.mark.only_pyrun("an id made up, and another command than the bundle's")


@only_pyrun
def test_without_an_id_nothing_is_left(container, bundle):
    container.works("run", "-b", bundle.path, "--", "true")

    assert os.listdir(container.root) == []


@only_pyrun
def test_without_an_id_the_exit_code_comes_through(container, bundle):
    assert container.call("run", "-b", bundle.path, "--", "sh", "-c", "exit 42").returncode == 42


@only_pyrun
def test_two_without_an_id_do_not_meet(container, bundle):
    bundle.save()
    command = container.command("run", "-b", bundle.path, "--", "sh", "-c", "echo begun; read line")
    runners = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    begun = [runner.stdout.readline() for runner in runners]
    listed = container.works("list", "--quiet").split()
    outcomes = [(runner.communicate(b"\n", TIMEOUT)[0], runner.returncode) for runner in runners]

    assert begun == [b"begun\n"] * 2
    assert len(set(listed)) == 2
    assert outcomes == [(b"", 0)] * 2


@only_pyrun
def test_detached_with_another_command_and_no_id_prints_the_id_alone(container, bundle):
    bundle.process["args"] = ["false"]
    bundle.save()
    with open(container.output_file, "w") as output:
        command = container.command("run", "-d", "-b", bundle.path, "--", "sleep", "1000")
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, timeout=TIMEOUT, check=True)
    id_ = container.output().removesuffix("\n")
    listed = container.works("list", "--quiet")
    container.works("delete", "--force", id_)

    assert listed == f"{id_}\n"


def test_detached_with_an_id_prints_nothing(container):
    container.sleeping()

    assert container.output() == ""


@only_pyrun
def test_options_after_the_dashes_are_the_commands(container, bundle):
    assert container.works("run", "-b", bundle.path, container.id, "--", "echo", "--keep", "-d") == "--keep -d\n"


@only_pyrun
def test_two_ids_are_refused(container, bundle):
    message = container.fails("run", "-b", bundle.path, "one", "two", "--", "true")

    assert "takes one ID" in message


@pytest.mark.parametrize("status", [0, 1, 126, 127, 255])
def test_every_exit_code_comes_through(container, bundle, status):
    bundle.process["args"] = ["sh", "-c", f"exit {status}"]

    assert container.call("run", "--bundle", bundle.path, container.id).returncode == status


def test_in_a_pipeline_it_ends_with_its_program(container, bundle):
    bundle.process["args"] = ["echo", "through the pipe"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    result = subprocess.run(
        ["sh", "-c", '"$@" | cat', "sh", *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
    )

    assert (result.stdout, result.stderr) == (b"through the pipe\n", b"")


def test_a_reader_who_has_enough_ends_the_program(container, bundle):
    bundle.process["args"] = ["yes"]
    bundle.without_namespace("pid")  # lest the first process of a namespace ignore SIGPIPE
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    result = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1; echo ${PIPESTATUS[0]}', "bash", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )

    assert result.stdout == b"y\n%d\n" % (128 + signal.SIGPIPE)


def test_signals_reach_the_program_one_by_one(container, bundle):
    bundle.process["args"] = [
        "sh",
        "-c",
        "trap 'echo one' USR1; trap 'echo two; exit 5' USR2; echo ready; while :; do sleep 0.05; done",
    ]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as runner:
        seen = [runner.stdout.readline()]
        runner.send_signal(signal.SIGUSR1)
        seen.append(runner.stdout.readline())
        runner.send_signal(signal.SIGUSR2)
        seen.append(runner.stdout.readline())

        assert runner.wait(TIMEOUT) == 5
    assert seen == [b"ready\n", b"one\n", b"two\n"]


def test_a_stopped_and_continued_runtime_still_waits(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo ready; read line; exit 6"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        runner.stdout.readline()
        runner.send_signal(signal.SIGSTOP)
        runner.send_signal(signal.SIGCONT)
        runner.communicate(b"\n", TIMEOUT)

        assert runner.returncode == 6


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 have no --keep")
def test_what_was_kept_can_be_asked_and_deleted(container):
    container.run("sh", "-c", "exit 0", options=["--keep"])
    status = container.status()
    container.delete()

    assert status == "stopped"
    assert not container.exists()


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 have no --keep")
def test_what_was_kept_keeps_its_id(container):
    container.run("true", options=["--keep"])

    assert "already exists" in container.run_fails("true")


@pytest.mark.differs("crun", "1.8 waits for it")
def test_a_background_process_does_not_outlive_the_container(container, bundle):
    bundle.without_namespace("pid")
    pid = int(container.sh("sleep 1000 >/dev/null 2>&1 & echo $!"))

    wait_until(lambda: not is_alive(pid), "the background process has ended")


def test_the_end_of_a_killed_runtime_leaves_the_container_to_delete(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo ready; exec sleep 1000"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, "--pid-file", container.pid_file, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as runner:
        runner.stdout.readline()
        wait_until(container.pid_file.exists, "the pid is written")
        runner.kill()
    status = container.status()
    container.delete("--force")

    assert status == "running"
    assert not is_alive(container.pid())

"""checkpoint and restore: a container as files, and back, by a real criu."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import criu
import pytest
from harness import DescriptorSocket, wait_until

pytestmark = [pytest.mark.needs("root", "/bin/busybox", "criu"), pytest.mark.only_pyrun("is not told where criu is")]

COUNT = "i=0; exec 3>/count; while :; do i=$((i+1)); echo $i >&3; sleep 0.05; done"


@pytest.fixture(autouse=True)
def criu_in_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{criu.directory()}:{os.environ['PATH']}")


@pytest.fixture
def image(tmp_path):
    return tmp_path / "image"


def numbers(bundle):
    return [int(line) for line in (bundle.rootfs / "count").read_text().split()]


def counting(container, *options):
    """Run what counts in memory, and writes the numbers to a file that it keeps open."""
    container.bundle.process["args"] = ["sh", "-c", COUNT]
    container.run_detached(*options)
    wait_until(lambda: (container.bundle.rootfs / "count").exists() and len(numbers(container.bundle)) > 3, "it counts")
    return container


def checkpoint(container, image, *options, **keywords):
    return container.works("checkpoint", "--image-path", image, *options, container.id, **keywords)


def restore(container, image, *options, **keywords):
    options = ("--detach", "--pid-file", container.pid_file, "--image-path", image, *options)
    container._detached("restore", *options, **keywords)
    return container


def goes_on(container):
    before = numbers(container.bundle)
    wait_until(lambda: len(numbers(container.bundle)) > len(before) + 2, "it goes on")
    assert numbers(container.bundle) == list(range(1, len(numbers(container.bundle)) + 1))


def test_what_counts_in_memory_goes_on_in_the_file_that_it_has_open(container, image):
    counting(container)
    checkpoint(container, image)
    left = (container.exists(), container.cgroups())
    restore(container, image)

    assert left == (False, [])
    assert container.status() == "running"
    goes_on(container)
    assert container.exec("echo", "here") == "here\n"
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")
    container.delete()


def test_it_goes_on_under_another_id_in_a_copy_of_the_bundle(new_container, image):
    container, twin = new_container(), new_container()
    counting(container)
    twin.bundle.config = container.bundle.config
    checkpoint(container, image)
    shutil.copy(container.bundle.rootfs / "count", twin.bundle.rootfs)
    for name in ("proc", "dev", "sys"):
        (twin.bundle.rootfs / name).rmdir()  # a fresh copy has no mount points
    restore(twin, image)

    goes_on(twin)
    assert Path(f"/proc/{twin.pid()}/root/proc/1/comm").read_text() == "sh\n"
    assert not container.exists()
    assert all(f"/{twin.id}" in line for line in twin.proc("cgroup").splitlines() if line[-2:] != ":/")


def test_leave_running_lets_the_original_go_on(new_container, image):
    container, twin = new_container(), new_container()
    container.bundle.mount("/tmp", "tmpfs", "tmpfs")
    container.bundle.process["args"] = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/tmp/i; sleep 0.05; done"]
    twin.bundle.config = container.bundle.config
    container.run_detached()
    wait_until(lambda: reached(container) > 3, "it counts")
    checkpoint(container, image, "--leave-running")
    then = reached(container)
    wait_until(lambda: reached(container) > then, "the original goes on")
    restore(twin, image)

    wait_until(lambda: reached(twin) > then, "the twin goes on")
    assert (container.status(), twin.status()) == ("running", "running")


def reached(container):
    return int(container.call("exec", container.id, "cat", "/tmp/i").stdout or 0)


@pytest.mark.needs("memory tracking")
def test_an_image_can_be_what_differs_from_pre_dumps(container, bundle, tmp_path):
    fill = "x=$(head -c 4000000 /dev/urandom | base64); "
    bundle.process["args"] = ["sh", "-c", fill + COUNT]
    container.run_detached()
    wait_until(lambda: (bundle.rootfs / "count").exists() and len(numbers(bundle)) > 3, "it counts")
    checkpoint(container, tmp_path / "images/first", "--pre-dump")
    checkpoint(container, tmp_path / "images/second", "--pre-dump", "--parent-path", "../first")
    goes_on(container)
    checkpoint(container, tmp_path / "images/last", "--parent-path", "../second")
    first, last = (written(tmp_path / "images" / name) for name in ("first", "last"))
    restore(container, tmp_path / "images/last")

    assert first > 5_000_000 > 1_000_000 > last
    goes_on(container)


def written(image):
    return sum(path.stat().st_size for path in image.glob("pages-*.img"))


def test_a_terminal_is_given_to_the_console_socket(container, bundle, image, tmp_path):
    bundle.process["terminal"] = True
    bundle.process["args"] = ["sh", "-c", "x=kept; while read line; do echo $x: $line on $(tty); done"]
    sockets = [DescriptorSocket(tmp_path / name) for name in ("one", "two")]
    container.run_detached("--console-socket", sockets[0].path)
    _, [before] = sockets[0].receive()
    os.write(before, b"first\n")
    assert b"kept: first on /dev/pts/0" in read(before, b"/pts/0\r\n")
    checkpoint(container, image)
    os.close(before)
    restore(container, image, "--console-socket", sockets[1].path)
    name, [master] = sockets[1].receive()
    os.write(master, b"second\n")

    assert name == b"/dev/pts/0"
    assert b"kept: second on /dev/pts/0" in read(master, b"/pts/0\r\n")
    assert container.exec("sh", "-c", "tty </dev/console") == "/dev/console\n"
    os.close(master)
    for socket in sockets:
        socket.close()


def read(master, until):
    shown = b""
    while until not in shown:
        shown += os.read(master, 4096)
    return shown


@pytest.fixture
def connected(container, bundle):
    """A container with an established TCP connection to itself, which criu refuses unless it is told."""
    script = "ip link set lo up; sleep 1000 | nc -l -p 99 & sleep 0.2; sleep 1000 | nc 127.0.0.1 99"
    bundle.process["args"] = ["sh", "-c", script]
    for capabilities in bundle.process["capabilities"].values():
        capabilities.append("CAP_NET_ADMIN")
    container.run_detached()
    wait_until(lambda: container.exec("netstat", "-tn").count("ESTABLISHED") == 2, "it is connected")
    return container


def test_a_failing_criu_leaves_the_container_running_and_nothing_behind(connected, image):
    message = connected.fails("checkpoint", "--image-path", image, connected.id)

    assert "Connected TCP socket, consider using --tcp-established option" in message
    assert connected.status() == "running"
    assert not image.exists()


def test_the_log_of_a_failure_is_kept_where_it_was_wanted(connected, image, tmp_path):
    work = tmp_path / "work"
    message = connected.fails("checkpoint", "--image-path", image, "--work-path", work, connected.id)

    assert message.endswith(f" (all of it: {work}/dump.log)")
    assert "--tcp-established" in (work / "dump.log").read_text()
    assert not image.exists()


def test_connections_stay_established(connected, image):
    checkpoint(connected, image, "--tcp-established")
    restore(connected, image, "--tcp-established")

    assert connected.exec("netstat", "-tn").count("ESTABLISHED") == 2


def test_a_foreground_restore_waits_and_returns_the_status(container, bundle, image):
    bundle.process["args"] = ["sh", "-c", 'trap "echo bye; exit 7" TERM; while :; do sleep 0.05; done']
    container.run_detached()
    time.sleep(0.3)
    checkpoint(container, image)
    bundle.save()
    command = container.command("restore", "--bundle", bundle.path, "--image-path", image, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as restored:
        wait_until(lambda: container.exists() and container.status() == "running", "it is restored")
        time.sleep(0.1)
        restored.send_signal(signal.SIGTERM)
        output, _ = restored.communicate(timeout=20)

    assert (restored.returncode, container.output()) == (7, "bye\n")
    assert not container.exists()


def test_the_exit_status_of_a_restored_container_can_be_waited_for(container, bundle, image):
    bundle.process["args"] = ["sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; exit 9"]
    container.run_detached()
    checkpoint(container, image)
    container._detached("restore", "--detach", "--image-path", image)
    (bundle.rootfs / "end").touch()

    assert container.call("wait", container.id).returncode == 9

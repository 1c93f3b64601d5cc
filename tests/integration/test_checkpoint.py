"""checkpoint and restore: a container as files, and back, by a real criu."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import criu
import pytest
from harness import V2_ROOT, DescriptorSocket, wait_until
from test_terminal import Screen

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


@contextlib.contextmanager
def waited_for(process):
    """Let `process` end by itself, within bounds."""
    try:
        yield process
        process.wait(20)
    finally:
        process.kill()
        process.wait()


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


@pytest.mark.needs("strace")
def test_a_restore_that_cannot_join_a_cgroup_leaves_nothing(container, image):
    container.sleeping()
    checkpoint(container, image)
    path = f"{V2_ROOT}/{container.id}/cgroup.procs"
    container.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "inject=openat:error=EAGAIN:when=1"]
    bundle = ("--bundle", container.bundle.path)
    message = container.fails("restore", "--detach", "--image-path", image, *bundle, container.id)
    container.prefix = []

    assert message == f"error: {path}: Resource temporarily unavailable"
    assert container.cgroups() == []
    assert not container.exists()


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
    for one in sockets:
        one.close()


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
    with waited_for(subprocess.Popen(command, stdin=subprocess.DEVNULL)) as restored:
        wait_until(lambda: container.exists() and container.status() == "running", "it is restored")
        time.sleep(0.1)
        restored.send_signal(signal.SIGTERM)
        output, _ = restored.communicate(timeout=20)

    assert (restored.returncode, container.output()) == (7, "bye\n")
    assert not container.exists()


def test_a_run_in_the_foreground_ends_as_if_killed_when_its_container_was_written_down(container, bundle, image):
    bundle.process["args"] = ["sh", "-c", COUNT]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with waited_for(subprocess.Popen(command, **streams)) as process:
        wait_until(lambda: (bundle.rootfs / "count").exists() and len(numbers(bundle)) > 3, "it counts")
        checkpoint(container, image)
        complaint = process.stderr.read()

    assert (process.returncode, complaint) == (128 + 9, b"")


def test_a_terminal_outside_of_the_container_is_given_that_of_restore(container, bundle, image):
    bundle.process["args"] = ["sh", "-c", "x=kept; while read line; do echo $x: $line; done"]
    bundle.save()
    place = ("--bundle", bundle.path)
    with Screen(container.command("run", *place, container.id)) as screen:
        screen.type(b"one\n")
        screen.wait_for(b"kept: one")
        refused = container.fails("checkpoint", "--image-path", image, container.id)
        checkpoint(container, image, "--shell-job")
    without = container.fails("restore", *place, "--image-path", image, "--shell-job", container.id)
    with Screen(container.command("restore", *place, "--image-path", image, "--shell-job", container.id)) as screen:
        wait_until(lambda: container.exists() and container.status() == "running", "it is restored")
        screen.type(b"two\n")
        screen.wait_for(b"kept: two")
        screen.type(b"\x04")
        assert screen.end()[0] == 0

    assert "standard input of the container is a terminal outside of it" in refused
    assert without == "error: standard input of the container was a terminal: restore it with one there"


def test_the_exit_status_of_a_restored_container_can_be_waited_for(container, bundle, image):
    bundle.process["args"] = ["sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; exit 9"]
    container.run_detached()
    checkpoint(container, image)
    container._detached("restore", "--detach", "--image-path", image)
    (bundle.rootfs / "end").touch()

    assert container.call("wait", container.id).returncode == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--manage-cgroups-mode", "hard"], 'invalid manage-cgroups-mode "hard": soft, full, strict or ignore'),
        (["--empty-ns", "uts"], 'invalid empty-ns "uts": criu can leave out what is in network namespaces only'),
        (["--status-fd", "99"], "invalid --status-fd argument 99: is not an open descriptor"),
        (["--status-fd", "x"], "invalid --status-fd argument x: is not an open descriptor"),
        (["--page-server", "1234"], 'invalid page-server "1234": ADDRESS:PORT'),
        (["--page-server", "localhost:0"], 'invalid page-server "localhost:0": ADDRESS:PORT'),
        (["--lazy-pages"], "--lazy-pages needs --page-server ADDRESS:PORT, at which they are served"),
        (["--parent-path", "/abs"], "--parent-path /abs: must be relative to --image-path, so that both can be moved"),
        (["--parent-path", "../no"], "invalid --parent-path: {}/no is not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_cannot_be_is_refused_by_name(container, tmp_path, options, message):
    container.sleeping()
    image = tmp_path / "image"

    found = container.fails("checkpoint", "--image-path", image, *options, container.id)
    assert found == f"error: {message.format(tmp_path)}"
    assert container.status() == "running"
    assert not image.exists()


def test_only_a_running_container_can_be_written_down(container, image):
    container.create()

    created = container.fails("checkpoint", "--image-path", image, container.id)
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")
    stopped = container.fails("checkpoint", "--image-path", image, container.id)
    assert created == "error: Container cannot be checkpointed in created state"
    assert stopped == "error: Container cannot be checkpointed in stopped state"
    assert not image.exists()


def test_what_an_image_could_not_bring_back_is_refused(new_container, image, tmp_path):
    mounted, overlaid, own_init, restricted = (new_container() for _ in range(4))
    mounted.sleeping()
    mounted.works("mount", mounted.id, tmp_path, "/tmp")
    for container, option in ((overlaid, "--overlay"), (own_init, "--init")):
        container.bundle.process["args"] = ["sleep", "1000"]
        container.run_detached(option)
    messages = [one.fails("checkpoint", "--image-path", image, one.id) for one in (mounted, overlaid, own_init)]

    assert messages[0].endswith("it has mounts of `pyrun mount`, which no config.json tells of: pyrun umount /tmp")
    assert messages[1].endswith(
        f"its root is not {overlaid.bundle.rootfs}: the layer of --overlay is not part of an image"
    )
    assert messages[2].endswith("is in memory only (--init): criu does not restore that")
    assert not image.exists()


def test_a_directory_without_an_image_is_refused_by_name(container, tmp_path):
    container.bundle.save()
    (tmp_path / "empty").mkdir()
    restore = ("restore", "--detach", "--bundle", container.bundle.path, "--image-path")
    missing = container.fails(*restore, tmp_path / "nowhere", container.id)
    empty = container.fails(*restore, tmp_path / "empty", container.id)

    hint = "`pyrun checkpoint` writes one"
    assert missing == f"error: --image-path {tmp_path}/nowhere: is not a directory: {hint}"
    assert empty == f"error: --image-path {tmp_path}/empty: has no image of a container: {hint}"
    assert not container.exists()


def test_a_broken_image_leaves_nothing_behind(container, image):
    counting(container)
    checkpoint(container, image)
    (image / "pstree.img").write_bytes(b"broken")
    before = sorted(os.listdir(image))
    options = ("--detach", "--bundle", container.bundle.path, "--image-path", image)
    message = container.fails("restore", *options, container.id)

    assert message.startswith("error: criu: ")
    assert not container.exists()
    assert container.cgroups() == []
    assert sorted(os.listdir(image)) == before


def test_no_pivot_is_refused_by_name(container, image):
    container.sleeping()
    checkpoint(container, image)
    options = ("--detach", "--no-pivot", "--bundle", container.bundle.path, "--image-path", image)

    message = container.fails("restore", *options, container.id)
    assert message == "error: --no-pivot: criu enters the root file system by pivot_root alone"


def test_a_missing_criu_is_told_with_how_to_get_it(container, image, monkeypatch):
    container.sleeping()
    monkeypatch.setenv("PATH", "/nowhere")
    message = container.fails("checkpoint", "--image-path", image, container.id)

    assert message == "error: criu is not in PATH: apt-get install criu, or your distribution's package, or --criu PATH"
    assert not image.exists()


def test_criu_can_be_named(container, image, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    container.sleeping()
    container.global_options = ["--criu", f"{criu.directory()}/criu"]
    checkpoint(container, image)
    container.global_options = ["--criu", image]

    message = container.fails("restore", "--image-path", image, "--bundle", container.bundle.path, container.id)
    assert message == f"error: --criu {image}: is not a program"


def test_a_criu_that_is_too_old_is_told_so(container, image, tmp_path):
    # It answers every request as version 3.15, whatever that is: type VERSION, success, major and minor number.
    answer = bytes([0x08, 10, 0x10, 1, 0x52, 4, 0x08, 3, 0x10, 15])
    old = tmp_path / "criu"
    old.write_text(
        f"#!/usr/bin/python3\nimport os, sys\nfd = int(sys.argv[2])\nos.read(fd, 9999)\nos.write(fd, {answer!r})\n"
    )
    old.chmod(0o755)
    container.sleeping()
    container.global_options = ["--criu", old]

    message = container.fails("checkpoint", "--image-path", image, container.id)
    assert message == "error: criu 3.15 is too old: install 3.16 or newer"
    assert not image.exists()


def test_criu_that_dies_half_way_leaves_the_container_running(container, image, tmp_path):
    dying = tmp_path / "criu"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    container.sleeping()
    container.global_options = ["--criu", dying]

    assert container.fails("checkpoint", "--image-path", image, container.id) == "error: criu ended without an answer"
    assert container.status() == "running"
    assert not image.exists()


def test_memory_can_be_sent_to_a_page_server(container, image, tmp_path, free_port):
    counting(container)
    image.mkdir()
    program = f"{criu.directory()}/criu"
    server = [
        program,
        "page-server",
        "--images-dir",
        image,
        "--port",
        str(free_port),
        "--address",
        "127.0.0.1",
        "--daemon",
    ]
    subprocess.run(server, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)
    elsewhere = tmp_path / "elsewhere"
    checkpoint(container, elsewhere, "--page-server", f"127.0.0.1:{free_port}")

    assert written(elsewhere) == 0
    wait_until(lambda: written(image) > 0, "the pages have come")
    for path in elsewhere.iterdir():
        shutil.copy(path, image)
    restore(container, image)
    goes_on(container)


@pytest.fixture
def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_the_page_server_says_when_it_listens(container, image, free_port):
    counting(container)
    ready, ours = os.pipe()
    options = ("--lazy-pages", "--page-server", f"127.0.0.1:{free_port}", "--status-fd", ours)
    command = container.command("checkpoint", "--image-path", image, *options, container.id)
    with waited_for(subprocess.Popen(command, pass_fds=[ours])) as source:
        os.close(ours)
        told = os.read(ready, 2), os.read(ready, 1)
        waits = source.poll() is None
        socket.create_connection(("127.0.0.1", free_port)).close()  # who has all that it wanted
    os.close(ready)

    assert (told, waits) == ((b"\0", b""), True)


def test_a_restore_in_the_foreground_keeps_nothing_of_criu_s(container, bundle, image):
    bundle.process["args"] = ["sleep", "1000"]
    container.run_detached()
    checkpoint(container, image)
    command = container.command("restore", "--bundle", bundle.path, "--image-path", image, container.id)
    with waited_for(subprocess.Popen(command, stdin=subprocess.DEVNULL)) as restored:
        wait_until(lambda: container.exists() and container.status() == "running", "it is restored")
        wait_until(lambda: not criu_s(restored.pid, image), "criu's descriptors are closed")
        container.works("kill", container.id, "KILL")


def criu_s(pid, image):
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            links.append(os.readlink(path))
    return [link for link in links if str(image) in link or link.startswith(("socket:", "mnt:", "net:"))]

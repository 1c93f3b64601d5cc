"""process.terminal: relayed to the caller's own terminal, or handed over to the holder of a console socket."""

import fcntl
import hashlib
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from harness import TIMEOUT, DescriptorSocket, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")

MIB = 1 << 20


class Screen:
    """The other side of the terminal in which a command runs."""

    def __init__(self, command, rows=24, columns=80):
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.shown = b""
        self.mode = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(TIMEOUT)
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, data):
        while data:
            data = data[os.write(self.master, data) :]

    def wait_for(self, text):
        """Read until `text` is shown, and return what is shown so far."""
        read_until(self.master, lambda: text in self.shown, self._show)
        return self.shown

    def hang_up(self):
        """Close the terminal, as the end of a connection does, and return the command's exit code."""
        os.close(self.master)
        self.master = os.open("/dev/null", os.O_RDONLY)  # for __exit__()
        return self.process.wait(TIMEOUT)

    def end(self):
        """Return (exit code, all that was shown)."""
        read_until(self.master, lambda: self.process.poll() is not None, self._show)
        while select.select([self.master], [], [], 0)[0]:
            self._show(os.read(self.master, 65536))
        return self.process.returncode, self.shown

    def _show(self, data):
        self.shown += data


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(terminal, condition, take):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "the terminal shows nothing more"
        if select.select([terminal], [], [], 0.05)[0]:
            take(os.read(terminal, 65536))


@pytest.fixture
def screen(container, bundle):
    """Run a shell script with a terminal, in the foreground."""
    bundle.process["terminal"] = True

    def screen(script, **size):
        bundle.process["args"] = ["sh", "-c", script]
        bundle.save()
        return Screen(container.command("run", "--bundle", bundle.path, container.id), **size)

    return screen


@pytest.fixture
def console_socket(tmp_path):
    made = DescriptorSocket(tmp_path / "console.sock")
    yield made
    made.close()


def read_lines(master, count=1):
    """What a terminal shows until so many lines are whole: one read(2) may end in the midst of a line."""
    shown = []
    read_until(master, lambda: b"".join(shown).count(b"\n") >= count, shown.append)
    return b"".join(shown)


def test_the_three_standard_streams_are_one_terminal(screen):
    with screen("tty; tty <&1; tty <&2") as shown:
        assert shown.end() == (0, b"/dev/pts/0\r\n" * 3)


def test_the_console_is_that_terminal(screen):
    with screen("echo through the console > /dev/console") as shown:
        assert shown.end() == (0, b"through the console\r\n")


def test_it_is_the_controlling_terminal(screen):
    with screen("echo mine > /dev/tty") as shown:
        assert shown.end() == (0, b"mine\r\n")


def test_it_belongs_to_the_user_of_the_process(screen, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}

    with screen("stat -c %u $(tty); echo > $(tty)") as shown:
        status, text = shown.end()

    assert (status, text.split()) == (0, [b"1000"])


@pytest.mark.only_pyrun("the others set it when the program runs already")
def test_its_size_is_that_of_the_callers(screen):
    with screen("stty size", rows=33, columns=111) as shown:
        assert shown.end() == (0, b"33 111\r\n")


@pytest.mark.only_pyrun("runc and crun demand that the caller has a terminal")
def test_its_size_is_the_configs_where_the_caller_has_no_terminal(container, bundle):
    bundle.process.update(terminal=True, consoleSize={"height": 12, "width": 34})

    assert container.run("stty", "size", start_new_session=True) == "12 34\n"


@pytest.mark.differs("crun", "1.8 hands no new size on")
def test_a_new_size_of_the_callers_arrives(screen):
    with screen("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done") as shown:
        shown.wait_for(b"ready")
        shown.resize(50, 132)
        status, text = shown.end()

    assert (status, text) == (0, b"ready\r\n50 132\r\n")


def test_control_c_is_for_the_container(screen):
    with screen("trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.05; done") as shown:
        shown.wait_for(b"ready")
        shown.type(b"\x03")
        status, text = shown.end()

    assert status == 42
    assert text.endswith(b"interrupted\r\n")


def test_control_d_ends_the_input_of_the_container(screen):
    with screen("stty -echo; echo ready; cat; echo end") as shown:
        shown.wait_for(b"ready")
        shown.type(b"typed\n\x04")

        assert shown.end() == (0, b"ready\r\ntyped\r\nend\r\n")


def test_control_z_is_for_the_container(screen):
    with screen("set -m; echo ready; cat; echo stopped: $?; fg; echo ended") as shown:
        shown.wait_for(b"ready\r\n")
        shown.type(b"one\n")
        shown.wait_for(b"one\r\none\r\n")
        shown.type(b"\x1a")
        shown.wait_for(b"stopped: 148\r\ncat\r\n")
        shown.type(b"two\n\x04")
        status, text = shown.end()

    assert status == 0
    assert text.endswith(b"two\r\ntwo\r\nended\r\n")


def test_a_hangup_is_passed_on(screen):
    with screen("trap 'exit 42' HUP; echo ready; while :; do sleep 0.05; done") as shown:
        shown.wait_for(b"ready")

        assert shown.hang_up() == 42


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 keep the container's terminal, and wait for ever")
def test_a_hangup_ends_what_reads_from_the_terminal(screen, container):
    with screen("echo ready; read line; exit 5") as shown:
        shown.wait_for(b"ready")

        assert shown.hang_up() == 5
        assert not container.exists()


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 keep the container's terminal, and wait for ever")
def test_who_writes_when_nobody_reads_any_more_is_hung_up(container, bundle):
    bundle.process.update(terminal=True, args=["sh", "-c", "trap 'exit 42' HUP; while :; do echo more; done"])
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as runner:
        line = runner.stdout.readline()
        runner.stdout.close()

        assert (line, runner.wait(TIMEOUT)) == (b"more\n", 42)


@pytest.mark.only_pyrun("Go's runtime handles its own faults")
def test_a_fault_of_the_runtime_itself_ends_it(screen):
    """A handler would return to the fault for ever."""
    with screen("echo ready; read line") as shown:
        shown.wait_for(b"ready")
        status = Path(f"/proc/{shown.process.pid}/status").read_text()
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
        shown.type(b"\n")
        shown.end()

    assert caught >> signal.SIGTERM - 1 & 1
    for fault in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        assert not caught >> fault - 1 & 1


@pytest.mark.parametrize("status", [0, 7, 255])
def test_the_exit_code_comes_through(screen, status):
    with screen(f"exit {status}") as shown:
        assert shown.end() == (status, b"")


def test_the_callers_terminal_is_raw_and_then_as_it_was(screen):
    with screen("echo ready; read line") as shown:
        shown.wait_for(b"ready")
        during = termios.tcgetattr(shown.slave)
        shown.type(b"\n")
        shown.end()
        after = termios.tcgetattr(shown.slave)

        assert not during[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        assert after == shown.mode


def test_a_large_paste_arrives_whole(screen):
    pasted = bytes(range(1, 251)) * (MIB // 250)

    with screen(f"stty raw -echo; echo ready; head -c {len(pasted)} | sha256sum") as shown:
        shown.wait_for(b"ready")
        typing = threading.Thread(target=shown.type, args=[pasted])
        typing.start()
        status, text = shown.end()
        typing.join(TIMEOUT)

    assert status == 0
    assert hashlib.sha256(pasted).hexdigest().encode() in text


def test_a_large_paste_that_is_echoed_does_not_block(screen):
    pasted = b"0123456789abcde\n" * 4000

    with screen(f"stty raw echo; echo ready; head -c {len(pasted)} >/dev/null; printf 'that is all'") as shown:
        shown.wait_for(b"ready")
        typing = threading.Thread(target=shown.type, args=[pasted])
        typing.start()
        status, text = shown.end()
        typing.join(TIMEOUT)

    assert status == 0
    assert b"that is all" in text


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 wait until it is read")
def test_output_that_is_read_after_the_end_is_whole(container, bundle):
    bundle.process["terminal"] = True
    bundle.process["args"] = ["sh", "-c", "stty raw; head -c 12000 /dev/zero | tr '\\0' x; printf 'that is all'"]
    bundle.save()
    end, pipe = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe) as process, open(end, "rb") as output:
        os.close(pipe)
        wait_until(lambda: container.exists() and container.status() == "stopped", "the container ends")
        text = output.read()

    assert process.returncode == 0
    assert text == b"x" * 12000 + b"that is all"


@pytest.mark.only_pyrun("runc 1.1 shows something else")
def test_binary_output_is_not_changed(screen, bundle):
    content = bytes(range(256)) * 1000
    (bundle.rootfs / "content").write_bytes(content)

    with screen("stty raw; cat /content") as shown:
        assert shown.end() == (0, content)


@pytest.mark.only_pyrun("their memory is not ours to look after")
@pytest.mark.timeout(600)
def test_a_slow_reader_does_not_make_the_runtime_grow(screen, full):
    size = (1024 if full else 8) * MIB

    with screen(f"stty raw; yes 0123456789abcde | head -c {size}; read end") as shown:
        received = len(shown.wait_for(b"0123456789abcde\n"))
        before = peak_memory(shown.process.pid)
        time.sleep(0.5)
        while received < size:
            received += len(os.read(shown.master, 65536))
            if received % (2 * MIB) < 65536:
                time.sleep(0.02)
        growth = peak_memory(shown.process.pid) - before
        shown.type(b"\n")

        assert shown.end()[0] == 0
        assert growth < MIB


def peak_memory(pid):
    """Return the bytes of memory that a process had at most."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def test_the_last_output_is_shown_though_its_writer_has_ended(screen):
    with screen("seq 20000") as shown:
        status, text = shown.end()

    assert (status, text.split()) == (0, [b"%d" % number for number in range(1, 20001)])


@pytest.mark.only_pyrun("runc and crun demand that the caller has a terminal")
def test_a_caller_without_a_terminal_gets_the_output(container, bundle):
    bundle.process["terminal"] = True

    assert container.run("tty") == "/dev/pts/0\n"


def test_exec_has_a_terminal_of_its_own(container):
    container.sleeping()

    with Screen(container.command("exec", "--tty", container.id, "sh", "-c", "tty; stty size; exit 9")) as shown:
        assert shown.end() == (9, b"/dev/pts/0\r\n24 80\r\n")


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_console_socket_receives_the_master(container, bundle, console_socket, verb):
    bundle.process.update(terminal=True, args=["sh", "-c", "tty; read line; echo got $line; sleep 1000"])
    if verb == "create":
        container.create("--console-socket", console_socket.path).start()
    else:
        container.run_detached("--console-socket", console_socket.path)
    name, (master,) = console_socket.receive()
    greeting = read_lines(master)
    os.write(master, b"this\n")
    answer = read_lines(master, 2)
    os.close(master)

    assert name
    assert greeting == b"/dev/pts/0\r\n"
    assert answer == b"this\r\ngot this\r\n"


@pytest.mark.proves("process.terminal")
@pytest.mark.parametrize("terminal", [True, False])
def test_the_program_has_a_terminal_where_the_config_says_so(container, bundle, console_socket, terminal):
    bundle.process.update(terminal=terminal, args=["sh", "-c", "tty; sleep 1000; :"])
    container.run_detached(*(["--console-socket", console_socket.path] if terminal else []))
    if terminal:
        _, (master,) = console_socket.receive()
        inside = read_lines(master)
        controlling = os.stat(f"/proc/{container.pid()}/root/dev/pts/0").st_rdev
    else:
        wait_until(lambda: "\n" in container.output(), "the program has told its terminal")
        inside, controlling = container.output().encode(), 0
    streams = [os.readlink(f"/proc/{container.pid()}/fd/{number}") for number in range(3)]
    tty_nr = int(container.proc("stat").rpartition(")")[2].split()[4])
    if terminal:
        os.close(master)

    assert inside == (b"/dev/pts/0\r\n" if terminal else b"not a tty\n")
    assert (streams == ["/dev/pts/0"] * 3) == terminal
    assert tty_nr == controlling


@pytest.mark.proves("process.consoleSize.height", "process.consoleSize.width")
def test_the_size_of_a_terminal_without_a_caller_is_the_configs(container, bundle, console_socket):
    bundle.process.update(
        terminal=True, consoleSize={"height": 10, "width": 20}, args=["sh", "-c", "stty size; sleep 1000"]
    )
    container.run_detached("--console-socket", console_socket.path)
    _, (master,) = console_socket.receive()
    size = read_lines(master)
    seen_by_the_holder = struct.unpack("4H", fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8)))
    os.close(master)

    assert size == b"10 20\r\n"
    assert seen_by_the_holder[:2] == (10, 20)


def test_a_console_socket_receives_the_master_of_exec(container, console_socket):
    container.sleeping()
    command = ["sh", "-c", "tty; sleep 1000"]
    options = ["--tty", "--detach", "--console-socket", console_socket.path]
    container.exec(*command, options=options)
    name, (master,) = console_socket.receive()
    line = read_lines(master)
    os.close(master)

    assert name
    assert line == b"/dev/pts/0\r\n"


def test_the_end_of_a_holder_of_the_terminal_hangs_it_up(container, bundle, console_socket):
    bundle.process.update(
        terminal=True, args=["sh", "-c", "trap 'exit 3' HUP; echo ready; while :; do sleep 0.05; done"]
    )
    container.run_detached("--console-socket", console_socket.path)
    _, (master,) = console_socket.receive()
    read_lines(master)
    os.close(master)

    container.wait_until("stopped")


@pytest.mark.only_pyrun("the wording names pyrun")
@pytest.mark.parametrize("verb", ["create", "run", "exec"])
def test_a_terminal_that_nobody_would_hold_is_refused(container, bundle, verb):
    if verb == "exec":
        container.sleeping()
        message = container.fails("exec", "--tty", "--detach", container.id, "true", status=255)
    else:
        bundle.process["terminal"] = True
        options = ["--detach"] if verb == "run" else []
        message = container.fails(verb, *options, "--bundle", bundle.path, container.id)

    assert message.endswith(": cannot allocate tty if pyrun will detach without setting console socket")


@pytest.mark.only_pyrun("the wording names pyrun")
@pytest.mark.parametrize("verb", ["create", "run", "exec"])
def test_a_console_socket_without_a_terminal_is_refused(container, bundle, console_socket, verb):
    if verb == "exec":
        container.sleeping()
        message = container.fails(
            "exec", "--detach", "--console-socket", console_socket.path, container.id, "true", status=255
        )
    else:
        options = ["--console-socket", console_socket.path]
        message = container.fails(verb, *options, "--bundle", bundle.path, container.id)

    assert message.endswith(": cannot use console socket if pyrun will not detach or allocate tty")


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.differs("crun", "1.8 leaves the terminal as the kernel makes it")
def test_a_pipe_gets_lines_that_end_as_the_program_ends_them(container, bundle, verb):
    if verb == "run":
        bundle.process.update(terminal=True, args=["sh", "-c", "echo a line; tty"])
        bundle.save()
        command = container.command("run", "--bundle", bundle.path, container.id)
    else:
        container.sleeping()
        command = container.command("exec", "--tty", container.id, "sh", "-c", "echo a line; tty")
    with Screen(["sh", "-c", '"$@" | od -c', "sh", *command]) as shown:
        status, text = shown.end()

    assert (status, b"".join(text.split()[1:12])) == (0, rb"aline\n/dev/")


def test_the_reader_of_such_a_pipe_can_write_to_the_callers_terminal(container, bundle):
    bundle.process.update(terminal=True, args=["sh", "-c", "echo a line; sleep 0.2; echo another"])
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with Screen(["sh", "-c", '"$@" | cat', "sh", *command]) as shown:
        assert shown.end() == (0, b"a line\r\nanother\r\n")


@pytest.mark.differs("runc", "1.1 has our terminal add a carriage return to each line")
def test_what_a_program_in_raw_mode_shows_is_not_changed(screen):
    with screen("stty raw; printf 'down\nonly'; stty sane; echo; echo line") as shown:
        assert shown.end() == (0, b"down\nonly\r\nline\r\n")

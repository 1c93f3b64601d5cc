"""Killed anywhere, and failing anywhere: before any system call a process may be killed, and any call may fail.

attackers/faults.c numbers the system calls that the runtime and its children make, until the container's own program.
By default a sample of them is tried, with --full all that differ, as tests/faults.py tells them apart; the counts are
printed (-rP shows them). A kill of the command's own process before a call of its own is `kill`, and not tried twice.
"""

import errno
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import termios
from pathlib import Path

import criu
import pytest
from faults import CANNOT_FAIL, READ, SECONDS, Call, Errors, Run, ends_of_rows, kills, own_calls
from harness import V2_ROOT, DescriptorSocket, cgroups_named, mounts_below

pytestmark = [pytest.mark.needs("root", "/bin/busybox", "gcc", "x86_64"), pytest.mark.timeout(7200)]

SAMPLE = 4  # moments of each verb and kind of fault; with --full all
ERRORS = Errors(
    [errno.EPERM, errno.ENOSYS, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENOSPC, errno.EIO, errno.EINTR]
)
WRITE, PREAD64, PWRITE64, SENDTO = 1, 17, 18, 44
EXECVE, EXECVEAT = 59, 322
# unlink, rmdir, unlinkat: what cannot be removed is there until the next `delete`
REMOVES = {84, 87, 263}
IOCTL = 16  # one of them gives the terminal its mode back
WITHOUT_A_CONTAINER = ("create", "run", "run -d", "run -t", "run -d -t", "restore")
HAS_A_MONITOR = ("run -d", "run -d -t", "restore")
# After a failure of these the container is as it was.
CHANGES_NO_STATUS = ("exec", "exec -d", "exec -t", "update", "mount", "kill")
NOTHING_IS_LEFT, NOTHING_WAS_DONE = "nothing is left", "nothing was done"
KEPT = 20  # tries of a verb that did nothing: so often the container stays for the next one, before it is deleted
NOT_COMPARED = ("calls", "errors", "image", "output", "config.json", "pid", "ran")


class Scenario:
    """A container in the state that `verb` needs, and what is asked of the verb."""

    def __init__(self, container, verb, directory):
        self.container = container
        self.verb = verb
        self.image = directory / "image"
        self.ran = container.bundle.rootfs / "tmp/ran"  # there once the program of `run` has run
        self.socket_path = directory / "console.sock"
        self.socket = DescriptorSocket(self.socket_path) if verb == "run -d -t" else None
        self.terminal = os.openpty() if verb in ("run -t", "exec -t") else None
        self.mode = termios.tcgetattr(self.terminal[1]) if self.terminal else None

    def close(self):
        if self.socket:
            self.socket.close()
        for fd in self.terminal or ():
            os.close(fd)

    def prepare(self):
        container = self.container
        container.bundle.process["terminal"] = self.verb in ("run -t", "run -d -t")
        ends = self.verb in ("run", "run -t")
        container.bundle.process["args"] = ["touch", "/tmp/ran"] if ends else ["sleep", "1000"]
        self.ran.unlink(missing_ok=True)
        if self.terminal:  # whose mode stays as it is if the call fails that gives it back
            termios.tcsetattr(self.terminal[1], termios.TCSANOW, self.mode)
        if self.socket:  # nobody accepts, so a new one: connections would wait
            self.socket.close()
            self.socket_path.unlink()
            self.socket = DescriptorSocket(self.socket_path)
        if self.verb == "restore" and not self.image.exists():
            container.run_detached()
            container.works("checkpoint", "--image-path", self.image, container.id)
        if self.verb in WITHOUT_A_CONTAINER:
            container.bundle.save()
            return
        container.create()
        if self.verb not in ("start", "delete"):
            container.start()
        if self.verb == "resume":
            container.works("pause", container.id)

    def command(self):
        container, id_ = self.container, self.container.id
        bundle = ("--bundle", container.bundle.path)
        return {
            "create": container.command("create", *bundle, id_),
            "run": container.command("run", *bundle, id_),
            "run -d": container.command("run", "--detach", *bundle, id_),
            "run -t": container.command("run", *bundle, id_),
            "run -d -t": container.command("run", "--detach", "--console-socket", self.socket_path, *bundle, id_),
            "start": container.command("start", id_),
            "exec": container.command("exec", id_, "true"),
            "exec -d": container.command("exec", "--detach", id_, "sleep", "1000"),
            "exec -t": container.command("exec", "--tty", id_, "true"),
            "kill": container.command("kill", id_, "TERM"),
            "pause": container.command("pause", id_),
            "resume": container.command("resume", id_),
            "update": container.command("update", "--memory", "64m", id_),
            "mount": container.command("mount", id_, container.bundle.path, "/tmp"),
            "checkpoint": container.command("checkpoint", "--image-path", self.image, id_),
            "restore": container.command("restore", "--detach", "--image-path", self.image, *bundle, id_),
            "delete": container.command("delete", id_),
            "delete -f": container.command("delete", "--force", id_),
        }[self.verb]

    @property
    def streams(self):
        slave = self.terminal[1] if self.terminal else subprocess.DEVNULL
        return {"stdin": slave, "stdout": slave}


CRIU = [pytest.param(verb, marks=pytest.mark.needs("criu")) for verb in ("checkpoint", "restore")]
VERBS = [*WITHOUT_A_CONTAINER[:-1], "start", "exec", "exec -d", "exec -t", "kill", "pause", "resume", "update", "mount"]
VERBS += ["delete", "delete -f", *CRIU]


@pytest.fixture(scope="session")
def faults(compile_attacker):
    return compile_attacker("faults")


_calls: "dict[str, list[Call]]" = {}  # of each verb


class Tries:
    """Runs of one scenario with faults, and what must hold after each; all that does not hold is told at the end."""

    def __init__(self, faults, directory, scenario, full):
        self.faults = faults
        self.directory = directory
        self.scenario = scenario
        self.container = scenario.container
        self.full = full
        self.problems = []
        self.kept = 0  # tries for which this container has been the same
        scenario.prepare()
        self.end()
        self.files = self.all_files()

    def calls(self):
        """Return the calls of the verb, from the first that loads a module of ours."""
        if self.scenario.verb not in _calls:
            _calls[self.scenario.verb] = self._calls()
        return _calls[self.scenario.verb]

    def _calls(self):
        run = self.run("list")
        self.end()
        return own_calls(self.faults, self.directory, run, {str(self.directory): "", self.container.id: "ID"})

    def sampled(self, moments):
        step = 1 if self.full else max(1, len(moments) // SAMPLE)
        return moments[::step]

    def run(self, fault):
        if not self.kept:
            self.scenario.prepare()
        return Run(self.faults, self.directory, self.scenario.command(), fault, **self.scenario.streams)

    def end(self):
        deleted = self.container.call("delete", "--force", self.container.id, timeout=SECONDS)
        assert deleted.returncode == 0, deleted.stderr
        assert "Traceback" not in deleted.stderr

    def all_files(self):
        """Return what is in the directory of the test, but for the images of criu and what this test writes."""
        found = set()
        for path, names, files in os.walk(self.directory):
            if path == str(self.scenario.image):
                names.clear()
                continue
            found.update(os.path.join(path, name) for name in (*names, *files) if name not in NOT_COMPARED)
        return found

    def assert_nothing_is_left(self, run):
        run.await_the_end()
        assert not (self.container.root / self.container.id).exists(), "a state is left"
        assert cgroups_named(self.container.id) == []
        assert mounts_below(self.directory) == []
        assert self.all_files() == self.files

    def try_(self, fault, call, check):
        """Run with `fault`, and note what of `check` and of the general does not hold."""
        run = None
        try:
            run = self.run(fault)
            # What C writes to a pipe of its own, to wake us up, cannot fail.
            assert "Traceback" not in run.errors or "signal wakeup fd" in run.errors
            found = check(run)
            if found == NOTHING_IS_LEFT:
                return
            if found == NOTHING_WAS_DONE and self.kept < KEPT:
                self.kept += 1
                run.await_the_end()
                return
            self.kept = 0
            self.end()
            self.assert_nothing_is_left(run)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.kept = 0
            self._note(fault, call, run, error)
            self.container.call("delete", "--force", self.container.id, timeout=SECONDS)  # for the next one

    def _note(self, fault, call, run, error):
        what = f"{self.scenario.verb}: {fault}, {call}, now {run and run.call(call.at)}"
        self.problems.append(f"{what}: {run and run.status}: {run and run.errors!r}: {str(error)[:600]}")
        print(self.problems[-1], flush=True)

    def report(self, sentence):
        self.end()
        print(f"{self.scenario.verb}: {sentence}")
        assert not self.problems, f"{len(self.problems)} problems:\n" + "\n".join(self.problems)


@pytest.fixture
def tries(new_container, neighbour, faults, tmp_path, full, verb, monkeypatch):
    if verb in ("checkpoint", "restore"):
        monkeypatch.setenv("PATH", f"{criu.directory()}:{os.environ['PATH']}")
    scenario = Scenario(new_container(), verb, tmp_path)
    yield Tries(faults, tmp_path, scenario, full)
    scenario.close()


@pytest.fixture
def neighbour(new_container, host_mounts):
    """Another container, which nothing may happen to."""
    neighbour = new_container().sleeping()
    yield neighbour
    assert neighbour.status() == "running"
    assert neighbour.cgroups()


@pytest.mark.parametrize("who", ["kill", "kill-leader"])
@pytest.mark.parametrize("verb", VERBS)
def test_who_is_killed_before_any_system_call_leaves_nothing_that_delete_does_not_find(tries, verb, who):
    tried = tries.sampled([call for call in kills(tries.calls()) if who == "kill" or call.role != "leader"])

    for call in tried:
        tries.try_(f"{who}:{call.at}", call, lambda run: None)

    tries.report(f"{who} at {len(tried)} of {len(tries.calls())} system calls")


@pytest.mark.parametrize("who", ["interrupt", "interrupt-leader"])
@pytest.mark.parametrize("verb", VERBS)
def test_who_is_interrupted_before_any_system_call_has_done_all_or_nothing(tries, verb, who):
    calls = tries.calls() if who == "interrupt" else [call for call in tries.calls() if call.role != "leader"]
    tried = tries.sampled(ends_of_rows(calls))

    def check(run):
        if run.status == 0:
            return None
        assert 0 < run.status < 128 + signal.NSIG or (run.status == 255 and verb.startswith("exec"))
        assert re.fullmatch("(error: .*\n)?", without_criu_s(run.errors))
        return assert_nothing_was_done(tries, run)

    for call in tried:
        tries.try_(f"{who}:{call.at}", call, check)

    tries.report(f"{who} at {len(tried)} of {len(tries.calls())} system calls")


@pytest.mark.parametrize("verb", VERBS)
def test_any_system_call_that_fails_is_one_line_and_leaves_nothing(tries, full, verb):
    # With a terminal, C writes to a pipe of its own to wake us up, which cannot fail.
    excluded = CANNOT_FAIL | ({WRITE} if verb in ("run -t", "exec -t") else set())
    calls = ends_of_rows([call for call in tries.calls() if call.number not in excluded])
    tried = ERRORS.all(calls) if full else ERRORS.one_each(tries.sampled(calls))

    for call, error in tried:

        def check(run, at=call.at, error=error):
            failed = run.call(at)
            # Signals come at different moments: another call may have this number now.
            if failed is None or failed.number in CANNOT_FAIL or is_of_monitor(tries.scenario.verb, run, failed):
                return None
            if failed.number != IOCTL:
                assert_terminal_is_restored(tries.scenario)
            if run.status == 0:
                return None
            # If the caller of the runtime fails, the kernel interrupts that, which says so.
            said = run.errors.removesuffix("error: interrupted\n") if verb in HAS_A_MONITOR else run.errors
            said = without_criu_s(said)
            assert said.startswith("error: ") and said.count("\n") == 1
            assert said != f"error: {os.strerror(error)}\n"
            assert not re.match(r"error: \d+: ", said)  # the number of a descriptor
            return None if failed.number in REMOVES else assert_nothing_was_done(tries, run)

        tries.try_(f"fail:{call.at}:{error}", call, check)

    tries.report(f"{len(tried)} system calls failed, at {len({call.at for call, _ in tried})} of {len(tries.calls())}")


def without_criu_s(errors):
    """Return the errors without those in which criu says that its caller has gone."""
    return re.sub(r"^Error \(criu/.*\n", "", errors, flags=re.MULTILINE)


@pytest.mark.parametrize("verb", ["run -t"])
def test_a_terminal_that_fails_is_one_line(tries, verb):
    """termios.error is no OSError."""
    tried = [call for call in tries.calls() if call.number == IOCTL]

    def check(run, at):
        # Signals come at different moments: another call may have this number now.
        if (at, IOCTL) in [(call.at, call.number) for call in run.calls]:
            assert run.status == 0 or (run.errors.startswith("error: ") and run.errors.count("\n") == 1)

    for call in tried:
        tries.try_(f"fail:{call.at}:{errno.EIO}", call, functools.partial(check, at=call.at))

    tries.report(f"{len(tried)} ioctls failed")


@pytest.mark.parametrize("verb", VERBS)
def test_a_short_read_or_write_goes_on_or_is_one_line_and_leaves_nothing(tries, verb):
    # A packet, such as what the stub reports, is taken whole or not at all: unix(7), SOCK_SEQPACKET.
    moments = [
        call
        for call in tries.calls()
        if call.number in (READ, WRITE, PREAD64, PWRITE64)
        and not (call.number == WRITE and (call.on or "").startswith("socket:"))
    ]
    tried = tries.sampled(ends_of_rows(moments))

    def check(run):
        assert_terminal_is_restored(tries.scenario)
        if run.status == 0:
            return None
        assert run.errors.startswith("error: ") and run.errors.count("\n") == 1
        return assert_nothing_was_done(tries, run)

    for call in tried:
        tries.try_(f"short:{call.at}", call, check)

    tries.report(f"{len(tried)} reads and writes were short")


@pytest.mark.parametrize("verb", CRIU[1:])
def test_a_container_that_is_deleted_while_criu_completes_it_leaves_no_criu(tries):
    """It is known as created by then, but criu still waits for the init, and does not notice that it is gone."""
    answers = [call for call in kills(tries.calls()) if call.role != "leader" and call.number == SENDTO]

    for call in answers[-4:]:
        tries.try_(f"kill-leader:{call.at}", call, lambda run: None)

    tries.report("4 of the last answers to criu")


@pytest.mark.needs("strace")
def test_an_exec_that_cannot_wait_ends_its_process(new_container):
    container = new_container().sleeping()
    container.prefix = ["strace", "-fqq", "-o", "/dev/null", "-e", "inject=rt_sigtimedwait:error=EIO"]

    line = container.fails("exec", container.id, "sleep", "1000")

    assert line.endswith("Input/output error")
    container.prefix = []
    assert len(json.loads(container.works("ps", "--format", "json", container.id))) == 1


@pytest.mark.needs("strace")
def test_an_exec_that_fails_after_its_process_has_begun_ends_it(new_container, tmp_path):
    container = new_container().sleeping()
    words = ("exec", "-d", container.id, "sleep", "1000")
    trace = ["strace", "-qq", "-o", str(tmp_path / "calls"), "-e", "trace=rt_sigprocmask", "-e", "signal=none"]
    container.prefix = trace
    container.works(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    calls = (tmp_path / "calls").read_text().splitlines()
    last = max(number for number, call in enumerate(calls, 1) if "SIG_BLOCK, [HUP INT QUIT TERM]" in call)
    container.prefix = [*trace, "-e", f"inject=rt_sigprocmask:error=EIO:when={last}"]

    line = container.fails(*words, status=255)

    assert line.endswith("Input/output error")
    container.prefix = []
    assert len(json.loads(container.works("ps", "--format", "json", container.id))) == 2  # the init, and the first


@pytest.mark.needs("strace")
def test_an_exec_that_cannot_hear_of_its_process_ends_it(new_container):
    container = new_container().sleeping()
    fault = "inject=recvmsg:error=ENOMEM:delay_enter=500000:when=1"  # the process has become its program by then
    container.prefix = ["strace", "-qq", "-o", "/dev/null", "-e", fault]

    line = container.fails("exec", "-d", container.id, "sleep", "1000", status=255)

    assert line.endswith("Cannot allocate memory")
    container.prefix = []
    assert len(json.loads(container.works("ps", "--format", "json", container.id))) == 1


@pytest.mark.needs("strace")
def test_a_freezer_that_cannot_be_looked_at_is_not_taken_for_none(new_container):
    """criu would freeze a container by v1's that v2's has frozen, and wait for ever."""
    container = new_container().sleeping()
    path = f"{V2_ROOT}/{container.id}/cgroup.freeze"
    container.prefix = ["strace", "-fqq", "-o", "/dev/null", "-e", "inject=stat,newfstatat:error=ENOMEM", "-P", path]

    line = container.fails("state", container.id)

    container.prefix = []
    assert line == f"error: {path}: Cannot allocate memory"


@pytest.mark.needs("strace")
def test_a_directory_that_cannot_be_listed_is_not_told_by_the_number_of_its_descriptor(new_container):
    container = new_container().create()
    container.prefix = ["strace", "-fqq", "-o", "/dev/null", "-e", "inject=getdents64:error=EIO"]
    container.prefix += ["-P", f"{V2_ROOT}/{container.id}"]

    line = container.fails("delete", "--force", container.id)

    container.prefix = []
    assert "cgroup/tree.py" in line


def is_of_monitor(verb, run, failed):
    """Tell whether the runtime, the first child, is the monitor by then: that has nobody to report to."""
    first = next((call.pid for call in run.calls if call.role == "child"), 0)
    before = itertools.takewhile(lambda call: call != failed, run.calls)
    executed = (call.number in (EXECVE, EXECVEAT) for call in before if call.pid == first)
    return verb in HAS_A_MONITOR and failed.pid == first and any(executed)


def assert_terminal_is_restored(scenario):
    if scenario.terminal:
        assert termios.tcgetattr(scenario.terminal[1]) == scenario.mode


def assert_nothing_was_done(tries, run):
    """Return NOTHING_IS_LEFT, or NOTHING_WAS_DONE if the container can be that of the next try, or None."""
    container, verb = tries.container, tries.scenario.verb
    if tries.scenario.ran.exists():
        # What cannot be deleted is there until the next `delete`.
        assert not container.exists() or container.status() == "stopped"
    elif verb in WITHOUT_A_CONTAINER:
        tries.assert_nothing_is_left(run)
        return NOTHING_IS_LEFT
    elif verb in CHANGES_NO_STATUS:
        inside = {pid for path in container.cgroups() for pid in Path(path, "cgroup.procs").read_text().split()}
        assert inside == {str(container.pid())}, f"not the init alone is inside: {inside}"
        return NOTHING_WAS_DONE if verb != "kill" else None
    return None


def test_the_tool_kills_before_the_call_that_it_counts(faults, tmp_path):
    """The positive control: a file that the killed call would have made is not there."""
    made = tmp_path / "made"
    mkdir = 83
    listed = Run(faults, tmp_path, ["/usr/bin/python3", "-c", f"import os; os.mkdir({str(made)!r})"], "list")
    at = next(call.at for call in listed.calls if call.number == mkdir)
    made.rmdir()

    killed = Run(faults, tmp_path, ["/usr/bin/python3", "-c", f"import os; os.mkdir({str(made)!r})"], f"kill:{at}")
    failed = Run(faults, tmp_path, ["/usr/bin/python3", "-c", f"import os; os.mkdir({str(made)!r})"], f"fail:{at}:5")

    assert (killed.status, failed.status, made.exists()) == (128 + signal.SIGKILL, 1, False)
    assert "Input/output error" in failed.errors


def test_the_tool_shortens_the_write_that_it_counts(faults, tmp_path):
    """The positive control: half of the bytes arrive."""
    made = tmp_path / "made"
    script = f"import os; os.write(os.open({str(made)!r}, os.O_CREAT | os.O_WRONLY), b'12345678')"
    listed = Run(faults, tmp_path, ["/usr/bin/python3", "-c", script], "list")
    at = next(call.at for call in reversed(listed.calls) if call.number == WRITE)

    made.unlink()
    Run(faults, tmp_path, ["/usr/bin/python3", "-c", script], f"short:{at}")

    assert made.read_text() == "1234"

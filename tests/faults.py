"""Commands under security/attackers/faults.c, which numbers their system calls; and which of these to try.

What is left out is equal to what is tried:

- A kill, if the call before it in the same process changes nothing that others see (CHANGES_NOTHING): it is the kill
  before that call.
- An error or a short result in a row, or in a loop, of calls of one number on one object (the reads of the modules of
  our file, the drops of capabilities, the rules of devices, a look at each process): the first and last are tried.
- All errors but one, of a call that an earlier verb has made too: of the n-th one of that number, on the same object,
  in a process of the same role or place. It gets all errors in the first of the verbs, and one in each of the others.
  Of the calls by which Python loads modules of its own, one of each number gets all errors.
"""

import collections
import contextlib
import itertools
import os
import re
import select
import subprocess
from typing import NamedTuple

SECONDS = 60
READ, CLOSE, PREAD64, OPENAT = 0, 3, 17, 257
# close (the descriptor is closed nevertheless), rt_sigreturn, getpid, exit, umask, getuid, getgid, geteuid, getegid,
# getppid, gettid, exit_group: "always successful", or the end
CANNOT_FAIL = {3, 15, 39, 60, 95, 102, 104, 107, 108, 110, 186, 231}
LOOP = 16  # so many calls of one number on one object are a loop
LIBRARY = "/usr/lib/python"
# stat, fstat, lstat, lseek, mprotect, rt_sigaction, rt_sigprocmask, pread64, access, getpid, uname, getcwd, readlink,
# getuid, getgid, geteuid, getegid, getppid, sigaltstack, gettid, getdents64, newfstatat, readlinkat, faccessat,
# getrandom, statx, faccessat2
CHANGES_NOTHING = {4, 5, 6, 8, 10, 13, 14, 17, 21, 39, 63, 79, 89, 102, 104, 107, 108, 110}
CHANGES_NOTHING |= {131, 186, 217, 262, 267, 269, 318, 332, 439}


class Call(NamedTuple):
    at: str  # PROCESS.INDEX
    pid: int
    role: str  # "leader", the command's own process, or "child"
    number: int
    on: str

    @property
    def process(self):
        return int(self.at.split(".")[0])

    @property
    def changes_nothing(self):
        """Whether a process that is killed after it is seen by others as one that is killed before."""
        is_of_a_file = self.on.startswith("/") and "/dev/" not in self.on and not self.on.endswith(" made")
        return self.number in CHANGES_NOTHING or (self.number in (READ, CLOSE, OPENAT) and is_of_a_file)


class Run:
    """One run of a command with a fault. `calls` are those until the fault, or until the command's end."""

    def __init__(self, tool, directory, command, fault, **options):
        calls, errors = directory / "calls", directory / "errors"
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options}
        with open(errors, "wb") as file:  # a pipe would stay open as long as what `exec -d` leaves behind
            process = subprocess.Popen([tool, calls, fault, *command], stderr=file, **options)
        self.status = _wait(process)
        self.errors = errors.read_text()
        collector, *lines = calls.read_text(errors="surrogateescape").splitlines()
        self.collector = int(collector)
        fields = [line.split(" ", 4) for line in lines]
        self.calls = [Call(at, int(pid), role, int(number), on) for at, pid, role, number, on in fields]

    def call(self, at):
        return next((call for call in self.calls if call.at == at), None)

    def await_the_end(self):
        """Wait until no process of the command is left."""
        with contextlib.suppress(ProcessLookupError):
            assert _has_ended(self.collector), f"after {SECONDS} s a process is left"


def _wait(process):
    """Wait for its end. The wait() of subprocess sleeps between its looks, if it has a timeout."""
    if not _has_ended(process.pid):
        process.kill()
        process.wait()
        raise subprocess.TimeoutExpired(process.args, SECONDS)
    return process.wait()


def _has_ended(pid):
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], SECONDS)[0])
    finally:
        os.close(fd)


def own_calls(tool, directory, run, names):
    """Return the calls of a Run that lists them, from the first that loads a module of ours.

    `names` are what differs from test to test in the names of files, with what shall stand there.
    """
    nothing = Run(tool, directory, ["/usr/bin/python3", "-ISc", "import os; os._exit(0)"], "list")
    first = next(call for call in run.calls[len(nothing.calls) :] if call.number == PREAD64)
    found = []
    for call in run.calls[run.calls.index(first) :]:
        on = call.on
        for name, instead in names.items():
            on = on.replace(name, instead)
        found.append(call._replace(on=on if LIBRARY in on else re.sub(r"[0-9a-f]{12,}|\d+", "#", on)))
    return sorted(found, key=lambda call: call.process)  # each process's in its own order


def kills(calls):
    """Return the calls before which a kill is another than that before the call before it."""
    return [
        call
        for before, call in zip([None, *calls], calls)
        if not (before and before.process == call.process and before.changes_nothing)
    ]


def ends_of_rows(calls):
    """Return the calls; of equal ones in a row, or in a loop, of one process the first and the last."""
    rows = [list(row) for _, row in itertools.groupby(calls, _kind)]
    ends = [call for row in rows for call in (row if len(row) == 1 else (row[0], row[-1]))]
    counts = collections.Counter(map(_kind, ends))
    first = {_kind(call): call for call in reversed(ends)}
    last = {_kind(call): call for call in ends}
    return [call for call in ends if counts[_kind(call)] < LOOP or call in (first[_kind(call)], last[_kind(call)])]


def _kind(call):
    return call.process, call.number, call.on


class Errors:
    """The errors that calls are to fail with. It remembers, for all verbs, which calls have had all of them."""

    def __init__(self, errors):
        self._all = errors
        self._had_all = set()

    def one_each(self, calls):
        return [(call, self._all[place % len(self._all)]) for place, call in enumerate(calls)]

    def all(self, calls):
        found = []
        counts = collections.Counter()
        processes = max((call.process for call in calls), default=0)
        for call, one in self.one_each(calls):
            # A detached verb has one process more, at the beginning.
            kinds = [(place, call.number, call.on) for place in (call.role, processes - call.process)]
            counts.update(kinds)
            keys = {call.number} if LIBRARY in call.on else {(kind, counts[kind]) for kind in kinds}
            found += [(call, error) for error in ([one] if keys & self._had_all else self._all)]
            self._had_all |= keys
        return found

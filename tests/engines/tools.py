"""The real tools with pyrun below them, and with runc beside it, on sockets and in directories of their own."""

import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PYRUN = os.environ.get("PYRUN", str(REPOSITORY / "dist/pyrun"))
PATIENCE = 60
# What differs between two runs of the same runtime, and how a runtime calls itself in an error.
NOISE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\S*/(runc|pyrun)\b"), "RUNTIME"),
)


def needs(*tools):
    """Return the mark of tests that need `tools`, which are Debian's."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


class Result:
    """What a command's user sees of it: `output` is of both streams, errors last, without what differs from run to run.

    One after the other, since docker and podman do not keep the order of what a container writes to both.
    """

    def __init__(self, status, output):
        self.status = status
        self.output = output
        for pattern, replacement in NOISE:
            self.output = pattern.sub(replacement, self.output)

    def __repr__(self):
        return f"= {self.status}\n{self.output}"

    def __eq__(self, other):
        return (self.status, self.output) == (other.status, other.output)


class Tool:
    """A command line tool, with the options that every call of it needs; it is called in `directory`."""

    def __init__(self, *command, environment=None, directory=None):
        self.directory = directory
        self.command = [str(word) for word in command]
        self.environment = {**os.environ, **(environment or {})}

    def __call__(self, *arguments, input=None, check=False):
        result = subprocess.run(
            [*self.command, *map(str, arguments)],
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            env=self.environment,
            cwd=self.directory,
        )
        output = result.stdout + result.stderr
        assert not check or result.returncode == 0, output
        return Result(result.returncode, output)


class Engine(Tool):
    """docker or podman on one runtime, which `options` of run and create may name."""

    def __init__(self, *command, options=(), **keywords):
        super().__init__(*command, **keywords)
        self.options = options

    def run(self, *words, **keywords):
        return self("run", *self.options, *words, **keywords)

    def create(self, *words, **keywords):
        return self("create", *self.options, *words, **keywords)

    def remove(self, *containers):
        """Remove `containers`, without the time that podman gives them to end by themselves."""
        self("kill", *containers)
        self("rm", "--force", *containers)


def run_on_both(engines, *words):
    """Return the results of `run --rm` with `words` on pyrun and on runc, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return pool.map(lambda runtime: engines[runtime].run("--rm", *words), ("pyrun", "runc"))


def readme(file, pyrun=PYRUN):
    """Return what doc/engines.md says that `file` of /etc must hold, with `pyrun` as the path of the runtime."""
    after = (REPOSITORY / "doc/engines.md").read_text().partition(f"`/etc/{file}`")[2]
    block = re.search(r"\n\n((?:    .*\n)+)", after)
    return block[1].replace("/usr/local/bin/pyrun", str(pyrun))


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def remove_pod(podman, name):
    """Remove a pod; podman 4.3 may fail to remove its cgroup while a conmon is still about to leave it."""
    wait_until(lambda: podman("pod", "rm", "--force", "--ignore", "--time", "0", name).status == 0)


class Daemon:
    """A daemon that is there when `ready` says so, and is ended by its pid; its log is in `log`."""

    def __init__(self, log, *command, ready):
        self.log = log
        with open(log, "w") as file:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "TMPDIR": str(log.parent)},  # where containerd leaves checkpoints
                start_new_session=True,
            )
        self.pid = self._process.pid
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def unmount_below(directory):
    """Unmount what a tool left mounted in its own directory, so that it can be removed."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        path = line.split()[1]
        if path.startswith(f"{directory}/"):
            subprocess.run(["umount", "-l", path], check=False)

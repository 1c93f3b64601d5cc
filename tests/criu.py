#!/usr/bin/env python3
"""A criu that knows the machine's kernel: its own if that can dump here, else a newer Debian's, unpacked beside it.

Run as a program it gets the latter, by the machine's own apt, and keeps it where vmrun keeps its kernels.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import packages

SUITE = "forky"
_NAME = f"criu-{SUITE}"
# It runs by that Debian's C library, in place of which no other can be given to a program.
_SCRIPT = """#!/bin/sh
root={root}
exec $root/usr/lib64/ld-linux-x86-64.so.2 --library-path $root/usr/lib/x86_64-linux-gnu $root/usr/sbin/criu "$@"
"""


@functools.lru_cache
def directory() -> "str | None":
    """Return the directory of the program, None where there is none that can dump here."""
    candidates = [shutil.which("criu"), str(packages.place(_NAME) / "bin/criu")]
    return next((os.path.dirname(path) for path in candidates if path and _can_dump(path)), None)


@contextlib.contextmanager
def hierarchies_stay() -> "Iterator[None]":
    """Let no test of another process mount or unmount a cgroup hierarchy of v1 meanwhile.

    criu mounts those that a container is in; one that is there at the dump and goes until the restore is busy then.
    """
    with _locked(fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def hierarchies_change() -> "Iterator[None]":
    """Keep the tests that take criu waiting meanwhile."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(operation: int) -> "Iterator[None]":
    with open(__file__) as file:
        fcntl.flock(file, operation)
        yield


def lacks(feature: str) -> bool:
    """Tell whether criu, or the kernel, lacks one of what `criu check --feature list` names."""
    where = directory()
    return where is None or subprocess.run([f"{where}/criu", "check", "--feature", feature]).returncode != 0


def _can_dump(path: str) -> bool:
    return os.path.exists(path) and subprocess.run([path, "check"], capture_output=True).returncode == 0


def _finish(root: str, target: str) -> None:
    shutil.move(root, f"{target}/root")
    program = Path(target, "bin/criu")
    program.parent.mkdir()
    program.write_text(_SCRIPT.format(root=f"{target.removesuffix('.tmp')}/root"))
    program.chmod(0o755)


if __name__ == "__main__":
    if not directory():
        packages.fetch(_NAME, SUITE, "criu", "lib", _finish)

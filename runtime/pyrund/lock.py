"""The lock of an engine, a file in its folder `run`: one daemon at a time, and none before the processes of the last
one have ended.

The daemon has a POSIX lock, which is its own alone: it tells whether a daemon runs. And it has one of flock(2), which
all its processes inherit: that one is free when the last of them has ended, some time after the daemon.
"""

import fcntl
import struct
import time

from foundation.linux import os
from pyrund.errors import Refused

_HAND_OVER = 10.0  # seconds for the processes of an earlier engine to end
_FLOCK = "hhqqi0q"  # struct flock of fcntl(2)


def take(run: str) -> int:
    """Return a descriptor that holds both locks. Raises Refused."""
    lock = os.open(f"{run}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(f"{run}: another engine runs here; name another folder with --exec-root") from None
    if not _is_free_soon(lock):
        raise Refused(f"{run}: processes of an earlier engine do not end")
    return lock


def is_taken(run: str) -> bool:
    """Return whether the engine of the folder `run` has its lock; if only its processes are left, wait for their end.

    It must be another engine than ours: our own POSIX lock would be given up with the descriptor that is closed here
    (fcntl(2)).
    """
    try:
        lock = os.open(f"{run}/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _has_daemon(lock) or not _is_free_soon(lock)
    finally:
        os.close(lock)


def _has_daemon(lock: int) -> bool:
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
    kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def _is_free_soon(lock: int) -> bool:
    deadline = time.monotonic() + _HAND_OVER
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)

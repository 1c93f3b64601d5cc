"""Messages for people and for the programs that call us.

--log and --log-format write what runc writes: `level`, `msg`, `time`, one line each, which containerd and podman parse.
One os.write per line, so that the runtime and the child that it forks can share the file without tearing lines.
"""

import os
import time

from pyrun.spec.encode import encode


class _Settings:
    file = -1
    format = "text"
    debug = False


def configure(path: "str | None", format_: str, debug: bool) -> None:
    """Send messages to the file `path` too. Raises the OSError of open(2)."""
    _Settings.format = format_
    _Settings.debug = debug
    if path:
        _Settings.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def debug(message: str) -> None:
    """Say what is about to happen, with --debug only."""
    if _Settings.debug:
        _log("debug", message)


def warning(message: str) -> None:
    """Say what the caller should know. Callers hold it back until success is certain: podman reads one object only."""
    _log("warning", message)


def error(message: str) -> None:
    """Say why the command failed: in the log, and on standard error for whoever looks there."""
    if _Settings.file >= 0:
        os.write(_Settings.file, _line("error", message))
    _to_stderr(message if _Settings.file >= 0 else f"error: {message}")


def _log(level: str, message: str) -> None:
    if _Settings.file >= 0:
        os.write(_Settings.file, _line(level, message))
    else:
        _to_stderr(f"{level}: {message}")


def _to_stderr(text: str) -> None:
    try:
        os.write(2, f"{text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # closed, or /dev/full: there is nobody left to tell


def _line(level: str, message: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _Settings.format == "json":
        clean = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return (encode({"level": level, "msg": clean, "time": now}) + "\n").encode()
    return f'time="{now}" level={level} msg={encode(message)}\n'.encode("utf-8", "surrogateescape")

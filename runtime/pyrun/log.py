"""Messages for people and for the programs that call us.

--log and --log-format write runc's format, which containerd and podman parse: a line with `level`, `msg` and `time` for
each message. Each line is one write(2), so that the runtime and its forked children can share the file.
"""

import time

from foundation.encode import encode
from foundation.errors import printable
from foundation.linux import os
from foundation.linux.whole_file import to_standard_error, write_all


class _Settings:
    path = ""
    file = -1
    format = "text"
    debug = False


def configure(path: "str | None", format_: str, debug: bool) -> None:
    """Write messages to the file `path`, in `format_` ("text" or "json"). Raises the OSError of open(2)."""
    _Settings.format = format_
    _Settings.debug = debug
    if path:
        _Settings.path = path
        _Settings.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def debug(message: str) -> None:
    """Log what is about to happen, if --debug is given."""
    if _Settings.debug:
        _log("debug", message)


def warning(message: str) -> None:
    """Log what the caller should know. Call this only once success is certain: podman reads only one JSON object."""
    _log("warning", message)


def error(message: str) -> None:
    """Report why the command failed, in the log and on standard error."""
    is_logged = _to_file("error", message)
    _to_stderr(message if is_logged else f"error: {message}")


def _log(level: str, message: str) -> None:
    if not _to_file(level, message):
        _to_stderr(f"{level}: {message}")


def _to_file(level: str, message: str) -> bool:
    """Write to the log and return whether that worked. After a failure the log is not used again."""
    if _Settings.file < 0:
        return False
    try:
        write_all(_Settings.file, _line(level, message))
    except OSError as error:
        _Settings.file = -1
        _to_stderr(f"warning: --log {_Settings.path}: {error.strerror}")
        return False
    return True


def _to_stderr(text: str) -> None:
    to_standard_error(f"{printable(text)}\n")


def _line(level: str, message: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    clean = printable(message)  # the log may be shown on a terminal
    if _Settings.format == "json":
        return (encode({"level": level, "msg": clean, "time": now}) + "\n").encode()
    return f'time="{now}" level={level} msg={encode(clean)}\n'.encode()

"""The program that a process executes, with its arguments and environment."""

from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.stub.execve import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Hook, Process, User
    from pyrun.launch.image_files import ImageFiles

# How many bytes are read of a file of the image (CVE-2026-47262: an endless /etc/passwd).
PASSWD_MAXIMUM = 4 << 20


def to_try(
    process: "Process", name: str, files: "ImageFiles", extra: "list[str]", hook: "Hook | None" = None
) -> Program:
    """Return the program `name` with all paths that it may be at. `extra` is added to the environment.

    If the `hook` that is executed as this process has an environment, no HOME is added.
    """
    environment = _environment([*process.env, *extra])
    if hook is None or hook.env is None:
        _add_home(environment, process.user, files)
    return Program(
        [encode(path) for path in candidates(name, process)],
        [encode(argument) for argument in process.args],
        [encode(entry) for entry in environment.values()],
    )


def _environment(entries: "list[str]") -> "dict[str, str]":
    """Return the last entry for each name: of several, a program would find the first (getenv(3))."""
    return {entry.partition("=")[0]: entry for entry in entries}


def _add_home(environment: "dict[str, str]", user: "User", files: "ImageFiles") -> None:
    """Add HOME from the container's /etc/passwd if it is missing or empty."""
    if environment.get("HOME", "HOME=") == "HOME=":
        environment["HOME"] = f"HOME={_home(user, files)}"


def _home(user: "User", files: "ImageFiles") -> str:
    try:
        fd = files.open("/etc/passwd")
    except OSError:
        return "/"  # the image has no /etc/passwd, or one that cannot be read
    with opened(fd):
        content = os.read(fd, PASSWD_MAXIMUM)
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % user.uid:
            return fields[5].decode("utf-8", "surrogateescape") or "/"
    return "/"


def candidates(name: str, process: "Process") -> "list[str]":
    """Return the paths that execvp(3) would try for the program `name`."""
    if "/" in name:
        return [name]
    search_path = ""
    for entry in process.env:
        if entry.startswith("PATH="):
            search_path = entry[len("PATH=") :]
    return [f"{directory or '.'}/{name}" for directory in search_path.split(":")]


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

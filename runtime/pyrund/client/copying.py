"""The rules by which `cp` names what it makes, the same as docker's: they depend on what source and destination are."""

from foundation.linux import os
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Place:
    """A source or destination `path`, which may end with "/" or "/."; it exists or not, as a directory or not."""

    def __init__(self, path: str, exists: bool, is_directory: bool, name: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_directory = is_directory
        self.name = name or split(path)[1]  # in an archive


def split(path: str) -> "tuple[str, str]":
    """Return (directory, name); the name of "a/." is ".", since its content is meant."""
    whole = os.path.normpath(path)
    if path.endswith("/.") or path == ".":
        return whole, "."
    return os.path.dirname(whole), os.path.basename(whole) or "."


def target(source: Place, destination: Place) -> "tuple[str, str]":
    """Return (the directory to extract into, the name that the source gets there). Raises Refused."""
    if destination.exists and destination.is_directory:
        return destination.path, source.name
    if destination.exists and source.is_directory:
        raise Refused("cannot copy directory")
    if not destination.exists and not source.is_directory and destination.path.endswith(("/", "/.")):
        raise Refused("no such directory")
    folder, name = split(destination.path)
    return folder or "/", name


def local_source(path: str, follows: bool) -> Place:
    """Return a source on this machine. Only with `follows` is a link followed. Raises Refused."""
    whole = _absolute(path)
    folder, name = split(whole)
    if follows and os.path.islink(os.path.normpath(whole)):
        whole = os.path.realpath(whole)
    elif name != ".":
        whole = os.path.join(os.path.realpath(folder), name) + ("/" if whole.endswith("/") else "")
    try:
        is_directory = os.path.isdir(whole) and (not os.path.islink(whole.rstrip("/")) or whole.endswith(("/", "/.")))
        os.lstat(whole)
    except OSError as error:
        raise Refused(f"lstat {whole}: {(error.strerror or str(error)).lower()}") from None
    if whole.endswith("/") and not is_directory:
        raise Refused(f"{path}: not a directory")
    return Place(whole, True, is_directory, name)


def local_destination(path: str) -> Place:
    """Return a destination on this machine, whose parent must be there. Raises Refused."""
    whole = _absolute(path)
    if os.path.islink(os.path.normpath(whole)):
        whole = os.path.realpath(whole)
    if os.path.exists(whole):
        return Place(whole, True, os.path.isdir(whole))
    parent = split(whole)[0]
    if not os.path.isdir(parent):
        raise Refused(f'invalid output path: directory "{parent}" does not exist')
    return Place(whole, False, False)


def of_container(path: str, stat: "dict[str, Any] | None") -> Place:
    """Return a place in a container; `stat` is what the daemon says about it, None if it does not exist."""
    is_directory = stat is not None and bool(stat["mode"] & _DIRECTORY)
    return Place(path, stat is not None, is_directory)


_DIRECTORY, _LINK = 1 << 31, 1 << 27  # of Go's FileMode


def link_target(path: str, stat: "dict[str, Any]") -> str:
    """Return where the link at `path` leads, "" if it is none."""
    if not stat["mode"] & _LINK:
        return ""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.normpath(path)), stat["linkTarget"]))


def _absolute(path: str) -> str:
    """Return the absolute path, which ends as `path` does."""
    whole = os.path.abspath(path)
    if path.endswith("/.") or path == ".":
        return f"{whole.rstrip('/')}/."
    return f"{whole.rstrip('/')}/" if path.endswith("/") else whole

"""Translates Config.User to numbers, with the image's own /etc/passwd and /etc/group.

Source: image-spec, config.md ("User") and conversion.md. Numbers first: a line `1000:x:0:0` in passwd must not turn
user 1000 into root (CVE-2016-3697), and a number out of range must not be looked up as a name (CVE-2024-40635).
"""

import stat

from foundation.linux import os
from pyfetch.errors import UsageError, VerificationError
from pyfetch.unpack.tree import Tree

_MAXIMUM_FILE = 4 << 20
MAXIMUM_ID = (1 << 31) - 1  # as with docker; the kernel has twice as many


class User:
    """The numeric ids of the container's process; `groups` are the additional ones."""

    def __init__(self, uid: int = 0, gid: int = 0, groups: "tuple[int, ...]" = ()) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def needs_files(text: str) -> bool:
    """Return whether translating `text` needs the image's files; raise UsageError if it is malformed."""
    name, _, group = text.partition(":")
    if text == ":" or ":" in group:
        raise UsageError(f"invalid user {text[:80]!r}")
    return bool(name or group) and not (_number(name or "0") is not None and group and _number(group) is not None)


def find_user(text: str, root: int) -> User:
    """Translate `text` (user, uid, user:group, uid:gid and so on), which needs_files() has checked.

    As with docker, a missing user is root, and a missing group is the user's own. `root` is a descriptor of the image's
    root directory, not used if needs_files() returned False.
    """
    name, _, group = text.partition(":")
    if not name and not group:
        return User()
    uid, gid = _number(name or "0"), _number(group) if group else None
    if uid is not None and gid is not None:
        return User(uid, gid)
    users = _fields(root, b"passwd", 4)
    found = _by_id(users, uid) if uid is not None else _by_name(users, name)
    if found is None and uid is None:
        raise UsageError(f"unable to find user {name[:80]!r}: no matching entries in the image's passwd file")
    if uid is None and found is not None:
        uid = _number(found[2])
    if uid is None:
        raise VerificationError(f"the image's passwd file has no number for user {name[:80]!r}")
    if group:
        return User(uid, gid if gid is not None else _group(root, group))
    # conversion.md wants no additional groups for a numeric user; docker and podman take them from his passwd entry.
    return User(uid, _number(found[3]) or 0, _groups_of(root, found[0])) if found else User(uid)


def _number(text: str) -> "int | None":
    """Return a decimal id, or None for a name. A number that is out of range is an error, never a name."""
    sign, digits = (text[:1], text[1:]) if text[:1] in ("-", "+") else ("", text)
    if not digits.isascii() or not digits.isdigit():
        return None
    if sign or len(digits) > 10 or int(digits) > MAXIMUM_ID:
        raise UsageError(f"user or group id {text[:40]!r} is out of range")
    return int(digits)


def _group(root: int, name: str) -> int:
    found = _by_name(_fields(root, b"group", 3), name)
    gid = _number(found[2]) if found else None
    if gid is None:
        raise UsageError(f"unable to find group {name[:80]!r}: no matching entries in the image's group file")
    return gid


def _groups_of(root: int, user: str) -> "tuple[int, ...]":
    numbers = [_number(line[2]) for line in _fields(root, b"group", 4) if user in line[3].split(",")]
    return tuple(sorted({number for number in numbers if number is not None}))


def _by_name(lines: "list[list[str]]", name: str) -> "list[str] | None":
    return next((line for line in lines if line[0] == name), None)


def _by_id(lines: "list[list[str]]", uid: int) -> "list[str] | None":
    return next((line for line in lines if line[2] == str(uid)), None)


def _fields(root: int, name: bytes, count: int) -> "list[list[str]]":
    """Return the split lines of etc/NAME; none if it is missing or not a regular file.

    Links are followed inside the image's root only, never to the host's file (CVE-2024-9676).
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with Tree(root) as tree:
            above, name = _follow(tree, b"etc", name)
            descriptor = os.open(name, flags, dir_fd=tree.directory(above))
    except (OSError, VerificationError):
        return []  # an image without users
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return []
    with open(descriptor, "rb", buffering=0) as file:
        text = file.read(_MAXIMUM_FILE).decode("utf-8", "surrogateescape")
    lines = (line.split(":") for line in text.split("\n"))
    return [fields for fields in lines if len(fields) >= count]


def _follow(tree: Tree, above: bytes, name: bytes) -> "tuple[bytes, bytes]":
    """Resolve links in the last component too: a distribution may keep passwd elsewhere."""
    for _ in range(10):
        above = tree.resolve(above)
        try:
            target = os.readlink(name, dir_fd=tree.directory(above))
        except OSError:
            break  # not a link
        path = target if target.startswith(b"/") else above + b"/" + target
        above, _, name = path.strip(b"/").rpartition(b"/")
    return above, name

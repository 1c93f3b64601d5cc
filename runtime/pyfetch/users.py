"""The image's own users and groups: Config.User to numbers, by the image's /etc/passwd and /etc/group.

Source: image-spec, config.md ("User") and conversion.md. Numbers first: a line `1000:x:0:0` in passwd must not turn
user 1000 into root (CVE-2016-3697), and a number out of range must not be looked up as a name (CVE-2024-40635).
"""

import os
import stat

from pyfetch.errors import UsageError, VerificationError
from pyfetch.tree import Tree

_MAXIMUM_FILE = 4 << 20
_MAXIMUM_ID = (1 << 32) - 2


class User:
    def __init__(self, uid: int = 0, gid: int = 0, groups: "tuple[int, ...]" = ()) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def needs_files(text: str) -> bool:
    """Tell whether `text` can only be understood with the image's files at hand; refuse what is no user at all."""
    user, colon, group = text.partition(":")
    if text and (not user or (colon and not group) or ":" in group):
        raise UsageError(f"invalid user {text[:80]!r}")
    return bool(text) and not (_number(user) is not None and _number(group) is not None)


def find_user(text: str, root: int) -> User:
    """Return the user that `text`, seen by needs_files, names: user, uid, user:group, uid:gid and so on; "" is root.

    `root` is a descriptor of the image's root directory; it is not used where needs_files says no.
    """
    name, _, group = text.partition(":")
    if not text:
        return User()
    uid, gid = _number(name), _number(group) if group else None
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
    primary = _number(found[3]) if found else 0
    # conversion.md: additional groups where the user is given by name, without a group.
    groups = _groups_of(root, name) if _number(name) is None else ()
    return User(uid, primary or 0, groups)


def _number(text: str) -> "int | None":
    """Return a decimal id. What looks like a number and is out of range is an error, never a name."""
    sign, digits = (text[:1], text[1:]) if text[:1] in ("-", "+") else ("", text)
    if not digits.isascii() or not digits.isdigit():
        return None
    if sign or len(digits) > 10 or int(digits) > _MAXIMUM_ID:
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
    """Return the lines of etc/NAME, split; none where the file is missing, or is no regular file of sane size.

    Found inside the image's root, following its links there only; never the host's file (CVE-2024-9676).
    """
    tree = Tree(root)
    try:
        above, name = _follow(tree, b"etc", name)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=tree.directory(above))
    except (OSError, VerificationError):
        return []  # an image without users
    finally:
        tree.forget()
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
            break  # no link
        path = target if target.startswith(b"/") else above + b"/" + target
        above, _, name = path.strip(b"/").rpartition(b"/")
    return above, name

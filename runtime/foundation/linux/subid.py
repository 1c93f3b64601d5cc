"""subuid(5) and subgid(5): the ids that a user may map into a user namespace besides his own."""

from foundation.linux import os


def user_name() -> str:
    """Return the name of the user, or the number if there is no name for it."""
    import pwd  # only here: it may look in the network

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def ranges(path: str) -> "list[tuple[int, int]]":
    """Return the user's ranges in /etc/subuid or /etc/subgid, as (first id, how many); [] if it cannot be read."""
    owners = (user_name(), str(os.geteuid()))
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    ours = [line[1:] for line in lines if len(line) == 3 and line[0] in owners]
    return [(int(first), int(count)) for first, count in ours if first.isdecimal() and count.isdecimal()]

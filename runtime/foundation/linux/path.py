"""The part of os.path that the programs need, with the same results, for paths of type str; os.py explains why."""

from _stat import S_ISDIR, S_ISLNK, S_ISREG  # the C part alone: `import stat` takes 30 us more
from posix import getcwd, lstat, readlink, stat, stat_result

_LINKS_MAXIMUM = 40  # path_resolution(7)


def join(first: str, *others: str) -> str:
    """Join the parts with slashes; what precedes an absolute one is dropped."""
    for other in others:
        if other.startswith("/"):
            first = other
        else:
            first += other if not first or first.endswith("/") else f"/{other}"
    return first


def split(path: str) -> "tuple[str, str]":
    """Return the directory, without trailing slashes unless it is the root, and what follows its last slash."""
    head, slash, tail = path.rpartition("/")
    head += slash
    return head.rstrip("/") or head, tail


def dirname(path: str) -> str:
    """Return the directory of `path`, "" if it has no slash."""
    return split(path)[0]


def basename(path: str) -> str:
    """Return what follows the last slash."""
    return split(path)[1]


def normpath(path: str) -> str:
    """Return `path` without ".", ".." and double slashes, by its text alone: "x/.." goes also if "x" is a symlink."""
    slashes = len(path) - len(path.lstrip("/"))
    root = "/" * slashes if slashes < 3 else "/"  # POSIX: exactly two leading slashes are implementation-defined
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != ".." or parts[-1:] == [".."] or not parts and not root:
            parts.append(part)
        elif parts:
            parts.pop()
    return root + "/".join(parts) or "."


def abspath(path: str) -> str:
    """Return `path` from the root, normalized as by normpath(); a relative one begins at the working directory."""
    return normpath(path if path.startswith("/") else join(getcwd(), path))


def relpath(path: str, start: str = ".") -> str:
    """Return `path` relative to the directory `start`; symbolic links are not looked at."""
    below, above = ([part for part in abspath(one).split("/") if part] for one in (path, start))
    while below and above and below[0] == above[0]:
        del below[0], above[0]
    return "/".join([".."] * len(above) + below) or "."


def realpath(path: str) -> str:
    """Resolve all symbolic links; a component that does not exist is kept."""
    done, links = "/", 0
    ahead = join(getcwd(), path).split("/")[::-1]
    while ahead:
        part = ahead.pop()
        if part == "..":
            done = dirname(done)
        elif part not in ("", "."):
            done = join(done, part)
            target = _target(done) if links < _LINKS_MAXIMUM else ""
            if target:
                links += 1
                done = "/" if target.startswith("/") else dirname(done)
                ahead += target.split("/")[::-1]
    return done


def _target(path: str) -> str:
    try:
        return readlink(path)
    except OSError:
        return ""


def exists(path: "str | bytes") -> bool:
    """Return whether stat(2) finds a file, through symlinks; False for any error."""
    return _mode(path) != 0


def isdir(path: "str | bytes") -> bool:
    """Return whether `path` leads to a directory, through symlinks; False for any error."""
    return S_ISDIR(_mode(path))


def isfile(path: "str | bytes") -> bool:
    """Return whether `path` leads to a regular file, through symlinks; False for any error."""
    return S_ISREG(_mode(path))


def _mode(path: "str | bytes") -> int:
    try:
        return stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a null byte
        return 0


def lexists(path: "str | bytes") -> bool:
    """Return whether there is a file or a symlink, even one that leads nowhere; False for any error."""
    try:
        lstat(path)
    except (OSError, ValueError):
        return False
    return True


def islink(path: "str | bytes") -> bool:
    """Return whether `path` itself is a symlink; False for any error."""
    try:
        return S_ISLNK(lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def ismount(path: "str | bytes") -> bool:
    """Return whether `path` is a mount point, if its file system differs from that of the directory above it."""
    try:
        here = lstat(path)
        above = lstat(f"{path}/.." if isinstance(path, str) else path + b"/..")
    except (OSError, ValueError):
        return False
    return not S_ISLNK(here.st_mode) and (here.st_dev != above.st_dev or here.st_ino == above.st_ino)


def samestat(one: stat_result, other: stat_result) -> bool:
    """Return whether both are of the same file."""
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)


def samefile(one: "str | bytes", other: "str | bytes") -> bool:
    """Return whether both paths lead to the same file. Raises OSError if one leads nowhere."""
    return samestat(stat(one), stat(other))

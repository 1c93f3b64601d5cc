"""The base of the programs' exceptions, and how an exception or text from elsewhere becomes a line for the user."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Error(Exception):
    """The message is for the user; `status` is the program's exit status. The programs derive their kinds from it."""

    status = 1


def reason(error: BaseException) -> str:
    """Return `error` as one line, in runc's form for a failed system call: the call, its object, the cause."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if not isinstance(error, OSError) or error.strerror is None:
        return " ".join(str(error).split("\n")) or type(error).__name__
    if error.filename is None or isinstance(error.filename, int):  # a descriptor: its number says nothing
        return f"{'standard output' if _is_of_output(error) else _place_of(error)}: {error.strerror}"
    name = error.filename if isinstance(error.filename, str) else _text(error.filename)
    return f"{name}: {error.strerror}"


def _is_of_output(error: OSError) -> bool:
    """Return whether what was printed cannot be written, as to a full disk: it is still there, and fails again."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as again:
        return again.errno == error.errno
    return False


def _place_of(error: OSError) -> str:
    """Return our function that made a system call without a file name, such as read(2) of an open descriptor.

    Such errors are rare (EIO, ENOMEM); but an errno alone would help nobody.
    """
    traceback = error.__traceback__
    if traceback is None:
        return type(error).__name__
    while traceback.tb_next:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{code.co_name}, {'/'.join(code.co_filename.split('/')[-2:])}:{traceback.tb_lineno}"


def _text(filename: object) -> str:
    return filename.decode("utf-8", "surrogateescape") if isinstance(filename, bytes) else str(filename)


def printable(text: str) -> str:
    """Return `text` with control characters escaped: names from an image or a config must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (surrogateescape)
        code -= 0xDC00
    return f"\\x{code:02x}"


def one_line(text: str, most: int = 1000) -> str:
    """Return the beginning of `text`, which a server or an image chose, printable(): one line of `most` characters."""
    return printable(" ".join(text[: 4 * most].split()))[:most]


def did_you_mean(name: str, known: "Iterable[str]", prefix: str = "", likeness: float = 0.6) -> str:
    """Return the suggestion for an error about the unknown `name`: the most similar of the `known` names, or "".

    `likeness` is what get_close_matches() of difflib calls cutoff.
    """
    # Ignore the case: people mistype it, and get_close_matches() takes "A" and "a" for different letters.
    by_lower = {one.lower(): one for one in known if one != name}
    close = [one for one in by_lower if len(name) > 2 and one.startswith(name.lower())]
    if by_lower and not close:
        from difflib import get_close_matches  # slow to load, and needed only for a misspelt name

        close = get_close_matches(name.lower(), by_lower, cutoff=likeness)
        close.sort(key=lambda one: sorted(one) != sorted(name.lower()))  # prefer names with two letters swapped
    return f": did you mean {prefix + by_lower[close[0]]!r}?" if close else ""

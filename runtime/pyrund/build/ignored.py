"""What .dockerignore says of a file of the context.

The client leaves out most of what is ignored, but it sends the Dockerfile and .dockerignore in any case. If these are
ignored, COPY must not see them, and a change of them does not change the context.
Source: https://docs.docker.com/build/concepts/context/#dockerignore-files; the patterns are Go's, as in Python's re but
for the wildcards.
"""

import re

from foundation.linux import os

NAME = ".dockerignore"


def is_ignored(path: str, text: str) -> bool:
    """Return whether `text`, a .dockerignore, ignores `path`: the last pattern that fits it, or a directory above it,
    decides."""
    found = False
    for pattern, is_exception in map(_pattern, text.removeprefix("\ufeff").split("\n")):
        if pattern and _fits(path, pattern):
            found = not is_exception
    return found


def _pattern(line: str) -> "tuple[str, bool]":
    """Return (pattern, whether it is an exception); "" for a comment and an empty line."""
    text = "" if line.startswith("#") else line.strip()
    is_exception = text.startswith("!")
    text = text[is_exception:].strip()
    return (os.path.normpath(text).lstrip("/") if text else "", is_exception)


def _fits(path: str, pattern: str) -> bool:
    try:
        wanted = re.compile(_regular_expression(pattern), re.DOTALL)
    except re.error:
        return False
    names = path.split("/")
    return any(wanted.fullmatch("/".join(names[:count])) for count in range(1, len(names) + 1))


def _regular_expression(pattern: str) -> str:
    found, rest = "", pattern
    while rest:
        if rest.startswith("**"):
            rest = rest.lstrip("*").removeprefix("/")
            found += "(?:.*/)?" if rest else ".*"
        elif rest.startswith("["):
            letters, _, rest = rest[1:].partition("]")
            found += "[" + letters.replace("[", r"\[") + "]"  # Python knows sets in sets
        else:
            letter, rest = rest[0], rest[1:]
            if letter == "\\" and rest:
                letter, rest = rest[0], rest[1:]
                found += re.escape(letter)
            else:
                found += {"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter))
    return found

"""Regular expressions that clients send."""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 256  # of what is compared with one
_MOST = 100  # at once


def finder(patterns: "list[str]") -> "Callable[[str], bool]":
    """Return what tells of a text whether one of the regular expressions is found in it.

    Go's take linear time, and Python's may take for ever. So those with groups or many repetitions are taken as texts,
    and so are all if there are very many: each takes its time with each text.
    """
    quick = set(filter(_is_quick, patterns)) if len(patterns) <= _MOST else set()
    expressions, others = list(map(re.compile, quick)), [one for one in patterns if one not in quick]

    def is_found(text: str) -> bool:
        if len(text) >= _LONGEST:
            return any(one in text for one in patterns)
        return any(one.search(text) for one in expressions) or any(one in text for one in others)

    return is_found


def _is_quick(pattern: str) -> bool:
    if any(char in pattern for char in "(){}") or sum(map(pattern.count, "*+?")) > 2:
        return False
    try:
        return bool(re.compile(pattern))
    except re.error:
        return False

"""Regular expressions that clients send."""

import re

_LONGEST = 256  # of what is compared with one


def is_found(pattern: str, text: str) -> bool:
    """Return whether the regular expression is found in the text.

    Go's take linear time, and Python's may take for ever. So those with groups or many repetitions are taken as texts.
    """
    return bool(re.search(pattern, text)) if len(text) < _LONGEST and _is_quick(pattern) else pattern in text


def _is_quick(pattern: str) -> bool:
    if any(char in pattern for char in "(){}") or sum(map(pattern.count, "*+?")) > 2:
        return False
    try:
        return bool(re.compile(pattern))
    except re.error:
        return False

"""What the filters of several kinds of resources have in common."""

import time

from foundation.durations import nanoseconds
from pyrund.errors import ApiError
from pyrund.model import times
from pyrund.model.patterns import finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def has_labels(labels: "Mapping[str, str]", filters: "dict[str, list[str]]") -> bool:
    """Return whether `labels` have all that the filter "label" names, and none of "label!"."""
    return all(_has(labels, text) for text in filters.get("label", [])) and not any(
        _has(labels, text) for text in filters.get("label!", [])
    )


def _has(labels: "Mapping[str, str]", text: str) -> bool:
    """Return whether there is the label "key", or "key=value"."""
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def flag(filters: "dict[str, list[str]]", name: str) -> "bool | None":
    """Return the value of the filter `name`, which is yes or no; None if it is not given. Raises ApiError."""
    if name not in filters:
        return None
    is_yes, is_no = (not set(words).isdisjoint(filters[name]) for words in (("1", "true"), ("0", "false")))
    if is_yes == is_no:
        raise ApiError(400, f"invalid filter '{name}=[{' '.join(filters[name])[:80]}]'")
    return is_yes


def named_by(filters: "dict[str, list[str]]") -> "Callable[[str], bool]":
    """Return what tells of a name whether the filter "name" lets it pass: one of its values, a regular expression, is
    found in it."""
    return finder([text for texts in filters.get("name", [""]) for text in texts.split("|")])


def before(filters: "dict[str, list[str]]") -> "float | None":
    """Return the time of the filter "until", in seconds since the epoch; None if it is not given. Raises ApiError."""
    texts = filters.get("until", [])
    if len(texts) > 1:
        raise ApiError(400, "more than one until filter specified")
    return _moment(texts[0]) if texts else None


def _moment(text: str) -> float:
    """Return a moment: seconds since the epoch, a time as "2026-01-31T12:00:00Z", or how long ago, as "1h30m"."""
    if text.replace(".", "", 1).isdigit() and text.isascii() and len(text) < 30:
        return float(text)
    if text[4:5] == "-":
        full = text + "T00:00:00"[len(text) - 10 :] if len(text) == 10 else text
        found = times.seconds(full)
        if found and (len(full) == 19 or full.endswith("Z")):
            return found
    elif text:
        try:
            return time.time() - nanoseconds(text) / 1e9
        except ValueError:
            pass
    raise ApiError(400, f'failed to parse value as time or duration: "{text[:80]}"')

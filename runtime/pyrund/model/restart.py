"""Restart policies: whether and when a container that has ended is started again, as by dockerd."""

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_NAMES = ("no", "always", "unless-stopped", "on-failure")
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 60.0  # seconds
_LONG_RUN = 10.0  # after this the container counts as one that works


def checked(given: "Json", is_removed: bool) -> "Json":
    """Return the policy with its defaults. Raises ApiError, with docker's words."""
    name, most = given.get("Name") or "no", given.get("MaximumRetryCount") or 0
    if name not in _NAMES:
        raise ApiError(400, f"invalid restart policy: unknown policy '{name[:80]}'; use one of {_LIST}")
    if most < 0:
        raise ApiError(400, "invalid restart policy: maximum retry count cannot be negative")
    if most and name != "on-failure":
        why = "maximum retry count can only be used with 'on-failure'"
        raise ApiError(400, f"invalid restart policy: {why}")
    if name != "no" and is_removed:
        raise ApiError(400, "can't create 'AutoRemove' container with restart policy")
    return {"Name": name, "MaximumRetryCount": most}


_LIST = "'no', 'always', 'on-failure', or 'unless-stopped'"


def is_wanted(policy: "Json", code: int, count: int, stopped_by_hand: bool) -> bool:
    """Return whether a container that has ended with `code` is to run, after `count` starts by its policy."""
    if policy["Name"] == "on-failure":
        most = policy["MaximumRetryCount"]
        return code != 0 and not stopped_by_hand and (not most or count < most)
    return policy["Name"] == "always" or (policy["Name"] == "unless-stopped" and not stopped_by_hand)


def delay(before: float, ran: float) -> float:
    """Return the seconds to wait, after a run of `ran` seconds which began after `before` of them."""
    if not before or ran >= _LONG_RUN:
        return _FIRST_DELAY
    return min(2 * before, _LONGEST_DELAY)

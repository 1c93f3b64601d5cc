"""Health checks: what the Config of a container says of them, and what they have found, by docker's rules."""

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from foundation.node import Node

    Json = dict[str, Any]

_SECOND = 1_000_000_000
_DEFAULTS = {"Interval": 30.0, "Timeout": 30.0, "StartPeriod": 0.0, "StartInterval": 5.0}  # seconds
_RETRIES = 3
_SHORTEST = 1_000_000  # nanoseconds
_REMEMBERED = 5  # results


def of_image(check: "Node | None") -> "Json | None":
    """Return the health check of an image with the types that it must have. Raises pyfetch's Error."""
    if check is None:
        return None
    numbers = {name: check.integer(name, default=0) for name in (*_DEFAULTS, "Retries")}
    return {"Test": check.strings("Test"), **{name: value for name, value in numbers.items() if value}}


def merged(wanted: "Json", image: "Json") -> "Json | None":
    """Return the health check of a new container: what the client wants, completed by the image's. Raises ApiError.

    Both have the types of docker's API.
    """
    given = wanted.get("Healthcheck") or {}
    check = {**(image.get("Healthcheck") or {}), **{name: value for name, value in given.items() if value}}
    test = check.get("Test") or []
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise ApiError(400, f"Unknown healthcheck type '{test[0][:40]}' (expected 'CMD')")
    for name in _DEFAULTS:
        if check.get(name) and check[name] < _SHORTEST:
            raise ApiError(400, f"{name} in Healthcheck cannot be less than 1ms")
    if check.get("Retries", 0) < 0:
        raise ApiError(400, "Retries in Healthcheck cannot be negative")
    return check or None


class HealthCheck:
    """A check, and what it has found in this run of the container.

    command   what is executed in the container
    timeout   seconds after which a check is ended
    """

    def __init__(self, config: "Json") -> None:
        check: Json = config["Healthcheck"]
        kind, *words = check["Test"]
        shell = config.get("Shell") or ["/bin/sh", "-c"]
        self.command = [*shell, *words] if kind == "CMD-SHELL" else words
        times = {name: check.get(name, 0) / _SECOND or default for name, default in _DEFAULTS.items()}
        self._interval, self.timeout = times["Interval"], times["Timeout"]
        self._start_period, self._start_interval = times["StartPeriod"], times["StartInterval"]
        self._retries = check.get("Retries") or _RETRIES
        self._failures = 0
        self._log: list[Json] = []
        self.status = "starting"

    def pause(self, age: float) -> float:
        """Return the seconds until the next check of a container that has run for `age` seconds."""
        return self._start_interval if self.status == "starting" and age < self._start_period else self._interval

    def note(self, age: float, result: "Json") -> bool:
        """Remember a result of docker's API; the check began when the container had run for `age` seconds.

        Returns whether the status has changed. A failure in the start period does not count, until a check succeeds.
        """
        before = self.status
        self._log = [*self._log, result][-_REMEMBERED:]
        if result["ExitCode"] == 0:
            self.status, self._failures = "healthy", 0
        elif self.status != "starting" or age >= self._start_period:
            self._failures += 1
            if self._failures >= self._retries:
                self.status = "unhealthy"
        return self.status != before

    def shown(self) -> str:
        """Return the status as `docker ps` shows it."""
        return "health: starting" if self.status == "starting" else self.status

    def described(self) -> "Json":
        return {"Status": self.status, "FailingStreak": self._failures, "Log": self._log}


def check_of(config: "Json") -> "HealthCheck | None":
    """Return a new check of a container with this Config, None if it has none."""
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return HealthCheck(config) if test[0] != "NONE" and test[1:] else None

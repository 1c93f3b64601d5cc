"""When to try again: pauses between attempts, by what the server says or longer each time."""

import random
import time

from pyfetch.errors import NetworkError
from pyfetch.registry.connection import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

PROGRESS = 64 << 10  # bytes after which retries are counted anew; a server that is slower is given up at last
_LONGEST_WAIT = 60  # seconds: for Retry-After, and for our own pauses


class Patience:
    """Waits between attempts, longer each time, with full jitter so that clients do not return all at once."""

    def __init__(self, retries: int, note: "Callable[[str], None]") -> None:
        self._left = self._retries = retries
        self._note = note

    def wait(self, error: Unavailable) -> None:
        if self._left == 0:
            times = f" (tried {self._retries + 1} times)" if self._retries else ""
            raise NetworkError(f"{error}{times}") from error
        self._left -= 1
        ceiling = min(_LONGEST_WAIT, 0.5 * 2 ** (self._retries - self._left))
        delay = random.uniform(0.1, ceiling) if error.delay is None else error.delay
        self._note(f"{error}: Retrying in {round(delay) or 1} seconds")
        time.sleep(delay)

    def retry(self, attempt: "Callable[[], T]") -> "T":
        """Return the result of `attempt`, which is called until it raises Unavailable no more."""
        while True:
            try:
                return attempt()
            except Unavailable as error:
                self.wait(error)


def retry_after(value: "str | None") -> "float | None":
    """Read what servers really send: seconds, a date, a Go duration (`880.092\\u00b5s`), nonsense; at most a minute."""
    import email.utils

    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ArithmeticError, LookupError, TypeError, ValueError):  # what email raises depends on the version
            return 0.1 if value.endswith("s") else None
    return min(max(0.1, seconds), _LONGEST_WAIT)  # in this order: it makes 0.1 of what is not a number

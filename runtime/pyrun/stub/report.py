"""What the stub reports of a row that failed: the row itself (table.py), with the errno in place of the call."""

from foundation.errors import printable
from foundation.linux import os

WORD = 8
ROW_SIZE = 16 * WORD
LABEL_OFFSET = 9 * WORD
LABEL_SIZE = ROW_SIZE - LABEL_OFFSET


def report(errno: int, label: str) -> bytes:
    """Return a report as a failed row would write it; `label` names what failed."""
    number = errno.to_bytes(WORD, "little")
    return number.ljust(LABEL_OFFSET, b"\0") + label.encode()[:LABEL_SIZE].ljust(LABEL_SIZE, b"\0")


def read_report(record: bytes) -> "OSError | None":
    """Return the error that `record`, the report of a failed row, describes; None if it is not a report.

    It is untrusted: a process that ptraces the stub can forge a report.
    """
    if len(record) != ROW_SIZE:
        return None
    errno = int.from_bytes(record[:WORD], "little") & 0xFFF  # MAX_ERRNO of <linux/err.h>
    label = record[LABEL_OFFSET:].rstrip(b"\0").decode("utf-8", "replace")
    return OSError(errno, os.strerror(errno), printable(label))

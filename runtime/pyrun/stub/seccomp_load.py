"""The rows that load the seccomp filter: the last ones before the program is executed, because all calls of ours that
follow them need the filter's leave.

A filter with SCMP_ACT_NOTIFY opens a listener. The process then writes HAS_LISTENER and the listener's number, and
waits until the runtime has a copy and answers; launch/seccomp_listener.py is the runtime's side.
"""

from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.confine.seccomp import Filter

HAS_LISTENER = b"seccomp "
ACKNOWLEDGEMENT = b"1"

_SECCOMP_SET_MODE_FILTER = 1


def load(table: Table, filter_: "Filter") -> None:
    """Append the rows that load `filter_`. They need no_new_privs or CAP_SYS_ADMIN: seccomp(2)."""
    # struct sock_fprog: the number of instructions, of eight bytes each, and their address
    instructions = table.words(len(filter_.program) // 8, table.block(filter_.program))
    arguments = (_SECCOMP_SET_MODE_FILTER, filter_.flags, instructions)
    if filter_.notify:
        _hand_over_listener(table, table.open("seccomp", *arguments, label="load seccomp filter"))
    else:
        table.call("seccomp", *arguments, label="load seccomp filter")


def _hand_over_listener(table: Table, listener: int) -> None:
    """Append the rows that wait until the runtime has a copy of the `listener`, and exit if it ends without one."""
    word = HAS_LISTENER + b"%d" % listener  # close-on-exec, seccomp(2)
    table.call("write", table.report, table.string(word), len(word), label="report seccomp listener")
    answer = table.block(bytes(len(ACKNOWLEDGEMENT)))
    acknowledged = table.call("read", table.report, answer, len(ACKNOWLEDGEMENT), label="hand over seccomp listener")
    table.call("exit_group", 1)
    acknowledged.jump_to = len(table.rows)

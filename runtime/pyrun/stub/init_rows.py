"""The table of a container's init: the stub's rows, in order."""

from foundation.linux.cpu_list import ALL_CPUS
from foundation.linux.prctl import PR_SET_NAME, capget
from pyrun.container.process import WAITING
from pyrun.stub import privileges
from pyrun.stub.entry import Entry, end_parent, enter, say
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process
    from pyrun.stub.execve import Program
    from pyrun.stub.privileges import Confinement

SOCK_CLOEXEC = 0o2000000
_MSG_TRUNC = 0x20  # recv(2): return the size of the packet, however much of it was taken


def create(
    table: Table,
    gate: int,
    entry: Entry,
    process_: "Process",
    program: "Program",
    confinement: "Confinement",
    keyring: str,
    streams: "list[int]",
) -> None:
    """Append the rows of a container's init, up to the gate and from there to its program.

    `streams` are as in own_streams().
    """
    privileges.own_streams(table, streams, process_.user.uid, process_.user.uid)
    clone_row = enter(table, entry)
    # Reset the affinity: the container must not inherit ours, and since Linux 6.2 joining a cpuset no longer widens it.
    privileges.affinity(table, ALL_CPUS)
    if confinement.labels:
        confinement.labels.place(table)
    privileges.session(table, process_, keyring)
    privileges.privileges(table, process_, confinement, capget()[1])
    table.call("prctl", PR_SET_NAME, table.string(WAITING.encode()), label="prctl PR_SET_NAME")
    say(table, b"ready " + program.paths[0])
    # Wait until the runtime has saved our pid: if it is killed before that, no command could find this process, and it
    # exits.
    # Without a buffer, because a page of the table that is written to is charged to the container.
    saved = table.call("recvfrom", table.report, 0, 0, _MSG_TRUNC, 0, 0, label="wait for the runtime")
    table.call("exit_group", 1, label="only if the runtime was killed")
    saved.jump_to = len(table.rows)
    started = table.open("accept4", gate, 0, 0, SOCK_CLOEXEC, label="wait for start")
    table.close(gate)
    # From here on failures are reported to `start`.
    table.call("dup3", started, table.report, SOCK_CLOEXEC if program.reaper < 0 else 0)
    table.close(started)
    privileges.execute(table, process_, program, confinement.filter)
    end_parent(table, clone_row)

"""The table of the stub: system calls as data, compiled here, and made by a process that must not be Python.

    word 0     the descriptor that failures are reported to
    word 1     unused
    then       the rows, sixteen words each
    then       the data: strings, arrays and structures that the rows point to

A row is

    call, six arguments, jump, excused, label (7 words of text)

The stub makes the row's system call. On success it goes on with the next row, or, if the result is positive and `jump`
is not 0, with the row at that address. On an error it also goes on if `excused` has the bit of its errno (of errnos
below 64). Otherwise it writes the row itself to the report descriptor, with the errno in place of the call, and exits
with status 1. So a report contains the name of what failed.

The table knows which descriptors are open when a row is reached. A call that opens one gets the lowest number that is
free (open(2)), so the rows after it can use that number.

Three calls are not the kernel's:

    tell(record, message, length)   print, as a line, the exit status in `record`, laid out as struct pidfd_info;
                                    if it contains none, write the message to standard error
    end()                           exit with the first non-zero status that `tell` printed; an unknown one counts as 1
    reap(signals, status)           act as init for the child whose clone(2) jumped here: forward the blocked `signals`
                                    to it, collect all children that end (wait4 writes to the word at `status`), and
                                    exit with the status of that child
"""

from foundation.linux.syscalls import number, words
from pyrun.stub.report import LABEL_SIZE, ROW_SIZE, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER_SIZE = 2 * WORD

_OURS = {"tell": -1, "end": -2, "reap": -3}


class Address(int):
    """An offset into the table's data; becomes an address when the table is assembled."""


class Text(Address):
    """The address of a string."""


class Row:
    """One system call. On an error whose errno is not in `excused` the stub reports `label` and exits."""

    def __init__(self, call: str, arguments: "tuple[int, ...]", label: str, excused: "tuple[int, ...]") -> None:
        self.call = call
        self.arguments = arguments
        self.label = label
        self.excused = excused
        self.jump_to = -1  # index of the row to go on with if the result is positive, or -1


class Table:
    """Rows and data under construction.

    `report` is the descriptor that failures are written to. `inherited` are all that the stub begins with, and `_open`
    those that are open after the last row.
    """

    def __init__(self, report: int, inherited: "Iterable[int]" = ()) -> None:
        self.report = report
        self.inherited = {report, *inherited}
        self._open = set(self.inherited)
        self.rows: list[Row] = []
        self._data = bytearray()
        self._pointers: list[tuple[int, Address]] = []  # (where in the data, what it points to)

    def call(self, name: str, *arguments: int, label: str = "", excused: "tuple[int, ...]" = ()) -> Row:
        """Append the system call `name`. `label` names the step in a report; by default it is the call's name."""
        row = Row(name, arguments, label or name, excused)
        self.rows.append(row)
        return row

    def inherit(self, fd: int) -> None:
        """Note that the stub begins with `fd`, too."""
        self.inherited.add(fd)
        self._open.add(fd)

    def open(self, name: str, *arguments: int, label: str = "") -> int:
        """Append the system call `name`, which returns a new descriptor; return the number of that."""
        self.call(name, *arguments, label=label)
        lowest = next(fd for fd in range(len(self._open) + 1) if fd not in self._open)
        self._open.add(lowest)
        return lowest

    def close(self, fd: int) -> None:
        """Append the row that closes `fd`."""
        self.call("close", fd)
        self._open.remove(fd)

    def block(self, data: bytes) -> Address:
        """Place `data`, aligned to a word, and return its address."""
        self._data += bytes(-len(self._data) % WORD)
        address = Address(len(self._data))
        self._data += data
        return address

    def string(self, text: bytes) -> Text:
        """Place `text` with a null byte after it, and return its address."""
        return Text(self.block(text + b"\0"))

    def words(self, *values: int) -> Address:
        """Place 64-bit words and return their address. A value of type Address becomes a pointer."""
        address = self.block(words(*values))
        for i, value in enumerate(values):
            if isinstance(value, Address):
                self._pointers.append((address + i * WORD, value))
        return address

    def strings(self, texts: "list[bytes]") -> Address:
        """Place a null-terminated array of strings, as execve(2) takes them, and return its address."""
        return self.words(*[self.string(text) for text in texts], 0)

    def shown(self, row: Row) -> str:
        """Return the call of `row` as strace(1) would show it."""
        arrays = dict(self._pointers)
        return f"{row.call}({', '.join(self._shown(argument, arrays) for argument in row.arguments)})"

    def _shown(self, argument: int, arrays: "dict[int, Address]") -> str:
        if isinstance(argument, Text):
            return f'"{self._data[argument : self._data.index(0, argument)].decode("utf-8", "replace")}"'
        if not isinstance(argument, Address):
            return str(argument) if abs(argument) < 1 << 20 else hex(argument)
        items: list[str] = []
        while argument + len(items) * WORD in arrays:
            items.append(self._shown(arrays[argument + len(items) * WORD], arrays))
        return f"[{', '.join(items)}]" if items else "&"

    def assemble(self, base: int) -> bytes:
        """Return the bytes of the table, to be loaded at the address `base`."""
        rows = base + HEADER_SIZE
        data = rows + ROW_SIZE * len(self.rows)
        parts = [words(self.report, 0)]
        for row in self.rows:
            arguments = [data + argument if isinstance(argument, Address) else argument for argument in row.arguments]
            jump = rows + ROW_SIZE * row.jump_to if row.jump_to >= 0 else 0
            call = _OURS.get(row.call) or number(row.call)
            excused = sum([1 << errno for errno in row.excused])
            arguments += [0] * (6 - len(arguments))
            parts.append(words(call, *arguments, jump, excused))
            parts.append(row.label.encode("utf-8", "surrogateescape")[:LABEL_SIZE].ljust(LABEL_SIZE, b"\0"))
        content = bytearray(self._data)
        for offset, target in self._pointers:
            content[offset : offset + WORD] = words(data + target)
        return b"".join(parts) + bytes(content)

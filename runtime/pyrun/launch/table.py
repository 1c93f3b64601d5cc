"""The last mile as data: a table of system calls, compiled here, carried out where Python cannot be.

    word 0     the descriptor that failures are reported to
    word 1     unused
    then       the rows, sixteen words each
    then       the data: strings, arrays and structures that the rows point to

A row is

    call, six arguments, jump, excused, label (7 words of text)

Its system call is made. On success the next row follows, or, where the result is positive and `jump` is not 0, the row
at that address. On an error other than `excused` the row itself is written to the report descriptor, with the errno in
the place of the call, and the process exits with status 1. So a report says by itself what failed.

Three calls are not the kernel's:

    tell(record, message, length)   print, as a line, the exit status in `record`, laid out as struct pidfd_info;
                                    where there is none in it, write the message to standard error
    end()                           exit with the first status that was told and is not 0; what is not known counts as 1
    reap(signals, status)           be an init: pass on to the child whose clone(2) led here by a jump whatever of the
                                    blocked `signals` comes, collect all that end (by the word at `status`), and exit
                                    with the exit status of that child
"""

import os

from pyrun.linux.syscalls import number

WORD = 8
ROW_SIZE = 16 * WORD
LABEL_OFFSET = 9 * WORD
LABEL_SIZE = ROW_SIZE - LABEL_OFFSET
HEADER_SIZE = 2 * WORD

_OURS = {"tell": -1, "end": -2, "reap": -3}


class Address(int):
    """An offset into the table's data; becomes an address when the table is assembled."""


class Text(Address):
    """The address of a string."""


class Row:
    def __init__(self, call: str, arguments: "tuple[int, ...]", label: str, excused: int) -> None:
        self.call = call
        self.arguments = arguments
        self.label = label
        self.excused = excused
        self.jump_to = -1  # index of the row where a positive result leads


class Table:
    """Rows and data under construction. `report` is the descriptor for failures."""

    def __init__(self, report: int) -> None:
        self.report = report
        self.rows: list[Row] = []
        self._data = bytearray()
        self._pointers: list[tuple[int, Address]] = []  # (where in the data, what it points to)

    def call(self, name: str, *arguments: int, label: str = "", excused: int = 0) -> Row:
        """Append the system call `name`; `label` says in a report what was being done, by default the call."""
        row = Row(name, arguments, label or name, excused)
        self.rows.append(row)
        return row

    def block(self, data: bytes) -> Address:
        """Place `data`, aligned to a word, and return its address."""
        self._data += bytes(-len(self._data) % WORD)
        address = Address(len(self._data))
        self._data += data
        return address

    def string(self, text: bytes) -> Text:
        return Text(self.block(text + b"\0"))

    def words(self, *values: int) -> Address:
        """Place 64-bit words; those that are an Address become one."""
        address = self.block(_words(*values))
        for i, value in enumerate(values):
            if isinstance(value, Address):
                self._pointers.append((address + i * WORD, value))
        return address

    def strings(self, texts: "list[bytes]") -> Address:
        """Place a null-terminated array of strings, as argv is."""
        return self.words(*[self.string(text) for text in texts], 0)

    def shown(self, row: Row) -> str:
        """Return the call of `row` as strace(1) shows one."""
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
        """Return the bytes of the table as they must lie at the address `base`."""
        rows = base + HEADER_SIZE
        data = rows + ROW_SIZE * len(self.rows)
        parts = [_words(self.report, 0)]
        for row in self.rows:
            arguments = [data + argument if isinstance(argument, Address) else argument for argument in row.arguments]
            jump = rows + ROW_SIZE * row.jump_to if row.jump_to >= 0 else 0
            call = _OURS.get(row.call) or number(row.call)
            parts.append(_words(call, *arguments, *[0] * (6 - len(arguments)), jump, row.excused))
            parts.append(row.label.encode("utf-8", "surrogateescape")[:LABEL_SIZE].ljust(LABEL_SIZE, b"\0"))
        content = bytearray(self._data)
        for offset, target in self._pointers:
            content[offset : offset + WORD] = _words(data + target)
        return b"".join(parts) + bytes(content)


def _words(*values: int) -> bytes:
    return b"".join([(value & 0xFFFFFFFFFFFFFFFF).to_bytes(WORD, "little") for value in values])


def read_report(record: bytes) -> "OSError | None":
    """Return what a failed row reports as the error it is, None where `record` is no report.

    Who traces the last mile can write whatever he likes here.
    """
    if len(record) != ROW_SIZE:
        return None
    errno = int.from_bytes(record[:WORD], "little") & 0xFFF  # MAX_ERRNO of <linux/err.h>
    label = record[LABEL_OFFSET:].rstrip(b"\0").decode("utf-8", "replace")
    label = "".join(character if character.isprintable() else "?" for character in label)
    return OSError(errno, os.strerror(errno), label)

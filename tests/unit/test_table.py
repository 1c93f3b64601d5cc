"""The table of the stub: where rows, strings and addresses lie, and what a failed row reports."""

import errno

import pytest

from foundation.linux.syscalls import number
from pyrun.stub.report import LABEL_OFFSET, LABEL_SIZE, ROW_SIZE, WORD, read_report
from pyrun.stub.table import HEADER_SIZE, Address, Table

BASE = 0x10000


def words(data):
    return [int.from_bytes(data[i : i + WORD], "little") for i in range(0, len(data), WORD)]


def row_of(assembled, index):
    start = HEADER_SIZE + index * ROW_SIZE
    return assembled[start : start + ROW_SIZE]


def test_the_header_is_the_report_descriptor():
    assert words(Table(7).assemble(BASE)) == [7, 0]


def test_a_row_is_call_arguments_jump_excused_label():
    table = Table(7)
    table.call("close", 3, label="enter", excused=(errno.ENOENT, errno.EACCES))
    row = row_of(table.assemble(BASE), 0)

    assert words(row[:LABEL_OFFSET]) == [number("close"), 3, 0, 0, 0, 0, 0, 0, 1 << errno.ENOENT | 1 << errno.EACCES]
    assert row[LABEL_OFFSET:].rstrip(b"\0") == b"enter"


def test_the_label_is_the_call_by_default():
    table = Table(7)
    table.call("setresgid", 1)

    assert row_of(table.assemble(BASE), 0)[LABEL_OFFSET:].rstrip(b"\0") == b"setresgid"


def test_calls_of_our_own_have_negative_numbers():
    table = Table(7)
    for name in ("tell", "end", "reap"):
        table.call(name)
    assembled = table.assemble(BASE)

    assert [words(row_of(assembled, index))[0] for index in range(3)] == [2**64 - 1, 2**64 - 2, 2**64 - 3]


def test_a_long_label_is_cut_and_moves_nothing():
    table = Table(7)
    table.call("setresgid", 1, label="x" * 500)
    table.call("setresuid", 2)
    assembled = table.assemble(BASE)

    assert row_of(assembled, 0)[LABEL_OFFSET:] == b"x" * LABEL_SIZE
    assert words(row_of(assembled, 1))[:2] == [number("setresuid"), 2]


def test_a_negative_argument_is_its_twos_complement():
    table = Table(7)
    table.call("close", -1)

    assert words(row_of(table.assemble(BASE), 0))[1] == 0xFFFFFFFFFFFFFFFF


def test_a_call_that_opens_a_descriptor_returns_the_lowest_that_is_free():
    table = Table(7, inherited=(0, 1, 2, 4))

    assert [table.open("fsopen") for _ in range(4)] == [3, 5, 6, 8]


def test_a_descriptor_that_is_closed_is_free_again():
    table = Table(7, inherited=(0, 1, 2, 3, 4))
    table.close(3)
    table.close(table.open("fsopen"))

    assert table.open("fsmount") == 3
    assert [(row.call, row.arguments) for row in table.rows if row.call == "close"] == [("close", (3,))] * 2


def test_a_descriptor_that_the_stub_inherits_later_is_not_free():
    table = Table(0)
    table.inherit(1)

    assert table.open("fsopen") == 2
    assert table.inherited == {0, 1}


def test_a_descriptor_that_is_not_open_cannot_be_closed():
    with pytest.raises(KeyError):
        Table(7).close(3)


def test_a_jump_is_the_address_of_its_row():
    table = Table(7)
    table.call("setresgid", 1).jump_to = 2
    table.call("setresgid", 2)
    table.call("setresgid", 3)

    assert words(row_of(table.assemble(BASE), 0))[7] == BASE + HEADER_SIZE + 2 * ROW_SIZE


def test_a_jump_to_the_first_row_is_one():
    table = Table(7)
    table.call("setresgid", 1).jump_to = 0

    assert words(row_of(table.assemble(BASE), 0))[7] == BASE + HEADER_SIZE


def test_an_address_leads_to_its_data():
    table = Table(7)
    table.string(b"first")
    path = table.string(b"/bin/sh")
    table.call("chdir", path)
    assembled = table.assemble(BASE)
    offset = words(row_of(assembled, 0))[1] - BASE

    assert assembled[offset:].startswith(b"/bin/sh\0")


def test_a_number_that_equals_an_address_stays_a_number():
    table = Table(7)
    first = table.string(b"x")
    table.call("close", 0)
    row = row_of(table.assemble(BASE), 0)

    assert first == 0
    assert words(row)[1] == 0


def test_data_is_aligned_to_words():
    table = Table(7)
    addresses = [table.string(b"x" * length) for length in (1, 7, 8, 15, 0)]

    assert [address % WORD for address in addresses] == [0] * 5


def test_an_array_of_strings_ends_with_null():
    table = Table(7)
    array = table.strings([b"a", b"bc"])
    table.call("execve", 0, array, 0)
    assembled = table.assemble(BASE)
    offset = words(row_of(assembled, 0))[2] - BASE
    first, second, end = words(assembled[offset : offset + 3 * WORD])

    assert assembled[first - BASE :].startswith(b"a\0")
    assert assembled[second - BASE :].startswith(b"bc\0")
    assert end == 0


def test_an_empty_array_is_null_alone():
    table = Table(7)
    table.strings([])

    assert words(table.assemble(BASE)[HEADER_SIZE:]) == [0]


def test_addresses_are_of_the_base_that_is_given():
    table = Table(7)
    table.call("chdir", table.words(table.string(b"x")))
    low, high = words(table.assemble(0)), words(table.assemble(BASE))
    moved = [after - before for before, after in zip(low, high)]

    assert set(moved) == {0, BASE}
    assert moved.count(BASE) == 2  # the argument, and the word


def report(code, label=b"execve"):
    return code.to_bytes(WORD, "little", signed=True) + bytes(LABEL_OFFSET - WORD) + label.ljust(LABEL_SIZE, b"\0")


def test_a_report_is_an_error_with_the_label_as_its_name():
    error = read_report(report(errno.ENOENT))

    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (errno.ENOENT, "execve")


@pytest.mark.parametrize("record", [b"", b"x", bytes(ROW_SIZE - 1), bytes(ROW_SIZE + 1)])
def test_what_has_another_length_is_no_report(record):
    assert read_report(record) is None


def test_a_report_cannot_steer_the_terminal_of_who_reads_it():
    assert read_report(report(1, b"\x1b[2J\nlabel")).filename == r"\x1b[2J\x0alabel"


@pytest.mark.parametrize("code", [-1, 1 << 40, 0])
def test_a_report_with_any_number_is_still_an_error(code):
    assert isinstance(read_report(report(code)), OSError)


def test_an_address_is_told_from_a_number_by_its_type():
    assert isinstance(Table(7).block(b"x"), Address)

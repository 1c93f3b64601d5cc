"""The program that carries out a table: a static ELF without any library, in a sealed memfd.

Its code is a loop and three calls of our own, in assembly in last_mile_*.S; here are its bytes, and the headers around
them.
"""

import os
from fcntl import fcntl

from pyrun.launch.table import Table
from pyrun.linux.syscalls import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CODE_ADDRESS = 0x400000
TABLE_ADDRESS = 0x410000  # in the code; also the alignment of segments where pages have 64 KiB

CODE = {
    "x86_64": bytes.fromhex(
        "bb1000410031ed8b0385c07863488b7b08488b7310488b53184c8b53204c8b43"
        "284c8b4b300f054885c07816740e488b4b38e3084889cb4189c4ebcb4883eb80"
        "ebc548f7d8483b434074f14889038b3c25000041004889deba80000000b80100"
        "00000f05bf01000000b8e70000000f05ffc07465ffc07458488b7b0831f631d2"
        "41ba08000000b8800000000f0583f811740e4489e789c6b83e0000000f05ebd8"
        "48c7c7ffffffff488b7310ba010000004531d2b83d0000000f0585c07eba4439"
        "e075dd488b73108b06e86d00000089c589efb8e70000000f05488b7308f60608"
        "74448b463ce85100000085ed0f44e8488d737fc6060ab90a00000031d2f7f180"
        "c23048ffce881685c075f0488d93800000004829f2bf01000000b8010000000f"
        "05e916ffffff85ed7502ffc5488b7310488b5318bf02000000ebdfa87f75040f"
        "b6c4c383e07f83e880c3"
    ),
    "aarch64": bytes.fromhex(
        "3408a0d29342009115008052680240a96803f837610a41a9631242a9651a40f9"
        "010000d42001f8b7c00000b4611e40f9810000b4f30301aaf603002af4ffff17"
        "73020291f2ffff17e00300cb612240f91f0001eb60ffff54600200f9800240b9"
        "e10313aa021080d2080880d2010000d4200080d2c80b80d2010000d41f050031"
        "200400541f09003180030054600640f9010080d2020080d2030180d2281180d2"
        "010000d41f4400f1c0000054e10300aae003162a281080d2010000d4f4ffff17"
        "00008092610a40f9220080d2030080d2882080d2010000d41f0000718dfdff54"
        "1f00166be1feff54610a40f9200040b920000094f503002ae003152ac80b80d2"
        "010000d4610640f9200040b980021836203c40b917000094bf0200711500951a"
        "61fe019142018052220000390308c21a6480021b84c0001124fc1f38e003032a"
        "60ffff3562020291420001cb200080d2080880d2010000d4baffff17bf020071"
        "b5169f1a610a41a9400080d2f9ffff170118007261000054003c0853c0035fd6"
        "20000211c0035fd6"
    ),
}
_E_MACHINE = {"x86_64": 62, "aarch64": 183}  # <elf.h>

_MFD_CLOEXEC = 1
_MFD_ALLOW_SEALING = 2
_MFD_EXEC = 0x10  # Linux 6.3
_F_ADD_SEALS = 1033
_ALL_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE

_HEADER = 64
_PROGRAM_HEADER = 56


def open_memfd(name: str) -> int:
    """Return a memfd that may be executed and sealed.

    Raises PermissionError where the sysctl vm.memfd_noexec of this pid namespace is 2.
    """
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        memfd = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != 22:  # EINVAL: before Linux 6.3, when every memfd could be executed
            raise
        memfd = os.memfd_create(name, flags)
    # Who executes what he may not read is out of reach for root of his user namespace, ptrace(2): would_dump() in the
    # kernel's fs/exec.c gives the process to the user namespace of the file's owner.
    os.fchmod(memfd, 0o111)
    return memfd


def seal(memfd: int) -> None:
    """Make what is in `memfd` final: neither we nor a container can change it from here on."""
    fcntl(memfd, _F_ADD_SEALS, _ALL_SEALS)


def execute(memfd: int, table: Table, arguments: "tuple[bytes, ...]") -> "NoReturn":
    """Replace this process by the last mile that carries out `table`. Does not return.

    `arguments` are what ps shows behind "pyrun".
    """
    fill(memfd, table)
    os.execve(memfd, [b"pyrun", *arguments], {})  # execveat(memfd, "", ..., AT_EMPTY_PATH)


def fill(memfd: int, table: Table) -> None:
    """Make `memfd` the last mile that carries out `table`."""
    image = assemble(table, MACHINE)
    with open(memfd, "wb", buffering=0, closefd=False) as file:
        file.write(image[0])
        file.seek(TABLE_ADDRESS - CODE_ADDRESS)
        file.write(image[1])
    seal(memfd)


def assemble(table: Table, machine: str) -> "tuple[bytes, bytes]":
    """Return (headers and code, table): the two ends of the file; between them is a hole."""
    code = CODE[machine]
    data = table.assemble(TABLE_ADDRESS)
    start = _HEADER + 3 * _PROGRAM_HEADER
    headers = [
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),  # 64-bit, little-endian, version 1
        _halves(2, _E_MACHINE[machine]),  # ET_EXEC
        (1).to_bytes(4, "little"),
        _longs(CODE_ADDRESS + start, _HEADER, 0),
        (0).to_bytes(4, "little"),
        _halves(_HEADER, _PROGRAM_HEADER, 3, 64, 0, 0),
        _segment(1, 5, 0, CODE_ADDRESS, start + len(code)),  # PT_LOAD, R X
        _segment(1, 6, TABLE_ADDRESS - CODE_ADDRESS, TABLE_ADDRESS, len(data)),  # PT_LOAD, RW
        _segment(0x6474E551, 6, 0, 0, 0),  # PT_GNU_STACK, RW: no executable stack
    ]
    return b"".join(headers) + code, data


def _segment(type_: int, flags: int, offset: int, address: int, size: int) -> bytes:
    kind = type_.to_bytes(4, "little") + flags.to_bytes(4, "little")
    return kind + _longs(offset, address, address, size, size, TABLE_ADDRESS - CODE_ADDRESS)


def _halves(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "little") for value in values)


def _longs(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)

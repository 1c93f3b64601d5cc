"""The stub: a static ELF without any library, in a sealed memfd, that carries out a table of system calls.

Its code is a loop and the three calls of table.py that are not the kernel's. Its source is stub_*.S; this file has the
assembled bytes and writes the ELF headers around them.
"""

from _signal import SIG_DFL, SIG_IGN, SIGXFSZ, signal
from fcntl import fcntl

from foundation.linux import os
from foundation.linux.syscalls import MACHINE
from foundation.linux.whole_file import write_all
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CODE_ADDRESS = 0x400000
TABLE_ADDRESS = 0x410000  # the code has this number, too; a multiple of 64 KiB, the largest page size

CODE = {
    "x86_64": bytes.fromhex(
        "bb1000410031ed8b0385c07869488b7b08488b7310488b53184c8b53204c8b43"
        "284c8b4b300f054885c07816740e488b4b38e3084889cb4189c4ebcb4883eb80"
        "ebc548f7d883f83f7707480fa3434072eb4889038b3c25000041004889deba80"
        "000000b8010000000f05bf01000000b8e70000000f05ffc07465ffc07458488b"
        "7b0831f631d241ba08000000b8800000000f0583f811740e4489e789c6b83e00"
        "00000f05ebd848c7c7ffffffff488b7310ba010000004531d2b83d0000000f05"
        "85c07eba4439e075dd488b73108b06e86d00000089c589efb8e70000000f0548"
        "8b7308f6060874448b463ce85100000085ed0f44e8488d737fc6060ab90a0000"
        "0031d2f7f180c23048ffce881685c075f0488d93800000004829f2bf01000000"
        "b8010000000f05e910ffffff85ed7502ffc5488b7310488b5318bf02000000eb"
        "dfa87f75040fb6c4c383e07f83e880c3"
    ),
    "aarch64": bytes.fromhex(
        "3408a0d29342009115008052680240a9a803f837610a41a9631242a9651a40f9"
        "010000d42001f8b7c00000b4611e40f9810000b4f30301aaf603002af4ffff17"
        "73020291f2ffff17e00300cb1ffc00f188000054612240f92124c09a21ff0737"
        "600200f9800240b9e10313aa021080d2080880d2010000d4200080d2c80b80d2"
        "010000d41f050031200400541f09003180030054600640f9010080d2020080d2"
        "030180d2281180d2010000d41f4400f1c0000054e10300aae003162a281080d2"
        "010000d4f4ffff1700008092610a40f9220080d2030080d2882080d2010000d4"
        "1f0000718dfdff541f00166be1feff54610a40f9200040b920000094f503002a"
        "e003152ac80b80d2010000d4610640f9200040b980021836203c40b917000094"
        "bf0200711500951a61fe019142018052220000390308c21a6480021b84c00011"
        "24fc1f38e003032a60ffff3562020291420001cb200080d2080880d2010000d4"
        "b8ffff17bf020071b5169f1a610a41a9400080d2f9ffff170118007261000054"
        "003c0853c0035fd620000211c0035fd6"
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
    """Return a memfd that may be executed and sealed, close-on-exec; the caller closes it.

    Raises PermissionError if the sysctl vm.memfd_noexec of this pid namespace is 2.
    """
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        memfd = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != 22:  # EINVAL: the kernel is older than 6.3, and every memfd can be executed
            raise
        memfd = os.memfd_create(name, flags)
    # A process whose executable it cannot read is undumpable, and belongs to the user namespace of the file's owner
    # (would_dump(), fs/exec.c): root of the container's user namespace cannot ptrace(2) it.
    os.fchmod(memfd, 0o111)
    return memfd


def seal(memfd: int) -> None:
    """Forbid any further change of `memfd`, for us and for the container (F_ADD_SEALS, fcntl(2))."""
    fcntl(memfd, _F_ADD_SEALS, _ALL_SEALS)


def execute(memfd: int, table: Table, arguments: "tuple[bytes, ...]") -> "NoReturn":
    """Replace this process by the stub, with `table`. Does not return; raises the OSError of execve(2).

    `arguments` are what ps(1) shows after "pyrun".
    """
    signal(SIGXFSZ, SIG_IGN)  # at the limit RLIMIT_FSIZE, write(2) then fails with EFBIG instead of killing us
    fill(memfd, table)
    signal(SIGXFSZ, SIG_DFL)
    os.execve(memfd, [b"pyrun", *arguments], {})  # execveat(memfd, "", ..., AT_EMPTY_PATH)


def fill(memfd: int, table: Table) -> None:
    """Write the stub with `table` into `memfd`, and seal it."""
    image = assemble(table, MACHINE)
    write_all(memfd, image[0])
    os.lseek(memfd, TABLE_ADDRESS - CODE_ADDRESS, os.SEEK_SET)
    write_all(memfd, image[1])
    seal(memfd)


def assemble(table: Table, machine: str) -> "tuple[bytes, bytes]":
    """Return (headers and code, table), the beginning and the end of the file; between them is a hole."""
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

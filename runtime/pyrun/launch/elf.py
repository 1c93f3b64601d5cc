"""The program that carries out a table: a static ELF without any library, in a sealed memfd.

Its code is one loop, in assembly in last_mile_*.S; here are its bytes, and the headers around them.
"""

import os
from fcntl import fcntl

from pyrun.launch.table import Table
from pyrun.linux.syscalls import MACHINE

CODE_ADDRESS = 0x400000
TABLE_ADDRESS = 0x410000  # in the code; also the alignment of segments where pages have 64 KiB

CODE = {
    "x86_64": bytes.fromhex(
        "bb100041008b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f"
        "054885c07813740b488b4b38e3054889cbebd24883eb80ebcc48f7d8483b4340"
        "74f14889038b3c25000041004889deba80000000b8010000000f05bf01000000"
        "b8e70000000f05"
    ),
    "aarch64": bytes.fromhex(
        "3408a0d293420091680240a9610a41a9631242a9651a40f9010000d40001f8b7"
        "a00000b4611e40f9610000b4f30301aaf6ffff1773020291f4ffff17e00300cb"
        "612240f91f0001eb60ffff54600200f9800240b9e10313aa021080d2080880d2"
        "010000d4200080d2c80b80d2010000d4"
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


def execute(memfd: int, table: Table, name: bytes) -> None:
    """Replace this process by the last mile that carries out `table`. Does not return."""
    image = assemble(table, MACHINE)
    with open(memfd, "wb", buffering=0, closefd=False) as file:
        file.write(image[0])
        file.seek(TABLE_ADDRESS - CODE_ADDRESS)
        file.write(image[1])
    seal(memfd)
    os.execve(memfd, [b"pyrun", name], {})  # execveat(memfd, "", ..., AT_EMPTY_PATH)


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

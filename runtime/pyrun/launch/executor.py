"""The last mile carried out by Python: where the ELF cannot run (another machine, vm.memfd_noexec).

The interpreter is then to be found in the container as /proc/1/exe until execve, so it must be one that nobody can
write to (CVE-2019-5736): before any namespace is entered, the runtime starts itself anew from a copy.
"""

import os
import sys
from fcntl import fcntl

from pyrun.container.exit import PIDFD_INFO_EXIT, STATUS_OFFSET
from pyrun.container.state import exit_code
from pyrun.launch.table import HEADER_SIZE, ROW_SIZE, WORD, Table
from pyrun.linux.libc import addressof, buffer, raw_syscall
from pyrun.linux.mount import MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE, mount_setattr, open_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_F_GET_SEALS = 1034
_F_SEAL_WRITE = 8
_ST_RDONLY = 1
_CHUNK = 1 << 20


def leave_host_interpreter() -> None:
    """Go on from an interpreter that cannot be written to; return where this is one already."""
    if _is_protected():
        return
    restart(_read_only_copy())


def restart(interpreter: "int | str", *options: str) -> None:
    """Begin anew with this command line in `interpreter`, a descriptor or a path. Does not return."""
    program = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from pyrun.cli import main; main()"
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # argv[0] is where the interpreter looks for its standard library from.
    name = os.path.realpath(sys.executable)
    os.execve(interpreter, [name, "-IS", *options, "-c", program, package, *sys.argv[1:]], os.environ)


def _is_protected() -> bool:
    """Tell by the file itself, never by a mark that the caller could have set."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstatvfs(fd).f_flag & _ST_RDONLY:
            return True
        try:
            return bool(fcntl(fd, _F_GET_SEALS) & _F_SEAL_WRITE)
        except OSError:
            return False  # EINVAL: no memfd
    finally:
        os.close(fd)


def _read_only_copy() -> int:
    """Return a descriptor of the interpreter in a detached, read-only mount of it; in a sealed memfd if that fails."""
    interpreter = os.path.realpath("/proc/self/exe")
    try:
        fd = open_tree(os.fsencode(interpreter), OPEN_TREE_CLONE)
        mount_setattr(fd, MOUNT_ATTR_RDONLY)
        return fd
    except PermissionError:
        return _sealed_copy(interpreter)


def _sealed_copy(interpreter: str) -> int:
    from pyrun.launch.elf import open_memfd, seal

    copy = open_memfd("pyrun")
    with open(interpreter, "rb") as source:
        while os.sendfile(copy, source.fileno(), None, _CHUNK) > 0:
            pass
    seal(copy)
    return copy


def carry_out(table: Table) -> "NoReturn":
    """Do what the ELF does, row by row, but for `reap`: an interpreter is no init. Does not return."""
    size = len(table.assemble(0))
    memory = buffer(bytes(size))
    base = addressof(memory)
    memory.raw = table.assemble(base)
    row = HEADER_SIZE
    told = 0
    while True:
        content = memory.raw[row : row + ROW_SIZE]
        words = [int.from_bytes(content[i * WORD : (i + 1) * WORD], "little") for i in range(9)]
        call = table.rows[(row - HEADER_SIZE) // ROW_SIZE].call
        if call == "end":
            os._exit(told)
        if call == "tell":
            code = _tell(memory.raw[words[1] - base :], memory.raw[words[2] - base :][: words[3]])
            told = told or code
            row += ROW_SIZE
            continue
        result, errno = raw_syscall(words[0], words[1:7])
        if errno and errno != words[8]:
            os.write(table.report, errno.to_bytes(WORD, "little") + content[WORD:])
            os._exit(1)
        row = words[7] - base if result > 0 and words[7] else row + ROW_SIZE


def _tell(record: bytes, message: bytes) -> int:
    if not record[0] & PIDFD_INFO_EXIT:
        os.write(2, message)
        return 1
    code = exit_code(int.from_bytes(record[STATUS_OFFSET:][:4], "little"))
    os.write(1, b"%d\n" % code)
    return code

"""Python in place of the stub, if the ELF cannot run: on another machine type, or if vm.memfd_noexec is 2.

Until execve(2), the container can then open the interpreter as /proc/1/exe. So that it cannot overwrite the host's
(CVE-2019-5736), the runtime restarts itself from a write-protected copy before it enters any namespace.
"""

import sys
from fcntl import fcntl

from foundation.linux import os
from foundation.linux.libc import addressof, buffer, raw_syscall
from foundation.linux.mount import MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE, mount_setattr, open_tree
from foundation.linux.whole_file import write_all
from pyrun.container.exit_status import PIDFD_INFO_EXIT, STATUS_OFFSET
from pyrun.container.process import exit_code
from pyrun.stub.report import ROW_SIZE, WORD
from pyrun.stub.table import HEADER_SIZE, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_F_GET_SEALS = 1034
_F_SEAL_WRITE = 8
_ST_RDONLY = 1
_CHUNK = 1 << 20


def leave_host_interpreter() -> None:
    """Restart this command in an interpreter that cannot be written to; return if this is one already."""
    if _is_protected():
        return
    restart(_read_only_copy())


def restart(interpreter: "int | str", *options: str) -> None:
    """Execute `interpreter`, a descriptor or a path, with this command line. Does not return."""
    program = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from pyrun.cli import main; main()"
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # The interpreter finds its standard library relative to argv[0].
    name = os.path.realpath(sys.executable)
    os.execve(interpreter, [name, "-IS", *options, "-c", program, package, *sys.argv[1:]], os.environment)


def _is_protected() -> bool:
    """Return whether nobody can write to our interpreter, judged by the file: the caller could forge a mark."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstatvfs(fd).f_flag & _ST_RDONLY:
            return True
        try:
            return bool(fcntl(fd, _F_GET_SEALS) & _F_SEAL_WRITE)
        except OSError:
            return False  # EINVAL: it is not a memfd
    finally:
        os.close(fd)


def _read_only_copy() -> int:
    """Return a descriptor of the interpreter in a detached read-only mount; if that fails, in a sealed memfd."""
    interpreter = os.path.realpath("/proc/self/exe")
    try:
        fd = open_tree(os.fsencode(interpreter), OPEN_TREE_CLONE)
        mount_setattr(fd, MOUNT_ATTR_RDONLY)
        return fd
    except PermissionError:
        return _sealed_copy(interpreter)


def _sealed_copy(interpreter: str) -> int:
    from pyrun.stub.elf import open_memfd, seal

    copy = open_memfd("pyrun")
    with open(interpreter, "rb") as source:
        while os.sendfile(copy, source.fileno(), None, _CHUNK) > 0:
            pass
    seal(copy)
    return copy


def carry_out(table: Table) -> "NoReturn":
    """Execute the table as the ELF would. Does not return. `reap` is not supported: Python must not be pid 1."""
    size = len(table.assemble(0))
    memory = buffer(bytes(size))
    base = addressof(memory)
    memory.raw = table.assemble(base)
    row = HEADER_SIZE
    failure = 0
    while True:
        content = memory.raw[row : row + ROW_SIZE]
        words = [int.from_bytes(content[i * WORD : (i + 1) * WORD], "little") for i in range(9)]
        call = table.rows[(row - HEADER_SIZE) // ROW_SIZE].call
        if call == "end":
            os._exit(failure)
        if call == "tell":
            code = _tell(memory.raw[words[1] - base :], memory.raw[words[2] - base :][: words[3]])
            failure = failure or code
            row += ROW_SIZE
            continue
        result, errno = raw_syscall(words[0], words[1:7])
        if errno and not (errno < 8 * WORD and words[8] >> errno & 1):
            write_all(table.report, errno.to_bytes(WORD, "little") + content[WORD:])
            os._exit(1)
        row = words[7] - base if result > 0 and words[7] else row + ROW_SIZE


def _tell(record: bytes, message: bytes) -> int:
    if not record[0] & PIDFD_INFO_EXIT:
        write_all(2, message)
        return 1
    code = exit_code(int.from_bytes(record[STATUS_OFFSET:][:4], "little"))
    write_all(1, b"%d\n" % code)
    return code

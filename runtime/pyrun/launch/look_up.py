"""Whether a program of the image can be executed, and if not, why.

`create` looks for the program in the container's root, as the user, before it may run. For `exec` the stub tries what
execvp(3) would try, so that the kernel itself decides with the process's own permissions; if nothing could be executed,
the runtime looks into the container's files from outside.
"""

import _stat as stat
from errno import EACCES

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.prctl import filesystem_ids
from foundation.linux.syscalls import MACHINE
from foundation.linux.whole_file import read
from pyrun.launch.program import candidates, encode, to_try
from pyrun.stub.execve import SEARCH_GOES_ON, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process
    from pyrun.launch.image_files import ImageFiles

# How many bytes are read of a file of the image.
HEAD_SIZE = 4096

_ELF_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 22: "s390x", 21: "ppc64le"}
_RUNS_ALSO = {"x86_64": ("i386",), "aarch64": ("arm",)}
_PT_INTERP = 3
_IS_DIRECTORY = "it is a directory, name a program in it"
_IS_SPECIAL = "is a device, a pipe or a socket, and not a program"
_NOT_FOR_USER = "is not executable for this user: chmod +x, or another user"


def runs_foreign() -> bool:
    """Return whether binfmt_misc has handlers: then only execve(2) knows if a program of unknown format can run.

    Must run while /proc is the host's.
    """
    directory = "/proc/sys/fs/binfmt_misc"
    try:
        enabled = read(f"{directory}/status").startswith(b"enabled")
    except FileNotFoundError:
        return False  # the kernel lacks it
    return enabled and bool(set(os.listdir(directory)) - {"register", "status"})


def exec_error(failure: OSError, path: str) -> Exception:
    """Return the error for a report of the stub: runc's words if execve(2) of the program at `path` failed."""
    if failure.filename != "execve":
        return failure
    return Error(f"exec {path}: {os.strerror(failure.errno or 0).lower()}")


def find(process: "Process", foreign: bool, files: "ImageFiles", extra: "list[str]") -> Program:
    """Enter the process's directory and return its program. Raises Error, with runc's words, if it cannot run.

    `foreign` is runs_foreign(), and `extra` is added to the environment. Must run after pivot_root, in the container's
    root: nothing may be imported.
    """
    name = process.args[0]
    program = to_try(process, name, files, extra)
    _change_directory(process)
    user = process.user
    with filesystem_ids(*((0, 0) if _sees_all_files(process) else (user.uid, user.gid))):
        program.paths = [_look_up(name, process, files)]
    found = problem(program.paths[0], files, foreign)
    if found:
        raise Error(f'exec: "{name}": {": ".join(found)}')
    return program


def why_not(failure: OSError, name: str, process: "Process", files: "ImageFiles") -> Error:
    """Return the error for the program `name` of `process`, for which the stub has reported the `failure` of execve(2).

    The kernel's errno is that of the last path that was tried; what the files show tells more.
    """
    try:
        path = _look_up(name, process, files)
        found = problem(path, files, runs_foreign())
    except Error as error:
        return error
    if found:
        return Error(f'exec: "{name}": {": ".join(found)}')
    shown = path.decode("utf-8", "surrogateescape")
    if failure.errno == EACCES or "/" not in name and failure.errno in SEARCH_GOES_ON:
        return Error(f'exec: "{name}": permission denied: {shown} {_NOT_FOR_USER}')
    return Error(f"exec {shown}: {os.strerror(failure.errno or 0).lower()}")


def _sees_all_files(process: "Process") -> bool:
    """Return whether the process will bypass file permissions at execve(2) (capabilities(7))."""
    effective = process.capabilities.effective if process.capabilities else []
    return "CAP_DAC_OVERRIDE" in effective or "CAP_DAC_READ_SEARCH" in effective


def _change_directory(process: "Process") -> None:
    """Enter process.cwd. Raises Error if it is outside of the container's root (CVE-2024-21626)."""
    cwd = process.cwd
    try:
        _enter(cwd)
    except PermissionError:  # on a network file system the user may enter directories that root may not
        with filesystem_ids(process.user.uid, process.user.gid):
            _enter(cwd)
    try:
        inside = os.getcwd().startswith("/")  # otherwise getcwd(2) returns "(unreachable)/..."
    except FileNotFoundError:
        inside = False
    if not inside:
        raise Error(f"process.cwd {cwd} is outside of the container's root file system")


def _enter(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except PermissionError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise Error(f'chdir to cwd ("{cwd}") set in config.json failed: {reason}') from error


def _look_up(name: str, process: "Process", files: "ImageFiles") -> bytes:
    """Find the program as execvp(3) would, with our permissions for files. Raises Error."""
    refused = None
    for path in candidates(name, process):
        try:
            _check_executable(path, name, files)
            return encode(path)
        except FileNotFoundError:
            continue
        except Error as error:
            refused = refused or error
    raise refused or Error(f'exec: "{name}": executable file not found in $PATH')


def _check_executable(path: str, name: str, files: "ImageFiles") -> None:
    """Raise FileNotFoundError if the search may go on, Error if the file exists but is not a program."""
    searched = path != name
    try:
        found = files.look(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if searched:
            raise FileNotFoundError from None
        reason = os.strerror(error.errno or 0).lower()
        raise Error(f'exec: "{name}": stat {path}: {reason}') from None
    except OSError as error:
        raise Error(f'exec: "{name}": stat {path}: {os.strerror(error.errno or 0).lower()}') from None
    with opened(found):
        mode = os.fstat(found).st_mode
        if stat.S_ISDIR(mode):
            if searched:
                raise FileNotFoundError
            raise Error(f'exec: "{name}": permission denied: {_IS_DIRECTORY}')
        if not stat.S_ISREG(mode):
            raise Error(f'exec: "{name}": permission denied: {path} {_IS_SPECIAL}')
        if not files.is_executable(found):
            raise Error(f'exec: "{name}": permission denied: {path} {_why_not_executable(found, mode)}')


def _why_not_executable(found: int, mode: int) -> str:
    if os.fstatvfs(found).f_flag & os.ST_NOEXEC:
        return 'is on a mount with the option "noexec": mount it without, or take a program from elsewhere'
    if not mode & 0o111:
        return "has no x bit: chmod +x"
    return _NOT_FOR_USER


def problem(
    path: bytes, files: "ImageFiles", binfmt: bool, subject: str = "it", links: int = 0
) -> "tuple[str, str] | None":
    """Return (sentence, cause) if execve(2) would fail, which gives a bare errno; None if it may work.

    `binfmt` says that programs of any format may run. `subject` is "it", or names the interpreter of a script; `links`
    counts these, because the kernel follows five (fs/exec.c).
    """
    try:
        fd = files.open(path)
    except OSError:
        return None  # executable but not readable: only execve(2) knows
    with opened(fd):
        head = os.read(fd, HEAD_SIZE)
        if head.startswith(b"#!"):
            return _script_problem(head, files, binfmt, subject, links)
        if head.startswith(b"\x7fELF"):
            return _elf_problem(fd, head, files, binfmt, subject)
    if binfmt:
        return None
    kind = "is empty" if not head else "is neither an ELF program nor a script: begin it with #!/bin/sh"
    return "exec format error", f"{subject} {kind}"


def _script_problem(
    head: bytes, files: "ImageFiles", binfmt: bool, subject: str, links: int
) -> "tuple[str, str] | None":
    line = head[2:].split(b"\n", 1)[0]
    # For the kernel only space and tab separate words (fs/binfmt_script.c): a carriage return is part of the name.
    interpreter = line.replace(b"\t", b" ").strip(b" ").split(b" ", 1)[0]
    if not interpreter:
        return "exec format error", f"{_possessive(subject)} #! line names no interpreter"
    its = f"{_possessive(subject)} interpreter {interpreter.decode('utf-8', 'replace')!r}"
    if not files.exists(interpreter):
        cause = ": the line ends in a carriage return, save it with Unix line ends" if line.endswith(b"\r") else ""
        return "no such file or directory", f"{its} is missing{cause}"
    refused = not_executable(interpreter, files, its)
    return refused or (problem(interpreter, files, binfmt, its, links + 1) if links < 4 else None)


def not_executable(path: bytes, files: "ImageFiles", its: str) -> "tuple[str, str] | None":
    """Return (sentence, cause) if a file that a program needs is not executable for root, for whom any x bit is enough.

    Raises FileNotFoundError if there is none.
    """
    with opened(files.look(path)) as found:
        mode = os.fstat(found).st_mode
        if stat.S_ISDIR(mode):
            return "permission denied", f"{its} is a directory"
        if not stat.S_ISREG(mode):
            return "permission denied", f"{its} {_IS_SPECIAL}"
        if files.is_executable(found):
            return None
        return "permission denied", f"{its} {_why_not_executable(found, mode)}"


def _possessive(subject: str) -> str:
    return "its" if subject == "it" else f"{subject}'s"


def _elf_problem(fd: int, head: bytes, files: "ImageFiles", binfmt: bool, subject: str) -> "tuple[str, str] | None":
    wide = head[4:5] == b"\x02"
    machine = _ELF_MACHINES.get(_little(head, 18, 2), f"machine {_little(head, 18, 2)}")
    if machine != MACHINE and machine not in _RUNS_ALSO.get(MACHINE, ()):
        if binfmt or MACHINE not in _ELF_MACHINES.values():
            return None
        cause = f"{subject} is a program for {machine}, and this machine is {MACHINE}: "
        return "exec format error", cause + "take an image for this platform, or register an emulator (binfmt_misc)"
    loader = _elf_interpreter(fd, head, wide)
    if not loader:
        return None
    its = f"{_possessive(subject)} ELF interpreter {loader.decode('utf-8', 'replace')}"
    if not files.exists(loader):
        return "no such file or directory", f"{its} is missing: {_why_no_loader(loader, wide)}"
    return not_executable(loader, files, its)


def _why_no_loader(loader: bytes, wide: bool) -> str:
    """Return the usual cause, judged by the loader's name: each C library has its own."""
    static = ", or link it statically"
    if b"ld-musl" in loader:
        return f"it was built for musl (Alpine), but the image is not based on it: build it for glibc{static}"
    if not wide and MACHINE in _RUNS_ALSO:
        return (
            f"it is a 32-bit program, whose libraries are not in the image (Debian: libc6:i386 or libc6:armhf){static}"
        )
    if b"ld-linux" in loader:
        return (
            f"it was built for glibc, which Alpine and the smallest images lack: apk add gcompat, another image{static}"
        )
    return f"the program was built for another distribution: use an image of that one{static}"


def _elf_interpreter(fd: int, head: bytes, wide: bool) -> bytes:
    """Return the path in PT_INTERP (elf(5)), b"" if the program is static."""
    table, size, count = (
        (_little(head, 32, 8), _little(head, 54, 2), _little(head, 56, 2))
        if wide
        else (_little(head, 28, 4), _little(head, 42, 2), _little(head, 44, 2))
    )
    for i in range(min(count, 64)):
        entry = os.pread(fd, size, table + i * size)
        if _little(entry, 0, 4) == _PT_INTERP:
            offset, length = (
                (_little(entry, 8, 8), _little(entry, 32, 8)) if wide else (_little(entry, 4, 4), _little(entry, 16, 4))
            )
            return os.pread(fd, min(length, HEAD_SIZE), offset).rstrip(b"\0")
    return b""


def _little(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "little")

"""What a process needs of the container's file system: its directory, its home, its program.

All of this runs after pivot_root: "/" is the container's, so no path can lead out of it, and nothing may be imported.
"""

import os
import stat

from pyrun.errors import Error
from pyrun.linux.prctl import set_filesystem_ids
from pyrun.linux.syscalls import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.table import Table
    from pyrun.spec.config import Process, User

# What is read of a file that the image's author wrote (CVE-2026-47262: an endless /etc/passwd).
PASSWD_MAXIMUM = 4 << 20
HEAD_SIZE = 4096

_ELF_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 22: "s390x", 21: "ppc64le"}
_RUNS_ALSO = {"x86_64": ("i386",), "aarch64": ("arm",)}
_PT_INTERP = 3
_IS_DIRECTORY = "it is a directory, name a program in it"


class Program:
    """The program to execute: `path`, `arguments` and `environment`, all as bytes, ready for execve(2).

    `init` is a descriptor of what is executed first, with the program as its child (init.py), -1 for nothing.
    """

    def __init__(self, path: bytes, arguments: "list[bytes]", environment: "list[bytes]") -> None:
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.init = -1

    def execute(self, table: "Table") -> None:
        """Append the row that executes it."""
        path, arguments, environment = table.string(self.path), table.strings(self.arguments), self.environment
        label = f"exec {self.path.decode('utf-8', 'replace')}"
        table.call("execve", path, arguments, table.strings(environment), label=label)


class Host:
    """What must be asked of the host's /proc, before pivot_root, of the process `pid` ("self").

    denies_groups    setgroups(2) is forbidden in this user namespace, user_namespaces(7)
    runs_foreign     programs of any format may run (binfmt_misc), so that only execve(2) can tell
    """

    def __init__(self, pid: "int | str") -> None:
        self.denies_groups = _read(f"/proc/{pid}/setgroups").startswith(b"deny")
        self.runs_foreign = _read("/proc/sys/fs/binfmt_misc/status").startswith(b"enabled") and bool(
            set(os.listdir("/proc/sys/fs/binfmt_misc")) - {"register", "status"}
        )


def _read(path: str) -> bytes:
    """Return the beginning of a small file, nothing where it is not there: the kernel has not what it tells of."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, 256)
    finally:
        os.close(fd)


def find(process: "Process", host: Host, extra_environment: "list[str]", program: str = "") -> Program:
    """Enter the process's directory and return its program; raise Error, worded as runc does, where it cannot run.

    The program is what process.args[0] names, or at `program`: a hook's, whose environment is the config's alone.
    """
    name = program or process.args[0]
    own = [_encode(entry) for entry in process.env] if program else _environment(process)
    environment = own + [_encode(entry) for entry in extra_environment]
    _change_directory(process)
    if not _sees_all_files(process):
        set_filesystem_ids(process.user.uid, process.user.gid)
    try:
        path = _look_up(name, _search_path(process))
    finally:
        set_filesystem_ids(0, 0)
    found = problem(path, host.runs_foreign)
    if found:
        raise Error(f'exec: "{name}": {": ".join(found)}')
    return Program(path, [_encode(argument) for argument in process.args], environment)


def _sees_all_files(process: "Process") -> bool:
    """Tell whether execve(2) will find the program with more than the user's permissions (capabilities(7))."""
    effective = process.capabilities.effective if process.capabilities else []
    return "CAP_DAC_OVERRIDE" in effective or "CAP_DAC_READ_SEARCH" in effective


def _environment(process: "Process") -> "list[bytes]":
    """Return process.env with a HOME: from the container's /etc/passwd where the config has none, or an empty one."""
    entries = [entry for entry in process.env if entry != "HOME="]
    if not any(entry.startswith("HOME=") for entry in entries):
        entries.append(f"HOME={_home(process.user)}")
    return [_encode(entry) for entry in entries]


def _home(user: "User") -> str:
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return "/"  # an image without users, or with a passwd that nobody can open
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "/"
        content = os.read(fd, PASSWD_MAXIMUM)
    finally:
        os.close(fd)
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % user.uid:
            return fields[5].decode("utf-8", "surrogateescape") or "/"
    return "/"


def _change_directory(process: "Process") -> None:
    """Enter process.cwd, and be sure that it is inside (CVE-2024-21626)."""
    cwd = process.cwd
    try:
        _enter(cwd)
    except PermissionError:  # root on a network file system: the user may go where root may not
        set_filesystem_ids(process.user.uid, process.user.gid)
        try:
            _enter(cwd)
        finally:
            set_filesystem_ids(0, 0)
    try:
        inside = os.getcwd().startswith("/")  # "(unreachable)/..." where it is not, getcwd(2)
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


def _search_path(process: "Process") -> str:
    found = ""
    for entry in process.env:
        if entry.startswith("PATH="):
            found = entry[len("PATH=") :]
    return found


def _look_up(name: str, search_path: str) -> bytes:
    """Find the program as execvp(3) would, with the user's permissions."""
    if "/" in name:
        _check_executable(name, name)
        return _encode(name)
    refused = None
    for directory in search_path.split(":"):
        path = f"{directory or '.'}/{name}"
        try:
            _check_executable(path, name)
            return _encode(path)
        except FileNotFoundError:
            continue
        except Error as error:
            refused = refused or error
    raise refused or Error(f'exec: "{name}": executable file not found in $PATH')


def _check_executable(path: str, name: str) -> None:
    """Raise FileNotFoundError where a search may go on, Error where the file is there and no program."""
    searched = path != name
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if searched:
            raise FileNotFoundError from None
        reason = os.strerror(error.errno or 0).lower()
        raise Error(f'exec: "{name}": stat {path}: {reason}') from None
    except OSError as error:
        raise Error(f'exec: "{name}": stat {path}: {os.strerror(error.errno or 0).lower()}') from None
    if stat.S_ISDIR(mode):
        if searched:
            raise FileNotFoundError
        raise Error(f'exec: "{name}": permission denied: {_IS_DIRECTORY}')
    if not os.access(path, os.X_OK, effective_ids=True):
        raise Error(f'exec: "{name}": permission denied: {path} {_why_not_executable(path, mode)}')


def _why_not_executable(path: "str | bytes", mode: int) -> str:
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return 'is on a mount with the option "noexec": mount it without, or take a program from elsewhere'
    if not mode & 0o111:
        return "has no x bit: chmod +x"
    return "is not executable for this user: chmod +x, or another user"


def problem(path: bytes, binfmt: bool, subject: str = "it", links: int = 0) -> "tuple[str, str] | None":
    """Return the sentence and the cause of what execve(2) would refuse with a bare errno, None where it may work.

    `subject` is "it", or the interpreter of a script; the kernel follows five of those (fs/exec.c).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None  # executable but not readable: execve(2) will tell
    try:
        head = os.read(fd, HEAD_SIZE)
        if head.startswith(b"#!"):
            return _script_problem(head, binfmt, subject, links)
        if head.startswith(b"\x7fELF"):
            return _elf_problem(fd, head, binfmt, subject)
    except IsADirectoryError:
        return "permission denied", _IS_DIRECTORY
    finally:
        os.close(fd)
    if binfmt:
        return None
    kind = "is empty" if not head else "is neither an ELF program nor a script: begin it with #!/bin/sh"
    return "exec format error", f"{subject} {kind}"


def _script_problem(head: bytes, binfmt: bool, subject: str, links: int) -> "tuple[str, str] | None":
    line = head[2:].split(b"\n", 1)[0]
    # Only these two separate words for the kernel (fs/binfmt_script.c): a carriage return is a part of the name.
    interpreter = line.replace(b"\t", b" ").strip(b" ").split(b" ", 1)[0]
    if not interpreter:
        return "exec format error", f"{_possessive(subject)} #! line names no interpreter"
    its = f"{_possessive(subject)} interpreter {interpreter.decode('utf-8', 'replace')!r}"
    if not os.path.exists(interpreter):
        cause = ": the line ends in a carriage return, save it with Unix line ends" if line.endswith(b"\r") else ""
        return "no such file or directory", f"{its} is missing{cause}"
    return not_executable(interpreter, its) or (problem(interpreter, binfmt, its, links + 1) if links < 4 else None)


def not_executable(path: bytes, its: str) -> "tuple[str, str] | None":
    """Return the problem of a file that a program needs executable, as root sees it: any x bit will do."""
    if os.path.isdir(path):
        return "permission denied", f"{its} is a directory"
    if os.access(path, os.X_OK, effective_ids=True):
        return None
    return "permission denied", f"{its} {_why_not_executable(path, os.stat(path).st_mode)}"


def _possessive(subject: str) -> str:
    return "its" if subject == "it" else f"{subject}'s"


def _elf_problem(fd: int, head: bytes, binfmt: bool, subject: str) -> "tuple[str, str] | None":
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
    if not os.path.exists(loader):
        return "no such file or directory", f"{its} is missing: {_why_no_loader(loader, wide)}"
    return not_executable(loader, its)


def _why_no_loader(loader: bytes, wide: bool) -> str:
    """Return the usual cause, which the name of the loader tells: each C library has its own."""
    static = ", or link it statically"
    if b"ld-musl" in loader:
        return f"it was built for musl (Alpine), and this is no image of that: build it for glibc{static}"
    if not wide and MACHINE in _RUNS_ALSO:
        return (
            f"it is a 32-bit program, whose libraries are not in the image (Debian: libc6:i386 or libc6:armhf){static}"
        )
    if b"ld-linux" in loader:
        return (
            f"it was built for glibc, which Alpine and the smallest images lack: apk add gcompat, another image{static}"
        )
    return f"the program was built for another distribution: take an image of that{static}"


def _elf_interpreter(fd: int, head: bytes, wide: bool) -> bytes:
    """Return the path in PT_INTERP (elf(5)), b"" where the program is static."""
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


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""The kernel: its system calls, namespaces, file systems and security modules."""

from errno import ENOSYS, EPERM

from foundation.linux import os
from foundation.linux.landlock import landlock_abi
from foundation.linux.libc import raw_syscall
from foundation.linux.syscalls import MACHINE, number
from pyrun.host import LIMITED, MISSING, OK, Finding, present, read

_NEWER = "apt-get install linux-image-amd64  # or your distribution's newer kernel"
_STUB_MACHINES = ("x86_64", "aarch64")
_INVALID = (1 << 64) - 1  # -1 as a descriptor: a call that exists refuses it with EBADF or EINVAL

# call: (since Linux, what it is for, whether every container needs it)
_CALLS = {
    "clone3": ("5.3", "processes start in their cgroup", True),
    "openat2": ("5.6", "paths of the container are resolved without leaving it", True),
    "pidfd_getfd": ("5.6", "seccomp listeners are delivered", False),
    "close_range": ("5.9", "descriptors are closed before the container's program", True),
    "mount_setattr": ("5.12", "mounts get their attributes before they are visible", True),
}
_NAMESPACES = {
    "mnt": "mount", "pid": "pid", "net": "network", "ipc": "ipc",
    "uts": "uts", "user": "user", "cgroup": "cgroup", "time": "time",
}  # fmt: skip
_FILE_SYSTEMS = {
    "tmpfs": ("/dev and volumes in memory", True),
    "overlay": ("--overlay, and pyfetch's bundles without --copy", False),
    "mqueue": ("POSIX message queues", False),
}


def findings() -> "list[Finding]":
    release = os.uname().release
    found = [Finding("kernel", "release", OK, f"Linux {release}, {MACHINE}")]
    found += [_call(name, *about) for name, about in _CALLS.items()]
    found += [_namespace(file, type_) for file, type_ in _NAMESPACES.items()]
    found += [_file_system(type_, *about) for type_, about in _FILE_SYSTEMS.items()]
    return [*found, _seccomp(), _stub(), _pressure(), *_security_modules()]


def _call(name: str, since: str, purpose: str, needed: bool) -> Finding:
    _, errno = raw_syscall(number(name), [_INVALID, 0, 0, 0, 0, 0])
    if errno == EPERM:
        meaning = "a seccomp filter, such as that of a container around pyrun, forbids it"
        return Finding("kernel", name, MISSING if needed else LIMITED, "forbidden", meaning, "run pyrun outside of it")
    meaning = f"it is needed so that {purpose} (Linux {since})"
    return present("kernel", name, errno != ENOSYS, f"since Linux {since}", meaning, _NEWER, needed)


def _namespace(file: str, type_: str) -> Finding:
    there = os.path.exists(f"/proc/self/ns/{file}")
    meaning = f'linux.namespaces of type "{type_}" are refused: the kernel was built without them'
    return present("kernel", f"{type_} namespace", there, "there", meaning, _NEWER, needed=type_ == "mount")


def _file_system(type_: str, purpose: str, needed: bool) -> Finding:
    there = type_ in read("/proc/filesystems").split()
    return present("kernel", type_, there, "there", f"needed for {purpose}", f"modprobe {type_}", needed)


def _seccomp() -> Finding:
    there = "\nSeccomp:" in read("/proc/self/status")
    meaning = "linux.seccomp is refused: the kernel was built without filters"
    return present("kernel", "seccomp", there, "filters", meaning, _NEWER)


def _stub() -> Finding:
    if MACHINE not in _STUB_MACHINES:
        meaning = f"pyrun has no stub for {MACHINE}: a sealed copy of the interpreter makes the last calls, more slowly"
        return Finding("kernel", "stub", LIMITED, "by ctypes", meaning)
    forbidden = read("/proc/sys/vm/memfd_noexec") == "2"
    meaning = "a memfd may not be executed: a sealed copy of the interpreter makes the last calls, more slowly"
    return present("kernel", "stub", not forbidden, "ELF in a memfd", meaning, "sysctl -w vm.memfd_noexec=0")


def _pressure() -> Finding:
    meaning = "`stats` and `events` cannot show how long processes wait for CPU, memory and IO"
    remedy = "add psi=1 to the kernel's command line"
    return present("kernel", "pressure", bool(read("/proc/pressure/cpu")), "PSI", meaning, remedy)


def _security_modules() -> "list[Finding]":
    apparmor = read("/sys/module/apparmor/parameters/enabled") == "Y"
    return [_securityfs(), _apparmor(apparmor), _selinux(apparmor), _landlock()]


def _securityfs() -> Finding:
    listed = read("/sys/kernel/security/lsm")
    meaning = "the list of active security modules cannot be read"
    remedy = "mount -t securityfs securityfs /sys/kernel/security"
    return present("lsm", "active modules", bool(listed), listed, meaning, remedy)


def _apparmor(enabled: bool) -> Finding:
    meaning = "process.apparmorProfile is refused, but for unconfined"
    remedy = "add apparmor=1 security=apparmor to the kernel's command line"
    return present("lsm", "AppArmor", enabled, "enabled", meaning, remedy)


def _selinux(apparmor: bool) -> Finding:
    enforce = read("/sys/fs/selinux/enforce")
    if apparmor and not enforce:
        return Finding("lsm", "SELinux", OK, "not active: AppArmor is")
    meaning = "process.selinuxLabel and linux.mountLabel are refused"
    remedy = "apt-get install selinux-basics && selinux-activate  # or your distribution's way"
    return present("lsm", "SELinux", bool(enforce), "enforcing" if enforce == "1" else "permissive", meaning, remedy)


def _landlock() -> Finding:
    abi = landlock_abi()
    meaning = "a config that asks for Landlock is refused (Linux 5.13)"
    return present(
        "lsm", "Landlock", abi > 0, f"ABI {abi}", meaning, "add landlock to lsm= of the kernel's command line"
    )

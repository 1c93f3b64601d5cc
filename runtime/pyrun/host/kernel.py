"""The kernel: its system calls, namespaces, file systems and security modules."""

import os
from errno import ENOSYS, EPERM

from pyrun.host import LIMITED, MISSING, OK, Finding, present, read
from pyrun.linux.landlock import landlock_abi
from pyrun.linux.libc import raw_syscall
from pyrun.linux.syscalls import MACHINE, number

_NEWER = "apt-get install linux-image-amd64  # or your distribution's newer kernel"
_LAST_MILE = ("x86_64", "aarch64")
_INVALID = (1 << 64) - 1  # -1, as a descriptor that is none: what there is refuses it with EBADF or EINVAL

# call: (since, what does without, whether no container can)
_CALLS = {
    "clone3": ("5.3", "processes are born in their cgroup", True),
    "openat2": ("5.6", "paths of the container are resolved without leaving it", True),
    "pidfd_getfd": ("5.6", "seccomp listeners are delivered", False),
    "close_range": ("5.9", "descriptors are closed before the container's program", True),
    "mount_setattr": ("5.12", "mounts get their attributes before anybody sees them", True),
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
    return [*found, _seccomp(), _last_mile(), _pressure(), *_security_modules()]


def _call(name: str, since: str, purpose: str, needed: bool) -> Finding:
    _, errno = raw_syscall(number(name), [_INVALID, 0, 0, 0, 0, 0])
    if errno == EPERM:
        meaning = "a filter around us (a container's seccomp profile) forbids it"
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


def _last_mile() -> Finding:
    if MACHINE not in _LAST_MILE:
        meaning = f"no ELF of ours for {MACHINE}: an interpreter carries out the last calls, slower, from a sealed copy"
        return Finding("kernel", "last mile", LIMITED, "by ctypes", meaning)
    forbidden = read("/proc/sys/vm/memfd_noexec") == "2"
    meaning = "a program in a memfd may not be executed: an interpreter stands for it, slower, from a sealed copy"
    return present("kernel", "last mile", not forbidden, "ELF in a memfd", meaning, "sysctl -w vm.memfd_noexec=0")


def _pressure() -> Finding:
    meaning = "`stats` and `events` cannot tell what waits for CPU, memory and IO"
    remedy = "add psi=1 to the kernel's command line"
    return present("kernel", "pressure", bool(read("/proc/pressure/cpu")), "PSI", meaning, remedy)


def _security_modules() -> "list[Finding]":
    apparmor = read("/sys/module/apparmor/parameters/enabled") == "Y"
    return [_securityfs(), _apparmor(apparmor), _selinux(apparmor), _landlock()]


def _securityfs() -> Finding:
    listed = read("/sys/kernel/security/lsm")
    meaning = "which security modules are active is told there"
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

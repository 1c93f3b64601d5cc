"""The default seccomp profile: what programs need is allowed, the rest of the kernel is out of reach.

It gives the same answers as the default profile of docker and podman. It denies calls that act on the machine (modules,
clocks, swap, kexec, reboot, quotas), that reach around namespaces (mount, setns, bpf, open_by_handle_at, new user
namespaces), or that have a history of holes and few users (keyrings, userfaultfd, io_uring, vm86). Runtimes skip names
that their libseccomp does not know.
"""

from foundation.linux import os

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat
getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl
lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek _llseek lsetxattr lstat
lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2
rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync
sync_file_range sync_file_range2 syncfs tee truncate truncate64 ugetrlimit umask unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev chroot fanotify_mark cachestat
"""
_PROCESSES = """
alarm arch_prctl brk capget capset execve execveat exit exit_group fork vfork getegid getegid32 geteuid geteuid32
getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid
getresuid32 getrlimit getrusage getsid gettid getuid getuid32 get_robust_list get_thread_area ioprio_get ioprio_set
kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
lsm_set_self_attr nice pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
setreuid setreuid32 setrlimit set_robust_list setsid set_thread_area set_tid_address setuid setuid32 sigaltstack
signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend sigaction tgkill time times tkill uname wait4
waitid waitpid getcpu sysinfo getrandom membarrier map_shadow_stack ptrace process_vm_readv process_vm_writev kcmp
"""
_MEMORY = """
fadvise64 madvise memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock
munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
_WAITING = """
clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake getitimer gettimeofday io_cancel io_destroy io_getevents
io_pgetevents io_pgetevents_time64 io_setup io_submit nanosleep _newselect poll ppoll ppoll_time64 pselect6
pselect6_time64 select setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd recv
recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto
setsockopt shmat shmctl shmdt shmget shutdown socketpair
"""
_ARCHITECTURES = {
    "x86_64": (["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "modify_ldt"),
    "aarch64": (
        ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    "armv7l": (
        ["SCMP_ARCH_ARM"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    "s390x": (["SCMP_ARCH_S390X", "SCMP_ARCH_S390"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    "ppc64le": (["SCMP_ARCH_PPC64LE"], "sync_file_range2 swapcontext"),
    "riscv64": (["SCMP_ARCH_RISCV64"], "riscv_flush_icache riscv_hwprobe"),
}

EPERM, ENOSYS = 1, 38
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_VSOCK = 40
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bit addresses or names, or a query


_allowed: "list[str]" = []  # sorted once, when they are first needed: an engine makes a profile for each container


def default_profile() -> "dict[str, object]":
    """Return linux.seccomp for this machine."""
    architectures, extra = _ARCHITECTURES.get(os.uname().machine, ([], ""))
    if not _allowed:
        _allowed.extend(sorted(set(" ".join((_FILES, _PROCESSES, _MEMORY, _WAITING, _TALKING, extra)).split())))
    clone_flags = 1 if os.uname().machine == "s390x" else 0  # clone(2): there the first two arguments are reversed
    rules: list[dict[str, object]] = [
        {"names": list(_allowed), "action": "SCMP_ACT_ALLOW"},
        _allow_if("clone", clone_flags, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0),
        # A filter cannot read clone3's flags, which are in memory. ENOSYS makes the C library use clone instead.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        _allow_if("socket", 0, _AF_VSOCK, "SCMP_CMP_NE"),  # vsock reaches the hypervisor, and has no namespace
    ]
    rules += [_allow_if("personality", 0, value, "SCMP_CMP_EQ") for value in _PERSONALITIES]
    profile: dict[str, object] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM, "syscalls": rules}
    if architectures:
        profile["architectures"] = architectures
    return profile


def _allow_if(name: str, index: int, value: int, operator: str, value_two: "int | None" = None) -> "dict[str, object]":
    argument: dict[str, object] = {"index": index, "value": value, "op": operator}
    if value_two is not None:
        argument["valueTwo"] = value_two
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}

"""What a test may need of the machine, by name, and what the machine of continuous integration is known to lack.

A test that needs something says so with `@pytest.mark.needs("CAP_SYS_RESOURCE")` and is skipped where that is missing,
by name. With CI=true it fails instead: only what KNOWN_TO_LACK lists may go untested there.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

import criu
import nfs
from harness import V2_ROOT

# what: why
KNOWN_TO_LACK = {
    "CAP_SYS_RESOURCE": "taken from the machine's root: no limit can be raised, no oom_score_adj lowered",
    "Landlock 1": "not in the virtual machine's kernel",
    "Landlock 4": "not in the virtual machine's kernel",
    "Landlock 6": "not in the virtual machine's kernel",
    "/usr/sbin/sshd": "whoever installs its package has the service, too",
    "AppArmor": "not in the machine's kernel",
    "SELinux": "not in the machine's kernel",
    "cgroup hugetlb": "whoever mounts it as v1 takes it from v2, which gets it back late",
    "core scheduling": "not in the machine's kernel, and it wants two threads a core",
    "resctrl": "the processor has none to share out",
    "cgroup rdma": "not in the machine's kernel; the virtual machine of `vmrun --kernel core` has it",
    "systemd": "another program is the machine's first process; test_virtual_machine.py boots one that has it",
    "memory tracking": "CONFIG_MEM_SOFT_DIRTY is not in the machine's kernel",
    "criu": "Debian 12's does not know the machine's kernel, and a newer one comes from the Debian mirror",
    "NFS": "not in the machine's kernel; test_in_virtual_machine.py boots one that has it",
    "ipvlan": "not in the machine's kernel; test_in_virtual_machine.py boots one that has it, with VLANs and dummies",
    "programs of NFS": "from the Debian mirror, as criu",
    "Debian mirror": "the machine may be cut off from the network once its packages are installed",
    "cgroup v1 net_cls": "not mounted as v1; with systemd, test_virtual_machine.py boots one that has it",
    "cgroup v2 alone": "the machine has the hybrid layout; test_virtual_machine.py boots one that has it",
}

CLONE_NEWNS = 0x00020000
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_SYS_TIME": 25, "CAP_MKNOD": 27}


def lacks(what: str) -> bool:
    """Tell whether the machine lacks `what`: "root", a capability, a cgroup controller, a program, ..."""
    if what == "root":
        return os.geteuid() != 0
    if what in CAPABILITIES:
        return not effective_capabilities() >> CAPABILITIES[what] & 1
    if what == "cgroup v1":
        return not Path("/sys/fs/cgroup/cpu").is_dir()
    if what == "cgroup v2 alone":
        return not Path("/sys/fs/cgroup/cgroup.controllers").exists()
    if what == "core scheduling":
        return cookie_of(0) is None
    if what == "resctrl":
        return not Path("/sys/fs/resctrl/schemata").exists()
    if what == "systemd":
        return not Path("/run/systemd/private").exists()
    if what == "weights of block I/O":
        return not has_io_weights()
    if what == "realtime limits of cgroup v1":
        return not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists()
    if what.startswith("cgroup v1 "):
        return not is_mounted(what.removeprefix("cgroup v1 "))
    if what.startswith("cgroup "):
        return not controller_is_there(what.removeprefix("cgroup "))
    if what.startswith("namespace "):
        return not Path("/proc/self/ns", what.removeprefix("namespace ")).exists()
    if what.startswith("file system "):
        return what.split()[-1] not in Path("/proc/filesystems").read_text().split()
    if what == "Debian mirror":
        return not answers("http://deb.debian.org/debian/dists/bookworm/Release")
    if what.startswith("/"):
        return not os.path.exists(what)
    if what.startswith("Landlock "):
        return landlock_version() < int(what.removeprefix("Landlock "))
    if what in ("AppArmor", "SELinux"):
        names = Path("/sys/kernel/security/lsm")
        return not names.exists() or what.lower() not in names.read_text()
    if what == "virtual machines":
        return os.path.exists("/run/vmrun")  # within one of ours there are no others
    if what == "two CPUs":
        return len(os.sched_getaffinity(0)) < 2
    if what == "x86_64":
        return os.uname().machine != what
    if what == "criu":
        return criu.directory() is None
    if what == "NFS":
        return not nfs.can_be()
    if what == "programs of NFS":
        return not nfs.has_programs()
    if what == "ipvlan":
        make = "ip link add veth0 type veth peer name veth1 && ip link add ipvlan0 link veth0 type ipvlan"
        return subprocess.run(["unshare", "--net", "sh", "-c", make], capture_output=True).returncode != 0
    if what == "memory tracking":
        return criu.lacks("mem_dirty_track")
    if what == "ps -f":
        return subprocess.run(["ps", "-f"], capture_output=True).returncode != 0
    if what == "real-time policies in a cgroup":
        return not real_time_is_allowed()
    return shutil.which(what) is None


def real_time_is_allowed() -> bool:
    """Try it: a v2 controller cannot share out what a kernel with CONFIG_RT_GROUP_SCHED has for real-time processes."""
    controllers = Path("/sys/fs/cgroup/cgroup.subtree_control")
    if not controllers.exists():
        return True
    cgroup = Path(f"/sys/fs/cgroup/real-time-{os.getpid()}")
    cgroup.mkdir()
    try:
        controllers.write_text("+cpu")
        script = f"echo $$ >{cgroup}/cgroup.procs; exec chrt -f 1 true"
        return subprocess.run(["sh", "-c", script], capture_output=True).returncode == 0
    finally:
        cgroup.rmdir()


@functools.lru_cache
def has_io_weights() -> bool:
    """Make a cgroup and look: those of the BFQ scheduler, which may be a module of the kernel."""
    v2 = Path("/sys/fs/cgroup/cgroup.subtree_control")
    if not controller_is_there("io" if v2.exists() else "blkio"):
        return False
    if v2.exists():
        v2.write_text("+io")
    cgroup = Path("/sys/fs/cgroup", "" if v2.exists() else "blkio", f"weights-{os.getpid()}")
    cgroup.mkdir()
    try:
        return (cgroup / ("io.bfq.weight" if v2.exists() else "blkio.bfq.weight")).exists()
    finally:
        cgroup.rmdir()


@functools.lru_cache
def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def hide_v2_from_crun() -> None:
    """Give this process, and all that it starts, a hybrid layout without v2: crun 1.8 takes no controllers there."""
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if os.geteuid() != 0 or not controllers.exists() or not controllers.read_text().strip():
        return
    leave_the_mount_namespace()
    subprocess.run(["sh", "-ec", _WITHOUT_V2], check=True)


def leave_the_mount_namespace() -> None:
    """Give this process, and all that it starts, mounts of its own, if it is root's."""
    if os.geteuid() != 0:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


_WITHOUT_V2 = """
view=$(mktemp -d)
mount -t tmpfs -o mode=755 cgroup $view
for one in /sys/fs/cgroup/*/; do
    [ $(stat -fc %T $one) = cgroup2fs ] || { mkdir $view/${one##*cgroup/}; mount --bind $one $view/${one##*cgroup/}; }
done
mount --rbind $view /sys/fs/cgroup
umount --lazy $view
rmdir $view
"""


def effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def cookie_of(pid: int) -> "int | None":
    """Return the core scheduling cookie of the process, None where there is no such thing (PR_SCHED_CORE_GET)."""
    import ctypes

    cookie = ctypes.c_ulong()
    return None if ctypes.CDLL(None).prctl(62, 0, pid, 0, ctypes.byref(cookie)) else cookie.value


def landlock_version() -> int:
    """landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION: -1 where the kernel has no Landlock."""
    version: int = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return version


def is_mounted(controller: str) -> bool:
    return os.path.ismount(os.path.realpath(f"/sys/fs/cgroup/{controller}"))  # cpu may be a link to cpu,cpuacct


def controller_is_there(name: str) -> bool:
    if is_mounted(name):
        return True
    v2 = Path(V2_ROOT, "cgroup.controllers")
    return v2.exists() and name in v2.read_text().split()

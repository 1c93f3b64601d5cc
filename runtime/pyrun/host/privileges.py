"""Our privileges: capabilities, user namespaces and ids; and the external programs that pyrun uses."""

import sys
from errno import EACCES

from foundation.linux import os
from foundation.linux.capability import CAPABILITIES
from foundation.linux.prctl import capget
from foundation.linux.sched import CLONE_NEWUSER, unshare
from foundation.linux.subid import ranges, user_name
from foundation.rootless import rootless
from pyrun.checkpoint import criu
from pyrun.host import LIMITED, MISSING, OK, Finding, present, read

# capability: (what does not work without it, whether no container runs then)
_CAPABILITIES = {
    "CAP_SYS_ADMIN": ("namespaces and mounts cannot be made", True),
    "CAP_SYS_CHROOT": ("a container cannot be entered", True),
    "CAP_SETUID": ("processes cannot become another user", True),
    "CAP_SETGID": ("processes cannot become another group", True),
    "CAP_SETPCAP": ("the bounding set cannot be made smaller", True),
    "CAP_CHOWN": ("devices and terminals cannot be given to the container's user", False),
    "CAP_DAC_OVERRIDE": ("files of other users in a bundle are out of reach", False),
    "CAP_KILL": ("processes of other users cannot be killed", False),
    "CAP_MKNOD": ("device nodes are bound from the host instead of created", False),
    "CAP_NET_ADMIN": ("interfaces cannot be moved into containers, nor loopback brought up", False),
    "CAP_SYS_PTRACE": ("containers in another user namespace cannot be inspected", False),
    "CAP_SYS_RESOURCE": ("rlimits cannot be raised, and oom_score_adj cannot be lowered", False),
    "CAP_SYS_NICE": ("realtime scheduling and lower nice values are refused", False),
}
# sysctl: (the value that forbids user namespaces, the value to set)
_SYSCTLS = {
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}


def findings() -> "list[Finding]":
    python = f"{sys.executable} {sys.version.split()[0]}"
    found = [Finding("privileges", "interpreter", OK, python), _user()]
    if not rootless():
        effective = capget()[0]
        found += [_capability(name, effective, *about) for name, about in _CAPABILITIES.items()]
    return [*found, _user_namespaces(), *_ids(), *_programs()]


def _user() -> Finding:
    if os.geteuid() == 0:
        return Finding("privileges", "user", OK, "root of a user namespace" if rootless() else "root")
    meaning = "containers need a user namespace (pyrun spec --rootless)"
    return Finding("privileges", "user", LIMITED, f"uid {os.geteuid()}", meaning, "sudo pyrun doctor")


def _capability(name: str, effective: int, lack: str, needed: bool) -> Finding:
    remedy = f"docker run --cap-add {name[4:]}  # or CapabilityBoundingSet= of the service that started this"
    return present(
        "privileges", name, bool(effective >> CAPABILITIES.index(name) & 1), "effective", lack, remedy, needed
    )


def _user_namespaces() -> Finding:
    state = MISSING if os.geteuid() != 0 else LIMITED
    meaning = "containers with a user namespace cannot be made"
    for name, (wrong, right) in _SYSCTLS.items():
        # The last two apply only to users without privileges.
        if read("/proc/sys/" + name.replace(".", "/")) == wrong and (os.geteuid() != 0 or name.startswith("user.")):
            return Finding(
                "privileges", "user namespaces", state, f"{name} is {wrong}", meaning, f"sysctl -w {name}={right}"
            )
    error = _try_user_namespace()
    if not error:
        return Finding("privileges", "user namespaces", OK, "can be made")
    remedy = "docker run --security-opt seccomp=unconfined  # if this is a container" if error != EACCES else ""
    return Finding("privileges", "user namespaces", state, os.strerror(error).lower(), meaning, remedy)


def _try_user_namespace() -> int:
    """Return the errno of unshare(CLONE_NEWUSER) in a child process, 0 if it succeeds."""
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWUSER)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _ids() -> "list[Finding]":
    """Return the findings about subordinate ids, which root does not need."""
    if os.geteuid() == 0:
        return []
    there = bool(ranges("/etc/subuid") and ranges("/etc/subgid"))
    remedy = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user_name()}"
    meaning = "a container can have only one user"
    return [
        present("privileges", "subordinate ids", there, "in /etc/subuid and /etc/subgid", meaning, remedy),
        _program("newuidmap", meaning, "uidmap"),
    ]


def _programs() -> "list[Finding]":
    return [
        _program("ps", "`pyrun ps` shows no table, only --format json", "procps"),
        _criu(),
    ]


def _criu() -> Finding:
    meaning = "`checkpoint` and `restore` are refused"
    found = _program("criu", meaning, "criu")
    if found.state != OK or rootless():
        return found
    complaint = criu.check(found.found)
    if complaint:
        return Finding("programs", "criu", LIMITED, complaint, meaning, "a criu that knows this kernel, by --criu PATH")
    return found


def _program(name: str, lack: str, package: str) -> Finding:
    path = next((f"{one}/{name}" for one in os.get_exec_path() if os.access(f"{one}/{name}", os.X_OK)), "")
    return present("programs", name, bool(path), path, lack, f"apt-get install {package}")

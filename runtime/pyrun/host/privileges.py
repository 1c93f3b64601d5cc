"""What we may: capabilities, user namespaces, ids, and the programs that others have to give."""

import os
import sys
from errno import EACCES

from pyrun.confine.capabilities import CAPABILITIES
from pyrun.host import LIMITED, MISSING, OK, Finding, present, read
from pyrun.linux.prctl import capget
from pyrun.linux.sched import CLONE_NEWUSER, unshare
from pyrun.rootless import rootless

# capability: (what does not work without, whether no container can)
_CAPABILITIES = {
    "CAP_SYS_ADMIN": ("namespaces and mounts cannot be made", True),
    "CAP_SYS_CHROOT": ("a container cannot be entered", True),
    "CAP_SETUID": ("processes cannot become another user", True),
    "CAP_SETGID": ("processes cannot become another group", True),
    "CAP_SETPCAP": ("the bounding set cannot be made smaller", True),
    "CAP_CHOWN": ("devices and terminals cannot be given to the container's user", False),
    "CAP_DAC_OVERRIDE": ("files of other users in a bundle are out of reach", False),
    "CAP_KILL": ("processes of other users cannot be killed", False),
    "CAP_MKNOD": ("device nodes are bound from the host in place of made", False),
    "CAP_NET_ADMIN": ("interfaces cannot be moved into containers, nor loopback brought up", False),
    "CAP_SYS_PTRACE": ("containers in another user namespace cannot be looked at", False),
    "CAP_SYS_RESOURCE": ("rlimits cannot be raised, oom_score_adj not lowered", False),
    "CAP_SYS_NICE": ("realtime scheduling and lower nice values are refused", False),
}
# sysctl: (what it must not be, what is right, what else)
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
        # The last two are for users without privileges only.
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
    """Return the errno of making a user namespace, in a process that is only for that."""
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWUSER)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _ids() -> "list[Finding]":
    """Subordinate ids, which only who is not root needs."""
    if os.geteuid() == 0:
        return []
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    there = all(
        any(line.split(":")[0] in (user, str(os.geteuid())) for line in read(file).splitlines())
        for file in ("/etc/subuid", "/etc/subgid")
    )
    remedy = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    meaning = "a container has one user only"
    return [
        present("privileges", "subordinate ids", there, "in /etc/subuid and /etc/subgid", meaning, remedy),
        _program("newuidmap", "a container has one user only", "uidmap"),
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
    from pyrun.checkpoint import criu

    complaint = criu.check(found.found)
    if complaint:
        return Finding("programs", "criu", LIMITED, complaint, meaning, "a criu that knows this kernel, by --criu PATH")
    return found


def _program(name: str, lack: str, package: str) -> Finding:
    path = next((f"{one}/{name}" for one in os.get_exec_path() if os.access(f"{one}/{name}", os.X_OK)), "")
    return present("programs", name, bool(path), path, lack, f"apt-get install {package}")

"""Security options: what --security-opt says of seccomp, AppArmor and new privileges."""

import json

from foundation.linux import os
from pyfetch.bundle.seccomp import default_profile
from pyrun.confine.labels import selinux_is_enabled
from pyrund.errors import ApiError, missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_GO_NAMES = {"x86_64": "amd64", "i686": "x86", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}
_NATIVE = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "armv7l": "SCMP_ARCH_ARM",
    "s390x": "SCMP_ARCH_S390X",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
}
# What docker's default profile allows beside, if the container has the capability: the kernel asks for it then.
_CALLS = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount "
        "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}


class Security:
    """What the options `texts` say. Raises ApiError.

    seccomp     None without a filter, {} for the default one, or a profile in docker's format
    apparmor    the name of a profile, "" for none
    """

    def __init__(self, texts: "list[str]", is_privileged: bool) -> None:
        self.no_new_privileges = False
        self.apparmor = ""
        self.seccomp: Json | None = None if is_privileged else {}
        for text in texts:
            name, sign, value = text.partition("=" if "=" in text else ":")
            if name == "no-new-privileges" and value in ("", "true", "false"):
                self.no_new_privileges = value != "false"
            elif name == "seccomp" and sign:
                self.seccomp = _profile(value)
            elif name == "apparmor" and value:
                self.apparmor = "" if value == "unconfined" else value
            elif name == "label" and sign:
                _check_label(value)
            else:
                raise ApiError(400, f'invalid --security-opt 2: "{text[:80]}"')


def _check_label(label: str) -> None:
    """Raise ApiError for a label that the container would not have. Without SELinux, none has an effect."""
    if label != "disable" and selinux_is_enabled():
        raise missing(f"security option label={label[:80]}")


def _profile(text: str) -> "Json | None":
    if text == "unconfined":
        return None
    if text == "builtin":
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ApiError(400, "Decoding seccomp profile failed: expected an object")
    return found


def filter_of(seccomp: "Json", capabilities: "list[str]") -> "Json":
    """Return linux.seccomp for a process with `capabilities`. Raises ApiError for a profile that makes no sense."""
    if not seccomp:
        return _default(capabilities)
    try:
        return _translated(seccomp, capabilities)
    except (TypeError, AttributeError, ValueError) as error:
        raise ApiError(400, f"Decoding seccomp profile failed: {error}") from None


def _default(capabilities: "list[str]") -> "Json":
    profile: Json = default_profile()
    names = sorted({name for capability in capabilities for name in _CALLS.get(capability, "").split()})
    if names:
        others = [rule for rule in profile["syscalls"] if not set(rule["names"]) & set(names) & {"clone", "clone3"}]
        profile["syscalls"] = [*others, {"names": names, "action": "SCMP_ACT_ALLOW"}]
    return profile


def _translated(given: "Json", capabilities: "list[str]") -> "Json":
    """Return the runtime's form of docker's, whose rules may depend on capabilities, machine and kernel."""
    profile = {name: given[name] for name in ("defaultAction", "defaultErrnoRet", "flags") if given.get(name)}
    machine = os.uname().machine
    architectures = list(given.get("architectures") or [])
    for entry in given.get("archMap") or []:
        if entry.get("architecture") == _NATIVE.get(machine):
            architectures += [entry["architecture"], *(entry.get("subArchitectures") or [])]
    if architectures:
        profile["architectures"] = architectures
    profile["syscalls"] = [
        _rule(rule) for rule in given.get("syscalls") or [] if _applies(rule, set(capabilities), machine)
    ]
    return profile


def _rule(rule: "Json") -> "Json":
    names = rule.get("names") or [rule["name"]] if "name" in rule else rule.get("names") or []
    kept = {name: rule[name] for name in ("action", "errnoRet", "args") if rule.get(name)}
    return {"names": names, **kept}


def _applies(rule: "Json", capabilities: "set[str]", machine: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    here = _GO_NAMES.get(machine, machine)
    if here in (excludes.get("arches") or []) or capabilities & set(excludes.get("caps") or []):
        return False
    if excludes.get("minKernel") and _kernel() >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and here not in includes["arches"]:
        return False
    if includes.get("minKernel") and _kernel() < _version(includes["minKernel"]):
        return False
    return capabilities >= set(includes.get("caps") or [])


def _kernel() -> "tuple[int, int]":
    return _version(os.uname().release)


def _version(text: str) -> "tuple[int, int]":
    major, minor = text.split(".")[:2]
    return int(major), int(minor.partition("-")[0])

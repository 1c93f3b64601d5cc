"""The labels of Linux security modules: process.apparmorProfile, process.selinuxLabel, linux.mountLabel.

A process gets its label at execve(2), when the kernel looks at what the process itself has written to files of
/proc/self/attr; launch/labels.py writes them.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process
    from pyrun.spec.linux import Linux

UNCONFINED = "unconfined"  # the profile of AppArmor that is none, and there without AppArmor too
_ATTRIBUTES = "/proc/self/attr/"


def attributes(process: "Process") -> "list[tuple[str, str]]":
    """Return (file in /proc/self/attr, text) of what the process must write; ConfigError where the kernel has no such
    module: a label that is not in force is none."""
    found = []
    if process.selinux_label:
        if not _selinux_is_enabled():
            raise process.json.error("selinuxLabel", "SELinux is not enabled on this machine")
        found += [("keycreate", process.selinux_label), ("exec", process.selinux_label)]
    profile = process.apparmor_profile
    if profile and _apparmor_is_enabled():
        # A directory of its own since Linux 5.8; before, all modules shared the one file.
        file = "apparmor/exec" if os.path.exists(f"{_ATTRIBUTES}apparmor/exec") else "exec"
        found.append((file, f"exec {profile}"))
    elif profile and profile != UNCONFINED:
        raise process.json.error("apparmorProfile", f'"{profile}": AppArmor is not enabled on this machine')
    return found


def check_mount_label(linux: "Linux") -> None:
    if linux.mount_label and not _selinux_is_enabled():
        raise linux.json.error("mountLabel", "SELinux is not enabled on this machine")


def _apparmor_is_enabled() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb") as file:
            return file.read(1) == b"Y"
    except FileNotFoundError:
        return False  # not in this kernel


def _selinux_is_enabled() -> bool:
    return os.path.exists("/sys/fs/selinux/enforce")

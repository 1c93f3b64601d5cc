"""The labels of Linux security modules: process.apparmorProfile, process.selinuxLabel, linux.mountLabel.

A process gets its label at execve(2) from files of /proc/self/attr, to which only the process itself can write;
stub/labels.py does so.
"""

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process
    from pyrun.config.linux import Linux

UNCONFINED = "unconfined"  # AppArmor's name for "no profile", which is accepted without AppArmor, too
_ATTRIBUTES = "/proc/self/attr/"


def attributes(process: "Process") -> "list[tuple[str, str]]":
    """Return the (file in /proc/self/attr, text) pairs that the process must write.

    Raises ConfigError if the kernel does not have the security module: the label would not be in force.
    """
    found = []
    if process.selinux_label:
        if not selinux_is_enabled():
            raise process.json.error("selinuxLabel", "SELinux is not enabled on this machine")
        found += [("keycreate", process.selinux_label), ("exec", process.selinux_label)]
    profile = process.apparmor_profile
    if profile and apparmor_is_enabled():
        # AppArmor has its own directory since Linux 5.8; before, all modules shared one file.
        file = "apparmor/exec" if os.path.exists(f"{_ATTRIBUTES}apparmor/exec") else "exec"
        found.append((file, f"exec {profile}"))
    elif profile and profile != UNCONFINED:
        raise process.json.error("apparmorProfile", f'"{profile}": AppArmor is not enabled on this machine')
    return found


def check_mount_label(linux: "Linux") -> None:
    """Raise ConfigError if linux.mountLabel is set and SELinux is not enabled."""
    if linux.mount_label and not selinux_is_enabled():
        raise linux.json.error("mountLabel", "SELinux is not enabled on this machine")


def apparmor_is_enabled() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb") as file:
            return file.read(1) == b"Y"
    except FileNotFoundError:
        return False  # not in this kernel


def selinux_is_enabled() -> bool:
    return os.path.exists("/sys/fs/selinux/enforce")

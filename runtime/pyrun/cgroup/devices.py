"""linux.resources.devices in force: the rules in the files of a v1 cgroup, or a program attached to a v2 cgroup."""

from foundation.linux import os
from foundation.linux.opened import opened
from foundation.rootless import rootless
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.device_rules import access_text, device_text, exceptions, in_force, rules
from pyrun.cgroup.group import Cgroup
from pyrun.config.linux import Resources
from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from pyrun.cgroup.device_rules import Device, Rule


def check(cgroup: Cgroup, resources: Resources) -> None:
    """Raise ConfigError if the rules cannot be applied: v1 cannot express them, or there is no devices controller."""
    found = rules(resources)
    if rootless():
        return
    if "devices" in cgroup.paths:
        try:
            exceptions(found)
        except ConfigError as error:
            raise resources.json.error("devices", str(error)) from None
    elif "" not in cgroup.paths:
        raise resources.json.error("devices", "cgroup controller devices is not available")


def apply(cgroup: Cgroup, resources: Resources) -> None:
    """Write the rules to v1, or attach a program to the v2 cgroup. Does nothing for a rootless container."""
    found = in_force(resources)
    if not found:
        return
    if "devices" in cgroup.paths:
        write(Controller(cgroup.paths["devices"], v2=False), *exceptions(found))
    elif "" in cgroup.paths:
        attach(cgroup.paths[""], found)


def write(controller: Controller, default: bool, access: "dict[Device, int]") -> None:
    """Replace all rules of a v1 cgroup by those of exceptions(); for a moment only the default is in force."""
    usual, other = ("devices.allow", "devices.deny") if default else ("devices.deny", "devices.allow")
    controller.write(usual, "a")
    if access:
        controller.write(other, *(f"{device_text(device)} {access_text(bits)}" for device, bits in access.items()))


def attach(directory: str, found: "list[Rule]") -> None:
    """Replace the program attached to the v2 cgroup `directory`, with no moment without rules."""
    from foundation.linux import bpf  # only v2 needs it
    from pyrun.cgroup.device_program import compile_rules

    with opened(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as cgroup:
        try:
            with opened(bpf.load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, compile_rules(found))) as program:
                bpf.replace(cgroup, bpf.BPF_CGROUP_DEVICE, program)  # the cgroup keeps the program
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"attach the device rules to {directory}") from None

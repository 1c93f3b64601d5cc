"""Every property of config.json has an integration test that says, with the mark `proves`, that it shows it.

What there is to prove is asked of the code that reads a config.json: its properties, and the words that it knows.
"""

import importlib
import sys
from pathlib import Path

import pytest

from foundation.linux.resource import RLIMITS
from pyrun.config import linux_rules, process_rules
from pyrun.config.document import HOOK_KINDS, Config
from pyrun.config.linux import NAMESPACE_TYPES
from pyrun.config.node import Node
from pyrun.confine import seccomp
from pyrun.rootfs.options import MOUNT_OPTIONS

INTEGRATION = Path(__file__).parents[1] / "integration"

# Where a property has one of a few words, or a list of them, each is to be proven: "process.scheduler.policy=SCHED_RR".
WORDS = {
    "mounts[].options": MOUNT_OPTIONS,
    "process.ioPriority.class": process_rules.IO_CLASSES,
    "process.rlimits[].type": RLIMITS,
    "process.scheduler.flags": process_rules.SCHEDULER_FLAGS,
    "process.scheduler.policy": process_rules.POLICIES,
    "linux.memoryPolicy.flags": linux_rules.MEMORY_FLAGS,
    "linux.memoryPolicy.mode": linux_rules.MEMORY_MODES,
    "linux.namespaces[].type": NAMESPACE_TYPES,
    "linux.personality.domain": linux_rules.DOMAINS,
    "linux.rootfsPropagation": linux_rules.PROPAGATIONS,
    "linux.seccomp.architectures": seccomp.ARCHITECTURES,
    "linux.seccomp.flags": seccomp.KNOWN_FLAGS,
    "linux.seccomp.syscalls[].action": seccomp.ACTIONS,
    "linux.seccomp.syscalls[].args[].op": seccomp.OPERATORS,
}

# What the spec or the runtimes add to a property's value, and no list of names can tell.
BEHAVIOURS = {
    "annotations: org.systemd.property.*",
    "annotations: run.oci.hooks.stderr",
    "annotations: run.oci.hooks.stdout",
    "annotations: run.oci.keep_original_groups",
    "annotations: run.oci.pidfd_receiver",
    "annotations: run.oci.seccomp.receiver",
    "annotations: run.oci.seccomp_fail_unknown_syscall",
    "annotations: run.pyrun.landlock",
    "annotations: run.pyrun.sched_core",
    *(f"hooks.{kind}: {what}" for kind in HOOK_KINDS for what in ("failure", "namespaces", "order", "state")),
    "mounts[].destination: overmounts of /proc",
    "mounts[].destination: relative",
    "mounts[].type=cgroup",
    "mounts[].type=cgroup2",
    "process.args: found in the container's PATH",
    "process: a session keyring of its own",
    "process.capabilities: unknown ones are left out",
    "process.cwd: made where it is missing",
    "process.env: HOME of the container's passwd",
    "process.execCPUAffinity: the init has the CPUs of the machine",
    "linux.cgroupsPath: of systemd",
    "linux.cgroupsPath: relative",
    "linux.devices: the default ones",
    "linux.namespaces[].path: of each type",
    "linux.resources: the cgroup belongs to the container's root",
    "linux.resources.devices: the default ones",
    "linux.uidMappings: of a joined namespace",
}

# What has no test: why. Only what none of the kernels that the tests run on can show may stay here.
UNPROVEN: "dict[str, str]" = {
    "linux.personality.flags": "the spec knows none",
    "linux.resources.blockIO.leafWeight": "of a scheduler that Linux 5.0 has dropped; refused by name on every kernel",
    "linux.resources.blockIO.weightDevice[].leafWeight": "the same",
    "linux.resources.memory.kernel": "Linux 5.16 takes no such limit",
    "linux.resources.memory.useHierarchy": "always so since Linux 5.11",
    "process.scheduler.policy=SCHED_ISO": "a number that Linux keeps free; no kernel has the policy",
    "process.scheduler.flags=SCHED_FLAG_UTIL_CLAMP_MIN": "needs CONFIG_UCLAMP_TASK; the spec has no value to clamp to",
    "process.scheduler.flags=SCHED_FLAG_UTIL_CLAMP_MAX": "the same",
}

# What the compiler of a seccomp profile, which reads it, must be given to read on.
ANSWERS = {
    "linux.seccomp.defaultAction": "SCMP_ACT_ERRNO",
    "linux.seccomp.syscalls[].action": "SCMP_ACT_ERRNO",
    "linux.seccomp.syscalls[].args[].op": "SCMP_CMP_EQ",
    "linux.seccomp.syscalls[].names": ["mkdir"],
}


class Everything(Node):
    """A config.json that has whatever it is asked for, and keeps what that was."""

    def __init__(self, path, asked):
        super().__init__({path: object()}, path)  # like no other, because seccomp remembers the last profile
        self.asked = asked

    def has(self, name):
        return True

    def object(self, name, default=None):
        return Everything(f"{self.path}{name}.", self.asked)

    def objects(self, name):
        return [Everything(f"{self.path}{name}[].", self.asked)]

    def entries(self):
        return {"any": Everything(f"{self.path[:-1]}[].", self.asked)}

    def _get(self, name, expected, default):
        self.asked.add(f"{self.path}{name}")
        return ANSWERS.get(f"{self.path}{name}", expected())


def to_be_proven():
    names = set(BEHAVIOURS)
    seccomp.compile(Config(Everything("", names)).linux.seccomp, {})
    assert names >= WORDS.keys()
    return names - WORDS.keys() | {f"{name}={word}" for name, words in WORDS.items() for word in words}


def marks_of(function):
    """Yield the marks of a test, and those of its parameters."""
    for mark in getattr(function, "pytestmark", ()):
        yield mark
        if mark.name == "parametrize":
            yield from (inner for case in mark.args[1] for inner in getattr(case, "marks", ()))


@pytest.fixture(scope="module")
def proven():
    sys.path.insert(0, str(INTEGRATION))
    modules = [importlib.import_module(path.stem) for path in sorted(INTEGRATION.glob("test_*.py"))]
    sys.path.remove(str(INTEGRATION))
    functions = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    return {
        name for function in functions for mark in marks_of(function) if mark.name == "proves" for name in mark.args
    }


def test_every_property_has_an_integration_test(proven):
    assert sorted(to_be_proven() - proven - UNPROVEN.keys()) == []


def test_every_mark_names_a_property(proven):
    assert sorted(proven - to_be_proven()) == []


def test_what_is_excused_is_a_property_without_a_test(proven):
    assert sorted(UNPROVEN.keys() - to_be_proven() | UNPROVEN.keys() & proven) == []

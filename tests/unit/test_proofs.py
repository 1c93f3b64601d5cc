"""Every property of config.json has an integration test that says, with the mark `proves`, that it shows it.

What there is to prove is asked of the code that reads a config.json: its properties, and the words that it knows.
"""

import importlib
import sys
from pathlib import Path

import pytest

from pyrun.confine import seccomp
from pyrun.confine.rlimits import RLIMITS
from pyrun.rootfs.options import MOUNT_OPTIONS
from pyrun.spec import config_rules, linux_rules
from pyrun.spec.config import Config
from pyrun.spec.linux import NAMESPACE_TYPES
from pyrun.spec.node import Node

INTEGRATION = Path(__file__).parents[1] / "integration"

# Where a property has one of a few words, or a list of them, each is to be proven: "process.scheduler.policy=SCHED_RR".
WORDS = {
    "mounts[].options": MOUNT_OPTIONS,
    "process.ioPriority.class": config_rules.IO_CLASSES,
    "process.rlimits[].type": RLIMITS,
    "process.scheduler.flags": config_rules.SCHEDULER_FLAGS,
    "process.scheduler.policy": config_rules.POLICIES,
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
    "mounts[].destination: overmounts of /proc",
    "mounts[].destination: relative",
    "mounts[].type=cgroup",
    "mounts[].type=cgroup2",
    "process.args: found in the container's PATH",
    "process: a session keyring of its own",
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
}

# What is to get its marks next; to become empty, and to go.
PENDING = {
    "annotations",
    "domainname",
    "hooks.createContainer[].args",
    "hooks.createContainer[].env",
    "hooks.createContainer[].path",
    "hooks.createContainer[].timeout",
    "hooks.createRuntime[].args",
    "hooks.createRuntime[].env",
    "hooks.createRuntime[].path",
    "hooks.createRuntime[].timeout",
    "hooks.poststart[].args",
    "hooks.poststart[].env",
    "hooks.poststart[].path",
    "hooks.poststart[].timeout",
    "hooks.poststop[].args",
    "hooks.poststop[].env",
    "hooks.poststop[].path",
    "hooks.poststop[].timeout",
    "hooks.prestart[].args",
    "hooks.prestart[].env",
    "hooks.prestart[].path",
    "hooks.prestart[].timeout",
    "hooks.startContainer[].args",
    "hooks.startContainer[].env",
    "hooks.startContainer[].path",
    "hooks.startContainer[].timeout",
    "hostname",
    "mounts[].destination",
    "mounts[].destination: overmounts of /proc",
    "mounts[].destination: relative",
    "mounts[].gidMappings[].containerID",
    "mounts[].gidMappings[].hostID",
    "mounts[].gidMappings[].size",
    "mounts[].options=async",
    "mounts[].options=atime",
    "mounts[].options=bind",
    "mounts[].options=copy-symlink",
    "mounts[].options=defaults",
    "mounts[].options=dev",
    "mounts[].options=diratime",
    "mounts[].options=dirsync",
    "mounts[].options=exec",
    "mounts[].options=idmap",
    "mounts[].options=iversion",
    "mounts[].options=lazytime",
    "mounts[].options=loud",
    "mounts[].options=mand",
    "mounts[].options=noatime",
    "mounts[].options=nodev",
    "mounts[].options=nodiratime",
    "mounts[].options=noexec",
    "mounts[].options=noiversion",
    "mounts[].options=nolazytime",
    "mounts[].options=nomand",
    "mounts[].options=norelatime",
    "mounts[].options=nostrictatime",
    "mounts[].options=nosuid",
    "mounts[].options=nosymfollow",
    "mounts[].options=private",
    "mounts[].options=ratime",
    "mounts[].options=rbind",
    "mounts[].options=rdev",
    "mounts[].options=rdiratime",
    "mounts[].options=relatime",
    "mounts[].options=remount",
    "mounts[].options=rexec",
    "mounts[].options=ridmap",
    "mounts[].options=rnoatime",
    "mounts[].options=rnodev",
    "mounts[].options=rnodiratime",
    "mounts[].options=rnoexec",
    "mounts[].options=rnorelatime",
    "mounts[].options=rnostrictatime",
    "mounts[].options=rnosuid",
    "mounts[].options=rnosymfollow",
    "mounts[].options=ro",
    "mounts[].options=rprivate",
    "mounts[].options=rrelatime",
    "mounts[].options=rro",
    "mounts[].options=rrw",
    "mounts[].options=rshared",
    "mounts[].options=rslave",
    "mounts[].options=rstrictatime",
    "mounts[].options=rsuid",
    "mounts[].options=rsymfollow",
    "mounts[].options=runbindable",
    "mounts[].options=rw",
    "mounts[].options=shared",
    "mounts[].options=silent",
    "mounts[].options=slave",
    "mounts[].options=src-nofollow",
    "mounts[].options=strictatime",
    "mounts[].options=suid",
    "mounts[].options=symfollow",
    "mounts[].options=sync",
    "mounts[].options=tmpcopyup",
    "mounts[].options=unbindable",
    "mounts[].source",
    "mounts[].type",
    "mounts[].type=cgroup",
    "mounts[].type=cgroup2",
    "mounts[].uidMappings[].containerID",
    "mounts[].uidMappings[].hostID",
    "mounts[].uidMappings[].size",
    "ociVersion",
    "process.apparmorProfile",
    "process.args",
    "process.args: found in the container's PATH",
    "process.capabilities.ambient",
    "process.capabilities.bounding",
    "process.capabilities.effective",
    "process.capabilities.inheritable",
    "process.capabilities.permitted",
    "process.consoleSize.height",
    "process.consoleSize.width",
    "process.cwd",
    "process.cwd: made where it is missing",
    "process.env",
    "process.env: HOME of the container's passwd",
    "process.execCPUAffinity.final",
    "process.execCPUAffinity.initial",
    "process.execCPUAffinity: the init has the CPUs of the machine",
    "process.ioPriority.class=IOPRIO_CLASS_BE",
    "process.ioPriority.class=IOPRIO_CLASS_IDLE",
    "process.ioPriority.class=IOPRIO_CLASS_RT",
    "process.ioPriority.priority",
    "process.noNewPrivileges",
    "process.oomScoreAdj",
    "process.rlimits[].hard",
    "process.rlimits[].soft",
    "process.rlimits[].type=RLIMIT_AS",
    "process.rlimits[].type=RLIMIT_CORE",
    "process.rlimits[].type=RLIMIT_CPU",
    "process.rlimits[].type=RLIMIT_DATA",
    "process.rlimits[].type=RLIMIT_FSIZE",
    "process.rlimits[].type=RLIMIT_LOCKS",
    "process.rlimits[].type=RLIMIT_MEMLOCK",
    "process.rlimits[].type=RLIMIT_MSGQUEUE",
    "process.rlimits[].type=RLIMIT_NICE",
    "process.rlimits[].type=RLIMIT_NOFILE",
    "process.rlimits[].type=RLIMIT_NPROC",
    "process.rlimits[].type=RLIMIT_RSS",
    "process.rlimits[].type=RLIMIT_RTPRIO",
    "process.rlimits[].type=RLIMIT_RTTIME",
    "process.rlimits[].type=RLIMIT_SIGPENDING",
    "process.rlimits[].type=RLIMIT_STACK",
    "process.scheduler.deadline",
    "process.scheduler.flags=SCHED_FLAG_DL_OVERRUN",
    "process.scheduler.flags=SCHED_FLAG_KEEP_PARAMS",
    "process.scheduler.flags=SCHED_FLAG_KEEP_POLICY",
    "process.scheduler.flags=SCHED_FLAG_RECLAIM",
    "process.scheduler.flags=SCHED_FLAG_RESET_ON_FORK",
    "process.scheduler.flags=SCHED_FLAG_UTIL_CLAMP_MAX",
    "process.scheduler.flags=SCHED_FLAG_UTIL_CLAMP_MIN",
    "process.scheduler.nice",
    "process.scheduler.period",
    "process.scheduler.policy=SCHED_BATCH",
    "process.scheduler.policy=SCHED_DEADLINE",
    "process.scheduler.policy=SCHED_FIFO",
    "process.scheduler.policy=SCHED_IDLE",
    "process.scheduler.policy=SCHED_ISO",
    "process.scheduler.policy=SCHED_OTHER",
    "process.scheduler.policy=SCHED_RR",
    "process.scheduler.priority",
    "process.scheduler.runtime",
    "process.selinuxLabel",
    "process.terminal",
    "process.user.additionalGids",
    "process.user.gid",
    "process.user.uid",
    "process.user.umask",
    "root.path",
    "root.readonly",
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
        super().__init__({}, path)
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
    seccomp.compile(Config(Everything("", names)).linux.seccomp)
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
    assert sorted(to_be_proven() - proven - UNPROVEN.keys() - PENDING) == []


def test_every_mark_names_a_property(proven):
    assert sorted(proven - to_be_proven()) == []


def test_what_is_excused_is_a_property_without_a_test(proven):
    excused = UNPROVEN.keys() | PENDING
    assert sorted(excused - to_be_proven() | excused & proven) == []

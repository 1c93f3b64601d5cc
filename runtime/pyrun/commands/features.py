"""pyrun features"""

from foundation.encode import encode
from pyrun.config.document import (
    KEEP_GROUPS,
    LANDLOCK,
    PIDFD_RECEIVER,
    SCHED_CORE,
    SECCOMP_RECEIVER,
    SECCOMP_STRICT,
)
from pyrun.config.features import features
from pyrun.config.linux_rules import MEMORY_FLAGS, MEMORY_MODES
from pyrun.confine.seccomp import ACTIONS, KNOWN_ARCHITECTURES, KNOWN_FLAGS, OPERATORS
from pyrun.container.hooks import STDERR, STDOUT
from pyrun.rootfs.options import MOUNT_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings

CGROUP = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}

ANNOTATIONS = [STDOUT, STDERR, KEEP_GROUPS, PIDFD_RECEIVER, SECCOMP_RECEIVER, SECCOMP_STRICT, LANDLOCK, SCHED_CORE]


def run(settings: "Settings") -> None:
    supported: dict[str, object] = {
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(KNOWN_ARCHITECTURES),
        "knownFlags": sorted(KNOWN_FLAGS),
        "supportedFlags": sorted(KNOWN_FLAGS),
    }
    memory_policy: dict[str, object] = {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)}
    print(encode(features(MOUNT_OPTIONS, CGROUP, supported, memory_policy, ANNOTATIONS), indent="    "))

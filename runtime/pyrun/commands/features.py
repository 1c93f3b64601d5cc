"""pyrun features"""

from pyrun.confine.seccomp import ACTIONS, ARCHITECTURES, KNOWN_FLAGS, OPERATORS
from pyrun.container.hooks import STDERR, STDOUT
from pyrun.rootfs.options import MOUNT_OPTIONS
from pyrun.spec.config import KEEP_GROUPS, LANDLOCK, SCHED_CORE
from pyrun.spec.encode import encode
from pyrun.spec.features import features
from pyrun.spec.linux_rules import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings

CGROUP = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}

ANNOTATIONS = [STDOUT, STDERR, KEEP_GROUPS, LANDLOCK, SCHED_CORE]


def run(settings: "Settings") -> None:
    supported: dict[str, object] = {
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(KNOWN_FLAGS),
        "supportedFlags": sorted(KNOWN_FLAGS),
    }
    memory_policy: dict[str, object] = {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)}
    print(encode(features(MOUNT_OPTIONS, CGROUP, supported, memory_policy, ANNOTATIONS), indent="    "))

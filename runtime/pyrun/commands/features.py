"""pyrun features"""

from pyrun.rootfs.options import MOUNT_OPTIONS
from pyrun.spec.encode import encode
from pyrun.spec.features import features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings

CGROUP = {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True}


def run(settings: "Settings") -> None:
    print(encode(features(MOUNT_OPTIONS, CGROUP, seccomp=None, memory_policy=None), indent="    "))

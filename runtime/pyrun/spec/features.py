"""The features document: what pyrun can do, whatever the kernel that it runs on.

Source: runtime-spec 1.3, features.md and features-linux.md. Engines look for `rro` in mountOptions (recursive
read-only mounts), and for `user` in namespaces with mountExtensions.idmap.enabled (pods in user namespaces).
"""

import pyrun
from pyrun.confine.capabilities import CAPABILITIES
from pyrun.spec.config import HOOK_KINDS
from pyrun.spec.default import VERSION
from pyrun.spec.linux import NAMESPACE_TYPES


def features(
    mount_options: "list[str]",
    cgroup: "dict[str, bool]",
    seccomp: "dict[str, object] | None",
    memory_policy: "dict[str, object] | None",
    annotations: "list[str]",
) -> "dict[str, object]":
    """Return the document.

    What is known best where it is done comes from there: `mount_options` has all names; `cgroup` tells for v1, v2,
    systemd, systemdUser and rdma whether they are there; `seccomp` has the lists of actions, operators, archs and
    flags, `memory_policy` those of modes and flags, and each is None where there is no such thing; `annotations` are
    those that change what we do.
    """
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted(mount_options),
        "linux": {
            "namespaces": sorted(NAMESPACE_TYPES),
            "capabilities": list(CAPABILITIES),
            "cgroup": cgroup,
            "seccomp": {"enabled": False} if seccomp is None else {"enabled": True, **seccomp},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": dict.fromkeys(("enabled", "schemata", "monitoring"), True),
            "memoryPolicy": memory_policy,
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.opencontainers.pyrun.version": pyrun.__version__,
            "org.opencontainers.pyrun.checkpoint.enabled": "true",  # as runc: by criu, which is another program
        },
        # An engine that lets users write annotations must keep these from them: a prefix ends in a dot.
        "potentiallyUnsafeConfigAnnotations": sorted(["org.criu.config", "org.systemd.property.", *annotations]),
    }

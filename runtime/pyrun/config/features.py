"""The features document: the features of pyrun, independent of the kernel.

Source: runtime-spec 1.3, features.md and features-linux.md. Engines look for `rro` in mountOptions (recursive
read-only mounts), and for `user` in namespaces with mountExtensions.idmap.enabled (pods in user namespaces).
"""

import pyrun
from foundation.linux.capability import CAPABILITIES
from pyrun.config.default import VERSION
from pyrun.config.document import HOOK_KINDS
from pyrun.config.linux import NAMESPACE_TYPES


def features(
    mount_options: "list[str]",
    cgroup: "dict[str, bool]",
    seccomp: "dict[str, object] | None",
    memory_policy: "dict[str, object] | None",
    annotations: "list[str]",
) -> "dict[str, object]":
    """Return the document.

    The arguments come from the modules that implement the features: `mount_options` has all names; `cgroup` says
    whether v1, v2, systemd, systemdUser and rdma are supported; `seccomp` has the lists of actions, operators, archs
    and flags, `memory_policy` the lists of modes and flags, and each is None if it is not supported; `annotations` are
    the names of annotations that change the behaviour.
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
            "seccomp": {"enabled": seccomp is not None, **(seccomp or {})},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": dict.fromkeys(("enabled", "schemata", "monitoring"), True),
            "memoryPolicy": memory_policy,
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.opencontainers.pyrun.version": pyrun.__version__,
            "org.opencontainers.pyrun.checkpoint.enabled": "true",  # as in runc, even without criu
        },
        # An engine that lets users set annotations must forbid these; a name that ends in a dot is a prefix.
        "potentiallyUnsafeConfigAnnotations": sorted(["org.criu.config", "org.systemd.property.", *annotations]),
    }

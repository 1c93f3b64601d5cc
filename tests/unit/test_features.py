import json
import shutil
import subprocess

import pytest

import pyrun
from foundation.linux.capability import CAPABILITIES, mask
from pyrun.config.features import features
from pyrun.config.node import Node
from pyrun.rootfs.options import MOUNT_OPTIONS

CGROUP = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}


def document(mount_options=("rw", "ro", "rro"), seccomp=None, memory_policy=None):
    return features(list(mount_options), CGROUP, seccomp, memory_policy, ["run.example"])


def shape(value):
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value).__name__


@pytest.fixture
def runc_features():
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    return json.loads(subprocess.run(["runc", "features"], check=True, capture_output=True).stdout)


def test_the_document_is_json():
    assert Node.parse(json.dumps(document()), "features") == document()


def test_the_versions_are_those_of_the_spec():
    assert (document()["ociVersionMin"], document()["ociVersionMax"]) == ("1.0.0", "1.3.0")


def test_mount_options_are_sorted():
    assert document(["rw", "bind", "ro"])["mountOptions"] == ["bind", "ro", "rw"]


def test_all_eight_namespaces_are_there():
    namespaces = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]

    assert document()["linux"]["namespaces"] == namespaces


def test_hooks_and_capabilities_are_those_of_runc(runc_features):
    assert document()["hooks"] == runc_features["hooks"]
    assert document()["linux"]["capabilities"] == runc_features["linux"]["capabilities"]


def test_every_mount_option_of_runc_is_there_but_those_of_some_file_systems(runc_features):
    # ext4 and its kin take these two themselves; runc sets a flag that Linux 5.2 stopped to look at.
    assert set(runc_features["mountOptions"]) - set(MOUNT_OPTIONS) == {"acl", "noacl"}


def test_what_runc_says_of_is_said_with_the_same_types(runc_features):
    ours = shape(document(seccomp={"actions": [], "operators": [], "archs": []}))
    theirs = shape(runc_features)

    for name in theirs["linux"]:
        assert (
            theirs["linux"][name] == ours["linux"][name] or theirs["linux"][name].items() <= ours["linux"][name].items()
        )
    assert theirs.keys() <= ours.keys()


def test_without_seccomp_the_document_says_so():
    assert document(seccomp=None)["linux"]["seccomp"] == {"enabled": False}


def test_the_names_of_seccomp_are_passed_on():
    seccomp = {"actions": ["SCMP_ACT_ALLOW"]}

    assert document(seccomp=seccomp)["linux"]["seccomp"] == {"enabled": True, "actions": ["SCMP_ACT_ALLOW"]}


def test_the_version_and_checkpoints_are_annotations():
    assert document()["annotations"] == {
        "org.opencontainers.pyrun.version": pyrun.__version__,
        "org.opencontainers.pyrun.checkpoint.enabled": "true",
    }


def test_a_capability_has_the_number_of_the_kernel():
    last = int(open("/proc/sys/kernel/cap_last_cap").read())

    assert CAPABILITIES.index("CAP_SYS_ADMIN") == 21  # <linux/capability.h>
    assert CAPABILITIES[40] == "CAP_CHECKPOINT_RESTORE"
    assert len(CAPABILITIES) == len(set(CAPABILITIES)) > last


def test_a_mask_has_a_bit_for_each_capability_and_none_for_an_unknown_one():
    assert mask([]) == 0
    assert mask(["CAP_CHOWN", "CAP_KILL", "CAP_FUTURE", "CAP_CHOWN"]) == 1 << 0 | 1 << 5
    assert mask(list(CAPABILITIES)) == (1 << 41) - 1

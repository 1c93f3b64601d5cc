"""Our filters give the verdicts of libseccomp's: for every call, and for arguments around every value compared with."""

import json
import pathlib
import subprocess

import pytest
from classic_bpf import Machine
from seccomp_profiles import ALL_ONES, ARCHITECTURES, argument_table, calls_of, tame

from pyrun.config import node
from pyrun.confine import seccomp

HERE = pathlib.Path(__file__).parent
DOCKER = json.loads((HERE.parent.parent / "spec-fixtures/seccomp/docker-default.json").read_text())
PYTHON = "/usr/bin/python3"  # whose libseccomp binding is Debian's python3-seccomp

ENOSYS = 0x00050000 | 38
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

pytestmark = pytest.mark.skipif(
    subprocess.run([PYTHON, "-c", "import seccomp"], capture_output=True).returncode != 0,
    reason="python3-seccomp is not installed",
)


def ask_libseccomp(profiles):
    asked = subprocess.run(
        [PYTHON, HERE / "libseccomp_filters.py"], input=json.dumps(profiles), capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def machine(profile):
    return Machine(seccomp.compile(node.Node(profile, "config.json: linux.seccomp."), {}).program)


def without(profile, refused, unknown):
    """Return the profile without what libseccomp takes for a contradiction or does not know."""
    entries = []
    for i, entry in enumerate(profile["syscalls"]):
        names = [name for name in entry["names"] if [i, name] not in refused and name not in unknown]
        if names:
            entries.append({**entry, "names": names})
    return {**profile, "syscalls": entries}


def compare(profile, theirs):
    """Return the calls whose verdicts differ."""
    agreed = without(profile, theirs["refused"], theirs["unknown"])
    ours = machine(agreed)
    reference = Machine(bytes.fromhex(theirs["program"]))
    listed = {"SCMP_ARCH_X86_64", *profile.get("architectures", [])}
    different = []
    for architecture in ARCHITECTURES:
        audit = seccomp.ARCHITECTURES[architecture]
        newest = theirs["newest"][architecture]
        stub = architecture in listed and newest is not None and profile["defaultAction"] not in PERMISSIVE
        table = argument_table(agreed, architecture)
        for number in calls_of(architecture):
            for vector in [(0,) * 6, (ALL_ONES,) * 6, *table.get(number, ())]:
                expected = ENOSYS if stub and number > newest else reference.run(audit, number, vector)
                found = ours.run(audit, number, vector)
                if found != expected:
                    different.append((architecture, number, vector, hex(found), hex(expected)))
    return different


def test_dockers_profile_gives_the_verdicts_of_libseccomp():
    [theirs] = ask_libseccomp([DOCKER])

    assert theirs["refused"] == []
    assert compare(DOCKER, theirs) == []


def test_dockers_profile_for_arm_gives_the_verdicts_of_libseccomp():
    profile = {**DOCKER, "architectures": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]}
    profile["syscalls"] = [
        *DOCKER["syscalls"],
        {"names": ["arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2"], "action": "SCMP_ACT_ALLOW"},
    ]
    [theirs] = ask_libseccomp([profile])

    assert compare(profile, theirs) == []


def test_generated_profiles_give_the_verdicts_of_libseccomp():
    profiles = [tame(seed) for seed in range(50)]

    for seed, (profile, theirs) in enumerate(zip(profiles, ask_libseccomp(profiles))):
        assert (seed, compare(profile, theirs)) == (seed, [])

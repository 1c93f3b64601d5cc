"""Races of R9: a peer exchanges a directory of a shared volume with a symlink to the victim, without a pause, while the
runtime makes mounts, masks, devices, a working directory, a console, copies, or a mount in a running container.

CVE-2021-30465, CVE-2024-45310, CVE-2019-16884, CVE-2025-52565, CVE-2018-15664; GHSA-rg2x-37c3-w2rh and
GHSA-vp62-88p7-qqf5 of moby.
"""

import os
import pty
import subprocess
import time

import pytest
from hostile import exchanging, make_symlink

pytestmark = pytest.mark.peers

ROUNDS = 1000  # with --full
SAMPLE = 8
CONTROL_SECONDS = 60
DEVICE = {"type": "c", "major": 1, "minor": 3}


def volume(bundle, victim):
    """Mount a volume of which the peer exchanges two names. Return these."""
    path = bundle.path / "volume"
    (path / "a/directory").mkdir(parents=True)
    (path / "a/secret").write_text("of the volume")
    bundle.mount("/volume", "bind", path)
    make_symlink(path / "b", victim.path)
    return path / "a", path / "b"


def a_mount(bundle, victim):
    names = volume(bundle, victim)
    bundle.mount("/volume/a/new", "tmpfs", "tmpfs")
    return names


def a_mounted_file(bundle, victim):
    names = volume(bundle, victim)
    (bundle.path / "given").write_text("")
    bundle.mount("/volume/a/new", "bind", bundle.path / "given")
    return names


def masks(bundle, victim):
    names = volume(bundle, victim)
    bundle.linux["maskedPaths"] = ["/volume/a/secret", "/volume/a/directory"]
    bundle.linux["readonlyPaths"] = ["/volume/a"]
    return names


def a_device(bundle, victim):
    names = volume(bundle, victim)
    bundle.linux["devices"] = [{"path": "/volume/a/new", **DEVICE}]
    return names


def a_working_directory(bundle, victim):
    names = volume(bundle, victim)
    bundle.process["cwd"] = "/volume/a/new"
    return names


def a_console(bundle, victim):
    bundle.without_mount("/dev", "/dev/shm", "/dev/mqueue")
    bundle.process["terminal"] = True
    make_symlink(bundle.rootfs / "other", victim.path)
    (bundle.rootfs / "dev").mkdir()
    return bundle.rootfs / "dev", bundle.rootfs / "other"


def copies(bundle, victim):
    bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    (bundle.rootfs / "data/a").mkdir(parents=True)
    make_symlink(bundle.rootfs / "data/b", victim.path)
    bundle.process["args"] = ["/bin/sh", "-c", "find /data -type f -exec cat {} +"]
    return bundle.rootfs / "data/a", bundle.rootfs / "data/b"


SUBJECTS = [a_mount, a_mounted_file, masks, a_device, a_working_directory, a_console, copies]
# In the others nothing of the host would change: mounts are the container's, and masks are mounts.
NOTICED = [a_mount, a_device, a_working_directory, a_console]


def run(machine, bundle):
    bundle.save()
    words = ("run", "--bundle", bundle.path, machine.new_id())
    if not bundle.process["terminal"]:
        return machine.pyrun(*words)
    master, slave = pty.openpty()
    result = machine.pyrun(*words, stdin=slave, stdout=slave, stderr=subprocess.PIPE)
    os.close(slave)
    os.close(master)
    return result


@pytest.mark.falls("crun", "it copies a file of the host through a symlink")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_exchanged_names_lead_nothing_out_of_the_container(machine, bundle, host, full, subject):
    bundle.process["args"] = ["/bin/true"]
    names = subject(bundle, host)
    with exchanging(*names):
        results = [run(machine, bundle) for _ in range(ROUNDS if full else SAMPLE)]

    assert not any("the host's" in (result.stdout or "") for result in results)
    assert host.is_untouched()
    made = sum(result.returncode == 0 for result in results)
    print(f"{subject.__name__}: {len(results)} rounds, of which {made} made a container")


@pytest.mark.only_pyrun("runc and crun have no such verb")
@pytest.mark.timeout(1800)
def test_exchanged_names_lead_no_live_mount_out_of_the_container(machine, bundle, host, full):
    (bundle.path / "given").mkdir()
    names = volume(bundle, host)
    id_ = machine.start(bundle)
    with exchanging(*names):
        for number in range(ROUNDS if full else SAMPLE):
            machine.pyrun("mount", id_, bundle.path / "given", f"/volume/a/new-{number}")
            machine.pyrun("umount", id_, f"/volume/a/new-{number}")

    assert host.is_untouched()


@pytest.mark.only_pyrun("it is built from our sources")
@pytest.mark.parametrize("subject", NOTICED)
def test_a_build_that_opens_by_name_loses_such_a_race(machine, bundle, victim, follows_symlinks, subject):
    """The positive control."""
    machine.program = str(follows_symlinks)
    bundle.process["args"] = ["/bin/true"]
    names = subject(bundle, victim)
    end = time.monotonic() + CONTROL_SECONDS
    with exchanging(*names):
        while not was_touched(victim):
            assert time.monotonic() < end, "the build never lost"
            run(machine, bundle)


def was_touched(victim):
    try:
        return not victim.is_untouched()
    except AssertionError:
        return True

"""R16, R19 to R23: values of config.json that would reach something of the host by their form.

CVE-2022-0811 (a sysctl in the value or the name of another), CVE-2021-43784 (a value too long for netlink),
CVE-2023-25809 (cgroups of the host that a container without root can write to). runc and crun run these too.
"""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers

WATCHED = (
    "kernel/core_pattern",
    "net/ipv4/ip_forward",
    "kernel/hostname",
    "kernel/shm_rmid_forced",
    "vm/overcommit_memory",
)


@pytest.fixture
def host_settings(host):
    """The host's sysctls are, after the test, those before it."""
    before = settings()
    yield host
    pipe = host.path.parent / "pipe"
    if pipe.exists():
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # a runtime that waits for the other end goes on
    assert settings() == before
    assert host.is_untouched()


def settings():
    return {name: Path("/proc/sys", name).read_text() for name in WATCHED}


def sysctl(key, value="1"):
    return lambda bundle, victim: bundle.linux.update(sysctl={key: value})


def without_network_namespace(bundle, victim):
    bundle.without_namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}


def network_namespace_of_the_host(bundle, victim):
    bundle.namespace("network", "/proc/1/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}


def resources(**values):
    return lambda bundle, victim: bundle.linux["resources"].update(values)


def namespace(type_, path):
    def prepare(bundle, victim):
        os.mkfifo(victim.path.parent / "pipe")
        bundle.namespace(type_, path.format(victim=victim.path, here=victim.path.parent))

    return prepare


def device(**values):
    whole = {"path": "/dev/extra", "type": "c", "major": 1, "minor": 5, **values}
    return lambda bundle, victim: bundle.linux.update(devices=[whole])


def mount(*options, source="{victim}", destination="/data"):
    def prepare(bundle, victim):
        bundle.mount(destination, "bind", source.format(victim=victim.path), *options)

    return prepare


def id_map(*ranges):
    def prepare(bundle, victim):
        names = ("containerID", "hostID", "size")
        mappings = [dict(zip(names, one)) for one in ranges]
        bundle.config["mounts"].append(
            {"destination": "/data", "source": str(victim.path), "options": ["bind"], "uidMappings": mappings}
            | {"gidMappings": mappings}
        )

    return prepare


REFUSED = {
    "R19 core_pattern": sysctl("kernel.core_pattern", "|/evil"),
    "R19 core_pattern with slashes": sysctl("kernel/core_pattern", "|/evil"),
    "R19 forwarding of the host": without_network_namespace,
    "R19 forwarding of the host by its path": network_namespace_of_the_host,
    "R19 two in a key": sysctl("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/evil"),
    "R19 through the parent": sysctl("net.../kernel/core_pattern", "|/evil"),
    "R19 a key with a newline": sysctl("net.ipv4.ip_forward\nkernel.core_pattern"),
    "R19 a value with NUL": sysctl("net.ipv4.ip_forward", "1\x00"),
    "R20 unified outside": resources(unified={"../memory.max": "1"}),
    "R20 unified with a slash": resources(unified={"a/memory.max": "1"}),
    "R20 huge pages outside": resources(hugepageLimits=[{"pageSize": "../2MB", "limit": 0}]),
    "R21 a regular file": namespace("network", "{victim}/secret"),
    "R21 a directory": namespace("network", "{victim}"),
    "R21 a FIFO": namespace("network", "{here}/pipe"),
    "R21 another type": namespace("network", "/proc/self/ns/uts"),
    "R21 a descriptor": namespace("network", "/proc/self/fd/0"),
    "R22 an unknown type": device(type="x"),
    "R23 an unmapped source": mount("bind", source="/nowhere"),
    "R23 a NUL": mount("bind", destination="/data\x00/x"),
}
CONFINED = {
    "R19 a value with a newline": sysctl("net.ipv4.ip_default_ttl", "33\nkernel.core_pattern=|/evil"),
    "R19 CVE-2021-43784 a long value": sysctl("net.ipv4.ip_default_ttl", "3" * 65536),
    "R20 cgroup.procs": resources(unified={"cgroup.procs": "1"}),
    "R20 rdma": resources(rdma={"evil\nmlx5_1": {"hcaHandles": 1}}),
    "R20 a class of service": lambda bundle, victim: bundle.linux.update(intelRdt={"closID": "../x"}),
    "R20 an unknown limit": lambda bundle, victim: bundle.process.update(
        rlimits=[{"type": "RLIMIT_EVIL", "soft": 1, "hard": 1}]
    ),
    "R22 outside": device(path="/../../victim/new"),
    "R22 relative": device(path="../../victim/new"),
    "R22 set-user-ID": device(fileMode=0o6777),
    "R23 data of a bind": mount("bind", "size=1", "context=evil"),
    "R23 overlapping mappings": id_map((0, 1000, 10), (5, 2000, 10)),
}


def run(machine, bundle, verb):
    bundle.process["args"] = ["/bin/true"]
    bundle.save()
    id_ = machine.new_id()
    with open(bundle.path / "stderr", "w+") as stderr:  # a pipe would stay open as long as what `create` leaves
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stderr}
        result = machine.pyrun(verb, "--bundle", bundle.path, id_, **streams)
        stderr.seek(0)
        result.stderr = stderr.read()
    return result


@pytest.mark.falls("runc", "it waits for the other end of a FIFO")
@pytest.mark.falls("crun", "it waits for the other end of a FIFO, and takes a NUL and an unknown type of device")
@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_would_reach_the_host_is_refused(machine, bundle, host_settings, full, name):
    """By `run` or by `create`, by turns; with --full by both."""
    turn = ("run", "create")[list(REFUSED).index(name) % 2]
    REFUSED[name](bundle, host_settings)
    for verb in ("run", "create") if full else (turn,):
        result = run(machine, bundle, verb)

        assert result.returncode == 1
        assert result.stderr.count("\n") == 1 or "pyrun" not in machine.program, result.stderr
        assert not os.path.isdir(machine.root) or os.listdir(machine.root) == []


@pytest.mark.parametrize("name", CONFINED)
def test_a_value_of_an_odd_form_reaches_nothing_of_the_host(machine, bundle, host_settings, name):
    CONFINED[name](bundle, host_settings)
    result = run(machine, bundle, "run")

    assert result.returncode in (0, 1)
    assert not list(host_settings.path.rglob("new"))


UID = 65534


@pytest.fixture
def delegated():
    """A cgroup of the host that belongs to the user whom the container's root is mapped to, as systemd makes them."""
    root = Path("/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup")
    path = root / f"attack-{os.getpid()}-delegated"
    path.mkdir()
    os.chown(path, UID, UID)
    yield path
    for child in path.iterdir():
        if child.is_dir():
            child.rmdir()
    path.rmdir()


@pytest.mark.falls("crun", "not to the attack, but its bind cannot be written to either")
@pytest.mark.parametrize("shown", ["by a mount of type cgroup", "by a bind alone"])
def test_cve_2023_25809_cgroups_of_the_host_cannot_be_written_to(machine, bundle, host_settings, delegated, shown):
    """R16. A writable bind of /sys alone is what the config asks for: that is the positive control."""
    bundle.user_namespace(UID, 1)
    bundle.linux.pop("resources", None)
    bundle.without_namespace("cgroup")
    for name in ("maskedPaths", "readonlyPaths"):
        bundle.linux.pop(name, None)
    for one in bundle.config["mounts"]:
        one["options"] = [option for option in one.get("options", ()) if option != "gid=5"]
    bundle.without_mount("/sys", "/sys/fs/cgroup")
    bundle.mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    if "type cgroup" in shown:
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    machine.run(bundle, f"mkdir {delegated}/evil 2>/dev/null; find /sys/fs/cgroup -name '{delegated.name}'")

    assert (delegated / "evil").exists() == (shown == "by a bind alone")

"""Device rules with the systemd cgroup driver: in force, known to systemd, the same after it has written its own."""

import os
import subprocess

import pytest

from foundation.linux import bpf

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "systemd"),
    pytest.mark.only_pyrun("has no such options"),
]
on_v1 = pytest.mark.needs("cgroup v1")
on_v2 = pytest.mark.needs("cgroup v2 alone")

KMSG, PORT, FULL = "c 1:11", "c 1:4", "c 1:7"
NODES = {"kmsg": KMSG, "port": PORT, "full": FULL, "null": "c 1:3"}


def rule(device, access, allow=True):
    """Return the rule that docker writes "c 1:11 rw"."""
    type_, _, numbers = device.partition(" ")
    found = {"allow": allow, "type": type_, "access": access}
    for name, number in zip(("major", "minor"), numbers.split(":")):
        if number != "*":
            found[name] = int(number)
    return found


@pytest.fixture
def managed(container):
    """A container whose cgroup systemd makes, and that could open any device if its rules let it."""
    container.global_options = ["--systemd-cgroup"]
    for kind in ("bounding", "effective", "permitted"):
        container.bundle.process["capabilities"][kind] += ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_SYS_RAWIO"]
    return container


def start(container, *rules):
    container.bundle.resources["devices"] = [{"allow": False, "access": "rwm"}, *rules]
    container.sleeping()
    nodes = [f"mknod /tmp/{name} {device.replace(':', ' ')}" for name, device in NODES.items()]
    container.exec("sh", "-c", "; ".join(nodes))


def opened(container):
    """Return which of NODES can be opened, each for reading and for writing; ENXIO says so too."""
    script = """
    try() { case $(cat /tmp/error) in *permitted) ;; *) echo $1;; esac; }
    for name in $*; do
        { true </tmp/$name; } 2>/tmp/error; try "$name<"
        { true >/tmp/$name; } 2>/tmp/error; try "$name>"
    done
    """
    return set(container.exec("sh", "-c", script, "sh", *NODES).split())


def programs(container):
    """Return the ids of the programs that are attached to the container's v2 cgroup for devices."""
    cgroup = os.open(container.cgroups()[0], os.O_RDONLY | os.O_DIRECTORY)
    try:
        return set(bpf.attached(cgroup, bpf.BPF_CGROUP_DEVICE))
    finally:
        os.close(cgroup)


def reload():
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=30)


def shown(container):
    """Return (DevicePolicy, DeviceAllow) of the container's unit."""
    name = f"pyrun-{container.id}.scope"
    command = ["systemctl", "show", "--property=DevicePolicy,DeviceAllow", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    pairs = [line.split("=", 1) for line in lines]
    return [value for key, value in pairs if key == "DevicePolicy"][0], {
        v for k, v in pairs if k == "DeviceAllow" and v
    }


DEFAULT = {"full<", "full>", "null<", "null>"}


def test_the_rules_are_those_of_the_unit_and_hold_when_systemd_reloads(managed):
    start(managed, rule(KMSG, "r"), rule("c 5:*", "w"), rule("b *:*", "r"))
    before = opened(managed)
    reload()

    assert before == opened(managed) == DEFAULT | {"kmsg<"}
    policy, allowed = shown(managed)
    assert policy == "strict"
    assert {"/dev/char/1:11 r", "/dev/char/1:3 rwm", "char-136 rwm", "char-* m", "block-* rm", "char-5 w"} <= allowed


@on_v2
def test_what_is_allowed_by_two_rules_together_still_is_when_systemd_reloads(managed):
    start(managed, rule("c 1:*", "r"), rule(PORT, "w"))
    reload()

    assert opened(managed) == DEFAULT | {"kmsg<", "port<", "port>"}
    assert managed.call("exec", managed.id, "sh", "-c", ": <>/tmp/port").stderr.endswith("No such device or address\n")


def test_a_change_of_the_rules_holds_when_systemd_reloads(managed):
    start(managed)
    managed.works("update", "--device-add", f"{KMSG} rw", "--device-remove", f"{FULL} rw", managed.id)
    before = opened(managed)
    reload()

    assert before == opened(managed) == {"kmsg<", "kmsg>", "null<", "null>"}


def test_an_update_of_something_else_leaves_the_rules(managed):
    start(managed, rule(KMSG, "r"))
    managed.works("update", "--device-add", f"{PORT} w", managed.id)
    managed.works("update", "--pids-limit", "40", managed.id)

    assert opened(managed) == DEFAULT | {"kmsg<", "port>"}


def test_all_devices_are_allowed_to_who_may_open_all(managed):
    start(managed, {"allow": True, "access": "rwm"})
    reload()

    assert opened(managed) == {f"{name}{mode}" for name in NODES for mode in "<>"}
    assert shown(managed) == ("auto", set())


BEYOND = [
    pytest.param([rule("c *:4", "r")], DEFAULT | {"port<"}, id="a minor number of all majors"),
    pytest.param(
        [{"allow": True, "access": "rwm"}, rule(KMSG, "r", allow=False)],
        {f"{name}{mode}" for name in NODES for mode in "<>"} - {"kmsg<"},
        id="everything but one",
    ),
]


@pytest.mark.parametrize("rules, expected", BEYOND)
def test_what_systemd_has_no_words_for_is_in_force_also_after_an_update(managed, rules, expected):
    start(managed, *rules)
    before = opened(managed)
    managed.works("update", "--pids-limit", "40", managed.id)

    assert before == opened(managed) == expected


@on_v2
def test_on_v2_our_program_stays_beside_that_of_systemd(managed):
    start(managed)
    before = programs(managed)
    reload()

    assert len(before) == 1
    assert programs(managed) > before
    managed.works("update", "--device-add", f"{KMSG} r", managed.id)
    assert len(programs(managed)) == 1


@on_v2
@pytest.mark.parametrize("rules, expected", BEYOND)
def test_on_v2_what_systemd_has_no_words_for_holds_when_it_reloads(managed, rules, expected):
    start(managed, *rules)
    reload()

    assert opened(managed) == expected
    assert shown(managed) == ("auto", set())


@on_v1
@pytest.mark.parametrize("rules, expected", BEYOND)
def test_on_v1_what_systemd_has_no_words_for_is_denied_when_it_reloads(managed, rules, expected):
    """It cannot be helped: systemd denies everything and then allows what it knows of."""
    start(managed, *rules)
    reload()

    assert opened(managed) < expected
    assert shown(managed)[0] == "strict"


def test_no_device_is_denied_for_a_moment_while_limits_change(managed):
    start(managed)
    loop = "(while :; do true </dev/null || echo x >>/tmp/denied; done) >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid"
    managed.exec("sh", "-c", loop)
    for limit in range(50, 54):
        managed.works("update", "--pids-limit", limit, managed.id)
        managed.works("update", "--device-add", f"c 1:{limit} r", managed.id)

    assert managed.exec("sh", "-c", "kill $(cat /tmp/pid) && ls /tmp").split() == [*sorted(NODES)[:3], "pid", "port"]


def test_a_paused_container_is_updated_and_stays_paused(managed):
    start(managed)
    managed.works("pause", managed.id)
    managed.works("update", "--pids-limit", "40", managed.id)

    assert managed.cgroup_file("pids", "pids.max") == "40"
    assert managed.status() == "paused"


def test_the_limits_can_be_changed_from_within(managed):
    """Who is in the cgroup must not freeze it."""
    start(managed)
    files = [f"{directory}/cgroup.procs" for directory in managed.cgroups()]

    def enter():
        for file in files:
            with open(file, "w") as procs:
                procs.write("0")

    managed.works("update", "--pids-limit", "44", managed.id, preexec_fn=enter)

    assert managed.cgroup_file("pids", "pids.max") == "44"

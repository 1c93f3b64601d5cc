"""update --device-add and --device-remove: other device rules for a container that runs, on v1 and on v2."""

import json
import os

import pytest

pytestmark = [pytest.mark.only_pyrun("has no such options"), pytest.mark.needs("root")]

KMSG, PORT_NUMBERS = "c 1:11", "c 1:4"


@pytest.fixture
def box(container):
    """A container with nodes that its rules do not let it open."""
    for kind in ("bounding", "effective", "permitted"):
        container.bundle.process["capabilities"][kind] += ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_SYS_RAWIO"]
    container.sleeping()
    container.exec("mknod", "/tmp/kmsg", "c", "1", "11")
    return container


def opens(container, path="/tmp/kmsg", mode="<"):
    """Tell whether the rules let the container open the device; ENXIO says so too, of one that the kernel lacks."""
    return "Operation not permitted" not in container.call("exec", container.id, "sh", "-c", f": {mode}{path}").stderr


def update(container, *options):
    container.works("update", *options, container.id)


def test_a_device_is_allowed_and_denied_again(box):
    before = opens(box)
    update(box, "--device-add", f"{KMSG} rwm")
    between = opens(box)
    update(box, "--device-remove", f"{KMSG} rwm")

    assert (before, between, opens(box)) == (False, True, False)


def test_a_change_builds_on_the_last(box):
    box.exec("mknod", "/tmp/port", "c", "1", "4")
    update(box, "--device-add", f"{KMSG} r")
    update(box, "--device-add", f"{PORT_NUMBERS} r")
    both = opens(box), opens(box, "/tmp/port")
    update(box, "--device-remove", f"{KMSG} r")

    assert both == (True, True)
    assert (opens(box), opens(box, "/tmp/port")) == (False, True)


def test_reading_and_writing_are_told_apart(box):
    update(box, "--device-add", f"{KMSG} r")

    assert (opens(box, mode="<"), opens(box, mode=">")) == (True, False)


def test_what_every_container_has_stays(box):
    update(box, "--device-add", f"{KMSG} rw", "--device-remove", f"{PORT_NUMBERS} rwm")

    assert opens(box, "/dev/null", ">")
    assert opens(box, "/dev/zero")
    assert box.call("exec", box.id, "mknod", "/tmp/another", "c", "1", "11").returncode == 0


def test_a_default_device_can_be_taken(box):
    update(box, "--device-remove", "c 1:7 rwm")
    denied = opens(box, "/dev/full")
    update(box, "--device-add", "c 1:7 rwm")

    assert (denied, opens(box, "/dev/full")) == (False, True)


def test_all_of_a_kind_are_named_by_a_star(box):
    update(box, "--device-remove", "c *:* rw", "--device-add", "c 1:3 rw")

    assert (opens(box, "/dev/null"), opens(box, "/dev/zero")) == (True, False)


def test_changes_that_overrule_each_other_do_not_pile_up(box):
    for _ in range(5):
        update(box, "--device-add", f"{KMSG} rw")
        update(box, "--device-remove", f"{KMSG} rw")
    state = json.loads((box.root / box.id / "state.json").read_text())

    assert state["deviceChanges"] == [{"allow": False, "type": "c", "access": "rw", "major": 1, "minor": 11}]


def test_the_nodes_of_the_host_come_by_a_mount(box):
    update(box, "--device-add", "c 1:11 r")
    box.works("mount", box.id, "/dev/kmsg" if os.path.exists("/dev/kmsg") else "/dev/full", "/dev/new")

    assert box.exec("ls", "/dev/new") == "/dev/new\n"


def test_other_updates_leave_the_rules(box):
    update(box, "--device-add", f"{KMSG} r")
    update(box, "--pids-limit", "50")

    assert opens(box)


@pytest.mark.parametrize(
    "rule", ["", "c", "c 1:2", "c 1:2 x", "d 1:2 r", "c 1 r", "c a:b r", "c 1:2 r ", "c 99999999999:1 r", "/dev/null"]
)
def test_what_is_no_rule_is_refused_and_nothing_changed(box, rule):
    message = box.fails("update", "--pids-limit", "40", "--device-add", rule, box.id)

    assert message == (
        f'error: invalid value "{rule}" for flag -device-add: expected TYPE MAJOR:MINOR ACCESS, like "c 10:200 rwm"'
    )
    assert json.loads(box.works("events", "--stats", box.id))["data"]["pids"]["limit"] == 0


def test_making_nodes_cannot_be_taken(box):
    assert "making a node is allowed to every container" in box.fails("update", "--device-remove", "c 1:11 m", box.id)

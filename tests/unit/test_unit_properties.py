"""Names and values for systemd: slices, properties, GVariants, and their form on D-Bus."""

import pytest

from pyrun.cgroup import dbus
from pyrun.cgroup.device_rules import ALL, MKNOD, READ, WRITE, Rule
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.systemd import expand
from pyrun.cgroup.unit_properties import (
    from_annotations,
    from_resources,
    from_rules,
    quota_per_second,
    variant,
)
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.errors import ConfigError


@pytest.mark.parametrize(
    "slice_, path",
    [
        ("-.slice", ""),
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ],
)
def test_a_slice_is_below_those_that_its_name_begins_with(slice_, path):
    assert expand(slice_) == path


@pytest.mark.parametrize("name", ["", "system", "a/b.slice", "-a.slice", "a-.slice", "a--b.slice", ".slice"])
def test_what_names_no_slice_is_refused(name):
    with pytest.raises(ConfigError, match="is not the name of a slice"):
        expand(name)


@pytest.mark.parametrize(
    "quota, period, expected",
    [("50000", 100000, 500000), ("33333", 100000, 340000), ("200000", 100000, 2000000), ("max", 100000, 2**64 - 1)],
)
def test_a_quota_becomes_whole_percents_of_a_second(quota, period, expected):
    assert quota_per_second(quota, period) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("true", ("b", True)),
        ("'a, b'", ("s", "a, b")),
        ('"it\'s"', ("s", "it's")),
        ("-5", ("i", -5)),
        ("uint64 5", ("t", 5)),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', 'b,c']", ("as", ["a", "b,c"])),
        ("[uint32 1]", ("au", [1])),
    ],
)
def test_a_gvariant_is_read(text, expected):
    assert variant(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "maybe",
        "1.5",
        "uint64 -1",
        "'open",
        "['a', 1]",
        "[]",
        "boolean 1",
        "{'a': 1}",
        "byte 256",
        "int16 40000",
        "-2147483649",
        "uint64 18446744073709551616",
        "uint64 " + "9" * 9999,
        "string 5",
        "objectpath true",
        "[" * 9999 + "]" * 9999,
        "[[1]]",
        "string",
    ],
)
def test_what_is_no_gvariant_is_refused_by_its_annotation(text):
    with pytest.raises(ConfigError, match="org.systemd.property.After"):
        from_annotations({"org.systemd.property.After": text})


def test_a_time_in_seconds_is_sent_in_microseconds():
    annotations = {"org.systemd.property.TimeoutStopSec": "5", "other": "not ours"}

    assert from_annotations(annotations) == [("TimeoutStopUSec", ("t", 5_000_000))]


@pytest.mark.parametrize("name", ["", "A.B", "A B", "Ä"])
def test_what_is_no_name_of_a_property_is_refused(name):
    with pytest.raises(ConfigError, match="is not the name of a property"):
        from_annotations({f"org.systemd.property.{name}": "true"})


def rules(*texts):
    """Return device rules that begin with none allowed; "+c 1:3 rwm" is one that allows."""
    found = [Rule(False, "a", None, None, ALL)]
    for text in texts:
        type_, numbers, access = text[1:].split()
        major, minor = (None if number == "*" else int(number) for number in numbers.split(":"))
        bits = sum(bit for letter, bit in (("r", READ), ("w", WRITE), ("m", MKNOD)) if letter in access)
        found.append(Rule(text[0] == "+", type_, major, minor, bits))
    return found


NOTHING = ("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", []))
EVERYTHING = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]


@pytest.mark.parametrize("v1", [False, True])
def test_device_rules_become_a_list_of_what_is_allowed(v1):
    found = from_rules(rules("+c 1:3 rwm", "+c 136:* rw", "+b *:* m", "+b 8:0 r", "-b 8:0 r"), v1)

    entries = [("/dev/char/1:3", "rwm"), ("char-136", "rw"), ("block-*", "m")]
    assert found == [*NOTHING, ("DeviceAllow", ("a(ss)", entries))]


@pytest.mark.parametrize("v1, access", [(False, "rw"), (True, "w")])
def test_only_our_program_adds_up_what_several_rules_allow(v1, access):
    found = from_rules(rules("+c 1:* rm", "+c 1:3 w"), v1)

    assert found[-1] == ("DeviceAllow", ("a(ss)", [("char-1", "rm"), ("/dev/char/1:3", access)]))


@pytest.mark.parametrize("texts, expressible", [(["+a *:* rwm", "-c 1:3 w"], []), (["+c *:3 r", "+c 1:5 r"], ["1:5"])])
def test_rules_that_are_no_such_list_are_left_to_our_program_or_for_v1_narrowed(texts, expressible):
    entries = [(f"/dev/char/{numbers}", "r") for numbers in expressible]

    assert from_rules(rules(*texts), v1=False) == EVERYTHING
    assert from_rules(rules(*texts), v1=True) == [*NOTHING, ("DeviceAllow", ("a(ss)", entries))]


def test_rules_that_v1_cannot_hold_are_left_to_our_program():
    assert from_rules(rules("+c 1:* r", "-c 1:3 r"), v1=False) == EVERYTHING


def test_a_container_without_rules_leaves_those_of_the_unit():
    assert from_rules([], v1=True) == []


@pytest.mark.parametrize(
    "signature, values",
    [
        ("", []),
        ("ybnqiuxt", [255, 1, -2, 3, -4, 5, -6, 7]),
        ("sog", ["text ä", "/path", "a(sv)"]),
        ("ysy", [1, "", 2]),
        ("aya(sv)", [[1, 2, 3], [("a", ("u", 1)), ("b", ("as", ["x", "yz"]))]]),
        ("a{sv}at", [[("key", ("b", 0))], []]),
    ],
)
def test_what_is_written_for_d_bus_is_read_the_same(signature, values):
    writer = dbus._Writer()
    writer.put_all(signature, values)

    assert dbus._Reader(bytes(writer.data)).get_all(signature) == values


def test_a_value_is_aligned_as_the_specification_has_it():
    writer = dbus._Writer()
    writer.put_all("yat", [1, [2]])

    assert bytes(writer.data) == b"\x01\0\0\0" + b"\x08\0\0\0" + b"\x02" + bytes(7)


def test_a_message_that_ends_too_early_is_an_error():
    with pytest.raises(dbus.Error, match="ends too early"):
        dbus._Reader(b"\xff\0\0\0abc").get_all("s")


@pytest.mark.parametrize("text", ["-1", "uint64 18446744073710", "'5'", "true"])
def test_a_time_that_is_out_of_range_is_refused_by_its_annotation(text):
    with pytest.raises(ConfigError, match="TimeoutStopSec.*: is a time, so a number of seconds is expected"):
        from_annotations({"org.systemd.property.TimeoutStopSec": text})


@pytest.mark.parametrize(
    "file, value",
    [
        ("cpu.max", "50000 0"),
        ("cpu.max", "lots 100000"),
        ("cpu.max", "max ²"),
        ("cpu.max", ""),
        ("pids.max", "9" * 30),
        ("pids.max", "²"),
        ("memory.max", "64M"),
        ("cpuset.cpus", "all"),
        ("cpuset.cpus", "0-4000000000"),
    ],
)
def test_what_is_no_limit_is_left_for_the_kernel_to_refuse(tmp_path, file, value):
    (tmp_path / "cgroup.controllers").write_text("cpu cpuset memory pids")
    (tmp_path / "cgroup.subtree_control").touch()
    (tmp_path / "container").mkdir()
    (tmp_path / "container/cpu.max").write_text("max 100000")
    unified = Resources(Node.root({"unified": {file: value}}, "resources"), "1.3.0")

    assert from_resources(Cgroup({"": str(tmp_path / "container")}), unified) == []

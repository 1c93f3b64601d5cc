"""Names and values for systemd: slices, properties, GVariants, and their form on D-Bus."""

import pytest

from pyrun.cgroup.systemd import expand
from pyrun.cgroup.unit_properties import from_annotations, quota_per_second, variant
from pyrun.errors import ConfigError
from pyrun.linux import dbus


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


@pytest.mark.parametrize("text", ["", "maybe", "1.5", "uint64 -1", "'open", "['a', 1]", "[]", "boolean 1", "{'a': 1}"])
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

"""Device rules as v1's exceptions and as v2's program, held against what the rules mean."""

import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyrun.cgroup import device_program
from pyrun.cgroup.device_rules import ALL, DEFAULTS, MKNOD, READ, WRITE, Rule, exceptions, rules
from pyrun.cgroup.devices import check
from pyrun.cgroup.group import Cgroup
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.errors import ConfigError

DENY_ALL = Rule(False, "a", None, None, ALL)
ALLOW_ALL = Rule(True, "a", None, None, ALL)


def resources(*devices):
    return Resources(Node({"devices": list(devices)}, "config.json: linux.resources."), "1.3.0")


def meaning(found, type_, major, minor, access):
    """Of each kind of access that is asked for, the last rule that names it decides."""
    for bit in (bit for bit in (MKNOD, READ, WRITE) if access & bit):
        allowed = False
        for rule in found:
            matches = rule.type in ("a", type_) and rule.major in (None, major) and rule.minor in (None, minor)
            if matches and rule.access & bit:
                allowed = rule.allow
        if not allowed:
            return False
    return True


def run(program, type_, major, minor, access):
    """Interpret the eight instructions that device_program uses, as the kernel would."""
    words = [access << 16 | {"b": 1, "c": 2}[type_], major, minor]
    registers = [0, "context"] + [0] * 9
    counter = 0
    while True:
        code, pair, *rest = program[counter * 8 : counter * 8 + 8]
        target, source = pair & 15, pair >> 4
        offset = int.from_bytes(bytes(rest[:2]), sys.byteorder, signed=True)
        value = int.from_bytes(bytes(rest[2:]), sys.byteorder, signed=True) & 0xFFFFFFFFFFFFFFFF
        counter += 1
        if code == device_program.LOAD_WORD:
            registers[target] = words[offset // 4]
        elif code == device_program.MOVE:
            registers[target] = registers[source]
        elif code == device_program.SET:
            registers[target] = value
        elif code == device_program.AND:
            registers[target] &= value
        elif code == device_program.SHIFT_RIGHT:
            registers[target] >>= value
        elif code == device_program.JUMP:
            counter += offset
        elif code == device_program.JUMP_IF_NOT_EQUAL:
            counter += offset if registers[target] & 0xFFFFFFFF != value & 0xFFFFFFFF else 0
        elif code == device_program.JUMP_IF_ANY_SET:
            counter += offset if registers[target] & value else 0
        else:
            assert code == device_program.EXIT
            return bool(registers[0])


numbers = st.none() | st.integers(0, 2) | st.just((1 << 32) - 1)
some_rules = st.builds(Rule, st.booleans(), st.sampled_from("bc"), numbers, numbers, st.integers(1, ALL))
rule_lists = st.lists(some_rules | st.sampled_from([DENY_ALL, ALLOW_ALL]), max_size=8)
requests = st.tuples(
    st.sampled_from("bc"), st.integers(0, 2) | st.just((1 << 32) - 1), st.integers(0, 2), st.integers(1, ALL)
)


@given(rule_lists, requests)
def test_the_program_answers_as_the_rules_mean(found, request):
    assert run(device_program.compile_rules(found), *request) == meaning(found, *request)


@given(rule_lists, requests)
def test_v1_exceptions_answer_as_the_rules_mean(found, request):
    try:
        default, access = exceptions([DENY_ALL, *found])
    except ConfigError:
        assume(False)  # what v1 cannot say
    type_, major, minor, asked = request
    listed = 0
    for (its_type, its_major, its_minor), bits in access.items():
        if its_type == type_ and its_major in (None, major) and its_minor in (None, minor):
            listed |= bits
    # Denied exceptions stop a request that has any of their access; allowed ones have to have all of it.
    allowed = not asked & listed if default else not asked & ~listed

    assert allowed == meaning(found, *request)


def test_the_config_stands_between_deny_all_and_the_defaults():
    found = rules(resources({"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}))

    assert found[0].device == ("a", None, None) and not found[0].allow
    assert (found[1].device, found[1].access) == (("c", 10, 229), READ | WRITE)
    assert found[2:] == DEFAULTS


@pytest.mark.parametrize(
    "device, allowed",
    [
        (("c", 1, 3, READ | WRITE), True),  # null
        (("c", 136, 7, READ | WRITE), True),  # a pseudo terminal
        (("c", 10, 200, READ | WRITE), True),  # tun
        (("b", 8, 0, MKNOD), True),
        (("b", 8, 0, READ), False),  # a disk
        (("c", 1, 1, READ), False),  # mem
        (("c", 5, 1, READ), False),  # console
        (("c", 10, 229, READ), False),  # fuse
    ],
)
def test_without_rules_a_container_has_the_devices_of_runc(device, allowed):
    assert run(device_program.compile_rules(rules(resources())), *device) == allowed


@pytest.mark.parametrize("rule", [{"allow": True}, {"allow": True, "type": "a", "access": "rwm", "major": -1}])
def test_a_rule_that_names_nothing_is_for_everything(rule):
    default, access = exceptions(rules(resources(rule)))

    assert (default, access) == (True, {})


def test_a_rule_for_both_types_with_a_number_is_two_rules():
    found = rules(resources({"allow": True, "major": 7, "access": "r"}))

    assert [rule.device for rule in found[1:3]] == [("c", 7, None), ("b", 7, None)]


@pytest.fixture
def as_root(monkeypatch):
    """Without root there are no device rules."""
    monkeypatch.setattr("pyrun.cgroup.devices.rootless", lambda: False)


@pytest.mark.usefixtures("as_root")
def test_v1_refuses_a_hole_in_a_wider_rule_instead_of_leaving_it_open():
    hole = resources({"allow": True, "type": "b", "access": "rw"}, {"allow": False, "type": "b", "major": 8})

    with pytest.raises(ConfigError, match=r"devices: cgroup v1 cannot deny b 8:\* alone after allowing b \*:\*"):
        check(Cgroup({"devices": "/nonexistent"}), hole)
    check(Cgroup({"": "/nonexistent"}), hole)  # v2 can


@pytest.mark.usefixtures("as_root")
def test_rules_without_a_hierarchy_to_enforce_them_are_refused():
    with pytest.raises(ConfigError, match="devices: cgroup controller devices is not available"):
        check(Cgroup({"memory": "/nonexistent"}), resources())


@pytest.mark.parametrize("access, bits", [("rwa", READ | WRITE), ("", ALL), ("mm", MKNOD)])
def test_unknown_letters_of_an_access_are_ignored(access, bits):
    config = resources({"allow": True, "type": "c", "major": 1, "minor": 2, "access": access})

    assert [rule.access for rule in rules(config)[1 : -len(DEFAULTS)]] == [bits]


def test_an_access_of_unknown_letters_alone_allows_nothing():
    config = resources({"allow": True, "type": "c", "major": 1, "minor": 2, "access": "xyz"})

    assert rules(config)[1 : -len(DEFAULTS)] == []

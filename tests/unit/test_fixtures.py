"""spec-fixtures/config: what is in valid/ passes, what is in invalid/ is refused with the line beside it."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from pyrun.commands.validate import check
from pyrun.config.config_rules import CONFIG_RULES
from pyrun.config.document import load_config
from pyrun.config.landlock import landlock_is_known
from pyrun.config.linux_rules import LINUX_RULES, RESOURCE_RULES
from pyrun.config.node import Node
from pyrun.config.process_rules import PROCESS_RULES
from pyrun.config.sysctl import SYSCTL_RULES
from pyrun.config.validate import validate
from pyrun.errors import ConfigError
from pyrun.rootfs.mounts import PlannedMount
from pyrun.stub.privileges import Confinement

CONFIGS = Path(__file__).parents[2] / "spec-fixtures" / "config"
VALID = sorted((CONFIGS / "valid").glob("*.json"))
INVALID = sorted((CONFIGS / "invalid").glob("*.json"))


RUNTIME = Path(__file__).parents[2] / "runtime"
WITH_RULES = (
    "foundation/node.py",
    "pyrun/config/config_rules.py",
    "pyrun/config/linux_rules.py",
    "pyrun/config/sysctl.py",
    "pyrun/config/landlock.py",
    "pyrun/rootfs/planned_mount.py",
    "pyrun/confine/seccomp.py",
)
# What no file can show: it depends on the machine.
OF_THE_MACHINE = ('raise json.error("", f"seccomp is not supported on this machine ({MACHINE})")',)


RULES = (
    *((rule, lambda config: (config,)) for rule in (*CONFIG_RULES, *LINUX_RULES, *SYSCTL_RULES, landlock_is_known)),
    *((rule, lambda config: (config.process, config)) for rule in PROCESS_RULES),
    *((rule, lambda config: (config.linux.resources,)) for rule in RESOURCE_RULES),
)


def name(path):
    return path.stem


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_config_passes(path):
    errors, _ = check(str(path))

    assert errors == []


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_config_is_refused_with_the_message_beside_it(path):
    errors, _ = check(str(path))

    assert f"{errors[0]}\n" == path.with_suffix(".error").read_text()


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_create_refuses_what_validate_refuses(path):
    with pytest.raises(ConfigError):
        config = load_config(str(path))
        validate(config)
        for mount in config.mounts:
            PlannedMount(mount)
        Confinement(config.process, config)


@pytest.fixture(scope="module")
def broken_configs():
    """Those whose types are right: a rule sees no others."""
    configs = []
    for path in INVALID:
        try:
            configs.append(load_config(str(path)))
        except ConfigError:
            continue
    return configs


@pytest.mark.parametrize("rule, arguments", RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_rule_has_a_config_that_breaks_it(rule, arguments, broken_configs):
    with_process = [config for config in broken_configs if config.process or rule in CONFIG_RULES]

    assert any(list(rule(*arguments(config))) for config in with_process)


def refusals(module):
    """Return the lines, first and last, of all that makes an error in a module."""
    tree = ast.parse((RUNTIME / module).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in ("error", "missing")]
    return [(call.lineno, call.end_lineno) for call in named]


@pytest.fixture(scope="module")
def refused_at():
    """(module, line) of all that made an error of an invalid config."""
    places = set()
    originals = Node.error, Node.missing

    def watching(original):
        def watched(self, *arguments):
            frame = sys._getframe(1)
            places.add((frame.f_code.co_filename.rpartition("runtime/")[2], frame.f_lineno))
            return original(self, *arguments)

        return watched

    Node.error, Node.missing = map(watching, originals)
    for path in INVALID:
        check(str(path))
    Node.error, Node.missing = originals
    return places


@pytest.mark.parametrize("module", WITH_RULES)
def test_everything_that_refuses_a_config_has_one_that_it_refuses(module, refused_at):
    idle = [
        (first, last)
        for first, last in refusals(module)
        if not any((module, line) in refused_at for line in range(first, last + 1))
    ]

    lines = (RUNTIME / module).read_text().splitlines()
    assert [lines[first - 1] for first, _ in idle if lines[first - 1].strip() not in OF_THE_MACHINE] == []


def properties(value, path=""):
    """Yield the path of each property in a document, without what tells elements of a list apart."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from properties(inner, f"{path}{key}.")
    if isinstance(value, list):
        for inner in value:
            yield from properties(inner, path)


def test_every_property_that_is_wrong_in_one_config_is_right_in_another():
    right = {one for path in VALID for one in properties(json.loads(path.read_text()))}
    wrong = set()
    for path in INVALID:
        text = path.with_suffix(".error").read_text().removeprefix("config.json: ")
        wrong.add(re.sub(r"\[[^]]*\]", "", re.split(r": | is required", text)[0]))

    assert wrong - right == set()


def test_every_message_has_a_config_and_every_config_a_message():
    messages = sorted((CONFIGS / "invalid").glob("*.error"))

    assert [path.stem for path in messages] == [path.stem for path in INVALID]


def test_there_are_fixtures_at_all():
    assert len(VALID) > 30
    assert len(INVALID) > 100

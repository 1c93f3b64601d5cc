"""spec-fixtures/config: what is in valid/ passes, what is in invalid/ is refused with the line beside it."""

from pathlib import Path

import pytest

from pyrun.errors import ConfigError
from pyrun.spec.config import load_config
from pyrun.spec.config_rules import CONFIG_RULES, PROCESS_RULES
from pyrun.spec.landlock import landlock_is_known
from pyrun.spec.linux_rules import LINUX_RULES, RESOURCE_RULES
from pyrun.spec.sysctl import SYSCTL_RULES
from pyrun.spec.validate import findings, validate

CONFIGS = Path(__file__).parents[2] / "spec-fixtures" / "config"
VALID = sorted((CONFIGS / "valid").glob("*.json"))
INVALID = sorted((CONFIGS / "invalid").glob("*.json"))


RULES = (
    *((rule, lambda config: (config,)) for rule in (*CONFIG_RULES, *LINUX_RULES, *SYSCTL_RULES, landlock_is_known)),
    *((rule, lambda config: (config.process, config)) for rule in PROCESS_RULES),
    *((rule, lambda config: (config.linux.resources,)) for rule in RESOURCE_RULES),
)


def name(path):
    return path.stem


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_config_passes(path):
    config = load_config(str(path))

    validate(config)
    assert findings(config) == []


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_config_is_refused_with_the_message_beside_it(path):
    expected = path.with_suffix(".error").read_text()

    with pytest.raises(ConfigError) as caught:
        validate(load_config(str(path)))

    assert f"{caught.value}\n" == expected


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


def test_every_message_has_a_config_and_every_config_a_message():
    messages = sorted((CONFIGS / "invalid").glob("*.error"))

    assert [path.stem for path in messages] == [path.stem for path in INVALID]


def test_there_are_fixtures_at_all():
    assert len(VALID) > 30
    assert len(INVALID) > 100

"""What types cannot say of a config.json: values, and properties that depend on each other.

A rule is a function that yields an error for every place that breaks it, and has the name of what it demands. The
rules are in config_rules.py, process_rules.py, linux_rules.py and sysctl.py. Properties of other platforms (vm,
solaris, windows) and unknown ones have none: config.md#extensibility asks to ignore them.
"""

from pyrun.confine.capabilities import CAPABILITIES
from pyrun.errors import ConfigError
from pyrun.spec.config import CAPABILITY_SETS, LANDLOCK, Config, Process
from pyrun.spec.config_rules import CONFIG_RULES
from pyrun.spec.linux import Resources
from pyrun.spec.linux_rules import LINUX_RULES, RESOURCE_RULES
from pyrun.spec.node import shown
from pyrun.spec.process_rules import process_errors
from pyrun.spec.sysctl import SYSCTL_RULES

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


def validate(config: Config) -> None:
    """Raise the ConfigError for the first rule that `config` breaks."""
    for error in _errors(config):
        raise error


def validate_resources(resources: Resources) -> None:
    """The same for resources that shall replace those of a container."""
    for error in _resource_errors(resources):
        raise error


def findings(config: Config) -> "list[str]":
    """Return the messages of all that is wrong with `config`; [] where validate() lets it pass."""
    return [str(error) for error in _errors(config)]


def _errors(config: Config) -> "Iterator[ConfigError]":
    for rule in CONFIG_RULES:
        yield from rule(config)
    if config.process is not None:
        yield from process_errors(config.process, config)
    for rule in LINUX_RULES + SYSCTL_RULES:
        yield from rule(config)
    yield from _resource_errors(config.linux.resources)
    if LANDLOCK in config.annotations:
        from pyrun.spec.landlock import landlock_is_known  # few configs have it

        yield from landlock_is_known(config)


def _resource_errors(resources: Resources) -> "Iterator[ConfigError]":
    for rule in RESOURCE_RULES:
        yield from rule(resources)


def warnings(config: Config) -> "list[str]":
    """Return what is worth a warning: config.json asks for it, the spec tells us to go on without."""
    found = [] if config.process is None else _unknown_capabilities(config.process)
    for mount in config.mounts:
        if not mount.destination.startswith("/"):
            where = mount.json.error("destination", f"{shown(mount.destination)} is relative, which is deprecated")
            found.append(f"{where}; it is taken from /")
    if config.linux.personality and config.linux.personality.flags:
        found.append(str(config.linux.personality.json.error("flags", "are ignored: the spec supports none yet")))
    if config.linux.uid_mappings and config.linux.namespace("user") and not config.linux.makes("user"):
        found.append(str(config.linux.json.error("uidMappings", "is ignored, the user namespace is a joined one")))
    return found


def _unknown_capabilities(process: Process) -> "list[str]":
    """config.md#linux-process: "Any value which cannot be mapped ... MUST be logged as a warning"."""
    capabilities = process.capabilities
    if capabilities is None:
        return []
    found = []
    for name in CAPABILITY_SETS:
        for i, capability in enumerate(getattr(capabilities, name)):
            if capability not in CAPABILITIES:
                reason = f"{shown(capability)} is unknown and left out"
                found.append(str(capabilities.json.error(f"{name}[{i}]", reason)))
    return found

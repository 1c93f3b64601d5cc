"""Checks of a config.json beyond types: values, and properties that depend on each other.

A rule is a function that yields an error for every place that breaks it; its name says what it demands. The rules are
in config_rules.py, process_rules.py, linux_rules.py and sysctl.py. There are none for unknown properties and those of
other platforms (vm, solaris, windows): config.md#extensibility says to ignore them.
"""

from foundation.linux.capability import CAPABILITIES
from foundation.node import shown
from pyrun.config.config_rules import CONFIG_RULES
from pyrun.config.document import CAPABILITY_SETS, LANDLOCK, Config, Process
from pyrun.config.linux import Resources
from pyrun.config.linux_rules import LINUX_RULES, RESOURCE_RULES
from pyrun.config.process_rules import process_errors
from pyrun.config.sysctl import SYSCTL_RULES
from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


def validate(config: Config) -> None:
    """Raise the ConfigError for the first rule that `config` breaks."""
    for error in _errors(config):
        raise error


def validate_resources(resources: Resources) -> None:
    """Raise the ConfigError for the first rule that the `resources` of an update break."""
    for error in _resource_errors(resources):
        raise error


def findings(config: Config) -> "list[str]":
    """Return the messages of all errors in `config`; [] if validate() accepts it."""
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
        from pyrun.config.landlock import landlock_is_known  # imported here because few configs have it

        yield from landlock_is_known(config)


def _resource_errors(resources: Resources) -> "Iterator[ConfigError]":
    for rule in RESOURCE_RULES:
        yield from rule(resources)


def warnings(config: Config) -> "list[str]":
    """Return warnings about parts of config.json that are ignored, as the spec demands, or deprecated."""
    found = [] if config.process is None else _unknown_capabilities(config.process) + _not_ambient(config.process)
    for mount in config.mounts:
        if not mount.destination.startswith("/"):
            where = mount.json.error("destination", f"{shown(mount.destination)} is relative, which is deprecated")
            found.append(f"{where}; it is taken from /")
    if config.linux.personality and config.linux.personality.flags:
        found.append(str(config.linux.personality.json.error("flags", "are ignored: the spec supports none yet")))
    linux = config.linux
    if (linux.uid_mappings or linux.gid_mappings) and not linux.makes("user"):
        why = "the user namespace is a joined one" if linux.namespace("user") else "there is no user namespace"
        found.append(str(linux.json.error("uidMappings", f"is ignored, {why}")))
    for rule in linux.resources.devices:
        if not set(rule.access) <= set("rwm"):
            reason = f"{shown(rule.access)} has other letters than r, w, m, which are ignored"
            found.append(str(rule.json.error("access", reason)))
    return found


def _not_ambient(process: Process) -> "list[str]":
    """capabilities(7): only a capability that is both permitted and inheritable can be ambient."""
    sets = process.capabilities
    if sets is None:
        return []
    known = [name for name in sets.ambient if name in CAPABILITIES]
    refused = [name for name in known if name not in sets.permitted or name not in sets.inheritable]
    reason = "cannot be raised, since only what is also permitted and inheritable can be ambient"
    return [str(sets.json.error("ambient", f"{shown(name)} {reason}")) for name in refused]


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

"""Rules of config.md for a config.json, except for its process, whose rules are in process_rules.py.

Each rule yields an error for every place that breaks it. The rules of config-linux.md are in linux_rules.py.
"""

from foundation.node import shown
from pyrun.config.document import HOOK_KINDS, KEEP_GROUPS, SCHED_CORE, Config
from pyrun.config.linux import IDMapping
from pyrun.config.node import Node
from pyrun.config.process_rules import environment_errors

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.errors import ConfigError

_UTS_NAME = 64  # bytes, since Linux 1.0: __NEW_UTS_LEN of <linux/utsname.h>
_MAPPINGS = 340  # lines of uid_map since Linux 4.15: user_namespaces(7)
_LETTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


def version_is_1(config: Config) -> "Iterator[ConfigError]":
    """config.md#specification-version: a semantic version, and an error for an unknown major version."""
    version = config.oci_version
    if not _is_semantic(version):
        yield config.json.error("ociVersion", f"{shown(version)} is not a semantic version such as '1.3.0'")
    elif not version.startswith("1."):
        yield config.json.error("ociVersion", f"{shown(version)} is not supported, only 1.x is")


def _is_semantic(version: str) -> bool:
    version, plus, build = version.partition("+")
    core, minus, prerelease = version.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not minus or _are_identifiers(prerelease))
        and (not plus or _are_identifiers(build))
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _are_identifiers(text: str) -> bool:
    return all(part and _LETTERS.issuperset(part) for part in text.split("."))


def process_is_there(config: Config) -> "Iterator[ConfigError]":
    """config.md#process: "REQUIRED when start is called"; as in runc, create already requires it, to prepare it."""
    if config.process is None:
        yield config.json.missing("process")


def root_path_is_not_empty(config: Config) -> "Iterator[ConfigError]":
    """config.md#root. With an empty path the bundle, with its config.json, would be the root of the container."""
    if not config.root.path:
        yield config.root.json.error("path", "must not be empty")


def hostname_has_a_uts_namespace(config: Config) -> "Iterator[ConfigError]":
    """config.md#hostname, #domainname: without a UTS namespace the host would be renamed."""
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if not value:
            continue
        if config.linux.namespace("uts") is None:
            yield config.json.error(name, f"unable to set {name} without a private UTS namespace")
        if len(value.encode()) > _UTS_NAME:
            yield config.json.error(name, f"is longer than {_UTS_NAME} bytes")


def mount_destinations_are_not_empty(config: Config) -> "Iterator[ConfigError]":
    """config.md#mounts. Relative destinations are deprecated but valid: see warnings()."""
    for mount in config.mounts:
        if not mount.destination:
            yield mount.json.error("destination", "must not be empty")


def mount_mappings_come_in_pairs(config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-platform-mounts: uidMappings and gidMappings "MUST be specified" together."""
    for mount in config.mounts:
        if mount.uid_mappings and not mount.gid_mappings:
            yield mount.json.error("uidMappings", "needs gidMappings beside it")
        if mount.gid_mappings and not mount.uid_mappings:
            yield mount.json.error("gidMappings", "needs uidMappings beside it")


def mount_mappings_are_sane(config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-platform-mounts, user_namespaces(7): see mapping_errors()."""
    for mount in config.mounts:
        yield from mapping_errors(mount.json, "uidMappings", mount.uid_mappings)
        yield from mapping_errors(mount.json, "gidMappings", mount.gid_mappings)


def mapped_mounts_are_binds(config: Config) -> "Iterator[ConfigError]":
    """config.md#linux-mount-options, idmap: a mount without mappings uses the container's."""
    for mount in config.mounts:
        if not (mount.uid_mappings or mount.gid_mappings or {"idmap", "ridmap"} & set(mount.options)):
            continue
        if mount.type != "bind" and not {"bind", "rbind"} & set(mount.options):
            reason = "gidMappings/uidMappings is supported only for mounts with the option 'bind'"
            yield mount.json.error("options", reason)
        if not mount.uid_mappings and config.linux.namespace("user") is None:
            yield mount.json.error("uidMappings", "is required: there is no user namespace to take the mappings of")


def mapping_errors(json: Node, name: str, mappings: "list[IDMapping]") -> "Iterator[ConfigError]":
    """Yield an error for all that the kernel would refuse with EINVAL only: user_namespaces(7)."""
    if len(mappings) > _MAPPINGS:
        yield json.error(name, f"has {len(mappings)} entries, the kernel takes {_MAPPINGS}")
        return
    for i, mapping in enumerate(mappings):
        if mapping.size == 0:
            yield json.error(f"{name}[{i}].size", "must be greater than 0")
        elif max(mapping.container_id, mapping.host_id) + mapping.size >= 1 << 32:
            yield json.error(f"{name}[{i}]", f"reaches beyond the last id, {(1 << 32) - 2}")
        for j, other in enumerate(mappings[:i]):
            if _overlap(mapping.container_id, mapping.size, other.container_id, other.size):
                yield json.error(f"{name}[{i}].containerID", f"overlaps {name}[{j}]")
            if _overlap(mapping.host_id, mapping.size, other.host_id, other.size):
                yield json.error(f"{name}[{i}].hostID", f"overlaps {name}[{j}]")


def _overlap(first: int, size: int, other_first: int, other_size: int) -> bool:
    return first < other_first + other_size and other_first < first + size


def hooks_are_whole(config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-platform-hooks: an absolute path, a timeout "greater than zero", an environ(7)."""
    for kind in HOOK_KINDS:
        for hook in config.hooks[kind]:
            if not hook.path.startswith("/"):
                yield hook.json.error("path", f"{shown(hook.path)} is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                yield hook.json.error("timeout", f"{hook.timeout} is not greater than 0")
            yield from environment_errors(hook.json, hook.env or [])


def annotations_have_names(config: Config) -> "Iterator[ConfigError]":
    """config.md#annotations: "Keys MUST NOT be an empty string"."""
    if "" in config.annotations:
        yield config.json.error("annotations", "has an empty key")


def switches_are_on(config: Config) -> "Iterator[ConfigError]":
    """These annotations are on if they are "1", as crun's are, and off if they are missing; others are errors."""
    for name in (KEEP_GROUPS, SCHED_CORE):
        if config.annotations.get(name, "1") != "1":
            yield config.json.error(f"annotations[{shown(name)}]", f'{shown(config.annotations[name])} is not "1"')


CONFIG_RULES = (
    version_is_1,
    process_is_there,
    root_path_is_not_empty,
    hostname_has_a_uts_namespace,
    mount_destinations_are_not_empty,
    mount_mappings_come_in_pairs,
    mount_mappings_are_sane,
    mapped_mounts_are_binds,
    hooks_are_whole,
    annotations_have_names,
    switches_are_on,
)

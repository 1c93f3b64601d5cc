"""pyrun validate"""

from pyrun.confine import seccomp
from pyrun.errors import ConfigError, UsageError
from pyrun.rootfs.mounts import PlannedMount
from pyrun.spec.config import Config
from pyrun.spec.encode import encode
from pyrun.spec.node import load
from pyrun.spec.validate import findings, warnings
from pyrun.spec.watched import Watched, unknown_properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cli import Settings


def run(settings: "Settings", bundle: str = ".", format: str = "text") -> int:
    """Print all that is wrong with the bundle's config.json, and what is worth a warning; 1 where something is wrong.

    Nothing of the host is looked at but the file: what a kernel cannot do, `create` will tell.
    """
    if format not in ("text", "json"):
        raise UsageError(f'invalid format "{format}": text or json')
    errors, cautions = check(f"{bundle}/config.json")
    if format == "json":
        found = [_entry("error", one) for one in errors] + [_entry("warning", one) for one in cautions]
        print(encode({"valid": not errors, "findings": found}, indent="  "))
    else:
        for level, messages in (("error", errors), ("warning", cautions)):
            for message in messages:
                print(f"{level}: {message}")
    return 1 if errors else 0


def check(path: str) -> "tuple[list[str], list[str]]":
    """Return the errors and the warnings. Of wrong types only the first is found: what comes after depends on them."""
    try:
        watched = Watched(load(path, "config.json").properties, "config.json: ")
        config = Config(watched)
    except ConfigError as error:
        return [str(error)], []
    errors = findings(config)
    for mount in config.mounts:
        errors += _error_of(PlannedMount, mount)
    if config.linux.seccomp:
        errors += _error_of(seccomp.compile, config.linux.seccomp)
    return errors, warnings(config) + unknown_properties(watched)


def _error_of(check: "Callable[[Any], object]", argument: object) -> "list[str]":
    try:
        check(argument)
    except ConfigError as error:
        return [str(error)]
    return []


def _entry(level: str, message: str) -> "dict[str, object]":
    """Return a finding as an object: "path: reason", or a sentence that begins with the path."""
    text = message.removeprefix("config.json: ")
    path, colon, reason = text.partition(": ")
    if not colon:
        path, _, reason = text.partition(" ")
    return {"level": level, "path": path, "reason": reason}

"""pyrun validate"""

from foundation.encode import encode
from foundation.errors import printable
from foundation.linux import os
from pyrun.config.document import Config, no_config
from pyrun.config.validate import findings, warnings
from pyrun.config.watched import Watched, unknown_properties
from pyrun.confine import seccomp
from pyrun.errors import ConfigError
from pyrun.rootfs.planned_mount import PlannedMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.options import Settings


def run(settings: "Settings", bundle: str = ".", format: str = "text") -> int:
    """Print all errors and warnings about the bundle's config.json; return 1 if there are errors.

    This does not check what the host supports: `create` reports that.
    """
    errors, cautions = check(f"{bundle}/config.json")
    if format == "json":
        found = [_entry("error", one) for one in errors] + [_entry("warning", one) for one in cautions]
        print(encode({"valid": not errors, "findings": found}, indent="  "))
    else:
        for level, messages in (("error", errors), ("warning", cautions)):
            for message in messages:
                print(f"{level}: {printable(message)}")
    return 1 if errors else 0


def check(path: str) -> "tuple[list[str], list[str]]":
    """Return the errors and the warnings. Only the first wrong type is reported: further checks depend on the types.
    Raises ConfigError if there is no file.
    """
    try:
        watched = Watched.load(path, "config.json")
        config = Config(watched)
    except FileNotFoundError:
        raise no_config(os.path.normpath(path)) from None
    except ConfigError as error:
        return [str(error)], []
    errors = findings(config)
    cautions = []
    for mount in config.mounts:
        try:
            cautions += PlannedMount(mount).warnings
        except ConfigError as error:
            errors.append(str(error))
    if config.linux.seccomp:
        errors += _error_of(seccomp.compile, config.linux.seccomp, config.annotations)
    return errors, warnings(config) + cautions + unknown_properties(watched)


def _error_of(check: "Callable[..., object]", *arguments: object) -> "list[str]":
    try:
        check(*arguments)
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

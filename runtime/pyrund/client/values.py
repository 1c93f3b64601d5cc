"""Values of options: numbers, sizes, durations, NAME=VALUE, files of lines. All raise Refused."""

import json

from foundation.durations import nanoseconds
from foundation.errors import Error
from foundation.linux import os, whole_file
from pyfetch.image.platforms import parse_platform
from pyrund.errors import ApiError, Refused
from pyrund.spec import log_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def refused(name: str, value: str, why: object) -> Refused:
    """Return the error for a wrong value of --name."""
    return Refused(f'invalid argument "{value}" for "--{name}" flag: {why}', 125)


def number(options: "Options", name: str, default: int = 0) -> int:
    text = options.get(name.replace("-", "_"))
    if text is None:
        return default
    if not is_number(text):
        raise refused(name, text, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 19


def size(options: "Options", name: str) -> int:
    """Return bytes: "1.5g" are 1.5 GiB; -1 stays."""
    text = options.get(name.replace("-", "_"), "")
    if text in ("", "-1"):
        return int(text or 0)
    try:
        return log_config.size(text)
    except ApiError as error:
        raise refused(name, text, error) from None


def duration_of(options: "Options", name: str) -> int:
    text = options.get(name.replace("-", "_"), "0s")
    try:
        return nanoseconds(text)
    except ValueError:
        raise refused(name, text, f'time: invalid duration "{text}"') from None


def pairs(texts: "list[str]", name: str) -> "dict[str, str]":
    """Return {NAME: VALUE}. Raises Refused if there is no "="."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise refused(name, text, "expected NAME=VALUE")
        found[key] = value
    return found


def labels(options: "Options") -> "dict[str, str]":
    """Return the labels of --label-file and --label; one without "=" is empty."""
    texts = [line for path in options.get("label_file", []) for line in _lines(path)] + options.get("label", [])
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def environment(options: "Options") -> "list[str]":
    """Return the variables of --env-file and --env. One without "=" has the value that it has here, if any."""
    found = []
    for path in options.get("env_file", []):
        for line in _lines(path):
            name = line.partition("=")[0]
            if not name or any(one.isspace() for one in name):
                raise Refused(f"invalid env file ({path}): variable '{name}' contains whitespaces", 125)
            if "=" in line or name in os.environment:
                found.append(_with_value(line))
    for text in options.get("env", []):
        if not text.partition("=")[0]:
            raise refused("env", text, f"invalid environment variable: {text}")
        found.append(_with_value(text))
    return found


def _with_value(text: str) -> str:
    return f"{text}={os.environment[text]}" if "=" not in text and text in os.environment else text


def _lines(path: str) -> "list[str]":
    """Return the lines of a file that are not comments."""
    try:
        text = whole_file.read(path).decode("utf-8")
    except OSError as error:
        raise Refused(f"open {path}: {(error.strerror or str(error)).lower()}", 125) from None
    except ValueError:
        raise Refused(f"{path}: not UTF-8", 125) from None
    lines = (line.lstrip().rstrip("\r") for line in text.removeprefix("\ufeff").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def patience(options: "Options") -> "dict[str, object]":
    """Return the query of --time and --signal, of `stop` and `restart`."""
    text = options.get("timeout", options.get("time"))
    found: dict[str, object] = {}
    if text is not None:
        found["t"] = number({"time": text}, "time")
    if options.get("signal"):
        found["signal"] = options["signal"]
    return found


def stored_platform(server: "Server", options: "Options", least: "tuple[int, int]") -> str:
    """Return the option --platform for images that the daemon has, as its API takes it since the version `least`.

    That is JSON, or "" without the option: the user's default is for images that are fetched. Raises Refused.
    """
    text = str(options.get("platform") or "")
    if not text:
        return ""
    server.check_version("platform", least)
    try:
        found = parse_platform(text)
    except Error as error:
        raise Refused(str(error)) from None
    variant = {"variant": found.variant} if found.variant else {}
    return json.dumps({"architecture": found.architecture, "os": found.os, **variant})


def platform(options: "Options") -> str:
    """Return the platform of images: the option's, or the user's default."""
    return str(options.get("platform") or os.environment.get("DOCKER_DEFAULT_PLATFORM", ""))

"""Config: what a container runs. The client's wishes are merged with the image's when it is created."""

from pyrund.errors import ApiError, missing
from pyrund.model import health
from pyrund.spec import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_TEXTS = ("Hostname", "Domainname", "User", "Image", "WorkingDir", "StopSignal", "MacAddress")
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "NetworkDisabled")
_MAPS = ("ExposedPorts", "Volumes", "Labels")


def merged(wanted: "Json", image: "Json", container_id: str) -> "Json":
    """Return the Config of the new container. Raises ApiError.

    `wanted` is the top level of the client's request, `image` the `config` of the image's config.
    """
    config: Json = {name: _text(wanted, name) for name in _TEXTS}
    config.update({name: bool(wanted.get(name)) for name in _FLAGS})
    entrypoint, command = _words(wanted, "Entrypoint"), _words(wanted, "Cmd")
    if not entrypoint:
        command = command or image.get("Cmd") or None
        entrypoint = image.get("Entrypoint") or None if entrypoint is None else None
    if entrypoint == [""]:
        entrypoint = None
    if not (entrypoint or command):
        raise ApiError(400, "no command specified")
    config["Entrypoint"], config["Cmd"] = entrypoint, command
    config["Env"] = _environment(_list(wanted, "Env"), image.get("Env") or [])
    for name in _MAPS:
        config[name] = {**(image.get(name) or {}), **_map(wanted, name)}
    for name in ("User", "WorkingDir", "StopSignal"):
        config[name] = config[name] or image.get(name) or ""
    config["Hostname"] = config["Hostname"] or container_id[:12]
    config["Healthcheck"], config["Shell"] = health.merged(wanted, image), _words(wanted, "Shell") or image.get("Shell")
    config["OnBuild"] = None
    config["StopTimeout"] = wanted.get("StopTimeout")
    _check(config, wanted)
    return {name: value for name, value in config.items() if name not in _LEFT_OUT or value}


# What inspect shows only if it is set.
_LEFT_OUT = ("Healthcheck", "Shell", "StopSignal", "StopTimeout", "MacAddress", "NetworkDisabled")


def full_name(config: "Json") -> str:
    """Return the host's name with its domain, if it has one: docker makes both the hostname."""
    return ".".join(filter(None, (config["Hostname"], config["Domainname"])))


def _check(config: "Json", wanted: "Json") -> None:
    if config["StopSignal"]:
        signals.number(config["StopSignal"])
    if config["WorkingDir"] and not config["WorkingDir"].startswith("/"):
        raise ApiError(
            400, f"the working directory '{config['WorkingDir'][:200]}' is invalid, it needs to be an absolute path"
        )
    if config["NetworkDisabled"]:
        raise missing("NetworkDisabled")
    timeout = config["StopTimeout"]
    if timeout is not None and not isinstance(timeout, int):
        raise ApiError(400, "invalid JSON: StopTimeout: expected a number")


def _environment(wanted: "list[str]", image: "list[str]") -> "list[str]":
    for entry in wanted:
        if not entry or entry.startswith("="):
            raise ApiError(400, f"invalid environment variable: {entry[:200]}")
    names = {entry.partition("=")[0] for entry in wanted}
    return [*wanted, *(entry for entry in image if entry.partition("=")[0] not in names)]


def _words(wanted: "Json", name: str) -> "list[str] | None":
    """Return a command, which may be one string; None if it is absent, which is not the same as empty."""
    value = wanted.get(name)
    if isinstance(value, str):
        return [value]
    return None if value is None else _list(wanted, name)


def _text(wanted: "Json", name: str) -> str:
    value = wanted.get(name) or ""
    if not isinstance(value, str) or "\0" in value:
        raise ApiError(400, f"invalid JSON: {name}: expected a string")
    return value


def _list(wanted: "Json", name: str) -> "list[str]":
    value = wanted.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise ApiError(400, f"invalid JSON: {name}: expected strings")
    return value


def _map(wanted: "Json", name: str) -> "Json":
    value = wanted.get(name) or {}
    if not isinstance(value, dict):
        raise ApiError(400, f"invalid JSON: {name}: expected an object")
    return value

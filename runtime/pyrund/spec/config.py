"""Config: what a container runs. The client's wishes are merged with the image's when it is created."""

from foundation.linux import os
from pyrund.errors import ApiError
from pyrund.model import health
from pyrund.spec import signals
from pyrund.spec.shape import ANY_TEXT, FLAG, NUMBER, TEXT, WORDS, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.spec.shape import Shape

    Json = dict[str, Any]

_TEXTS = ("Hostname", "Domainname", "User", "Image", "WorkingDir", "StopSignal", "MacAddress")
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "NetworkDisabled")
WORD_LISTS = ("Cmd", "Entrypoint", "Shell")
_MAPS = ("ExposedPorts", "Volumes", "Labels")

# The type of Config; that of an image has no other fields.
SHAPE: "Shape" = {
    **dict.fromkeys(_TEXTS, TEXT),
    **dict.fromkeys(_FLAGS, FLAG),
    **dict.fromkeys(WORD_LISTS, WORDS),
    "Env": [TEXT],
    "OnBuild": [TEXT],
    "ExposedPorts": {str: {}},
    "Volumes": {str: {}},
    "Labels": {str: ANY_TEXT},
    "StopTimeout": NUMBER,
    "Healthcheck": {
        "Test": [TEXT],
        **dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), NUMBER),
    },
}


def merged(wanted: "Json", image: "Json", container_id: str) -> "Json":
    """Return the Config of the new container. Raises ApiError.

    `wanted` is the top level of the client's request, `image` the `config` of the image's config.
    """
    check(wanted, SHAPE, "")
    config: Json = {name: wanted.get(name) or "" for name in _TEXTS}
    config.update({name: bool(wanted.get(name)) for name in _FLAGS})
    entrypoint, command = words(wanted, "Entrypoint"), words(wanted, "Cmd")
    if not entrypoint:
        command = command or image.get("Cmd") or None
        entrypoint = image.get("Entrypoint") or None if entrypoint is None else None
    if entrypoint == [""]:
        entrypoint = None
    if not (entrypoint or command):
        raise ApiError(400, "no command specified")
    config["Entrypoint"], config["Cmd"] = entrypoint, command
    config["Env"] = _environment(wanted.get("Env") or [], image.get("Env") or [])
    for name in _MAPS:
        config[name] = {**(image.get(name) or {}), **(wanted.get(name) or {})}
    config["Labels"] = {name: value or "" for name, value in config["Labels"].items()}
    for name in ("User", "WorkingDir", "StopSignal"):
        config[name] = config[name] or image.get(name) or ""
    config["Hostname"] = config["Hostname"] or container_id[:12]
    config["Healthcheck"], config["Shell"] = health.merged(wanted, image), words(wanted, "Shell") or image.get("Shell")
    config["OnBuild"] = None
    _check(config)
    if config["WorkingDir"]:
        config["WorkingDir"] = os.path.normpath("/" + config["WorkingDir"].lstrip("/"))
    found = {name: value for name, value in config.items() if name not in _LEFT_OUT or value}
    if wanted.get("StopTimeout") is not None:
        found["StopTimeout"] = wanted["StopTimeout"]  # 0 is a time, too
    return found


# What inspect shows only if it is set.
_LEFT_OUT = ("Healthcheck", "Shell", "StopSignal", "MacAddress", "NetworkDisabled")


def _check(config: "Json") -> None:
    if config["StopSignal"]:
        signals.number(config["StopSignal"])
    if config["WorkingDir"] and not config["WorkingDir"].startswith("/"):
        raise ApiError(
            400, f"the working directory '{config['WorkingDir'][:200]}' is invalid, it needs to be an absolute path"
        )


def _environment(wanted: "list[str]", image: "list[str]") -> "list[str]":
    for entry in wanted:
        if not entry or entry.startswith("="):
            raise ApiError(400, f"invalid environment variable: {entry[:200]}")
    names = {entry.partition("=")[0] for entry in wanted}
    return [*wanted, *(entry for entry in image if entry.partition("=")[0] not in names)]


def words(wanted: "Json", name: str) -> "list[str] | None":
    """Return a command, which may be one string; None if it is absent, which is not the same as empty."""
    value = wanted.get(name)
    return [value] if isinstance(value, str) else value

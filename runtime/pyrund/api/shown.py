"""Containers as JSON, as lists and inspect show them."""

from pyrund.api import shown_networks
from pyrund.model.container import Container
from pyrund.model.times import seconds
from pyrund.spec import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.networks import Networks

    Json = dict[str, Any]


def summary(container: Container, networks: "Networks", aliases: "list[str]") -> "Json":
    """Return the container as a list shows it; `aliases` are the names that others have for it."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}", *aliases],
        "Image": container.config["Image"],
        "ImageID": container.document["Image"],
        "Command": _command_line(container.command),
        "Created": int(seconds(container.document["Created"])),
        "Ports": shown_networks.ports_listed(container),
        "Labels": container.config["Labels"],
        "State": container.status,
        "Status": container.described(),
        "HostConfig": {"NetworkMode": container.network},
        "NetworkSettings": {"Networks": shown_networks.endpoints(container, networks)},
        "Mounts": mounts.described(container),
    }


def details(container: Container, networks: "Networks", execs: "list[str]", links: "list[str]") -> "Json":
    """Return the container as inspect shows it; `execs` are the ids of its running execs, `links` those that it has on
    the default bridge."""
    document, places = container.document, container.places
    path, *arguments = container.command
    bundle = places.bundle(container.id)
    return {
        "Id": container.id,
        "Created": document["Created"],
        "Path": path,
        "Args": arguments,
        "State": state(container),
        "Image": document["Image"],
        "ResolvConfPath": f"{bundle}/resolv.conf",
        "HostnamePath": f"{bundle}/hostname",
        "HostsPath": f"{bundle}/hosts",
        "LogPath": places.log(container.id) if container.host_config["LogConfig"]["Type"] == "json-file" else "",
        "Name": f"/{container.name}",
        "RestartCount": document["RestartCount"],
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs or None,
        "HostConfig": {**container.host_config, **({"Links": links or None} if "Links" in document else {})},
        "GraphDriver": {"Name": "overlay2", "Data": _layers(container)},
        "Mounts": mounts.described(container),
        "Config": container.config,
        "NetworkSettings": shown_networks.settings(container, networks),
    }


def state(container: Container) -> "Json":
    document = container.document
    health = {"Health": container.health.described()} if container.health else {}
    return {
        "Status": container.status,
        "Running": container.is_active,
        "Paused": container.is_paused,
        "Restarting": container.attempt is not None,
        "OOMKilled": document["OOMKilled"],
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": document["ExitCode"],
        "Error": document["Error"],
        "StartedAt": document["StartedAt"],
        "FinishedAt": document["FinishedAt"],
        **health,
    }


def _command_line(words: "list[str]") -> str:
    """Return the words as a list shows them: quoted where a shell would need that, by single quotes."""
    return " ".join(
        word if word and not set(word) & _SPECIAL else "'{}'".format(word.replace("'", "'\\''")) for word in words
    )


_SPECIAL = frozenset(" \t\n'\"\\|&;<>()$`*?[]#~%")


def _layers(container: Container) -> "Json":
    places = container.places
    layers = [f"{places.images}/layers/{name}" for name in reversed(container.layers)]
    layer = places.layer(container.id)
    return {"LowerDir": ":".join(layers), "UpperDir": f"{layer}/upper", "WorkDir": f"{layer}/work"}

"""Containers as JSON, as lists and inspect show them."""

from pyrund.api import shown_networks
from pyrund.model.container import Container
from pyrund.model.times import seconds
from pyrund.spec import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrund.model.networks import Networks

    Json = dict[str, Any]


# HostConfig of a client that wants nothing. Clients expect all of its fields.
_UNSET: "Json" = {
    **dict.fromkeys(
        (
            "Cgroup CgroupParent ContainerIDFile CpusetCpus CpusetMems Isolation PidMode UTSMode UsernsMode "
            "VolumeDriver"
        ).split(),
        "",
    ),
    **dict.fromkeys(
        (
            "BlkioWeight CpuCount CpuPercent CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares "
            "IOMaximumBandwidth IOMaximumIOps Memory MemoryReservation MemorySwap NanoCpus OomScoreAdj"
        ).split(),
        0,
    ),
    **dict.fromkeys("AutoRemove OomKillDisable Privileged PublishAllPorts ReadonlyRootfs".split(), False),
    **dict.fromkeys(
        (
            "Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeightDevice "
            "CapAdd CapDrop DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd "
            "Links MemorySwappiness PidsLimit PortBindings SecurityOpt Ulimits VolumesFrom"
        ).split()
    ),
    "ConsoleSize": [0, 0],
}


def summary(container: Container, networks: "Networks", aliases: "list[str]", id_of: "Callable[[str], str]") -> "Json":
    """Return the container as a list shows it; `aliases` are the names that others have for it. `id_of` finds the id of
    an image: the container's is shown by the name that the client has used as long as that leads to it."""
    image, id_ = container.config["Image"], container.document["Image"]
    return {
        "Id": container.id,
        "Names": [f"/{container.name}", *aliases],
        "Image": image if id_of(image) == id_ else id_,
        "ImageID": id_,
        "Command": _command_line(container.command),
        "Created": int(seconds(container.document["Created"])),
        "Ports": shown_networks.ports_listed(container, networks),
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
        "HostConfig": {**_host_config(container), **({"Links": links or None} if "Links" in document else {})},
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


def _host_config(container: Container) -> "Json":
    """Return HostConfig with all of its fields, also of a client that has sent few."""
    given = container.host_config
    paths: Json = {"MaskedPaths": None, "ReadonlyPaths": None}
    if not given.get("Privileged"):
        from pyfetch.bundle.runtime_config import MASKED_PATHS, READONLY_PATHS  # large, and only needed here

        paths = {"MaskedPaths": MASKED_PATHS, "ReadonlyPaths": READONLY_PATHS}
    own = {name: value for name, value in given.items() if value is not None}
    if own.get("PortBindings"):
        own["PortBindings"] = {
            port: [{"HostIp": "", "HostPort": "", **one} for one in bindings or []]
            for port, bindings in own["PortBindings"].items()
        }
    return {**_UNSET, **paths, **own}


def _layers(container: Container) -> "Json":
    places = container.places
    layers = [f"{places.images}/layers/{name}" for name in reversed(container.layers)]
    layer = places.layer(container.id)
    return {"LowerDir": ":".join(layers), "UpperDir": f"{layer}/upper", "WorkDir": f"{layer}/work"}

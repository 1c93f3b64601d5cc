"""The files by which a container's programs find names: /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from foundation.linux import os, whole_file
from pyfetch.bundle.runtime_config import Settings, hosts_and_hostname, name_servers
from pyrund.model import network
from pyrund.model.network import PREDEFINED
from pyrund.net.resolver import ADDRESS
from pyrund.spec.links import host_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.container import Container

    Json = dict[str, Any]

_HOSTS = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_NAME_SERVERS = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"  # as dockerd's, if the host has none in reach
_NAMES = ("hosts", "hostname", "resolv.conf")


def name_files(container: "Container", settings: "Settings") -> "dict[str, str]":
    """Return the files of the container's bundle, {name: content}."""
    files = hosts_and_hostname(settings)
    addresses = [address for endpoint in container.endpoints.values() for address in endpoint.addresses]
    if addresses:
        files["hosts"] = _HOSTS
    if container.network != "host" or has_own_name_servers(container):
        files["resolv.conf"] = resolv_conf(container, has_resolver(container))
    for entry in container.host_config.get("ExtraHosts") or []:
        name, _, address = entry.partition(":")
        files["hosts"] += f"{_gateway(container) if address == 'host-gateway' else address}\t{name}\n"
    files["hosts"] += "".join(host_lines(container).values())
    files["hosts"] += "".join(own_line(container, address) for address in addresses)
    return files


def has_resolver(container: "Container") -> bool:
    """Return whether a server of ours knows names for the container: it is in a network of one's own."""
    return any(one.address and name not in PREDEFINED for name, one in container.endpoints.items())


def has_own_name_servers(container: "Container") -> bool:
    """Return whether the client has chosen what /etc/resolv.conf says."""
    return any(container.host_config.get(name) for name in ("Dns", "DnsSearch", "DnsOptions"))


def resolv_conf(container: "Container", by_resolver: bool) -> str:
    """Return /etc/resolv.conf: the host's, with what the client wants instead; `by_resolver`: with our server."""
    host, text = container.host_config, _of_host(container)
    servers, search, options = (host.get(name) or [] for name in ("Dns", "DnsSearch", "DnsOptions"))
    if not (by_resolver or has_own_name_servers(container)):
        return text if "nameserver" in text else f"{text}{_NAME_SERVERS}"
    if by_resolver:
        servers = [ADDRESS]
        options = options if any(one.startswith("ndots:") for one in options) else ["ndots:0", *options]
    servers = servers or _words(text, "nameserver") or _words(_NAME_SERVERS, "nameserver")
    search = [] if search == ["."] else search or _words(text, "search")
    options = options or _words(text, "options")
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"{name} {' '.join(words)}" for name, words in (("search", search), ("options", options)) if words]
    return "".join(f"{line}\n" for line in lines)


def _of_host(container: "Container") -> str:
    """Return the host's file; in a network of its own, the container does not reach name servers on loopback."""
    if container.network != "host":
        return name_servers()
    try:
        return os.fsdecode(whole_file.read("/etc/resolv.conf"))
    except FileNotFoundError:
        return ""


def own_name_servers(made: "Json") -> None:
    """Let config.json take the container's own /etc/resolv.conf, where it would take the host's."""
    for mount in made["mounts"]:
        if mount["destination"] == "/etc/resolv.conf":
            mount.update(source="resolv.conf", options=[option for option in mount["options"] if option != "ro"])


def _words(text: str, name: str) -> "list[str]":
    """Return what a resolv.conf says of `name`."""
    lines = (line.split() for line in text.splitlines())
    return [word for words in lines if words[:1] == [name] for word in words[1:]]


def own_line(container: "Container", address: str) -> str:
    """Return the line of /etc/hosts for the container's own address: the name with its domain, and its first part."""
    name = ".".join(filter(None, (container.config["Hostname"], container.config["Domainname"])))
    return f"{address}\t{' '.join(dict.fromkeys((name, name.partition('.')[0])))}\n"


def _gateway(container: "Container") -> str:
    """Return the host's address on the default bridge."""
    return next(one.gateway for one in network.load_all(container.places) if one.name == "bridge")


def share(made: "Json", bundle: str) -> None:
    """Let config.json take the files of the container whose `bundle` this is, as if both were one machine."""
    for mount in made["mounts"]:
        name = mount["destination"][len("/etc/") :]
        if mount["destination"].startswith("/etc/") and name in _NAMES:
            path = f"{bundle}/{name}"
            mount["source"] = path if os.path.exists(path) else f"/etc/{name}"

"""The daemon's settings: the options of `serve`, and daemon.json, whose names are docker's."""

from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.document import Configuration, read_configuration
from pyrund.errors import Refused
from pyrund.net import bridge, subnet
from pyrund.net.subnet import Subnet
from pyrund.places import IN_DATA, MARKS, Defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.options import Options

# Names of daemon.json. Mirrors and insecure registries are read by pyfetch.
_TEXTS = ("data-root exec-root group log-driver tlscacert tlscert tlskey bridge bip fixed-cidr-v6").split()
_LISTS = ("hosts", "labels", "registry-mirrors", "insecure-registries")
_FLAGS = ("debug", "experimental", "tls", "tlsverify", "ipv6", "userland-proxy")
_KNOWN = (*_TEXTS, *_LISTS, *_FLAGS, "log-opts", "default-address-pools")
_NO_BRIDGE = "none"
_FLAGS_OF_LISTS = {"hosts": "host", "labels": "label"}
_MOST_POOLS = 12  # bits: 4096 networks of one pool
_OF_DOCKERD = ("overlay2", "image", "containerd", "engine-id", "buildkit")  # in dockerd's data-root


class Settings:
    """What the daemon is told.

    is_rootless     its user is not root
    hosts           where it listens; empty: at the sockets that it is given, or at `default_host`
    read_only_hosts where it listens to clients that may only read
    is_experimental clients are told so: docker's CLI has verbs that it offers only then
    tls             "" for none, "tls" for encryption alone, "tlsverify" for certificates of clients, too
    is_insecure     clients of other machines may connect without a certificate
    bridge_name     of the default bridge, "none" if there shall be none
    bip             (subnet, gateway) of the default bridge, None for one that is free
    ipv6            the default bridge has addresses of IPv6, too
    userland_proxy  workers serve published ports; None: if the host's firewall forwards nothing
    fixed_cidr_v6   its subnet of IPv6, None for one that is free
    idle            seconds without containers and clients after which it ends; 0 for never
    """

    def __init__(self, given: "Options", document: Configuration, file: str) -> None:
        default = Defaults()
        self.file = file
        self.is_rootless = default.is_rootless
        self.data_root = os.path.abspath(_text(given, document, "data-root") or default.data)
        self.exec_root = os.path.abspath(_text(given, document, "exec-root") or default.run)
        self.group = _text(given, document, "group") or default.group
        self.hosts = _list(given, document, "hosts")
        self.default_host = "" if self.hosts else f"unix://{default.socket}"
        self.read_only_hosts: list[str] = given.get("read_only_host", [])
        self.labels = _list(given, document, "labels")
        self.mirrors = document.strings("registry-mirrors")
        self.insecure_registries = document.strings("insecure-registries")
        self.log_driver = _text(given, document, "log-driver") or "json-file"
        self.log_options = document.text_map("log-opts") if document.has("log-opts") else {}
        self.debug = _flag(given, document, "debug")
        self.is_experimental = _flag(given, document, "experimental")
        verifies, encrypts = _flag(given, document, "tlsverify"), _flag(given, document, "tls")
        self.tls = "tlsverify" if verifies else "tls" if encrypts else ""
        self.tls_files = {
            name: _text(given, document, name) or f"/etc/docker/{file}"
            for name, file in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem"))
        }
        self.bridge_name = _text(given, document, "bridge") or bridge.DEFAULT
        if not bridge.is_name(self.bridge_name):
            raise Refused(f"bridge: {self.bridge_name!r} is not the name of an interface")
        self.bip = _bip(_text(given, document, "bip"))
        if self.bip and self.names_bridge:
            raise Refused("You specified -b & --bip, mutually exclusive options. Please specify only one")
        self.ipv6 = _flag(given, document, "ipv6")
        self.userland_proxy: bool | None = given.get("userland_proxy")
        _refuse_both(self.userland_proxy is not None, document, "userland-proxy")
        if document.has("userland-proxy"):
            self.userland_proxy = document.boolean("userland-proxy")
        self.fixed_cidr_v6 = _subnet_of_ipv6(_text(given, document, "fixed-cidr-v6"))
        self._pools = [_pool(one) for one in document.objects("default-address-pools")]
        self.is_insecure = bool(given.get("insecure_tcp"))
        self.idle = _seconds(given.get("idle", "0"))
        self.warnings = [
            f"{file}: unknown name {name!r}: ignored" for name in document.properties if name not in _KNOWN
        ]

    @property
    def has_bridge(self) -> bool:
        return self.bridge_name != _NO_BRIDGE

    @property
    def names_bridge(self) -> bool:
        """Whether the administrator has chosen the name of the default bridge."""
        return self.bridge_name != bridge.DEFAULT

    def pools(self) -> "list[Subnet]":
        """Return the subnets that networks get, if the administrator has named some."""
        return [one for base, prefix in self._pools for one in subnet.within(base, prefix)]

    def with_log_defaults(self, host_config: "dict[str, Any]") -> "dict[str, Any]":
        """Return HostConfig with the options of daemon.json for logs where the client has given none."""
        wanted = host_config.get("LogConfig") or {}
        driver = wanted.get("Type") or self.log_driver
        options = wanted.get("Config") or {}
        if driver == self.log_driver:
            options = {**self.log_options, **options}
        return {**host_config, "LogConfig": {"Type": driver, "Config": options}}


def read(given: "Options") -> Settings:
    """Return the settings of the options and of the file. Raises Refused."""
    path = given.get("config_file") or Defaults().daemon_json
    try:
        data = read_configuration(path)
        if data is None and "config_file" in given:
            raise Refused(f"unable to configure the Docker daemon with file {path}: no such file")
        settings = Settings(given, Configuration.decode(data or b"{}", path), path)
    except UsageError as error:
        raise Refused(str(error)) from None
    for name in _OF_DOCKERD:
        if os.path.lexists(f"{settings.data_root}/{name}"):
            raise Refused(f"{settings.data_root}: has the data of dockerd; name another folder with --data-root")
    _check_data_root(settings.data_root)
    return settings


def _check_data_root(path: str) -> None:
    """Raise Refused if what somebody else has there would be taken for ours: an engine that begins removes halves, and
    runs what it finds."""
    if os.path.isdir(path):
        status = os.stat(path)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            why = "belongs to or can be written by another user"
            raise Refused(f"{path}: {why}; name another folder with --data-root")
    if any(os.path.exists(f"{path}/{mark}") for mark in MARKS):
        return
    for name in IN_DATA:
        place = f"{path}/{name}"
        if os.path.lexists(place) and not (os.path.isdir(place) and not os.listdir(place)):
            raise Refused(f"{place} is not of pyrund; name another folder with --data-root")


def _bip(text: str) -> "tuple[Subnet, str] | None":
    """Return the subnet and the address of 10.1.0.1/24. Raises Refused."""
    if not text:
        return None
    try:
        given = subnet.parse(text)
        network = Subnet(given.base & given.mask, given.prefix)
    except ValueError:
        raise Refused(f"bip: {text!r} is not an address with the length of its prefix") from None
    if given.bits != 32 or not 8 <= network.prefix <= 30 or not network.base < given.base < network.end - 1:
        raise Refused(f"bip: {text!r} is not the address of a host in a network")
    return network, subnet.shown(given.base)


def _subnet_of_ipv6(text: str) -> "Subnet | None":
    """Return the subnet of 2001:db8:1::/64, None of "". Raises Refused."""
    if not text:
        return None
    try:
        found = subnet.parse(text)
    except ValueError:
        raise Refused(f"fixed-cidr-v6: {text!r} is not a network such as 2001:db8:1::/64") from None
    if found.bits != 128 or found.base & ~found.mask or not 8 <= found.prefix <= 126:
        raise Refused(f"fixed-cidr-v6: {text!r} is not a network such as 2001:db8:1::/64")
    return found


def _pool(entry: Configuration) -> "tuple[Subnet, int]":
    """Return a pool of networks and the length of their prefixes."""
    text, size = entry.string("base"), entry.integer("size", (8, 30))
    try:
        base = subnet.parse(text)
    except ValueError:
        raise entry.error("base", f"{text!r} is not a network such as 10.0.0.0/8") from None
    if base.base & ~base.mask or base.prefix > size or size - base.prefix > _MOST_POOLS:
        raise entry.error("base", f"{text!r} has no networks of the size {size}")
    return base, size


def _text(given: "Options", document: Configuration, name: str) -> str:
    keyword = name.replace("-", "_")
    _refuse_both(keyword in given, document, name)
    return str(given.get(keyword) or document.string(name))


def _flag(given: "Options", document: Configuration, name: str) -> bool:
    _refuse_both(name in given, document, name)
    return bool(given.get(name)) or document.boolean(name)


def _list(given: "Options", document: Configuration, name: str) -> "list[str]":
    option = _FLAGS_OF_LISTS[name]
    _refuse_both(option in given, document, name)
    return given.get(option) or document.strings(name)


def _refuse_both(is_given: bool, document: Configuration, name: str) -> None:
    if is_given and document.has(name):
        raise Refused(f"{name} is given both as an option and in {document.path.rstrip(': ') or 'daemon.json'}")


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(f'invalid argument "{text}" for "--idle" flag: expected a number of seconds', 125)
    return int(text)

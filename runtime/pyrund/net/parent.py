"""Networks above an interface of the host, their parent: containers are neighbours of the host's own neighbours.

macvlan gives each container a hardware address of its own, ipvlan that of the parent. The host and its containers do
not reach each other by the parent. A parent that is missing is made if its name is that of a VLAN (eth0.10), or if the
client has named none: it is then an interface that leads nowhere.

Sources: Documentation/networking/ipvlan.rst, ip-link(8).
"""

from foundation.linux.netlink import Netlink, attribute
from pyrund.errors import ApiError
from pyrund.net.bridge import GROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.net.subnet import Subnet

_MODES = {
    "macvlan": {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8},  # enum macvlan_mode, <linux/if_link.h>
    "ipvlan": {"l2": 0, "l3": 1, "l3s": 2},  # enum ipvlan_mode
}
_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}  # IPVLAN_F_*
_USUAL_MODE = {"macvlan": "bridge", "ipvlan": "l2"}
_USUAL_FLAG = "bridge"
KINDS = tuple(_MODES)
_IFLA_MACVLAN_MODE, _IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS, _IFLA_VLAN_ID = 1, 1, 2, 1
_LAST_VLAN = 4094
OPTION = "parent"
_PREFIXES = {"macvlan": "dm", "ipvlan": "di"}  # of the names of interfaces that lead nowhere, as docker's


class Parent:
    """The host's side of the network `id_`, whose driver is `kind`; `options` are what the client has told the driver.

    is_internal   nothing leads out of the network
    """

    subnet: "Subnet"
    subnet6: "Subnet | None" = None
    gateway = gateway6 = ""
    is_internal = False

    def __init__(self, kind: str, id_: str, options: "dict[str, str]") -> None:
        self.kind = kind
        self.alias = f"{_PREFIXES[kind]}-{id_[:12]}"
        self.name = options.get(OPTION) or self.alias
        self._mode = options.get(f"{kind}_mode") or _USUAL_MODE[kind]
        self._flag = options.get("ipvlan_flag") or _USUAL_FLAG

    @property
    def is_dummy(self) -> bool:
        """Whether the client has named no interface."""
        return self.name == self.alias

    @property
    def has_neighbours(self) -> bool:
        """Whether containers can reach a gateway: in the modes of the third layer the host routes what they send."""
        return self._mode not in ("l3", "l3s")

    @property
    def data(self) -> bytes:
        """The attributes of a container's interface."""
        mode = _MODES[self.kind][self._mode]
        if self.kind == "macvlan":
            return attribute(_IFLA_MACVLAN_MODE, mode.to_bytes(4, "little"))
        flags = _FLAGS[self._flag].to_bytes(2, "little")
        return attribute(_IFLA_IPVLAN_MODE, mode.to_bytes(2, "little")) + attribute(_IFLA_IPVLAN_FLAGS, flags)

    def check(self) -> None:
        """Raise ApiError, with docker's words, for options that cannot be."""
        if self._mode not in _MODES[self.kind]:
            usual = f"'{_USUAL_MODE[self.kind]}' mode is the {self.kind} driver default"
            raise ApiError(400, f"requested {self.kind} mode '{self._mode[:80]}' is not valid, {usual}")
        if self.kind == "ipvlan" and self._flag not in _FLAGS:
            usual = f"'{_USUAL_FLAG}' is the ipvlan driver default"
            raise ApiError(400, f"requested ipvlan flag '{self._flag[:80]}' is not valid, {usual}")
        if self.name == "lo":
            raise ApiError(400, f"loopback interface is not a valid {self.kind} parent link")


def make(parent: Parent) -> int:
    """Make the interface if it is missing and can be made; return its index. Raises ApiError."""
    here = Netlink()
    try:
        found = here.index(parent.name)
        if not found:
            _make(here, parent)
            found = here.index(parent.name)
            here.bring_up(found)
        return found
    finally:
        here.close()


def _make(here: Netlink, parent: Parent) -> None:
    what = "dummy" if parent.is_dummy else "vlan"
    try:
        if parent.is_dummy:
            here.make(parent.name, "dummy", group=GROUP)
        else:
            above, number = _vlan(here, parent.name)
            data = attribute(_IFLA_VLAN_ID, number.to_bytes(2, "little"))
            here.make(parent.name, "vlan", data, parent=above, group=GROUP)
    except OSError as error:
        raise ApiError(500, f"failed to create {parent.name} {what} link: {(error.strerror or '').lower()}") from None


def _vlan(here: Netlink, name: str) -> "tuple[int, int]":
    """Return the index of the interface, and the number of the VLAN, that the name of a sub-interface has."""
    above, dot, number = name.rpartition(".")
    if not dot:
        raise ApiError(500, f"invalid subinterface vlan name {name[:80]}, example formatting is eth0.10")
    if not (number.isascii() and number.isdigit()):
        raise ApiError(500, f"unable to parse a valid vlan id from: {number[:80]} (ex. eth0.10 for vlan 10)")
    if not 1 <= int(number[:9]) <= _LAST_VLAN:
        raise ApiError(500, f"vlan id must be between 1-{_LAST_VLAN}, received: {number[:80]}")
    index = here.index(above)
    if not index:
        raise ApiError(500, f"-o parent interface does was not found on the host: {above}")
    return index, int(number)

"""The default bridge as the administrator wants it: its name, its addresses, or that there is none."""

import sys

from foundation.linux import os
from pyrund.errors import Refused
from pyrund.model.network import BRIDGE_NAME
from pyrund.net import bridge, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.network import Network
    from pyrund.net.subnet import Subnet
    from pyrund.places import Places
    from pyrund.settings import Settings

    Json = dict[str, Any]


def settle(known: "Network", settings: "Settings", places: "Places") -> None:
    """Change the default network as the settings say; what is left to choose is chosen when it is used first. If there
    shall be none, it is nothing on the host afterwards. Raises Refused, Error and OSError."""
    if not settings.has_bridge:
        _refuse_while_running(known, places)
        _leave_host(known, places)
        return
    wanted = {**known.document, **_changes(known, settings)}
    if wanted == known.document:
        return
    if settings.bridge_name != known.bridge_name:
        _refuse_while_running(known, places)
    elif _has_containers(places):
        print(f"pyrund: warning: {known.bridge_name} stays as it is while containers run", file=sys.stderr, flush=True)
        return
    _leave_host(known, places)
    known.document.update(wanted)
    known.save(places)


def wanted_subnet(settings: "Settings") -> "tuple[Subnet, str] | None":
    """Return the subnet and the address that the default bridge must have: those of bip, or of a bridge that is there;
    None if they can be chosen. Raises Error and OSError."""
    return settings.bip or (bridge.found(settings.bridge_name) if settings.names_bridge else None)


def _changes(known: "Network", settings: "Settings") -> "Json":
    found: Json = {"EnableIPv6": settings.ipv6}
    found["Options"] = {BRIDGE_NAME: settings.bridge_name} if settings.names_bridge else {}
    subnet, subnet6 = wanted_subnet(settings), settings.fixed_cidr_v6
    if settings.bridge_name != known.bridge_name or subnet and str(subnet[0]) != known.document["Subnet"]:
        found.update(Subnet="", Gateway="")
    if not settings.ipv6 or subnet6 and str(subnet6) != known.document["Subnet6"]:
        found.update(Subnet6="", Gateway6="")
    return found


def _has_containers(places: "Places") -> bool:
    return os.path.isdir(places.states) and bool(os.listdir(places.states))


def _refuse_while_running(known: "Network", places: "Places") -> None:
    if _has_containers(places):
        raise Refused(f"bridge: it stays {known.bridge_name} while containers run; stop them first")


def _leave_host(known: "Network", places: "Places") -> None:
    """Remove what the network has been on the host, if it was ours. Raises OSError."""
    name = table.name_of(known.bridge_name)
    if known.document["Subnet"] and table.owner_of(name) == places.run:
        table.remove(name)
        bridge.remove_ours(known.bridge_name)

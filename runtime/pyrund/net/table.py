"""The table of nftables: what may pass between containers and the world, and which ports are published.

It is made as a whole, in one transaction, of the bridges that there are and the ports that are published. Between that,
a port comes and goes as an element of a map, so a thousand ports are a thousand elements, not rules.
"""

import errno

from foundation.linux import os
from foundation.linux.nft_expressions import (
    DIFFERENT,
    SCTP,
    TCP,
    UDP,
    comes_from,
    comes_from_ipv6,
    comes_from_loopback,
    crosses,
    enters_by,
    find_address_and_port,
    find_address_and_port_of_ipv6,
    find_port,
    find_port_of_ipv6,
    goes_to_loopback,
    goes_to_this_machine,
    has_new_destination,
    is_answer,
    is_ipv4,
    is_ipv6,
    leaves_by,
    masquerade,
    redirect,
    redirect_ipv6,
    touches_no_interface_of,
    verdict,
)
from foundation.linux.nftables import (
    ACCEPT,
    DROP,
    FORWARD,
    INTERFACE,
    IPV4,
    IPV6,
    OUTPUT,
    PORT,
    POSTROUTING,
    PREROUTING,
    PROTOCOL,
    Transaction,
    comment_of,
)
from pyrund import lock
from pyrund.errors import Refused
from pyrund.net.bridge import DEFAULT, GROUP
from pyrund.net.subnet import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from pyrund.net.bridge import Bridge
    from pyrund.net.ports import Published

    Elements = dict[str, list[tuple[bytes, bytes]]]

_RAW, _DESTINATION_NAT, _FILTER, _SOURCE_NAT = -300, -100, 0, 100  # priorities of <linux/netfilter_ipv4.h>
_EVERYWHERE, _AT_AN_ADDRESS = "published", "published_at"
_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}


def name_of(bridge: str) -> str:
    """Return the name of the table of the engine that has this default bridge."""
    return "pyrund" if bridge == DEFAULT else f"pyrund-{bridge}"


def refuse_other(table: str, run: str) -> None:
    """Raise Refused if the table belongs to another engine in this network namespace than that of the folder `run`,
    and that one is running or has containers that are."""
    owner = owner_of(table)
    if owner not in ("", run) and _is_used(owner):
        raise Refused(
            f"the engine of {owner} has the bridge and the table {table} here; name another bridge with --bridge"
        )


def owner_of(table: str) -> str:
    """Return the folder of the engine to which the table belongs, "" if there is none."""
    try:
        return comment_of(table)
    except OSError:
        return ""  # there is no table; or no nftables in this kernel, which make() will say


def _is_used(run: str) -> bool:
    states = f"{run}/pyrun"
    return os.path.isdir(states) and bool(os.listdir(states)) or lock.is_taken(run)


def remove(table: str) -> None:
    """Raises OSError: ENOENT if there is no such table."""
    changes = Transaction(table)
    changes.remove()
    changes.commit()


def make(
    table: str, owner: str, bridges: "list[Bridge]", published: "Iterable[Published]", forwarded: "Container[str]"
) -> None:
    """Make the table of the engine of the folder `owner` anew. `forwarded`: "ipv4" and "ipv6", if others may go on to
    have their packets forwarded.

    Raises OSError; nothing has changed then.
    """
    changes = Transaction(table)
    changes.make_anew(owner)
    _add_sets(changes, bridges)
    _add_filters(changes, forwarded)
    _add_translations(changes)
    for name, elements in _elements(published).items():
        changes.put(name, elements)
    changes.commit()


def publish(table: str, published: "Iterable[Published]") -> None:
    """Raises OSError: EEXIST if somebody else has a port."""
    changes = Transaction(table)
    for name, elements in _elements(published).items():
        changes.put(name, elements)
    changes.commit()


def unpublish(table: str, published: "Iterable[Published]") -> None:
    """Take the ports back. Ports that are not published, because somebody has flushed the table, are ignored."""
    changes = Transaction(table)
    for name, elements in _elements(published).items():
        changes.put(name, elements)  # so that they are there
        changes.take(name, elements)
    try:
        changes.commit()
    except OSError as error:
        if error.errno != errno.ENOENT:  # of the table itself
            raise


def _add_sets(changes: Transaction, bridges: "list[Bridge]") -> None:
    changes.set("bridges", INTERFACE)
    changes.set("internal", INTERFACE)
    changes.set("pairs", INTERFACE, INTERFACE)
    changes.set("subnets", IPV4, is_interval=True)
    changes.set("masqueraded", IPV4, is_interval=True)
    changes.set("masqueraded6", IPV6, is_interval=True)
    changes.set("subnets6", IPV6, is_interval=True)
    for family, suffix in ((IPV4, ""), (IPV6, "6")):
        changes.map(f"{_EVERYWHERE}{suffix}", (PROTOCOL, PORT), (family, PORT))
        changes.map(f"{_AT_AN_ADDRESS}{suffix}", (family, PROTOCOL, PORT), (family, PORT))
    for bridge in bridges:
        name = bridge.name.encode().ljust(INTERFACE[1], b"\0")
        changes.put("bridges", [(name, b"")])
        if bridge.is_internal:
            changes.put("internal", [(name, b"")])
        if bridge.joins_containers:
            changes.put("pairs", [(name + name, b"")])
        changes.put_range("subnets", *bridge.subnet.range)
        if bridge.subnet6:
            changes.put_range("subnets6", *bridge.subnet6.range)
        if bridge.masquerades:
            changes.put_range("masqueraded", *bridge.subnet.range)
            if bridge.subnet6:
                changes.put_range("masqueraded6", *bridge.subnet6.range)


def _add_filters(changes: Transaction, forwarded: "Container[str]") -> None:
    # We route 127.0.0.0/8 to the bridges for the host's own visits to published ports; nobody comes from there.
    changes.chain("loopback", "filter", PREROUTING, _RAW)
    changes.rule("loopback", enters_by("bridges"), goes_to_loopback(), verdict(DROP))
    changes.rule("loopback", enters_by("bridges"), comes_from_loopback(), verdict(DROP))

    changes.chain("forward", "filter", FORWARD, _FILTER)
    changes.rule("forward", leaves_by("bridges"), is_answer(), verdict(ACCEPT))
    changes.rule("forward", crosses("pairs"), verdict(ACCEPT))
    changes.rule("forward", enters_by("internal"), verdict(DROP))
    changes.rule("forward", leaves_by("internal"), verdict(DROP))
    changes.rule("forward", leaves_by("bridges"), has_new_destination(), verdict(ACCEPT))
    changes.rule("forward", leaves_by("bridges"), verdict(DROP))
    # The bridges of another engine are in the group, too: what may pass there is that one's to say.
    elsewhere = enters_by("bridges", DIFFERENT) + leaves_by("bridges", DIFFERENT) + touches_no_interface_of(GROUP)
    for protocol, name in ((is_ipv4(), "ipv4"), (is_ipv6(), "ipv6")):
        if name not in forwarded:
            changes.rule("forward", protocol, elsewhere, verdict(DROP))


def _add_translations(changes: Transaction) -> None:
    for chain, hook in (("prerouting", PREROUTING), ("output", OUTPUT)):
        changes.chain(chain, "nat", hook, _DESTINATION_NAT)
        changes.rule(chain, find_address_and_port(_AT_AN_ADDRESS), redirect())
        changes.rule(chain, goes_to_this_machine(), find_port(_EVERYWHERE), redirect())
        changes.rule(chain, find_address_and_port_of_ipv6(f"{_AT_AN_ADDRESS}6"), redirect_ipv6())
        changes.rule(chain, goes_to_this_machine(), find_port_of_ipv6(f"{_EVERYWHERE}6"), redirect_ipv6())

    changes.chain("postrouting", "nat", POSTROUTING, _SOURCE_NAT)
    for containers in (comes_from("masqueraded"), comes_from_ipv6("masqueraded6")):
        changes.rule("postrouting", containers, leaves_by("bridges", DIFFERENT), masquerade())
    # The host itself at 127.0.0.1, and a container that visits a published port: the answer must come back to us.
    for visitors in (comes_from_loopback(), comes_from("subnets"), comes_from_ipv6("subnets6")):
        changes.rule("postrouting", leaves_by("bridges"), has_new_destination(), visitors, masquerade())


def _elements(published: "Iterable[Published]") -> "Elements":
    """Return what is put into each map."""
    found: Elements = {}
    for one in published:
        if one.is_served:
            continue
        key = _word(bytes([_PROTOCOLS[one.protocol]])) + _word(one.host_port.to_bytes(2, "big"))
        data = packed(one.address) + _word(one.port.to_bytes(2, "big"))
        suffix = "6" if ":" in one.host_address else ""
        if one.is_everywhere:
            found.setdefault(f"{_EVERYWHERE}{suffix}", []).append((key, data))
        else:
            found.setdefault(f"{_AT_AN_ADDRESS}{suffix}", []).append((packed(one.host_address) + key, data))
    return found


def _word(value: bytes) -> bytes:
    return value.ljust(4, b"\0")

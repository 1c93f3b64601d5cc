"""Addresses: a subnet that the host does not use, and the ones in it that no container has."""

import _socket

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# As dockerd's default-address-pools: the first network of these that no route of the host overlaps.
_POOLS = [f"172.{second}.0.0/16" for second in range(17, 32)] + [f"192.168.{third}.0/20" for third in range(0, 256, 16)]


class Subnet:
    """A network: its first address and the length of its prefix. Its gateway has the address after the first.

    `bits` is the length of an address: 32, or 128 with IPv6.
    """

    def __init__(self, base: int, prefix: int, bits: int = 32) -> None:
        self.base = base
        self.prefix = prefix
        self.bits = bits

    @property
    def mask(self) -> int:
        return ((1 << self.prefix) - 1) << self.bits - self.prefix

    @property
    def end(self) -> int:
        """The number after its last address."""
        return self.base + (1 << self.bits - self.prefix)

    @property
    def gateway(self) -> str:
        return shown(self.base + 1, self.bits)

    @property
    def range(self) -> "tuple[bytes, bytes]":
        """Its first address, and the one after its last, which is 0 at the end of all addresses."""
        first, end = self.base, self.end & (1 << self.bits) - 1
        return first.to_bytes(self.bits // 8, "big"), end.to_bytes(self.bits // 8, "big")

    def __str__(self) -> str:
        return f"{shown(self.base, self.bits)}/{self.prefix}"

    def overlaps(self, other: "Subnet") -> bool:
        return self.bits == other.bits and self.base < other.end and other.base < self.end

    def holds(self, address: str) -> bool:
        found = packed(address)
        return len(found) * 8 == self.bits and self.base <= int.from_bytes(found, "big") < self.end

    def lowest_free(self, used: "Iterable[str]", within: "Subnet") -> "str | None":
        """Return the lowest address in `within`, a part of this subnet, that is not `used`; None if there is none."""
        taken = {packed(address) for address in used}
        for number in range(max(within.base, self.base + 1), min(within.end, self.end - 1)):
            if number.to_bytes(self.bits // 8, "big") not in taken:
                return shown(number, self.bits)
        return None


def parse(text: str) -> Subnet:
    """Return the subnet of "172.17.0.0/16". Raises ValueError."""
    address, slash, prefix = text.partition("/")
    base = packed(address)
    if not (slash and prefix.isascii() and prefix.isdigit() and int(prefix) <= 8 * len(base)):
        raise ValueError(text)
    return Subnet(int.from_bytes(base, "big"), int(prefix), 8 * len(base))


def within(base: Subnet, prefix: int) -> "Iterator[Subnet]":
    """Yield the subnets of `base` that have the length `prefix`."""
    for number in range(base.base, base.end, 1 << 32 - prefix):
        yield Subnet(number, prefix)


def choose(routes: str, used: "Iterable[Subnet]", own: str, pools: "Iterable[Subnet]" = ()) -> Subnet:
    """Return the first of `pools`, or of the default ones, that overlaps none of `used`, and none of `routes`, the text
    of /proc/net/route, except those by our `own` interface, which an earlier engine may have left. Raises ApiError."""
    taken = list(used)
    for line in routes.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[index])[::-1], "big") for index in (1, 7))
        if mask and fields[0] != own:
            taken.append(Subnet(destination, bin(mask).count("1")))
    for subnet in pools or map(parse, _POOLS):
        if not any(map(subnet.overlaps, taken)):
            return subnet
    raise ApiError(400, "all predefined address pools have been fully subnetted")


def choose_local(seed: str, used: "Iterable[Subnet]") -> Subnet:
    """Return a subnet of unique local addresses of IPv6 (RFC 4193) that overlaps none of `used`. `seed`, 40 bits in
    hexadecimal, tells engines apart."""
    taken = list(used)
    base = int(f"fd{seed}", 16) << 80
    found = (Subnet(base | number << 64, 64, 128) for number in range(1 << 16))
    return next(subnet for subnet in found if not any(map(subnet.overlaps, taken)))


def packed(address: str) -> bytes:
    """Return the bytes of "172.17.0.1" or "fd00::1". Raises ValueError."""
    if ":" in address:
        try:
            return _socket.inet_pton(_socket.AF_INET6, address)
        except OSError:
            raise ValueError(address) from None
    parts = address.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        raise ValueError(address)
    found = bytes(map(int, parts))
    if ".".join(map(str, found)) != address:
        raise ValueError(address)  # 010 is eight to some and ten to others; Go takes neither
    return found


def shown(number: int, bits: int = 32) -> str:
    if bits == 128:
        return _socket.inet_ntop(_socket.AF_INET6, number.to_bytes(16, "big"))
    return ".".join(map(str, number.to_bytes(4, "big")))


def usual(address: str) -> str:
    """Return an address as it is usually written, so that two of them can be compared. Raises ValueError."""
    found = packed(address)
    return shown(int.from_bytes(found, "big"), 8 * len(found))


def mac_of(address: str) -> str:
    """Return the hardware address of the container with `address`, as dockerd makes it."""
    return (b"\x02\x42" + packed(address)).hex(":")


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))

"""Platforms: what this machine is, what an index offers, and which of it fits best.

Source: image-spec, image-index.md, "platform"; the order of fallbacks and the spellings accepted are containerd's and
docker's, since images are built for them.
"""

import os

from pyfetch.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.manifest import Descriptor

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm": ("arm", "v7"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
_OPERATING_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


class Platform:
    """os/architecture[/variant]; a variant that goes without saying (arm64/v8, amd64/v1) is left out."""

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        self.os = os.lower()
        self.architecture, default = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), ""))
        self.variant = variant.lower() or default
        if not self.variant.startswith("v") and self.variant[:1].isdigit():
            self.variant = f"v{self.variant}"
        if (self.architecture, self.variant) in (("arm64", "v8"), ("amd64", "v1")):
            self.variant = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def fits(self) -> "list[Platform]":
        """Return what can run where this platform was asked for, the best first."""
        variants = [Platform(self.os, arch, variant) for arch, variant in _fallbacks(self.architecture, self.variant)]
        return [self, *variants]


def host_platform() -> Platform:
    return Platform("linux", os.uname().machine)


def parse_platform(text: str) -> Platform:
    """Return the Platform that --platform names: os/architecture[/variant], or only one of the first two."""
    parts = text.split("/")
    if len(parts) > 3 or not all(
        part and part.replace(".", "").replace("-", "").replace("_", "").isalnum() for part in parts
    ):
        raise UsageError(f"--platform: {text!r} is not os/architecture or os/architecture/variant")
    if len(parts) == 1:
        host = host_platform()
        is_os = parts[0].lower() in _OPERATING_SYSTEMS
        return Platform(parts[0], host.architecture, host.variant) if is_os else Platform("linux", parts[0])
    return Platform(*parts)


def choose(manifests: "list[Descriptor]", wanted: Platform) -> "list[Descriptor]":
    """Return the entries of an index that fit `wanted`, the best first; entries that say nothing come last.

    image-index.md: "If multiple manifests match a client or runtime's requirements, the first matching entry SHOULD
    be used", hence the stable sort.
    """
    ranks = {platform: rank for rank, platform in enumerate(wanted.fits())}
    known = [m for m in manifests if m.platform in ranks]
    known.sort(key=lambda m: ranks[m.platform] if m.platform else 0)
    found = known or [m for m in manifests if m.platform is None or not m.platform.os]
    if not found:
        raise NotFound(f"no matching manifest for {wanted} in the manifest list entries: {_offer(manifests)}")
    return found


def _offer(manifests: "list[Descriptor]") -> str:
    # BuildKit lists its attestations as unknown/unknown.
    names = dict.fromkeys(str(m.platform) for m in manifests if m.platform and m.platform.os != "unknown")
    return f"the image exists for {', '.join(names)}; choose one with --platform" if names else "the list is empty"


def _fallbacks(architecture: str, variant: str) -> "list[tuple[str, str]]":
    level = int(variant[1:].partition(".")[0]) if variant[1:2].isdigit() else 0
    if architecture == "amd64":
        return [*(("amd64", f"v{n}") for n in range(level - 1, 0, -1)), ("386", "")]
    if architecture == "arm":
        return [("arm", f"v{n}") for n in range(level - 1, 4, -1)]
    if architecture == "arm64":
        minor = int(variant.partition(".")[2] or 0) if variant.partition(".")[2].isdigit() else 0
        minors = [("arm64", f"v{level}.{n}" if n else f"v{level}") for n in range(minor - 1, -1, -1)]
        majors = [("arm64", f"v{n}") for n in range(level - 1, 7, -1)]
        return [*minors, *majors, *(("arm", f"v{n}") for n in range(8, 4, -1))]
    return []

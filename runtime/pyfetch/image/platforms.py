"""Platforms: which one this machine is, and which others it can run.

Source: image-spec, image-index.md, "platform"; the order of fallbacks and the spellings accepted are containerd's and
docker's, since images are built for them.
"""

from foundation.linux import os
from pyfetch.errors import UsageError

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
_LEVELS = ("amd64", "arm", "arm64")  # architectures whose higher variants run the lower ones
_OPERATING_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


class Platform:
    """os/architecture[/variant], without a variant that is the default (arm64/v8, amd64/v1)."""

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
        """Return the platforms whose images can run on this one, the best first."""
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
    platform = Platform(*parts)
    if platform.architecture in _LEVELS and platform.variant and not _is_level(platform.variant):
        raise UsageError(f"--platform: {text!r}: a variant of {platform.architecture} is v and a number")
    return platform


def _is_level(variant: str) -> bool:
    """v, at most two digits, and perhaps a point and as many more: v7, v9.2"""
    major, point, minor = variant[1:].partition(".")
    numbers = [major, minor] if point else [major]
    return variant[0] == "v" and all(n.isascii() and n.isdigit() and len(n) <= 2 for n in numbers)


def _fallbacks(architecture: str, variant: str) -> "list[tuple[str, str]]":
    major, _, minor = variant[1:].partition(".") if architecture in _LEVELS else ("", "", "")
    level = int(major or 0)
    if architecture == "amd64":
        return [*(("amd64", f"v{n}") for n in range(level - 1, 0, -1)), ("386", "")]
    if architecture == "arm":
        return [("arm", f"v{n}") for n in range(level - 1, 4, -1)]
    if architecture == "arm64":
        minors = [("arm64", f"v{level}.{n}" if n else f"v{level}") for n in range(int(minor or 0) - 1, -1, -1)]
        majors = [("arm64", f"v{n}") for n in range(level - 1, 7, -1)]
        return [*minors, *majors, *(("arm", f"v{n}") for n in range(8, 4, -1))]
    return []

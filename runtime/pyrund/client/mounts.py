"""--volume, --mount and --tmpfs."""

import stat

from foundation.linux import os
from pyrund.client.values import is_number, refused
from pyrund.errors import ApiError, Refused
from pyrund.spec import log_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def volumes(texts: "list[str]") -> "tuple[list[str], list[str]]":
    """Return (Binds, paths of anonymous volumes). A source that begins with "." is relative to here."""
    binds, anonymous = [], []
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon:
            anonymous.append(text)
        else:
            binds.append(f"{os.path.abspath(source) if source.startswith('.') else source}:{rest}")
    return binds, anonymous


def tmpfs(texts: "list[str]") -> "dict[str, str]":
    return dict(text.partition(":")[::2] for text in texts)


def mounts(texts: "list[str]") -> "list[Json]":
    """Return Mounts. Raises Refused."""
    return [_mount(text) for text in texts]


def _mount(text: str) -> "Json":
    mount: Json = {"Type": "volume"}
    for field in fields(text, "mount"):
        name, equals, value = field.partition("=")
        _set(mount, name.lower(), value if equals else "true", text)
    if not mount.get("Target"):
        raise _invalid(text, "target is required")
    for kind in ("Volume", "Bind", "Tmpfs"):
        if f"{kind}Options" in mount and mount["Type"] != kind.lower():
            raise _invalid(text, f"cannot mix '{kind.lower()}-*' options with mount type '{mount['Type']}'")
    return mount


def _set(mount: "Json", name: str, value: str, text: str) -> None:
    if name == "type":
        mount["Type"] = value.lower()
    elif name in ("source", "src"):
        mount["Source"] = os.path.abspath(value) if value.startswith(".") else value
    elif name in ("target", "destination", "dst"):
        mount["Target"] = value
    elif name in ("readonly", "ro"):
        mount["ReadOnly"] = _truth(name, value, text)
    elif name == "consistency":
        mount["Consistency"] = value.lower()
    elif name == "bind-propagation" and value.lower() in _PROPAGATION:
        mount.setdefault("BindOptions", {})["Propagation"] = value.lower()
    elif name == "bind-nonrecursive":
        mount.setdefault("BindOptions", {})["NonRecursive"] = _truth(name, value, text)
    elif name == "volume-nocopy":
        mount.setdefault("VolumeOptions", {})["NoCopy"] = _truth(name, value, text)
    elif name == "volume-subpath":
        mount.setdefault("VolumeOptions", {})["Subpath"] = value
    elif name in ("volume-label", "volume-opt"):
        _pair(mount.setdefault("VolumeOptions", {}), name, value)
    elif name == "volume-driver":
        mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value
    elif name == "tmpfs-size":
        mount.setdefault("TmpfsOptions", {})["SizeBytes"] = _size(value, text)
    elif name == "tmpfs-mode":
        if not value.strip("01234567") and value:
            mount.setdefault("TmpfsOptions", {})["Mode"] = stat.S_IMODE(int(value, 8))
        else:
            raise _invalid(text, f"invalid value for tmpfs-mode: {value}")
    else:
        raise _invalid(text, f"unexpected key '{name}' in '{name}={value}'")


def _pair(options: "Json", name: str, text: str) -> None:
    key, _, value = text.partition("=")
    place = options if name == "volume-label" else options.setdefault("DriverConfig", {})
    place.setdefault("Labels" if name == "volume-label" else "Options", {})[key] = value


def _truth(name: str, value: str, text: str) -> bool:
    if value not in ("true", "1", "false", "0"):
        raise _invalid(text, f"invalid value for {name}: {value}")
    return value in ("true", "1")


def _size(value: str, text: str) -> int:
    try:
        return int(value) if is_number(value) else log_config.size(value)
    except ApiError:
        raise _invalid(text, f"invalid value for tmpfs-size: {value}") from None


def fields(text: str, option: str) -> "list[str]":
    """Return the fields between commas; a field in quotes may have commas in it (RFC 4180). Raises Refused."""
    import csv

    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise refused(option, text, error) from None


def _invalid(text: str, why: str) -> Refused:
    return refused("mount", text, why)

"""LogConfig: which log a container has, and how large that may become."""

from pyrund.errors import ApiError, missing
from pyrund.model.network import flag
from pyrund.spec import log_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

# Of a driver: bytes of a log file, number of files. That of json-file is unlike dockerd's, which fills the disk.
DEFAULTS = {"json-file": (64 << 20, 2), "local": (20 << 20, 5), "none": (0, 1)}
_LIMITS = ("max-size", "max-file", "compress")
_OPTIONS = {"json-file": (*_LIMITS, *log_attributes.OPTIONS), "local": _LIMITS}
_MODES = ("blocking", "non-blocking", "")

_OF_DOCKERD = frozenset("awslogs etwlogs fluentd gcplogs gelf journald splunk syslog".split())  # beside these


def checked(given: "Json") -> "Json":
    """Return LogConfig with the default driver. Raises ApiError."""
    kind, options = given.get("Type") or "json-file", given.get("Config") or {}
    if kind in _OF_DOCKERD:
        raise missing(f"log driver {kind}")
    if kind not in DEFAULTS:
        raise ApiError(400, f"logger: no log driver named '{kind[:80]}' is registered")
    _check_mode(options)
    own = {name: value for name, value in options.items() if name not in ("mode", "max-buffer-size")}
    for name, value in own.items() if kind != "none" else ():
        if name not in _OPTIONS[kind]:
            raise ApiError(400, f"unknown log opt '{name[:80]}' for {kind} log driver")
        if name == "tag":
            log_attributes.check_tag(value)
    if kind != "none":
        _check_limits(kind, options)
    return {"Type": kind, "Config": options}


def _check_limits(kind: str, options: "Json") -> None:
    """Raise ApiError for what dockerd does not take when it starts a container. But -1 means that there is no limit,
    because there is one by default."""
    most, files = limits({"LogConfig": {"Type": kind, "Config": options}})
    for name in ("max-size", "max-file"):
        if options.get(name) == "":
            raise ApiError(400, f"invalid value for {name}: it is empty")
    if kind == "json-file" and not most and options["max-size"] != "-1":
        raise ApiError(400, "max-size must be a positive number")
    compresses = flag(options.get("compress", "false"))
    if compresses is None:
        raise ApiError(400, f"invalid value for compress: {options['compress'][:80]}")
    if compresses and files < 2:
        raise ApiError(400, "compress cannot be true when max-file is less than 2")


def _check_mode(options: "Json") -> None:
    """Raise ApiError for what dockerd does not take. It makes no difference here: no container waits for its log."""
    mode = options.get("mode", "")
    if mode not in _MODES:
        raise ApiError(400, f"logger: logging mode not supported: {mode[:80]}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise ApiError(400, "logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        size(options["max-buffer-size"])


def limits(host_config: "Json") -> "tuple[int, int]":
    """Return (bytes of a log file, number of files); 0 bytes are no limit. Raises ApiError."""
    kind, options = host_config["LogConfig"]["Type"], host_config["LogConfig"]["Config"]
    default_size, default_files = DEFAULTS[kind]
    most, files = str(options.get("max-size", "")), str(options.get("max-file", ""))
    if files and not (files.isascii() and files.isdigit() and 0 < int(files) < 10_000):
        raise ApiError(400, f"invalid value for max-file: {files[:80]}")
    wanted = 0 if most == "-1" else size(most) if most else default_size
    return wanted, int(files) if files else default_files


def size(text: str) -> int:
    """Return bytes: "10m" are 10 MiB, "1.5g" are 1.5 GiB, as in docker's options. Raises ApiError."""
    number = text.lower().rstrip("b")
    unit = number[-1:] if number[-1:] in ("k", "m", "g", "t") else ""
    whole, point, fraction = number[: len(number) - len(unit)].partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole and len(digits) < 16 and bool(fraction) == bool(point)):
        raise ApiError(400, f"invalid size: '{text[:80]}'")
    return (int(digits) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[unit]) // int(f"1{'0' * len(fraction)}")

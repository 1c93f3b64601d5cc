"""The messages of criu's RPC (criu/rpc.proto) in the encoding of protocol buffers.

A message is a sequence of fields, each with a number and a value: an integer, or bytes that are a string or another
message. This is the part of https://protobuf.dev/programming-guides/encoding/ that criu uses.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Value = Union[bool, int, str, bytes, "list[Value]"]

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, VERSION = 1, 2, 4, 6, 10

REQUEST = {"type": 1, "opts": 2, "notify_success": 3, "keep_open": 4}
OPTIONS = {
    "images_dir_fd": 1, "pid": 2, "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5, "evasive_devices": 6,
    "shell_job": 7, "file_locks": 8, "log_level": 9, "log_file": 10, "ps": 11, "notify_scripts": 12, "root": 13,
    "parent_img": 14, "track_mem": 15, "auto_dedup": 16, "work_dir_fd": 17, "link_remap": 18, "manage_cgroups": 24,
    "cg_root": 25, "rst_sibling": 26, "inherit_fd": 27, "manage_cgroups_mode": 34, "external": 37, "empty_ns": 38,
    "join_ns": 39, "freeze_cgroup": 44, "tcp_skip_in_flight": 46, "lazy_pages": 48, "orphan_pts_master": 50,
    "config_file": 51, "tcp_close": 52, "lsm_profile": 53, "lsm_mount_context": 63,
}  # fmt: skip
PAGE_SERVER = {"address": 1, "port": 2}
CGROUP_ROOT = {"ctrl": 1, "path": 2}
INHERIT_FD = {"key": 1, "fd": 2}
JOIN_NAMESPACE = {"ns": 1, "ns_file": 2}

_RESPONSE = {1: "type", 2: "success", 4: "restore", 5: "notify", 9: "cr_errmsg", 10: "version"}
_RESTORED = {1: "pid"}
_NOTICE = {1: "script", 2: "pid"}
_VERSION = {1: "major", 2: "minor"}

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_WORD = (1 << 64) - 1


class Response:
    """A message of criu: the answer to a request, or, with the type NOTIFY, the stage `script` that it has reached and
    at which it waits for an answer. `pid` is the init's, `version` is (major, minor)."""

    def __init__(self, packet: bytes) -> None:
        fields = _decode(packet, _RESPONSE)
        self.type = _integer(fields, "type")
        self.success = bool(_integer(fields, "success"))
        self.message = _text(fields, "cr_errmsg")
        notice = _decode(_bytes(fields, "notify"), _NOTICE)
        self.script = _text(notice, "script")
        restored = _decode(_bytes(fields, "restore"), _RESTORED)
        self.pid = _integer(restored or notice, "pid")
        version = _decode(_bytes(fields, "version"), _VERSION)
        self.version = _integer(version, "major"), _integer(version, "minor")


def encode(numbers: "dict[str, int]", fields: "dict[str, Value]") -> bytes:
    """Return a message with `fields`, whose numbers are in `numbers`; a list is a repeated field."""
    encoded = b""
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            encoded += _field(numbers[name], one)
    return encoded


def _field(number: int, value: "Value") -> bytes:
    if isinstance(value, int):  # bool too
        return _varint(number << 3 | _VARINT) + _varint(value & _WORD)
    assert not isinstance(value, list)
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Return `value` with seven bits in each byte, the lowest first; the eighth bit says that more bytes follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _decode(data: bytes, names: "dict[int, str]") -> "dict[str, int | bytes]":
    """Return the fields with a name in `names`, the last one of each. `data` is trusted: criu, our child, sent it."""
    fields: dict[str, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind, value = tag & 7, 0
        content = b""
        if kind == _VARINT:
            value, at = _read_varint(data, at)
        else:
            size, at = _read_varint(data, at) if kind == _BYTES else ({_FIXED_64: 8, _FIXED_32: 4}[kind], at)
            content, at = data[at : at + size], at + size
        if tag >> 3 in names:
            fields[names[tag >> 3]] = value if kind == _VARINT else content
    return fields


def _read_varint(data: bytes, at: int) -> "tuple[int, int]":
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _integer(fields: "dict[str, int | bytes]", name: str) -> int:
    value = fields.get(name, 0)
    return value if isinstance(value, int) else 0


def _bytes(fields: "dict[str, int | bytes]", name: str) -> bytes:
    value = fields.get(name, b"")
    return value if isinstance(value, bytes) else b""


def _text(fields: "dict[str, int | bytes]", name: str) -> str:
    return _bytes(fields, name).decode("utf-8", "surrogateescape")

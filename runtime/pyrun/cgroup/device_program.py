"""Device rules as a program for the kernel: BPF_PROG_TYPE_CGROUP_DEVICE, how cgroup v2 controls devices.

The kernel runs the program at each open and mknod of a device with a struct bpf_cgroup_dev_ctx (access << 16 | type,
major, minor) and does what it returns: 1 for yes.  Ours holds in a register the kinds of access that are asked for and
not yet granted, and goes through the rules from the last to the first: what a rule allows is granted, and as soon as
nothing is left the answer is yes; where a rule denies something that is left, and at the end, it is no.
"""

import sys

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from pyrun.cgroup.devices import Rule

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR

# <linux/bpf_common.h>, <linux/bpf.h>: class, operation and operand in one byte.
LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
MOVE = 0xBF  # dst = src
SET = 0xB7  # dst = value
AND = 0x57  # dst &= value
SHIFT_RIGHT = 0x77  # dst >>= value
JUMP = 0x05
JUMP_IF_NOT_EQUAL = 0x56  # JMP32: the upper half of neither side counts (Linux 5.1)
JUMP_IF_ANY_SET = 0x45  # dst & value
EXIT = 0x95

RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)


def compile_rules(rules: "list[Rule]") -> bytes:
    """Return the program, 8 bytes an instruction."""
    code = [
        _instruction(LOAD_WORD, TYPE, CONTEXT),
        _instruction(MOVE, ACCESS, TYPE),
        _instruction(SHIFT_RIGHT, ACCESS, value=16),
        _instruction(AND, TYPE, value=0xFFFF),
        _instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        _instruction(LOAD_WORD, MINOR, CONTEXT, 8),
    ]
    for rule in reversed(rules):
        if rule.type == "a":  # decides everything that is left: the rules before it would be unreachable
            return b"".join(code + _answer(rule.allow))
        code += _rule(rule)
    return b"".join(code + _answer(False))


def _rule(rule: "Rule") -> "list[bytes]":
    conditions = [(TYPE, _TYPES[rule.type]), (MAJOR, rule.major), (MINOR, rule.minor)]
    body = _allow(rule.access) if rule.allow else _deny(rule.access)
    for register, value in reversed(conditions):
        if value is not None:
            body.insert(0, _instruction(JUMP_IF_NOT_EQUAL, register, offset=len(body), value=value))
    return body


def _allow(access: int) -> "list[bytes]":
    return [
        _instruction(AND, ACCESS, value=~access),
        _instruction(JUMP_IF_NOT_EQUAL, ACCESS, offset=2, value=0),
        *_answer(True),
    ]


def _deny(access: int) -> "list[bytes]":
    return [
        _instruction(JUMP_IF_ANY_SET, ACCESS, offset=1, value=access),
        _instruction(JUMP, offset=2),
        *_answer(False),
    ]


def _answer(allow: bool) -> "list[bytes]":
    return [_instruction(SET, RESULT, value=int(allow)), _instruction(EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn, as little-endian machines lay out its two 4-bit registers."""
    immediate = (value & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    return bytes((code, source << 4 | target)) + offset.to_bytes(2, sys.byteorder) + immediate

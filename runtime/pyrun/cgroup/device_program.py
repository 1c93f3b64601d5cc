"""Device rules as a program for the kernel: BPF_PROG_TYPE_CGROUP_DEVICE, by which cgroup v2 controls devices.

The kernel runs the program at each open and mknod of a device with a struct bpf_cgroup_dev_ctx (access << 16 | type,
major, minor); the result 1 allows the access, 0 denies it.  Our program keeps in a register the kinds of access that
were requested and are not yet granted, and goes through the rules from the last to the first.  A rule that allows
clears its bits, and the program returns 1 when none is left.  It returns 0 at a rule that denies a remaining bit, and
at the end.
"""

import sys

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from pyrun.cgroup.device_rules import Rule

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR

# <linux/bpf_common.h>, <linux/bpf.h>: class, operation and operand in one byte.
LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
MOVE = 0xBF  # dst = src
SET = 0xB7  # dst = value
AND = 0x57  # dst &= value
SHIFT_RIGHT = 0x77  # dst >>= value
JUMP = 0x05
JUMP_IF_NOT_EQUAL = 0x56  # JMP32: compares the lower 32 bits only (Linux 5.1)
JUMP_IF_ANY_SET = 0x45  # dst & value
EXIT = 0x95

RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)


def compile_rules(rules: "list[Rule]") -> bytes:
    """Return the program; each instruction has 8 bytes."""
    code = [
        _instruction(LOAD_WORD, TYPE, CONTEXT),
        _instruction(MOVE, ACCESS, TYPE),
        _instruction(SHIFT_RIGHT, ACCESS, value=16),
        _instruction(AND, TYPE, value=0xFFFF),
        _instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        _instruction(LOAD_WORD, MINOR, CONTEXT, 8),
    ]
    for rule in reversed(rules):
        if rule.type == "a":  # it decides every remaining access: the rules before it are unreachable
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
    """Return a struct bpf_insn, with its two 4-bit registers in the order of little-endian machines."""
    immediate = (value & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    return bytes((code, source << 4 | target)) + offset.to_bytes(2, sys.byteorder) + immediate

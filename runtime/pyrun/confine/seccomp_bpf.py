"""Classic BPF for seccomp(2): a writer of programs, and the tests that a filter consists of.

A filter loads words of struct seccomp_data, compares them and returns a verdict, in at most 4096 instructions. We use
only instructions that seccomp_is_const_allow() understands (kernel/seccomp.c), so that since Linux 5.11 the kernel
knows which calls are allowed with any arguments, and does not run the program for them.
"""

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    # (index, test, negated, mask, value): argument `index` & `mask` passes `test` against `value`, or not if `negated`
    Condition = tuple[int, int, bool, int, int]
    Rules = list[tuple[list[Condition], int]]  # the first rule whose conditions all hold gives the action
    Verdict = int | Rules

MAXIMUM_LENGTH = 4096  # BPF_MAXINSNS

# <linux/bpf_common.h>
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K

# struct seccomp_data: int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16

WORD = 0xFFFFFFFF
# A conditional jump skips at most 255 instructions; two of them are reserved for long jumps that it may need.
_NEAR = 253


class Program:
    """A program that is written from its end to its beginning, so that the distance of every jump is known.

    Each method prepends one step and returns its label: its distance from the end of the program.
    """

    def __init__(self) -> None:
        self._code: list[bytes] = []
        self._returns: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    def assemble(self) -> bytes:
        """Return the array of struct sock_filter."""
        return b"".join(reversed(self._code))

    def give(self, action: int) -> int:
        """Add "return `action`", or reuse such an instruction that is near enough."""
        label = self._returns.get(action)
        if label is None or len(self._code) - label > _NEAR:
            label = self._returns[action] = self._put(_RETURN, action)
        return label

    def branch(self, test: int, value: int, then: int, otherwise: int) -> int:
        """Compare the accumulator with `value`, and go on at one of two labels."""
        here = len(self._code)
        if here - min(then, otherwise) > _NEAR:
            then = self._near(then)
            otherwise = self._near(otherwise)
            here = len(self._code)
        return self._put(test, value, here - then, here - otherwise)

    def load(self, offset: int, then: int) -> int:
        """Load a word of struct seccomp_data, and go on at `then`."""
        self._fall(then)
        return self._put(_LOAD, offset)

    def mask(self, bits: int, then: int) -> int:
        """Clear all but `bits` of the accumulator, and go on at `then`."""
        self._fall(then)
        return self._put(_AND, bits)

    def _near(self, label: int) -> int:
        return label if len(self._code) - label <= _NEAR else self._put(_JUMP, len(self._code) - label)

    def _fall(self, label: int) -> None:
        if label != len(self._code):
            self._put(_JUMP, len(self._code) - label)

    def _put(self, code: int, operand: int, if_true: int = 0, if_false: int = 0) -> int:
        instruction = code | if_true << 16 | if_false << 24 | operand << 32
        self._code.append(instruction.to_bytes(8, "little"))
        return len(self._code)


def dispatch(program: Program, tables: "list[tuple[int, int]]", other: int) -> int:
    """Go to the label for the AUDIT_ARCH_* of the call; calls of any other architecture get the action `other`."""
    label = program.give(other)
    for architecture, table in reversed(tables):
        label = program.branch(EQUAL, architecture, table, label)
    return program.load(_ARCHITECTURE, label)


def search(program: Program, ranges: "list[tuple[int, Verdict]]", wide_below: int) -> int:
    """Find the verdict for the call's number by binary search; a range ends where the next one begins.

    Calls with a number below `wide_below` have 64-bit arguments, the others 32-bit ones.
    """

    def half(low: int, high: int) -> int:
        if high - low == 1:
            number, verdict = ranges[low]
            if isinstance(verdict, int):
                return program.give(verdict)
            return _first_match(program, verdict, number < wide_below)
        middle = (low + high) // 2
        upper = half(middle, high)
        lower = half(low, middle)
        return program.branch(GREATER_OR_EQUAL, ranges[middle][0], upper, lower)

    return program.load(_NUMBER, half(0, len(ranges)))


def _first_match(program: Program, rules: "Rules", wide: bool) -> int:
    """Return the action of the first rule whose conditions hold; the last rule has no condition."""
    label = 0
    for conditions, action in reversed(rules):
        otherwise = label
        label = program.give(action)
        for condition in reversed(conditions):
            _, test, negated, _, _ = condition
            passed, failed = (otherwise, label) if negated else (label, otherwise)
            compare = _equal if test == EQUAL else _ordered
            label = compare(program, condition, passed, failed, wide)
    return label


def _equal(program: Program, condition: "Condition", passed: int, failed: int, wide: bool) -> int:
    index, _, _, mask, value = condition
    offset = _ARGUMENTS + 8 * index
    if mask & WORD:
        passed = _equal_word(program, offset, mask & WORD, value & WORD, passed, failed)
    if wide and mask >> 32:
        passed = _equal_word(program, offset + 4, mask >> 32, value >> 32, passed, failed)
    return passed


def _equal_word(program: Program, offset: int, mask: int, value: int, passed: int, failed: int) -> int:
    if mask == WORD:
        return program.load(offset, program.branch(EQUAL, value, passed, failed))
    if value == 0:
        return program.load(offset, program.branch(_ANY_BIT, mask, failed, passed))
    return program.load(offset, program.mask(mask, program.branch(EQUAL, value, passed, failed)))


def _ordered(program: Program, condition: "Condition", passed: int, failed: int, wide: bool) -> int:
    index, test, _, _, value = condition
    offset = _ARGUMENTS + 8 * index
    low = program.load(offset, program.branch(test, value & WORD, passed, failed))
    if not wide:
        return low
    high = program.branch(EQUAL, value >> 32, low, failed)
    return program.load(offset + 4, program.branch(GREATER, value >> 32, passed, high))

"""What the kernel does with a seccomp program: run_filter() of kernel/seccomp.c over net/core/filter.c, in Python."""

import struct

ALLOWED = {0x20, 0x54, 0x06, 0x05, 0x15, 0x25, 0x35, 0x45}  # of seccomp_check_filter(), what filters here are made of


class Machine:
    def __init__(self, program: bytes) -> None:
        self.code = list(struct.iter_unpack("<HBBI", program))
        self._check()

    def run(self, architecture: int, number: int, arguments: "tuple[int, ...]" = (0,) * 6) -> int:
        """Return the verdict, a SECCOMP_RET_* value with its data."""
        return self.trace(architecture, number, arguments)[0]

    def trace(self, architecture: int, number: int, arguments: "tuple[int, ...]" = (0,) * 6) -> "tuple[int, int]":
        """Return the verdict and how many instructions it took."""
        words = [number, architecture, 0, 0]
        for argument in arguments:
            words += [argument & 0xFFFFFFFF, argument >> 32]
        code = self.code
        accumulator = position = steps = 0
        while True:
            operation, if_true, if_false, operand = code[position]
            position += 1
            steps += 1
            if operation == 0x35:  # jge
                position += if_true if accumulator >= operand else if_false
            elif operation == 0x15:  # jeq
                position += if_true if accumulator == operand else if_false
            elif operation == 0x25:  # jgt
                position += if_true if accumulator > operand else if_false
            elif operation == 0x45:  # jset
                position += if_true if accumulator & operand else if_false
            elif operation == 0x20:  # ld
                accumulator = words[operand >> 2]
            elif operation == 0x54:  # and
                accumulator &= operand
            elif operation == 0x05:  # ja
                position += operand
            else:
                return operand, steps

    def _check(self) -> None:
        """Refuse what bpf_check_classic() and seccomp_check_filter() refuse."""
        assert 0 < len(self.code) <= 4096
        assert self.code[-1][0] == 0x06
        for position, (operation, if_true, if_false, operand) in enumerate(self.code):
            assert operation in ALLOWED
            if operation == 0x05:
                assert position + 1 + operand < len(self.code)
            elif operation & 0x07 == 0x05:
                assert position + 1 + max(if_true, if_false) < len(self.code)
            elif operation == 0x20:
                assert operand % 4 == 0 and operand < 64

"""The CPUs that a process may run on, as sched_setaffinity(2) takes them."""

# The kernel takes as much of it as it has CPUs for, and leaves out those that the cpuset does not have.
ALL_CPUS = b"\xff" * 1024


def bit_mask(numbers: str) -> bytes:
    """Return the mask of a list such as "0-3,7" (validated), in whole words."""
    bits = 0
    for part in numbers.split(","):
        first, _, last = part.strip().partition("-")
        bits |= (1 << int(last or first) + 1) - (1 << int(first))
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")

"""Lists of CPUs or memory nodes in the format of cpuset(7), "0-3,7", and the masks of sched_setaffinity(2)."""

# The kernel uses as many bits as it has CPUs, and ignores those outside of the cpuset.
ALL_CPUS = b"\xff" * 1024

# Kernels have at most 8,192 CPUs or nodes. A mask has a bit for each number up to the last, so larger ones are refused.
_DIGITS = 5


def is_list(text: str) -> bool:
    """Return whether ranges() accepts `text`."""
    try:
        ranges(text)
    except ValueError:
        return False
    return True


def ranges(text: str) -> "list[tuple[int, int]]":
    """Return the first and the last number of each part of the list. Raises ValueError if it is not one."""
    return [_range(part.strip(" ")) for part in text.split(",")]


def _range(part: str) -> "tuple[int, int]":
    first, dash, last = part.partition("-")
    found = _number(first), _number(last if dash else first)
    if found[0] > found[1]:
        raise ValueError(part)
    return found


def _number(text: str) -> int:
    # int() accepts more than digits, and is slow for long texts.
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(text)
    return int(text)


def numbers(text: str) -> "list[int]":
    """Return the numbers of a list that the kernel wrote, which may be empty."""
    return [number for first, last in ranges(text) for number in range(first, last + 1)] if text else []


def bit_mask(text: str) -> bytes:
    """Return the little-endian mask of a list, in whole 64-bit words."""
    bits = 0
    for first, last in ranges(text):
        bits |= (1 << last + 1) - (1 << first)
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")

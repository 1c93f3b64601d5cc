"""linux.memoryPolicy: the NUMA nodes from which a process allocates its memory (set_mempolicy(2)).

The stub makes the call, after the cpuset is joined: the nodes must be among the cpuset's.
"""

from foundation.linux.cpu_list import bit_mask
from pyrun.config.linux_rules import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.linux.syscalls import Call
    from pyrun.config.linux import MemoryPolicy


def call(wanted: "MemoryPolicy") -> "Call":
    """Return the call of set_mempolicy(2)."""
    # <linux/mempolicy.h>: both tables are in the kernel's order; the flags start at bit 15 and go down.
    mode = MEMORY_MODES.index(wanted.mode)
    for flag in wanted.flags:
        mode |= 1 << 15 - MEMORY_FLAGS.index(flag)
    label = f"memoryPolicy {wanted.mode}"
    if not wanted.nodes:
        return "set_mempolicy", (mode, 0, 0), label
    nodes = bit_mask(wanted.nodes)
    # The number of bits plus one: the kernel subtracts one (mm/mempolicy.c, get_nodes()).
    return "set_mempolicy", (mode, nodes, len(nodes) * 8 + 1), label

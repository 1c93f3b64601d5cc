"""linux.memoryPolicy: which nodes of memory a process takes its pages from (set_mempolicy(2)).

A call of the last mile: the nodes must be among those of the cpuset, which is joined before.
"""

from pyrun.confine.affinity import bit_mask
from pyrun.spec.linux_rules import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.process import Call
    from pyrun.spec.linux import MemoryPolicy


def call(wanted: "MemoryPolicy") -> "Call":
    # <linux/mempolicy.h>: both tables are in the kernel's order, the flags from bit 15 down.
    mode = MEMORY_MODES.index(wanted.mode)
    for flag in wanted.flags:
        mode |= 1 << 15 - MEMORY_FLAGS.index(flag)
    label = f"memoryPolicy {wanted.mode}"
    if not wanted.nodes:
        return "set_mempolicy", (mode, 0, 0), label
    nodes = bit_mask(wanted.nodes)
    # One more than there are bits: the kernel takes one off (mm/mempolicy.c, get_nodes()).
    return "set_mempolicy", (mode, nodes, len(nodes) * 8 + 1), label

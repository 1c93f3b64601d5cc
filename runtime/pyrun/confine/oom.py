"""process.oomScoreAdj: how likely the kernel is to kill a process when memory runs out."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.whole_file import set_value


def adjust_score(pid: "int | str", value: int) -> None:
    """Set oom_score_adj (proc(5)) of the process `pid`, or "self". Must run while /proc is the host's."""
    try:
        set_value(f"/proc/{pid}/oom_score_adj", b"%d" % value)
    except OSError as error:
        raise refused(value, os.strerror(error.errno or 0)) from error


def refused(value: "int | None", cause: str) -> Error:
    return Error(f"process.oomScoreAdj {value}: {cause}: lowering it needs CAP_SYS_RESOURCE")

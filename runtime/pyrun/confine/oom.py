"""How willing the kernel is to kill a process when memory runs out."""

import os

from pyrun.errors import Error


def adjust_score(pid: "int | str", value: int) -> None:
    """Set oom_score_adj (proc(5)) of the process `pid`, or "self". Must run while /proc is the host's."""
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % value)
    except OSError as error:
        raise Error(f"process.oomScoreAdj {value}: {error.strerror}: lowering it needs CAP_SYS_RESOURCE") from error
    finally:
        os.close(fd)

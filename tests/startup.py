"""Which modules a verb loads: start-up is a feature."""

import fcntl
import os
import subprocess
import sys
import tempfile

from harness import REPOSITORY, TIMEOUT

# `select` is not among them: Debian's interpreter has it built in, so it takes less than 0.1 ms, and there is no other
# module that has poll(2), by which hooks, kill, delete and a terminal wait.
SLOW = set(
    "argparse collections contextlib ctypes dataclasses datetime enum functools inspect json logging pathlib re "
    "os shlex shutil signal socket struct subprocess tempfile threading traceback typing uuid".split()
)
# An audit hook hears of each import whose module is not loaded yet, in forked children too (PEP 578).
_PROGRAM = """
import posix, sys
def note(event, arguments):
    if event == "import":
        posix.write({report}, arguments[0].encode() + b" ")
sys.path.insert(0, {sources!r})
sys.argv[0] = {program!r}
sys.addaudithook(note)
from {program}.cli import main
main()
"""


def modules_of(*arguments, program="pyrun", sources=REPOSITORY / "runtime", **options):
    """Run `program` from `sources`; return its exit status, output, and the modules that it and its children load."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as output:
        report = fcntl.fcntl(file, fcntl.F_DUPFD, 100)  # out of the way of those that the container gets
        code = _PROGRAM.format(report=report, sources=str(sources), program=program)
        command = [sys.executable, "-IS", "-c", code, *map(str, arguments)]
        options = {"stdin": subprocess.DEVNULL, "timeout": TIMEOUT, "pass_fds": [report], **options}
        try:
            status = subprocess.run(command, stdout=output, stderr=output, **options).returncode
        finally:
            os.close(report)
        file.seek(0)
        output.seek(0)
        return status, output.read().decode(), set(file.read().decode().split())

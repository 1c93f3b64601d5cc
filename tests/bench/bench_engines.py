#!/usr/bin/env python3
"""Time docker and podman on pyrun, runc and crun, interleaved in one run, and print a Markdown table. Not a test.

Needs what tests/engines needs: run it by .venv/bin/python, which tests/run makes. All that a user waits for is timed,
most of which is the engine's own work. Medians; the ratio is to pyrun's peer in the same run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_pyrun import ROOT, show_crun_a_hugetlb_hierarchy

sys.path[:0] = [str(ROOT / "tests/engines"), str(ROOT / "tests")]
from dockerd import Dockerd  # noqa: E402
from image import make_image  # noqa: E402
from podman import podman_on  # noqa: E402
from tools import PYRUN, unmount_below  # noqa: E402

RUNTIMES = ("pyrun", "runc", "crun")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="of each command (default: %(default)s)")
    options = parser.parse_args()
    hugetlb = show_crun_a_hugetlb_hierarchy()
    try:
        with tempfile.TemporaryDirectory() as directory:
            print_table(measure(Path(directory), options.runs))
    finally:
        if hugetlb:
            subprocess.run(["umount", "--lazy", hugetlb], check=True)
            os.rmdir(hugetlb)


def measure(directory: Path, runs: int) -> "dict[str, dict[str, list[float]]]":
    """Return the milliseconds by command and runtime."""
    archive = make_image(directory)
    (directory / "podman").mkdir()
    (directory / "docker").mkdir()
    stores = ("--root", directory / "podman/root", "--runroot", directory / "podman/run")
    podmen = {name: podman_on(directory / "podman", PYRUN, name, *stores) for name in RUNTIMES}
    podmen["runc"]("import", archive, "busybox", check=True)
    dockerd = Dockerd(directory / "docker", runtimes=("crun",))
    try:
        dockers = {name: dockerd.on(name) for name in RUNTIMES}
        dockerd.docker("import", archive, "busybox", check=True)
        for name, docker in dockers.items():
            docker.run("--detach", "--name", name, "busybox", "sleep", "100000", check=True)
        commands = {
            "docker run --rm": lambda name: dockers[name].run("--rm", "busybox", "true", check=True),
            "docker exec": lambda name: dockers[name]("exec", name, "true", check=True),
            "podman run --rm": lambda name: podmen[name].run("--rm", "busybox", "true", check=True),
        }
        return {title: take_turns(command, runs) for title, command in commands.items()}
    finally:
        dockerd.stop()
        unmount_below(directory)


def take_turns(command, runs: int) -> "dict[str, list[float]]":
    times: dict[str, list[float]] = {name: [] for name in RUNTIMES}
    for run in range(runs + 1):
        for name in RUNTIMES:
            began = time.perf_counter()
            command(name)
            if run:  # the first one only warms the caches
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def print_table(measured: "dict[str, dict[str, list[float]]]") -> None:
    print("| ms | pyrun | runc | pyrun/runc | crun | pyrun/crun |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, times in measured.items():
        ours, runc, crun = (statistics.median(times[name]) for name in RUNTIMES)
        print(f"| {title} | {ours:.0f} | {runc:.0f} | {ours / runc:.2f} | {crun:.0f} | {ours / crun:.2f} |")


if __name__ == "__main__":
    main()

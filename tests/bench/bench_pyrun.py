#!/usr/bin/env python3
"""Time pyrun against runc and crun, interleaved in one run, and print a Markdown table. Not a test.

Each command is timed as a whole process, from fork to exit, in two regimes: back to back, and isolated, with 200 ms of
quiet before it, as a daemon, a person or a script calls it. (On cgroup v1 those who move a process between cgroups by
`cgroup.procs` then wait for an RCU grace period.) Medians; the ratio is to pyrun's peer in the same run.

Needs root, busybox (static), GNU time, and the runtimes that are to be compared.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = 0.2
TITLES = {"run": "run true", "run with seccomp": "run true, with docker's seccomp profile"}
COMMANDS = ("run", "run with seccomp", "create", "start", "state", "exec", "kill", "delete")
SECCOMP = ROOT / "spec-fixtures/seccomp/docker-default.json"
LIMITS = [size << 10 for size in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=30, help="of each command in each regime (default: %(default)s)")
    parser.add_argument("--pyrun", default=str(ROOT / "dist/pyrun"), help="default: %(default)s")
    parser.add_argument("--peers", nargs="*", default=["runc", "crun"], help="default: %(default)s")
    options = parser.parse_args()
    runtimes = {"pyrun": options.pyrun, **{peer: shutil.which(peer) or peer for peer in options.peers}}
    with tempfile.TemporaryDirectory() as directory:
        bundle = make_bundle(Path(directory))
        hugetlb = show_crun_a_hugetlb_hierarchy()
        try:
            print_table(runtimes, bundle, options.runs)
        finally:
            if hugetlb:
                subprocess.run(["umount", "--lazy", hugetlb], check=True)
                os.rmdir(hugetlb)


def make_bundle(directory: Path) -> Path:
    """Return a bundle of busybox alone, with the config that pyrun spec writes, changed to run `true`."""
    rootfs = directory / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", rootfs / "bin/busybox")
    for applet in ("true", "sleep"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    sys.path.insert(0, str(ROOT / "runtime"))
    from pyrun.config.default import default_config

    config = default_config(False)
    config["ociVersion"] = "1.0.2"  # what all peers know
    config["process"] |= {"terminal": False, "args": ["true"]}
    save(directory, config)
    return directory


def save(bundle: Path, config: dict) -> None:
    (bundle / "config.json").write_text(json.dumps(config))


def load(bundle: Path) -> dict:
    return json.loads((bundle / "config.json").read_text())


def show_crun_a_hugetlb_hierarchy() -> str:
    """Mount cgroup v1's hugetlb, without which crun refuses a hybrid layout; return the mount point, or ""."""
    point = "/sys/fs/cgroup/hugetlb"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers") or os.path.ismount(point):
        return ""
    os.makedirs(point, exist_ok=True)
    for _ in range(30):
        # v1 can have no controller that v2 shares out, as pyrun lets it do; to take it back is not done at once.
        controls = Path("/sys/fs/cgroup/unified").rglob("cgroup.subtree_control")
        for control in sorted(controls, key=lambda path: -len(path.parts)):
            control.write_text("-hugetlb")
        if not subprocess.run(
            ["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", point], capture_output=True
        ).returncode:
            return point
        time.sleep(0.1)
    os.rmdir(point)
    return ""


def timed(*command: str) -> float:
    """Return the milliseconds that `command` takes; it must succeed."""
    began = time.perf_counter()
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
    took = (time.perf_counter() - began) * 1000
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status}")
    return took


def measure(runtime: str, bundle: Path, quiet: float, times: "dict[str, list[float]]") -> None:
    """Take one container through its life, and add to `times`."""

    def step(command: str, *arguments: str) -> None:
        time.sleep(quiet)
        times[command].append(timed(runtime, command.split()[0], *arguments))

    name = f"bench-{os.getpid()}"
    config = load(bundle)
    step("run", "--bundle", str(bundle), name)
    save(bundle, {**config, "linux": {**config["linux"], "seccomp": json.loads(SECCOMP.read_text())}})
    step("run with seccomp", "--bundle", str(bundle), name)
    save(bundle, {**config, "process": {**config["process"], "args": ["sleep", "60"]}})
    step("create", "--bundle", str(bundle), name)
    step("start", name)
    step("state", name)
    step("exec", name, "true")
    step("kill", name, "KILL")
    while b'"stopped"' not in subprocess.run([runtime, "state", name], capture_output=True).stdout:
        time.sleep(0.002)
    step("delete", name)
    save(bundle, config)


def measure_all(
    runtimes: "dict[str, str]", bundle: Path, runs: int, quiet: float
) -> "dict[str, dict[str, list[float]]]":
    times = {name: {command: [] for command in COMMANDS} for name in runtimes}
    for run in range(runs + 1):
        for name, runtime in runtimes.items():
            measure(runtime, bundle, quiet, times[name])
        if run == 0:  # the first one only warms the caches
            times = {name: {command: [] for command in COMMANDS} for name in runtimes}
    return times


def peak_memory(runtime: str, bundle: Path) -> int:
    """Return the largest resident size, in kB, of the processes of `run`."""
    command = [runtime, "run", "--bundle", str(bundle), f"bench-{os.getpid()}"]
    # By GNU time: what a process forked from this one has as its maximum is never less than this one's size.
    ended = subprocess.run(["/usr/bin/time", "-f", "%M", *command], stderr=subprocess.PIPE, check=True)
    return int(ended.stderr)


def resident_init(runtime: str, bundle: Path) -> int:
    """Return the resident size, in kB, of an init that waits to be started."""
    name = f"bench-{os.getpid()}"
    timed(runtime, "create", "--bundle", str(bundle), name)
    state = json.loads(subprocess.run([runtime, "state", name], capture_output=True, check=True).stdout)
    with open(f"/proc/{state['pid']}/smaps_rollup") as file:
        size = next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
    timed(runtime, "delete", "--force", name)
    return size


def smallest_limit(runtime: str, bundle: Path) -> str:
    """Return the smallest of LIMITS under which the container runs `true`."""
    config = load(bundle)
    try:
        for limit in LIMITS:
            resources = {**config["linux"].get("resources", {}), "memory": {"limit": limit}}
            save(bundle, {**config, "linux": {**config["linux"], "resources": resources}})
            name = f"bench-{os.getpid()}"
            ended = subprocess.run([runtime, "run", "--bundle", str(bundle), name], capture_output=True, timeout=30)
            subprocess.run([runtime, "delete", "--force", name], capture_output=True)
            if ended.returncode == 0:
                return f"{limit >> 10} kB"
    finally:
        save(bundle, config)
    return "none"


def print_table(runtimes: "dict[str, str]", bundle: Path, runs: int) -> None:
    peers = [name for name in runtimes if name != "pyrun"]
    for title, quiet in (("isolated", QUIET), ("back to back", 0.0)):
        times = measure_all(runtimes, bundle, runs, quiet)
        print(f"\n| {title}, ms | pyrun | " + " | ".join(f"{peer} | pyrun/{peer}" for peer in peers) + " |")
        print("| --- | ---: |" + " ---: | ---: |" * len(peers))
        for command in COMMANDS:
            ours = statistics.median(times["pyrun"][command])
            cells = [f"{ours:.1f}"]
            for peer in peers:
                theirs = statistics.median(times[peer][command])
                cells += [f"{theirs:.1f}", f"{ours / theirs:.2f}"]
            print(f"| {TITLES.get(command, command)} | " + " | ".join(cells) + " |")
    print("\n| memory | " + " | ".join(runtimes) + " |\n| --- |" + " ---: |" * len(runtimes))
    for title, ask in (
        ("peak resident size of `run`", lambda path: f"{peak_memory(path, bundle):,} kB"),
        ("resident size of a waiting init", lambda path: f"{resident_init(path, bundle):,} kB"),
        ("smallest memory limit that runs `true`", lambda path: smallest_limit(path, bundle)),
    ):
        print(f"| {title} | " + " | ".join(ask(path) for path in runtimes.values()) + " |")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Time pyrund beside Debian's dockerd, interleaved in one run, with the same docker CLI and the same image. Not a test.

    .venv/bin/python tests/bench/bench_engine.py [--rounds N] [--only PART ...] [--runs N] [--containers N]

Needs what tests/engine needs, and root. Both engines are started here, in network namespaces and folders of their own.
A line for each measure: the medians, the ratio of both, and the limit that pyrund shall keep; below it the CPU time of
the engines, which a busy machine does not change so much. Run build_zipapp.py before.
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/engine"), str(ROOT / "tests/registry")]
from conftest import applets_layer  # noqa: E402
from daemon import PYRUND, Hub  # noqa: E402
from images import Image, busybox_layer  # noqa: E402

NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
NAMES = ("pyrund", "dockerd")
DOCKER = shutil.which("docker") or "docker"  # the first in PATH: Debian's is not the fastest
GROUPS = next(path for path in map(Path, ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup")) if path.exists())
# Prints how many bytes the kernel says of the elements of pyrund's maps of ports.
ELEMENTS = """
import socket, struct
def text(kind, value):
    return struct.pack("=HH", 5 + len(value), kind) + (value + b"\\0").ljust(len(value) + 4 & ~3, b"\\0")
total = 0
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
    for name in (b"published", b"published_at"):
        body = bytes([1, 0, 0, 0]) + text(1, b"pyrund") + text(2, name)  # NFPROTO_INET
        netlink.send(struct.pack("=IHHII", 16 + len(body), 10 << 8 | 13, 0x301, 1, 0) + body)  # a dump of GETSETELEM
        kind = 0
        while kind not in (2, 3):  # NLMSG_ERROR, NLMSG_DONE
            data = netlink.recv(65536)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                data = data[size + 3 & ~3:]
                total += size
print(total)
"""
# In the folder $0: an archive with 1 GiB that compresses a little, and 10,000 files.
MAKE_LARGE = """
cd "$0"; mkdir tree files
for n in $(seq 16); do head -c 40M /dev/urandom; head -c 24M /dev/zero; done > tree/large
tar -cf archive -C tree .; rm -r tree
for n in $(seq 10000); do echo content $n > files/$n; done
"""
# Before each command: the kernel removes the namespaces of the last container, and containerd ends its shim.
QUIET = 0.3
COMPOSE = Path(sys.executable).with_name("docker-compose")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="of each command (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--containers", type=int, default=100, help="that run at once (default: %(default)s)")
    parser.add_argument("--parallel", type=int, default=200, help="runs at the same time (default: %(default)s)")
    parser.add_argument("--lines", type=int, default=300_000, help="of a log (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=200, help="after which nothing has grown (default: %(default)s)")
    options = parser.parse_args()
    print(subprocess.run([DOCKER, "--version"], capture_output=True, text=True, check=True).stdout.strip())
    print(f"{'':44}{'pyrund':>10}{'dockerd':>10}{'ratio':>8}{'limit':>8}")
    with engines() as both:
        for name in options.only:
            PARTS[name](both, options)


class Engine:
    """A daemon in `directory`, which is reached by docker's client. `command` starts it."""

    def __init__(self, directory: Path, command: "list[str]") -> None:
        self.directory = directory
        self.client = [DOCKER]
        self._group = GROUPS / f"bench{os.getpid()}-{directory.name}"
        self._group.mkdir()
        enter = f'echo $$ > {self._group}/cgroup.procs; exec "$@"'
        self._command = ["sh", "-c", enter, "sh", *command]
        host = f"unix://{directory}/s"
        self._environment = {**os.environ, "DOCKER_CONFIG": str(directory), "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}
        self._strangers = set[int]()  # processes of the namespace that are not the engine's
        self.start()

    def start(self) -> float:
        """Return the milliseconds until the first answer to a ping."""
        begun = time.perf_counter()
        with open(self.directory / "log", "a") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ping = ["curl", "-sf", "--unix-socket", f"{self.directory}/s", "http://d/_ping"]
        while subprocess.run(ping, capture_output=True).returncode:
            assert self.process.poll() is None, f"see {self.directory}/log"
            assert time.perf_counter() < begun + 60, f"see {self.directory}/log"
        return (time.perf_counter() - begun) * 1000

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def leave(self) -> None:
        """Stop for ever."""
        self.remove_all()
        self.stop()
        while (self._group / "cgroup.procs").read_text():
            time.sleep(0.1)
        self._group.rmdir()

    def cpu(self) -> float:
        """Return the milliseconds of CPU that the engine's processes have used, without those in containers."""
        if GROUPS.name == "cpuacct":
            return int((self._group / "cpuacct.usage").read_text()) / 1e6
        return int((self._group / "cpu.stat").read_text().split()[1]) / 1e3

    def leave_out(self, pids: "set[int]") -> None:
        self._strangers = pids

    def run(self, *words: object) -> str:
        """Run a command of docker's, which must work, and return what it prints."""
        command = [*self.client, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment)
        if done.returncode:
            raise SystemExit(f"{command}: {done.stderr}")
        return done.stdout.strip()

    def time(self, words: "Sequence[object]") -> float:
        """Return the milliseconds that a command takes, which must work. Nothing is read of it meanwhile."""
        command = [*self.client, *map(str, words)]
        with tempfile.TemporaryFile() as errors:
            begun = time.perf_counter()
            status = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=self._environment).wait()
            taken = (time.perf_counter() - begun) * 1000
            errors.seek(0)
            if status:
                raise SystemExit(f"{command}: {errors.read().decode()}")
        return taken

    def compose(self, project: Path, *words: str) -> float:
        """Return the milliseconds that a command of compose takes, which must work."""
        begun = time.perf_counter()
        command = [str(COMPOSE), "--file", str(project), "--project-name", "bench", *words]
        subprocess.run(command, check=True, capture_output=True, env={**self._environment, "HOME": str(self.directory)})
        return (time.perf_counter() - begun) * 1000

    def fails(self, *words: object) -> str:
        """Return the error of a command, or nothing if it works."""
        command = [*self.client, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=self._environment).stderr

    def pids(self) -> "set[int]":
        """Return the engine's processes: daemons, and shims or monitors, but not what runs in containers."""
        return in_network_of(self.process.pid) - self._strangers

    def memory(self) -> float:
        """Return the kilobytes (PSS) of all processes of the engine."""
        return sum(map(pss, self.pids()))

    def inside(self, *command: str) -> str:
        """Return the output of a command on the engine's host."""
        entered = ["nsenter", "--net", "--mount", "--target", str(self.process.pid), *command]
        return subprocess.run(entered, capture_output=True, text=True, check=True).stdout

    def remove_all(self) -> None:
        ids = self.run("ps", "-aq").split()
        if ids:
            self.run("rm", "-f", *ids)


def in_network_of(pid: int) -> "set[int]":
    wanted = os.stat(f"/proc/{pid}/ns/net").st_ino
    found = set()
    for other in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if os.stat(f"/proc/{other}/ns/net").st_ino == wanted:
                found.add(other)
        except OSError:
            pass  # it has ended
    return found


def pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextmanager
def engines() -> "Iterator[dict[str, Engine]]":
    """Give both, by name, with busybox in their stores."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR")))
    run = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))  # a tmpfs, as usual for the state of what runs
    both: dict[str, Engine] = {}
    for name in ("hub", *NAMES):
        (folder / name).mkdir()
    hub = Hub(folder / "hub")
    try:
        image = Image(busybox_layer(), applets_layer(), config={"Cmd": ["sh"], "Env": ["PATH=/bin"]})
        hub.push(image, "busybox:latest")
        strangers = in_network_of(int(hub.inside[-1]))
        both["pyrund"] = Engine(folder / "pyrund", [*hub.inside, PYRUND, "serve", *places(folder / "pyrund", run)])
        both["pyrund"].leave_out(strangers)
        both["dockerd"] = Engine(
            folder / "dockerd", [*NETWORK, "dockerd", *places(folder / "dockerd", run / "dockerd")]
        )
        both["pyrund"].run("pull", "-q", "busybox")
        both["pyrund"].run("save", "-o", f"{folder}/busybox.tar", "busybox")
        both["dockerd"].run("load", "-i", f"{folder}/busybox.tar")
        yield both
    finally:
        for engine in both.values():
            engine.leave()
        hub.stop()
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        below = [path for path in mounted if path.startswith((f"{folder}/", f"{run}/"))]
        subprocess.run(["umount", "-l", *below[::-1]], capture_output=True)
        shutil.rmtree(folder)
        shutil.rmtree(run)


def places(folder: Path, run: Path) -> "list[str]":
    """Return the options for an engine with its files in `folder`, but for the state of what runs, below `run`."""
    state = f"{run}/{folder.name}"
    options = ["--host", f"unix://{folder}/s", "--data-root", f"{folder}/data", "--exec-root", state]
    if folder.name == "dockerd":
        (folder / "daemon.json").write_text("{}")
        return [*options, "--pidfile", f"{folder}/pid", "--config-file", f"{folder}/daemon.json"]
    return options


# What is measured.

Both = dict[str, Engine]


def compare(both: Both, what: str, limit: str, rounds: int, measure: "Callable[[Engine], float]") -> None:
    """Measure both in turns; print a line, and one of the CPU time that the engines have used for it."""
    found: dict[str, list[float]] = {name: [] for name in both}
    used = dict.fromkeys(both, 0.0)
    for _ in range(rounds):
        for name, engine in both.items():
            time.sleep(QUIET)
            before = engine.cpu()
            found[name].append(measure(engine))
            used[name] += engine.cpu() - before
    tell(what, limit, *(statistics.median(found[name]) for name in NAMES))
    tell("    CPU time of the engine, ms", "", *(used[name] / rounds for name in NAMES))


def tell(what: str, limit: str, ours: float, theirs: float) -> None:
    print(f"{what:44}{ours:10,.1f}{theirs:10,.1f}{ours / theirs:8.3f}{limit:>8}", flush=True)


def run(both: Both, options: argparse.Namespace) -> None:
    for network, limit in (("bridge", "0.15"), ("none", "0.20"), ("host", "0.30")):
        measure = partial(Engine.time, words=("run", "--rm", "--network", network, "busybox", "true"))
        compare(both, f"run --rm --network {network}, ms", limit, options.rounds, measure)


def execute(both: Both, options: argparse.Namespace) -> None:
    for engine in both.values():
        engine.run("run", "-d", "--name", "web", "busybox", "sleep", "100000")
    compare(both, "exec, ms", "0.30", options.rounds, partial(Engine.time, words=("exec", "web", "true")))
    for engine in both.values():
        engine.remove_all()


def many(both: Both, options: argparse.Namespace) -> None:
    """Many containers at once: their memory, ps, and their end."""
    number = options.containers
    used: dict[str, float] = {}
    for name, engine in both.items():
        time.sleep(1)
        before = engine.memory()
        with ThreadPoolExecutor(4) as pool:
            for _ in range(number):
                pool.submit(engine.run, "run", "-d", "busybox", "sleep", "100000")
        time.sleep(1)
        used[name] = (engine.memory() - before) / number
        assert len(engine.run("ps", "-q").split()) == number
    tell("memory of a running container, PSS, kB", "100 kB", used["pyrund"], used["dockerd"])
    compare(both, f"ps with {number} containers, ms", "0.60", options.rounds, partial(Engine.time, words=["ps"]))
    compare(both, f"rm -f of {number} running, ms", "0.15", 1, remove_all)


def remove_all(engine: Engine) -> float:
    ids = engine.run("ps", "-aq").split()
    return engine.time(["rm", "-f", *ids])


def ports(both: Both, options: argparse.Namespace) -> None:
    def start(engine: Engine) -> float:
        words = ("create", "-p", "80", "busybox", "sleep", "100000")
        made = [engine.run(*words) for _ in range(10)]
        taken = engine.time(["start", *made])
        engine.remove_all()
        return taken

    compare(both, "start of 10 with a port each, ms", "0.20", max(1, options.rounds // 3), start)


def cold(both: Both, options: argparse.Namespace) -> None:
    def start(engine: Engine) -> float:
        engine.stop()
        return engine.start()

    compare(both, "cold start to the first answer, ms", "150 ms", max(1, options.rounds // 3), start)
    time.sleep(3)
    tell("idle, PSS of all processes, kB", "25 MB", *(both[name].memory() for name in NAMES))


def logs(both: Both, options: argparse.Namespace) -> None:
    def write(engine: Engine) -> float:
        begun = time.perf_counter()
        id_ = engine.run("run", "-d", "--network", "none", "busybox", "seq", options.lines)
        engine.run("wait", id_)
        return (time.perf_counter() - begun) * 1000

    def read(engine: Engine) -> float:
        id_ = engine.run("ps", "-aq").split()[0]
        begun = time.perf_counter()
        assert engine.run("logs", id_).count("\n") == options.lines - 1
        return (time.perf_counter() - begun) * 1000

    rounds = max(1, options.rounds // 3)
    compare(both, f"{options.lines} lines of a log written, ms", "0.50", rounds, write)
    compare(both, f"{options.lines} lines of a log read, ms", "", rounds, read)
    for engine in both.values():
        engine.remove_all()


def parallel(both: Both, options: argparse.Namespace) -> None:
    """Print an error of each engine, if there is one."""

    def together(engine: Engine) -> float:
        begun = time.perf_counter()
        with ThreadPoolExecutor(options.parallel) as pool:
            tries = [pool.submit(engine.fails, "run", "--rm", "busybox", "true") for _ in range(options.parallel)]
        errors = [one.result() for one in tries if one.result()]
        if errors:
            print(f"{engine.directory.name}: {len(errors)} of {options.parallel} failed: {errors[0].strip()}")
        return (time.perf_counter() - begun) * 1000

    compare(both, f"{options.parallel} runs in parallel, ms", "", 1, together)


def growth(both: Both, options: argparse.Namespace) -> None:
    """Print what pyrund alone has after many runs, and what it had before."""
    engine = both["pyrund"]
    runs(engine, 20)
    before = held(engine)
    runs(engine, options.runs)
    after = held(engine)
    subprocess.run(f"rmdir /sys/fs/cgroup/*/bench{os.getpid()}", shell=True, capture_output=True)
    for what in before:
        print(f"{f'{what}, after and before {options.runs} runs':44}{after[what]:10,}{before[what]:10,}", flush=True)


def runs(engine: Engine, number: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        words = ("run", "--rm", "--cgroup-parent", f"/bench{os.getpid()}", "-p", "80", "busybox", "true")
        for done in [pool.submit(engine.run, *words) for _ in range(number)]:
            done.result()
    time.sleep(1)


def held(engine: Engine) -> "dict[str, int]":
    pids = engine.pids()
    find = f"find /sys/fs/cgroup -path '*/bench{os.getpid()}/*' -type d | wc -l"
    return {
        "processes": len(pids),
        "memory, PSS, kB": sum(map(pss, pids)),
        "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        "mounts": len(engine.inside("cat", "/proc/self/mounts").splitlines()),
        "cgroups": int(subprocess.run(find, shell=True, capture_output=True).stdout),
        "elements of nftables, bytes": int(engine.inside("/usr/bin/python3", "-c", ELEMENTS)),
        "interfaces": len(engine.inside("ip", "-o", "link").splitlines()),
        "files": sum(len(files) + len(folders) for _, folders, files in os.walk(engine.directory / "exec")),
    }


def build(both: Both, options: argparse.Namespace) -> None:
    """A Dockerfile of ten steps, by docker's classic builder."""
    steps = ["FROM busybox", "WORKDIR /work", "ENV NAME=value", "COPY . .", 'CMD ["true"]']
    steps += [f"RUN echo {number} > {number}" for number in range(5)]
    with tempfile.TemporaryDirectory() as context:
        for name, text in (("Dockerfile", "\n".join(steps)), ("file", "content")):
            Path(context, name).write_text(text)
        rounds = max(1, options.rounds // 2)
        for what, more in (
            ("build of ten steps, no cache, ms", ["--no-cache"]),
            ("build of ten steps, cached, ms", []),
        ):
            words = ("build", "-q", "-t", "built", *more, context)
            compare(both, what, "0.40", rounds, partial(Engine.time, words=words))
    for engine in both.values():
        engine.run("rmi", "-f", "built")
        engine.run("image", "prune", "-f")


def compose(both: Both, options: argparse.Namespace) -> None:
    """A project of ten services."""
    service = {"image": "busybox", "command": ["sleep", "100000"], "stop_grace_period": "0s"}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "compose.json")
        project.write_text(json.dumps({"services": {f"s{number}": service for number in range(10)}}))
        rounds = max(1, options.rounds // 3)
        taken: dict[str, list[float]] = {name: [] for name in both}

        def up(engine: Engine) -> float:
            milliseconds = engine.compose(project, "up", "-d")
            taken[engine.directory.name].append(engine.compose(project, "down"))
            return milliseconds

        compare(both, "compose up -d of ten services, ms", "0.25", rounds, up)
        tell("compose down of them, ms", "0.25", *(statistics.median(taken[name]) for name in NAMES))


def large(both: Both, options: argparse.Namespace) -> None:
    """An image of 1 GiB, and ten thousand files."""
    with tempfile.TemporaryDirectory(dir=both["pyrund"].directory.parent) as folder:
        archive, image = f"{folder}/archive", f"{folder}/image"
        subprocess.run(["sh", "-ec", MAKE_LARGE, folder], check=True)
        both["pyrund"].run("import", archive, "127.0.0.1:5001/large")
        both["pyrund"].run("save", "-o", image, "127.0.0.1:5001/large")
        both["pyrund"].run("rmi", "127.0.0.1:5001/large")
        compare(both, "load of 1 GiB, ms", "1.00", 1, partial(Engine.time, words=("load", "-i", image)))
        compare(both, "push of 1 GiB, ms", "1.00", 1, push)
        for engine in both.values():
            engine.run("rmi", "127.0.0.1:5001/large")
            engine.run("run", "-d", "--name", "web", "busybox", "sleep", "100000")
            engine.run("cp", f"{folder}/files", "web:/tmp/files")
        rounds = max(1, options.rounds // 2)
        compare(both, "cp of 10,000 files into a container, ms", "1.00", rounds, partial(copy_in, folder=folder))
        compare(both, "cp of 10,000 files out of it, ms", "1.00", rounds, partial(copy_out, folder=folder))
        for engine in both.values():
            engine.remove_all()


def push(engine: Engine) -> float:
    """Push to a registry in the engine's network, which has nothing yet."""
    storage = engine.directory / "registry"
    (engine.directory / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: '127.0.0.1:5001'}}\n"
    )
    entered = ["nsenter", "--net", "--target", str(engine.process.pid)]
    command = [*entered, "docker-registry", "serve", str(engine.directory / "registry.yml")]
    registry = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        return engine.time(["push", "-q", "127.0.0.1:5001/large"])
    finally:
        registry.kill()
        registry.wait()
        shutil.rmtree(storage, ignore_errors=True)


def copy_in(engine: Engine, folder: str) -> float:
    """Each time to a new place, because to replace files is another task."""
    return engine.time(["cp", f"{folder}/files", f"web:/tmp/{time.monotonic_ns()}"])


def copy_out(engine: Engine, folder: str) -> float:
    return engine.time(["cp", "web:/tmp/files", f"{folder}/{time.monotonic_ns()}"])


PARTS: "dict[str, Callable[[Both, argparse.Namespace], None]]" = {
    "run": run,
    "exec": execute,
    "cold": cold,
    "many": many,
    "ports": ports,
    "logs": logs,
    "parallel": parallel,
    "build": build,
    "compose": compose,
    "large": large,
    "growth": growth,
}

if __name__ == "__main__":
    main()

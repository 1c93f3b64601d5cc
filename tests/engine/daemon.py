"""pyrund under test, with a docker-registry in the place of Docker Hub, in namespaces of their own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYRUND = os.environ.get("PYRUND", str(REPOSITORY / "dist/pyrund"))
DOCKER = shutil.which("docker", path="/usr/bin") or shutil.which("docker")
DOCKERS = sorted({path for path in (DOCKER, shutil.which("docker")) if path})  # Debian's and a newer one
PATIENCE = 30
# pyfetch reads /etc/docker/daemon.json: in this mount namespace it has only our registry.
SANDBOX = """
ip link set lo up
mount -t overlay etc -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" /etc
exec sleep infinity
"""


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def changed_program(directory, change):
    """Return the path of a pyrund in whose modules the code `change` changes something before it begins."""
    path = directory / "pyrund"
    modules = f"import sys\nsys.path[:0] = ['{REPOSITORY / 'runtime'}']\n"
    path.write_text(f"#!/usr/bin/python3 -IS\n{modules}{change}\nimport pyrund.__main__\n")
    path.chmod(0o755)
    return str(path)


class Hub:
    """A registry that stands for Docker Hub, in a network and a mount namespace that daemons can share."""

    def __init__(self, directory):
        self.directory = directory
        for folder in ("etc/docker", "work"):
            (directory / folder).mkdir(parents=True)
        (directory / "etc/docker/daemon.json").write_text(json.dumps({"registry-mirrors": ["http://127.0.0.1:5000"]}))
        self._sandbox = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-ec", SANDBOX, directory])
        self.inside = ["nsenter", "--net", "--mount", "--target", str(self._sandbox.pid)]
        wait_until(lambda: Path(f"/proc/{self._sandbox.pid}/comm").read_text() == "sleep\n", "the namespaces")
        config = directory / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n"
        )
        with open(directory / "registry.log", "w") as log:
            self._registry = subprocess.Popen([*self.inside, "docker-registry", "serve", config], stderr=log)
        probe = [*self.inside, "bash", "-c", "echo > /dev/tcp/127.0.0.1/5000"]
        wait_until(lambda: subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0, "the registry")

    def push(self, image, name):
        """Push an image of tests/registry/images.py as docker.io/library/NAME."""
        folder = self.directory / f"image-{name.replace(':', '-')}"
        image.write_layout(str(folder), "x")
        target = f"docker://127.0.0.1:5000/library/{name}"
        options = ["-q", "--preserve-digests", "--dest-tls-verify=false"]
        command = [*self.inside, "skopeo", "copy", *options, f"oci:{folder}:x", target]
        subprocess.run(command, check=True, capture_output=True)

    def run(self, *command):
        """Run a command on the daemons' host, as it were: in their namespaces."""
        return subprocess.run([*self.inside, *map(str, command)], capture_output=True, text=True)

    def stop(self):
        for process in (self._registry, self._sandbox):
            process.kill()
            process.wait()


class Daemon:
    """A pyrund with everything of its own in `directory`, which is reached in the namespaces of `hub`."""

    def __init__(self, hub, directory, *options):
        self.hub = hub
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.data = directory / "data"
        self.run = directory / "run"
        self.socket = directory / "docker.sock"
        self.log = directory / "log"
        self._command = [*hub.inside, PYRUND, "serve", "-H", f"unix://{self.socket}"]
        self._command += ["--data-root", self.data, "--exec-root", self.run, *options]
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                list(map(str, self._command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, f"an answer: {self.log.read_text()}")

    def _answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return b"200 OK" in self.exchange(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        except OSError:
            return False

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def children(self):
        """Return {name: pid} of the daemon's processes: "launcher", "streams", and "tls" if there is one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = {}
        for pid in children:
            with contextlib.suppress(OSError):  # it has just ended
                found[Path(f"/proc/{pid}/comm").read_text().strip().partition(":")[2]] = int(pid)
        return found

    def workers(self, name="worker"):
        """Return the pids of the launcher's children that do something; those with the name "launcher" wait for work.

        Monitors have another name.
        """
        launcher = self.children()["launcher"]
        found = []
        for pid in map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()):
            with contextlib.suppress(OSError):  # it has just ended
                if Path(f"/proc/{pid}/comm").read_text() == f"pyrund:{name}\n":
                    found.append(pid)
        return found

    @contextlib.contextmanager
    def without_workers(self):
        """Let requests for workers wait."""
        wait_until(lambda: self.workers("launcher"), "the next worker")
        stopped = [self.children()["launcher"], *self.workers("launcher")]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.socket))
        return connection

    def exchange(self, data):
        """Send bytes; return all that comes until the daemon closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def call(self, method, path, body=None):
        """Make a request of the newest version; return (status, JSON or None)."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        answer = self.exchange(head.encode() + content)
        head, _, text = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), json.loads(text) if text.strip() else None

    def docker(self, *arguments, input=None, timeout=PATIENCE, text=True, client=DOCKER):
        return subprocess.run(
            [client, "--host", f"unix://{self.socket}", *map(str, arguments)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=text,
            timeout=timeout,
            env={**os.environ, "DOCKER_CONFIG": str(self.directory)},
        )

    def begin(self, *arguments, **options):
        """Start a docker command."""
        command = [DOCKER, "--host", f"unix://{self.socket}", *map(str, arguments)]
        return subprocess.Popen(command, env={**os.environ, "DOCKER_CONFIG": str(self.directory)}, **options)

    def ok(self, *arguments, **options):
        """Run a docker command that must work, and return its standard output without the line's end."""
        done = self.docker(*arguments, **options)
        assert done.returncode == 0, (done.stdout, done.stderr, self.log.read_text()[-2000:])
        return done.stdout.strip()

    def fails(self, *arguments, **options):
        """Run a docker command that must not work; return (status, standard error)."""
        done = self.docker(*arguments, **options)
        assert done.returncode != 0, done.stdout
        return done.returncode, done.stderr

    def inspect(self, name, template):
        return json.loads(self.ok("inspect", "--format", f"{{{{json {template}}}}}", name))

    def has_seen(self, *filters):
        """Return whether there was an event that all filters let pass."""
        options = [option for text in filters for option in ("--filter", text)]
        return self.ok("events", "--since", "1", "--until", f"{time.time():.9f}", *options) != ""

    def await_record(self, id_):
        """Wait until the container's monitor has recorded its end, which needs no daemon."""
        record = self.run / "pyrun" / id_ / "exit"
        wait_until(lambda: record.stat().st_size > 0, f"the end of {id_}")

    def remove_all(self):
        """Remove all containers; those that remove themselves may be doing so."""
        wait_until(lambda: self._remove_known() == 0, "the removal of all containers")

    def _remove_known(self):
        known = self.call("GET", "/containers/json?all=1")[1]
        for container in known:
            status, answer = self.call("DELETE", f"/containers/{container['Id']}?force=1")
            assert status in (204, 404) or "is already in progress" in answer["message"], answer
        return len(known)

    def left_over(self):
        """Return what a daemon without containers must not have: names of states, execs, folders, cgroups."""
        found = {
            "states": _names(self.run / "pyrun"),
            "execs": _names(self.run / "execs"),
            "containers": _names(self.data / "containers"),
            "bundles": _names(self.data / "images/bundles"),
        }
        return {what: names for what, names in found.items() if names}


@contextlib.contextmanager
def unable_to_fork(pid):
    """Let the process have no children beside those that it has: in a cgroup for one process."""
    v1 = Path("/sys/fs/cgroup/pids")
    cgroup = (v1 if v1.exists() else Path("/sys/fs/cgroup")) / f"pyrund-test-{os.getpid()}"
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    home = next(line.split(":", 2)[2] for line in lines if ":pids:" in line or line.startswith("0::"))
    cgroup.mkdir()
    try:
        (cgroup / "pids.max").write_text("1")
        (cgroup / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        try:
            Path(f"{cgroup.parent}{home}/cgroup.procs").write_text(str(pid))
        finally:
            cgroup.rmdir()


def _names(path):
    return os.listdir(path) if path.exists() else []


def read_all(connection):
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def read_until(connection, end):
    data = b""
    while end not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


def kill(pid):
    os.kill(pid, signal.SIGKILL)

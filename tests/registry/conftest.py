"""pyfetch under test, a store for each test, and registries on loopback.

PYFETCH is the command to test; without it, the source tree's. Needs docker-registry, skopeo, umoci, runc and
busybox-static.
"""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/engines"), os.path.join(ROOT, "runtime")]

from images import Image, busybox_layer  # noqa: E402
from misbehaving import Receiver, Registry  # noqa: E402
from passwords import htpasswd  # noqa: E402
from tools import Daemon, Tool  # noqa: E402

COMMAND = shlex.split(os.environ["PYFETCH"]) if "PYFETCH" in os.environ else [sys.executable, "-m", "pyfetch"]


# Runs a command from a small process: what a process of ours would fork begins with its memory.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, used.ru_minflt)
"""


class Pyfetch:
    """Runs pyfetch with a home, a store and a working directory of its own."""

    def __init__(self, folder):
        self.command = COMMAND
        self.folder = folder
        self.home = folder / "home"
        self.store = folder / "store"
        self.home.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "PYFETCH_STORE": str(self.store),
            "PYTHONPATH": os.path.join(ROOT, "runtime"),
        }

    def run(self, *arguments, input=None, env=None, timeout=60, text=True):
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            input=input,
            capture_output=True,
            text=text,
            timeout=timeout,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
        )

    def start(self, *arguments, env=None):
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
        )

    def ok(self, *arguments, **options):
        """Run, and return standard output without the line's end."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fails(self, *arguments, **options):
        """Run, and return (status, standard error): one line of error, no traceback, nothing on standard output."""
        done = self.run(*arguments, **options)
        errors = [line for line in done.stderr.splitlines() if line.startswith("pyfetch: error: ")]
        assert done.returncode != 0, done.stdout
        assert len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
        assert done.stdout == ""
        return done.returncode, errors[0]

    def measure(self, *arguments):
        """Run, and return the processor's seconds, the peak in kilobytes, and the number of page faults."""
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *self.command, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        seconds, kilobytes, faults = done.stdout.split()
        return float(seconds), int(kilobytes), int(faults)

    def copy(self, image, *arguments, **options):
        """Pull into a flat bundle, and return the path of its root file system."""
        self.ok(image, self.folder / "bundle", "--copy", *arguments, **options)
        return self.folder / "bundle" / "rootfs"


def over_etc(pyfetch):
    """Let pyfetch see the test's folder `etc` over the machine's."""
    (pyfetch.folder / "work").mkdir()
    options = f"lowerdir=/etc,upperdir={pyfetch.folder}/etc,workdir={pyfetch.folder}/work"
    mount = f'mount -t overlay etc -o {options} /etc && exec "$0" "$@"'
    pyfetch.command = ["unshare", "--mount", "sh", "-c", mount, *pyfetch.command]


def unmount_below(folder):
    with open("/proc/self/mounts", errors="surrogateescape") as file:
        points = [line.split(" ")[1] for line in file]
    for point in reversed(points):
        if point.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture
def pyfetch(tmp_path):
    yield Pyfetch(tmp_path)
    unmount_below(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def registry():
    server = Registry()
    yield server
    server.close()


@pytest.fixture
def receiver():
    """A registry of ours to which one can push."""
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="session")
def busybox():
    """An image that can run."""
    return Image(busybox_layer(), config={"Cmd": ["/bin/sh", "-c", "echo hello"], "Env": ["PATH=/bin", "A=b"]})


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory):
    """host:port of Debian's docker-registry."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    yield from serve_docker_registry(tmp_path_factory.mktemp("docker-registry"))


def serve_docker_registry(folder, more=""):
    """Give the host:port of a docker-registry; `more` is of the part http of its configuration."""
    with socket.socket() as probe:  # no fixed number: any program may have been given it for a connection
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n{more}"
    )
    process = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory):
    """host:port of a docker-registry in which only `me` with the password `secret` may do anything."""
    folder = tmp_path_factory.mktemp("locked")
    yield from serve_docker_registry(folder, htpasswd(folder))


@pytest.fixture(scope="session")
def docker(tmp_path_factory):
    """The client of a dockerd of our own, which makes no network: it shares ours, so that it reaches the registry."""
    folder = tmp_path_factory.mktemp("docker")
    docker = Tool("docker", "--host", f"unix://{folder}/s", environment={"DOCKER_BUILDKIT": "0"})
    places = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    daemon = Daemon(
        folder / "log",
        *("dockerd", "--host", f"unix://{folder}/s", *places, *network),
        ready=lambda: (folder / "s").exists() and docker("version").status == 0,
    )
    yield docker
    daemon.stop()
    unmount_below(folder)


@contextlib.contextmanager
def podman_in(folder):
    """Give a function that runs podman with its storage in `folder`, and returns its standard output."""
    runroot = tempfile.mkdtemp(prefix="podman-")  # podman wants at most 50 characters
    command = ["podman", "--root", f"{folder}/podman", "--runroot", runroot]

    def podman(*arguments):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        yield podman
    finally:
        unmount_below(f"{folder}/podman")
        subprocess.run(["rm", "-rf", runroot], check=True)


def push(image, folder, name, *options):
    """Push `image` to a registry with skopeo."""
    image.write_layout(str(folder), "x")
    command = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", *options]
    subprocess.run([*command, f"oci:{folder}:x", f"docker://{name}"], check=True, capture_output=True)
    return name


def tree(root):
    """Describe every file below `root`: kind, mode, owner, time, size or target, attributes, links, content."""
    found = {}
    inodes = {}
    for folder, directories, files in os.walk(root):
        directories.sort()  # which of several hard links comes first must not depend on the file system
        for name in [".", *directories, *sorted(files)] if folder == str(root) else [*directories, *sorted(files)]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            key = os.path.relpath(path, root)
            attributes = {n: os.getxattr(path, n, follow_symlinks=False) for n in _xattrs(path)}
            what = os.readlink(path) if os.path.islink(path) else _content(path, status)
            first = inodes.setdefault(status.st_ino, key) if status.st_nlink > 1 and not os.path.isdir(path) else key
            owner = (status.st_uid, status.st_gid)
            found[key] = (oct(status.st_mode), owner, status.st_mtime_ns, status.st_rdev, what, attributes, first)
    return found


def differences(ours, theirs):
    return {
        key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    }


def _xattrs(path):
    return [n for n in os.listxattr(path, follow_symlinks=False) if not n.startswith("trusted.overlay.")]


def _content(path, status):
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read() if status.st_size < 1 << 20 else status.st_size

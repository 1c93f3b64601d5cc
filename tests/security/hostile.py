"""Hostile bundles, the machine that runs them, and the host that they must leave alone."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYRUN = os.environ.get("PYRUN", str(REPOSITORY / "dist/pyrun"))
APPLETS = "sh ls cat id sleep true false echo mkdir ln rm mknod readlink chmod stat kill ps dd touch grep env".split()
HANG = 20  # seconds after which a command of pyrun counts as hanging


class Bundle:
    """A bundle with busybox in it: change `config` and `rootfs`, then let Machine use it."""

    def __init__(self, path, busybox, config):
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = config
        (self.rootfs / "bin").mkdir(parents=True)
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for name in APPLETS:
            os.symlink("busybox", self.rootfs / "bin" / name)

    def namespaces(self, **paths):
        """Join the namespaces at `paths`, by type; None leaves the type out, which is the host's."""
        kept = [ns for ns in self.config["linux"]["namespaces"] if ns["type"] not in paths]
        joined = [{"type": type_, "path": path} for type_, path in paths.items() if path]
        self.config["linux"]["namespaces"] = kept + joined

    def user_namespace(self):
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.config["linux"]["namespaces"].append({"type": "user"})
        self.config["linux"]["uidMappings"] = self.config["linux"]["gidMappings"] = mapping
        for path in (self.rootfs, *self.rootfs.rglob("*")):
            os.lchown(path, 100000, 100000)

    def without_mount(self, *destinations):
        self.config["mounts"] = [mount for mount in self.config["mounts"] if mount["destination"] not in destinations]

    def capabilities(self, *names):
        self.config["process"]["capabilities"] = {name: list(names) for name in ("bounding", "effective", "permitted")}

    def write(self):
        (self.path / "config.json").write_text(json.dumps(self.config))


class Machine:
    """Runs pyrun on containers, in a --root of its own, and takes all of them away again."""

    def __init__(self, root):
        self.root = str(root)
        self._count = 0

    def new_id(self):
        self._count += 1
        return f"attack-{os.getpid()}-{self._count}"

    def pyrun(self, *arguments, timeout=HANG, **options):
        """Run pyrun; whatever happens it must not hang, and not show a traceback."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [PYRUN, "--root", self.root, *map(str, arguments)]
        result = subprocess.run(command, timeout=timeout, text=True, errors="replace", **options)
        assert "Traceback" not in (result.stderr or "")
        return result

    def run(self, bundle, *shell, **options):
        """Run the bundle in the foreground, `shell` as its process where there is one."""
        if shell:
            bundle.config["process"]["args"] = ["/bin/sh", "-c", *shell]
        bundle.write()
        return self.pyrun("run", "--bundle", bundle.path, self.new_id(), **options)

    def start(self, bundle, *shell, **options):
        """Run the bundle in the background and return its id."""
        id_ = self.create(bundle, *(shell or ("sleep 1000",)), **options)
        started = self.pyrun("start", id_)
        assert started.returncode == 0, started.stderr
        return id_

    def create(self, bundle, *shell, **options):
        if shell:
            bundle.config["process"]["args"] = ["/bin/sh", "-c", *shell]
        bundle.write()
        id_ = self.new_id()
        # Files, not pipes: the container would hold them open.
        options = {"stdout": subprocess.DEVNULL, "stderr": open(f"{bundle.path}/stderr", "w"), **options}
        created = self.pyrun("create", "--bundle", bundle.path, id_, **options)
        assert created.returncode == 0, open(f"{bundle.path}/stderr").read()
        return id_

    def state(self, id_):
        return json.loads(self.pyrun("state", id_).stdout)

    def exec(self, id_, *command, options=(), **keywords):
        return self.pyrun("exec", *options, id_, *command, **keywords)

    def clean(self):
        left = os.listdir(self.root) if os.path.isdir(self.root) else []
        for id_ in left:
            if os.path.isdir(f"{self.root}/{id_}") and not os.path.islink(f"{self.root}/{id_}"):
                self.pyrun("delete", "--force", id_)


class Victim:
    """A directory of the host that no container may touch."""

    def __init__(self, path):
        self.path = path
        (path / "directory").mkdir(parents=True)
        for name in ("secret", "ptmx", "console", "null", "passwd"):
            (path / name).write_text(f"the host's {name}")
        self._before = self._look()

    def _look(self):
        found = {}
        for path in sorted([self.path, *self.path.rglob("*")]):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns, content)
        return found

    def is_untouched(self):
        assert self._look() == self._before
        return True


def mounts():
    with open("/proc/self/mountinfo") as file:
        return sorted(line.split(" ", 5)[4] for line in file)


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found

"""What attacks need: a runtime that is given many containers, and the host that they must leave alone."""

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import uuid
from pathlib import Path

from harness import REPOSITORY, Container, call, under_test

HANG = 20  # seconds after which a command of pyrun counts as hanging


class Machine:
    """The runtime, with containers of many bundles in one --root, whatever comes of them; takes all of them away."""

    def __init__(self, root, program=None):
        self.root = str(root)
        self.program = str(program or under_test())
        self.prefix = []  # what the runtime is called by

    def new_id(self):
        return f"attack-{uuid.uuid4().hex[:12]}"

    def command(self, *arguments):
        return [*self.prefix, self.program, "--root", self.root, *map(str, arguments)]

    def pyrun(self, *arguments, **options):
        """Run pyrun; whatever happens it must not hang, and not show a traceback."""
        result = call(self.command(*arguments), **{"timeout": HANG, **options})
        assert "Traceback" not in (result.stderr or "")
        return result

    def run(self, bundle, *shell, **options):
        """Run the bundle in the foreground, `shell` as its process if there is one."""
        _set_process(bundle, shell)
        bundle.save()
        return self.pyrun("run", "--bundle", bundle.path, self.new_id(), **options)

    def start(self, bundle, *shell, **options):
        """Run the bundle in the background, and return its id."""
        id_ = self.create(bundle, *(shell or ("sleep 1000",)), **options)
        started = self.pyrun("start", id_)
        assert started.returncode == 0, started.stderr
        return id_

    def create(self, bundle, *shell, **options):
        _set_process(bundle, shell)
        container = Container(self.program, bundle.path.parent, bundle)
        container.root, container.prefix = self.root, self.prefix
        return container.create(**options).id

    def state(self, id_):
        return json.loads(self.pyrun("state", id_).stdout)

    def exec(self, id_, *command, options=(), **keywords):
        return self.pyrun("exec", *options, id_, *command, **keywords)

    def clean(self):
        self.prefix = []
        left = os.listdir(self.root) if os.path.isdir(self.root) else []
        for id_ in left:
            if os.path.isdir(f"{self.root}/{id_}") and not os.path.islink(f"{self.root}/{id_}"):
                self.pyrun("delete", "--force", id_)


def _set_process(bundle, shell):
    if shell:
        bundle.process["args"] = ["/bin/sh", "-c", *shell]


class Victim:
    """A directory of the host that no container may touch, though its modes let everybody do so."""

    def __init__(self, path):
        self.path = path
        (path / "directory").mkdir(parents=True)
        for name in ("secret", "ptmx", "console", "null", "passwd"):
            (path / name).write_text(f"the host's {name}")
        for one in [path, *path.iterdir()]:
            one.chmod(0o777)
        self._before = self._look()

    def look_again(self):
        """Take what there is for what must stay."""
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
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        return sorted(line.split(" ", 5)[4] for line in file)


@functools.lru_cache
def programs():
    """Return the interpreter, each library that it maps, and the programs under test."""
    show = "import os, ctypes; print(os.path.realpath('/proc/self/exe')); print(open('/proc/self/maps').read())"
    output = subprocess.run(["/usr/bin/python3", "-IS", "-c", show], capture_output=True, text=True).stdout
    files = {word for word in output.split() if word.startswith("/")}
    files |= {str(under_test()), str(REPOSITORY / "dist/pyrun"), str(REPOSITORY / "dist/pyfetch")}
    return sorted(path for path in files if os.path.isfile(path))


def digests():
    found = {path: os.stat(path) for path in programs()}
    return {path: _digest(path, one.st_ino, one.st_size, one.st_ctime_ns) for path, one in found.items()}


@functools.lru_cache
def _digest(path, *identity):
    """Return the digest of the file, which is read again if it was changed: no write leaves st_ctime as it was."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


_EXCHANGE = """
import ctypes, os, sys, time
exchange = ctypes.CDLL(None).renameat2
one, other = (os.fsencode(path) for path in sys.argv[1:])
while True:
    for _ in range(50):
        exchange(-100, one, -100, other, 2)  # RENAME_EXCHANGE
    time.sleep(0.0005)
"""


@contextlib.contextmanager
def exchanging(one, other):
    """Exchange two names, over and over, as a peer with the same volume would."""
    process = subprocess.Popen(["/usr/bin/python3", "-IS", "-c", _EXCHANGE, one, other])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# What build_with() takes for a pyrun that opens paths as runtimes did before openat2(2), by name: a positive control.
FOLLOWS_SYMLINKS = {
    "foundation/linux/openat2.py": """

def openat2(dirfd, path, flags, resolve, mode=0):
    return os.open(path.lstrip(b"/") or b".", flags | os.O_CLOEXEC, mode, dir_fd=dirfd)
"""
}


def make_symlink(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, path)

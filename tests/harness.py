"""A real bundle, a real container, and the runtime under test: what the integration tests are made of."""

import array
import copy
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BUSYBOX = "/bin/busybox"
V2_ALONE = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
TIMEOUT = 30
V2_ROOT = "/sys/fs/cgroup/unified" if os.path.exists("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
END = "-- end --"

DEFAULT_CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin", "HOME=/"],
        "cwd": "/",
        "capabilities": {
            kind: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for kind in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
    ],
    "linux": {
        "namespaces": [{"type": type_} for type_ in ("pid", "network", "ipc", "uts", "mount")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    },
}


# what the root file system of an ordinary image has beside bin
DIRECTORIES = ("proc", "dev", "sys", "tmp", "etc")


class Bundle:
    """A directory with a root file system of busybox and `config`, which is written when a runtime is called.

    `busybox` is linked to, so a program of the container that can write changes it for all bundles that have it.
    """

    def __init__(self, path: Path, busybox: Path, config=DEFAULT_CONFIG, directories=DIRECTORIES):
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = copy.deepcopy(config)
        for name in ("bin", *directories):
            (self.rootfs / name).mkdir(parents=True)
        os.link(busybox, self.rootfs / "bin/busybox")
        for applet in applets():
            if applet != "busybox":
                (self.rootfs / "bin" / applet).symlink_to("busybox")

    @property
    def process(self):
        return self.config["process"]

    @property
    def linux(self):
        return self.config["linux"]

    @property
    def resources(self):
        return self.linux["resources"]

    def mount(self, destination, type_="", source="", *options):
        """Append a mount; `type_` "bind" is a bind of `source`, unless the options say rbind."""
        if type_ == "bind" and "rbind" not in options:
            options = ("bind", *options)
        entry = {"destination": destination, "type": type_, "source": str(source), "options": list(options)}
        self.config["mounts"].append(entry)

    def without_mount(self, *destinations):
        self.config["mounts"] = [mount for mount in self.config["mounts"] if mount["destination"] not in destinations]

    def capabilities(self, *names):
        self.process["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}

    def namespace(self, type_, path=None):
        """Have a namespace of `type_`, new or joined at `path`."""
        self.without_namespace(type_)
        self.linux["namespaces"].append({"type": type_, "path": path} if path else {"type": type_})

    def without_namespace(self, type_):
        self.linux["namespaces"] = [one for one in self.linux["namespaces"] if one["type"] != type_]

    def user_namespace(self, host_id=100000, size=65536):
        """Have a new user namespace, and a root file system that its root owns and can reach."""
        self.namespace("user")
        for kind in ("uidMappings", "gidMappings"):
            self.linux[kind] = [{"containerID": 0, "hostID": host_id, "size": size}]
        for directory, _, files in os.walk(self.rootfs):
            for path in [directory, *(os.path.join(directory, name) for name in files)]:
                if os.path.basename(path) != "busybox":  # one file, linked into every bundle
                    os.lchown(path, host_id, host_id)
        for parent in (self.path, *self.path.parents):
            if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o111)

    def save(self):
        (self.path / "config.json").write_text(json.dumps(self.config))


def under_test():
    """Return the path of the runtime under test, which RUNTIME names."""
    given = os.environ.get("RUNTIME")
    if not given:
        return REPOSITORY / "dist/pyrun"
    return Path(shutil.which(given) or given).absolute()


_applets: "list[str]" = []


def applets():
    if not _applets:
        _applets.extend(subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split())
    return _applets


class Container:
    """A container of the runtime under test. What its methods call must work; `fails` is for what must not."""

    def __init__(self, runtime, directory, bundle):
        self.runtime = runtime
        self.root = directory / "state"
        self.bundle = bundle
        self.prefix = []  # what the runtime is called by
        self.global_options = []
        self.id = f"test-{uuid.uuid4().hex[:12]}"
        self.pid_file = directory / f"{self.id}.pid"
        self.output_file = directory / f"{self.id}.output"

    def command(self, verb, *arguments):
        return [
            *self.prefix,
            str(self.runtime),
            "--root",
            str(self.root),
            *self.global_options,
            verb,
            *map(str, arguments),
        ]

    def call(self, verb, *arguments, **options):
        """Run the runtime, whatever comes of it."""
        self.bundle.save()
        return call(self.command(verb, *arguments), **options)

    def works(self, verb, *arguments, **options):
        """Run the runtime, which must end well, and return its standard output."""
        result = self.call(verb, *arguments, **options)
        assert result.returncode == 0, f"{verb}: {result.returncode}: {result.stdout}{result.stderr}"
        return result.stdout

    def fails(self, verb, *arguments, status=1, **options):
        """Run the runtime, which must fail with one line, and return that."""
        result = self.call(verb, *arguments, **options)
        assert result.returncode == status, f"{verb}: {result.returncode}: {result.stdout}{result.stderr}"
        assert "Traceback" not in result.stderr
        lines = result.stderr.splitlines()
        assert len(lines) == 1 or self.name != "pyrun", result.stderr
        return lines[-1]

    @property
    def name(self):
        return Path(self.runtime).name

    def create(self, *options, **keywords):
        """`create`; what the container writes goes to a file, see output()."""
        self._detached("create", "--pid-file", self.pid_file, *options, **keywords)
        return self

    def start(self):
        self.works("start", self.id)
        return self

    def run_detached(self, *options, **keywords):
        self._detached("run", "--detach", "--pid-file", self.pid_file, *options, **keywords)
        return self

    def _detached(self, verb, *options, **keywords):
        # A file: what the container inherits stays open, and a pipe would have no end.
        self.bundle.save()
        command = self.command(verb, "--bundle", self.bundle.path, *options, self.id)
        with open(self.output_file, "w") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            result = subprocess.run(command, **{"timeout": TIMEOUT, **streams, **keywords})
        assert result.returncode == 0, f"{verb}: {self.output()}"

    def output(self):
        return self.output_file.read_text(errors="surrogateescape")

    def run(self, *command, options=(), **keywords):
        """Run the bundle's program, or `command`, in the foreground, and return its standard output."""
        if command:
            self.bundle.process["args"] = list(command)
        return self.works("run", "--bundle", self.bundle.path, *options, self.id, **keywords)

    def sh(self, script, **keywords):
        """Run a shell script in the foreground and return its standard output without the last newline."""
        return self.run("sh", "-c", script, **keywords).rstrip("\n")

    def run_fails(self, *command, options=(), **keywords):
        """Run what must not come to life, and return the one line that says why."""
        if command:
            self.bundle.process["args"] = list(command)
        return self.fails("run", "--bundle", self.bundle.path, *options, self.id, **keywords)

    def exec(self, *command, options=(), **keywords):
        return self.works("exec", *options, self.id, *command, **keywords)

    def sleeping(self):
        """Run, in the background, a program that does nothing until it is killed."""
        self.bundle.process["args"] = ["sleep", "1000"]
        return self.run_detached()

    def look(self, script):
        """Run, in the background, a shell script, which then sleeps as sleeping() does; return what it has written."""
        self.bundle.process["args"] = ["sh", "-c", f"{{ {script}\n}} 2>&1; echo .; exec sleep 1000"]
        self.run_detached()
        wait_until(lambda: self.output().endswith(".\n"), "the script has ended")
        wait_until(lambda: self.proc("cmdline").startswith("sleep"), "it sleeps")
        return self.output()[: -len(".\n")].rstrip("\n")

    def pid(self):
        return int(self.pid_file.read_text())

    def state(self):
        return json.loads(self.works("state", self.id))

    def status(self):
        return self.state()["status"]

    def delete(self, *options):
        self.works("delete", *options, self.id)

    def wait_until(self, status):
        wait_until(lambda: self.status() == status, f"{self.id} is {status}")
        return self

    def exists(self):
        return self.id in self.works("list", "--quiet").split() if self.root.exists() else False

    def proc(self, name):
        return Path(f"/proc/{self.pid()}/{name}").read_text()

    def both_sides(self, name, *options):
        """Run a program that shows /proc/self/NAME and stays; return what it showed, and what the host sees of it.

        By what the shell has itself: a process of the deadline policy cannot fork.
        """
        read = f'while IFS= read -r line; do printf "%s\\n" "$line"; done </proc/$$/{name}'
        self.bundle.process["args"] = ["sh", "-c", f"{read}; echo {END}; exec sleep 1000"]
        self.run_detached(*options)
        wait_until(lambda: f"{END}\n" in self.output(), f"{self.id} has shown {name}: {self.output()}")
        return self.output().removesuffix(f"{END}\n"), self.proc(name)

    def cgroups(self):
        """Return the directories of this container's cgroups that there are."""
        return cgroups_named(self.id)

    def cgroup(self, controller):
        """Return the directory of the container's cgroup that has the controller: that of v1, or else of v2."""
        for line in self.proc("cgroup").splitlines():  # v2 comes last
            _, controllers, path = line.split(":", 2)
            if controller and controller in controllers.split(","):
                return Path(f"/sys/fs/cgroup/{controllers}{path}")
        return Path(f"{V2_ROOT}{path}")

    def cgroup_file(self, controller, name):
        """Return the content of a file of the container's cgroup."""
        return (self.cgroup(controller) / name).read_text().strip()


def call(command, **options):
    """Run a command, whatever comes of it; what it prints is text, in which odd bytes are kept."""
    options = {"timeout": TIMEOUT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run(command, **options)
    for name in ("stdout", "stderr"):
        if getattr(result, name) is not None:
            setattr(result, name, getattr(result, name).decode("utf-8", "surrogateescape"))
    return result


def without_executable_memfds(*command):
    """Return `command`, to run where no memfd can be executed, so that Python itself carries out the stub's table."""
    script = 'echo 2 > /proc/sys/vm/memfd_noexec && exec "$@"'
    return ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh", *map(str, command)]


def sources_with(directory, additions):
    """Copy runtime/ to `directory` and append text, by path: a fault that a test must notice. Return its path there."""
    sources = directory / "runtime"
    shutil.copytree(REPOSITORY / "runtime", sources, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in additions.items():
        (sources / path).write_text((sources / path).read_text() + text)
    return sources


# Appended to a module: when that has found the init alive, the init ends, and a process of the host gets its pid.
ANOTHER_GETS_THE_PID = """
_find_name = process_name

def process_name(pid, start_time):
    found = _find_name(pid, start_time)
    if found:
        _take(pid)
    return found

def _take(pid):
    import time
    os.kill(pid, 9)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.001)
    child = 0
    while child != pid:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            for fd in (0, 1, 2):
                os.close(fd)
            time.sleep(2 if os.getpid() == pid else 0)
            os._exit(0)
"""


def build_with(directory, additions):
    """Build pyrun of sources_with(), and return the path of the program."""
    sources_with(directory, additions)
    shutil.copy(REPOSITORY / "build_zipapp.py", directory)
    subprocess.run(["/usr/bin/python3", "build_zipapp.py"], cwd=directory, check=True, capture_output=True)
    return directory / "dist/pyrun"


class DescriptorSocket:
    """A socket that receives descriptors, each sender's once."""

    def __init__(self, path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(TIMEOUT)
        self._listener.bind(str(path))
        self._listener.listen()

    def receive(self):
        """Return (what was sent with them, the descriptors)."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            descriptors = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
            for level, kind, content in ancillary:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        return data, list(descriptors)

    def close(self):
        self._listener.close()


def wait_until(condition, what="what was awaited", seconds=10):
    """Return what the condition does as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.02)
    return found


def cgroups_named(name):
    found = []
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(directory, one) for one in names if name in one]
    return found


def mounts_below(path):
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        return [line.split()[4] for line in file if line.split()[4].startswith(f"{path}/")]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

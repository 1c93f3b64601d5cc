"""A dockerd of the tests' own: in a network namespace, so that its bridges and its iptables are nobody else's."""

from tools import PYRUN, Daemon, Engine, Tool, unmount_below

# With a loopback device; the daemon makes docker0 by itself.
NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


class Dockerd:
    """The daemon in `directory`, with pyrun as its default runtime, until `stop`."""

    def __init__(self, directory, *options, before=()):
        self.directory = directory
        self.command = ("docker", "--host", f"unix://{directory}/s")
        self.docker = Tool(*self.command)
        places = ("--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid")
        runtimes = ("--add-runtime", f"pyrun={PYRUN}", "--default-runtime", "pyrun")
        self._daemon = Daemon(
            directory / "log",
            *(*NETWORK, *before, "dockerd", "--host", f"unix://{directory}/s", *places, *runtimes, *options),
            ready=lambda: (directory / "s").exists() and self.docker("version").status == 0,
        )
        self.inside = Tool("nsenter", "--net", "--target", self._daemon.pid)

    def on(self, runtime):
        return Engine(*self.command, options=("--runtime", runtime))

    def stop(self):
        for container in self.docker("ps", "--all", "--quiet").output.split():
            self.docker("rm", "--force", container)
        self._daemon.stop()
        unmount_below(self.directory)

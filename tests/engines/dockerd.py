"""A dockerd with the daemon.json of doc/engines.md, in a network namespace: its bridges and iptables are its own."""

import json
import shutil

from tools import Daemon, Engine, Tool, readme, unmount_below

# With a loopback device; the daemon makes docker0 by itself.
NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


class Dockerd:
    """The daemon in `directory`, with pyrun as its default runtime and with `runtimes`, until `stop`."""

    def __init__(self, directory, *options, before=(), runtimes=()):
        self.directory = directory
        self.command = ("docker", "--host", f"unix://{directory}/s")
        self.docker = Tool(*self.command)
        places = ("--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid")
        config = json.loads(readme("docker/daemon.json"))
        config["runtimes"].update({name: {"path": shutil.which(name)} for name in runtimes})
        (directory / "daemon.json").write_text(json.dumps(config))
        places += ("--config-file", directory / "daemon.json")
        self._daemon = Daemon(
            directory / "log",
            *(*NETWORK, *before, "dockerd", "--host", f"unix://{directory}/s", *places, *options),
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

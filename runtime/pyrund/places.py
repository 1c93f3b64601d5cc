"""Where the engine keeps its things."""

from foundation.linux import os
from pyrund.errors import Refused


class Defaults:
    """Where the engine is of the user who we are, unless it is told otherwise. A user who is not root has one of his
    own, in the folders of the XDG Base Directory Specification."""

    def __init__(self) -> None:
        self.is_rootless = os.geteuid() != 0

    @property
    def socket(self) -> str:
        return f"{runtime_directory()}/docker.sock" if self.is_rootless else "/var/run/docker.sock"

    @property
    def run(self) -> str:
        return f"{runtime_directory()}/pyrund" if self.is_rootless else "/run/pyrund"

    @property
    def data(self) -> str:
        return f"{_base('XDG_DATA_HOME', '.local/share')}/pyrund" if self.is_rootless else "/var/lib/pyrund"

    @property
    def daemon_json(self) -> str:
        folder = f"{_base('XDG_CONFIG_HOME', '.config')}/docker" if self.is_rootless else "/etc/docker"
        return f"{folder}/daemon.json"

    @property
    def group(self) -> str:
        """Who may use the socket beside its owner: nobody, unless that is root."""
        return "" if self.is_rootless else "docker"


def runtime_directory() -> str:
    """Return the XDG_RUNTIME_DIR of the user. Raises Refused if there is none."""
    named, usual = os.environment.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}"
    if named.startswith("/"):
        return named.rstrip("/")
    if os.access(usual, os.W_OK):  # of a login of the same user: su(1) and cron(8) do not say so
        return usual
    raise Refused(f"XDG_RUNTIME_DIR is not set: it has to name a folder of your own, such as {usual}")


def _base(variable: str, usual: str) -> str:
    named = os.environment.get(variable, "")
    return named.rstrip("/") if named.startswith("/") else f"{os.home()}/{usual}"


IN_DATA = ("containers", "images", "sizes", "volumes", "networks", "builds", "events")  # what an engine would change
MARKS = ("init/.dockerenv", "images/oci-layout")  # of a folder in which an engine has begun, also an older one


class Places:
    """The folders of one engine.

    data   what outlives a reboot: images/ (a store of pyfetch), sizes/, containers/ID/, volumes/NAME/,
           networks/ID.json, builds/ID/, events, init/ (model/init_layer.py)
    run    what does not: pyrun/ID/ (the state directories of pyrun), execs/ID/, published/ID, lock, network, forwarding

    table  the name of its table of nftables

    daemon_json is the file that says where registries are.

    is_rootless says whether the engine is only root of a user namespace that it has made (rootless.py), systemd where
    the systemd of its user is, which makes cgroups for it; "" if it has none.
    """

    def __init__(self, data: str, run: str, daemon_json: str, table: str) -> None:
        self.data = data
        self.run = run
        self.daemon_json = daemon_json
        self.table = table
        self.is_rootless = False
        self.systemd = ""
        self.images = f"{data}/images"
        self.sizes = f"{data}/sizes"
        self.containers = f"{data}/containers"
        self.volumes = f"{data}/volumes"
        self.states = f"{run}/pyrun"
        self.execs = f"{run}/execs"
        self.networks = f"{data}/networks"
        self.builds = f"{data}/builds"
        self.events = f"{data}/events"
        self.init = f"{data}/init"

    @property
    def has_cgroups(self) -> bool:
        """Whether containers have cgroups, and so limits."""
        return bool(self.systemd) or not self.is_rootless

    def container(self, id_: str) -> str:
        return f"{self.containers}/{id_}"

    def bundle(self, id_: str) -> str:
        """The bundle that pyrun is given."""
        return f"{self.container(id_)}/bundle"

    def layer(self, id_: str) -> str:
        """What the container has written, for overlayfs: upper and work."""
        return f"{self.container(id_)}/layer"

    def document(self, id_: str) -> str:
        return f"{self.container(id_)}/container.json"

    def checkpoints(self, id_: str) -> str:
        return f"{self.container(id_)}/checkpoints"

    def held_mark(self, id_: str) -> str:
        """A file that is there while the container is frozen for a checkpoint or a commit, and not by a client."""
        return f"{self.container(id_)}/checkpointing"

    def log(self, id_: str) -> str:
        return f"{self.container(id_)}/{id_}-json.log"

    def exec(self, id_: str) -> str:
        return f"{self.execs}/{id_}"

    def volume(self, name: str) -> str:
        return f"{self.volumes}/{name}"

    def volume_data(self, name: str) -> str:
        """What is mounted in containers."""
        return f"{self.volume(name)}/_data"

    def volume_document(self, name: str) -> str:
        return f"{self.volume(name)}/volume.json"

    def volume_mark(self, name: str) -> str:
        """A file that is there while the volume is being populated."""
        return f"{self.volume(name)}/populating"

    def build(self, id_: str) -> str:
        """What a build needs while it lasts: its context, what its steps write, files from elsewhere."""
        return f"{self.builds}/{id_}"

    def network(self, id_: str) -> str:
        return f"{self.networks}/{id_}.json"

    def removed_network(self, id_: str) -> str:
        """The document of a network whose bridge is to go."""
        return f"{self.networks}/{id_}.removed"

    def published(self, id_: str) -> str:
        """The ports of a running container that are in the table of rules."""
        return f"{self.run}/published/{id_}"

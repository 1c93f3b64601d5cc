"""Where the engine keeps its things."""


class Places:
    """The folders of one engine.

    data   what outlives a reboot: images/ (a store of pyfetch), sizes/, containers/ID/, volumes/NAME/,
           networks/ID.json, builds/ID/, events
    run    what does not: pyrun/ID/ (the state directories of pyrun), execs/ID/, published/ID, lock, network, forwarding

    table  the name of its table of nftables

    daemon_json is the file that says where registries are.
    """

    def __init__(self, data: str, run: str, daemon_json: str, table: str) -> None:
        self.data = data
        self.run = run
        self.daemon_json = daemon_json
        self.table = table
        self.images = f"{data}/images"
        self.sizes = f"{data}/sizes"
        self.containers = f"{data}/containers"
        self.volumes = f"{data}/volumes"
        self.states = f"{run}/pyrun"
        self.execs = f"{run}/execs"
        self.lock = f"{run}/lock"
        self.networks = f"{data}/networks"
        self.builds = f"{data}/builds"
        self.events = f"{data}/events"

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

"""config.json as objects: one line per property, with our name, its type, its name in the spec, and its default.

Types are checked here; rules across properties are checked in validate.py. linux.* is in linux.py.
Source: runtime-spec 1.3, config.md and config-linux.md.
"""

from foundation.node import INT64, UINT32, UINT64
from pyrun.config.linux import Linux, id_mappings
from pyrun.config.node import Node
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


# The annotations that pyrun supports, besides those of hooks.py; the first four are crun's.
KEEP_GROUPS = "run.oci.keep_original_groups"
PIDFD_RECEIVER = "run.oci.pidfd_receiver"
SECCOMP_RECEIVER = "run.oci.seccomp.receiver"
SECCOMP_STRICT = "run.oci.seccomp_fail_unknown_syscall"
LANDLOCK = "run.pyrun.landlock"
SCHED_CORE = "run.pyrun.sched_core"


class Config:
    """A whole config.json. `json` is the document as it was read, for code that passes parts on unchanged."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.oci_version = json.string("ociVersion")
        self.process = Process(json.object("process")) if json.has("process") else None
        self.root = Root(json.object("root"))
        self.hostname = json.string("hostname", default="")
        self.domainname = json.string("domainname", default="")
        self.mounts = [Mount(mount) for mount in json.objects("mounts")]
        self.hooks = Hooks(json.object("hooks", default={}))
        self.annotations = json.text_map("annotations")
        self.linux = Linux(json.object("linux", default={}), self.oci_version)
        if self.process and self.linux.makes("user"):
            self.linux.map_callers_ids(self.process.user.uid, self.process.user.gid)


def no_config(path: str) -> ConfigError:
    """Return the error for a bundle without a config.json at `path`."""
    return ConfigError(
        f"{path}: No such file or directory: name a bundle with --bundle, or write one with `pyrun spec`"
    )


def load_config(path: str) -> Config:
    """Read and type-check the config.json at `path`. Raises ConfigError, or the OSError of open(2)."""
    return Config(Node.load(path, "config.json"))


class Root:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.path = json.string("path")
        self.readonly = json.boolean("readonly")


class Mount:
    """`options` is [] if absent, and empty options are dropped; `type` is "" if absent, as for a bind."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.destination = json.string("destination")
        self.type = json.string("type", default="")
        self.source = json.string("source", default="")
        self.options = [option for option in json.strings("options") if option]
        self.uid_mappings = id_mappings(json, "uidMappings")
        self.gid_mappings = id_mappings(json, "gidMappings")


class Process:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.args = json.strings("args")
        self.cwd = json.string("cwd")
        self.env = json.strings("env")
        self.terminal = json.boolean("terminal")
        self.console_size = ConsoleSize(json.object("consoleSize")) if json.has("consoleSize") else None
        self.plain_lines = False  # whether its terminal leaves "\n" as it is, see stdio/console.py
        self.user = User(json.object("user", default={}))
        self.capabilities = Capabilities(json.object("capabilities")) if json.has("capabilities") else None
        self.rlimits = [Rlimit(rlimit) for rlimit in json.objects("rlimits")]
        self.no_new_privileges = json.boolean("noNewPrivileges")
        self.apparmor_profile = json.string("apparmorProfile", default="")
        self.selinux_label = json.string("selinuxLabel", default="")
        self.oom_score_adj = json.integer_or_none("oomScoreAdj", (-1000, 1000))
        self.scheduler = Scheduler(json.object("scheduler")) if json.has("scheduler") else None
        self.io_priority = IOPriority(json.object("ioPriority")) if json.has("ioPriority") else None
        self.exec_cpu_affinity = CPUAffinity(json.object("execCPUAffinity")) if json.has("execCPUAffinity") else None


class ConsoleSize:
    def __init__(self, json: Node) -> None:
        self.height = json.integer("height", (0, 65535))
        self.width = json.integer("width", (0, 65535))


class User:
    """`umask` is None if the caller's is inherited."""

    def __init__(self, json: Node) -> None:
        self.uid = json.integer("uid", UINT32, default=0)
        self.gid = json.integer("gid", UINT32, default=0)
        self.umask = json.integer_or_none("umask", (0, 0o777))
        self.additional_gids = json.integers("additionalGids", UINT32)


class Capabilities:
    """Lists of names like "CAP_CHOWN". Unknown names are kept; validate.warnings() reports them."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.bounding = json.strings("bounding")
        self.effective = json.strings("effective")
        self.inheritable = json.strings("inheritable")
        self.permitted = json.strings("permitted")
        self.ambient = json.strings("ambient")


class Rlimit:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.type = json.string("type")
        self.soft = json.integer("soft", UINT64)
        self.hard = json.integer("hard", UINT64)


class Scheduler:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.policy = json.string("policy")
        self.nice = json.integer("nice", (-(1 << 31), (1 << 31) - 1), default=0)
        self.priority = json.integer("priority", (-(1 << 31), (1 << 31) - 1), default=0)
        self.flags = json.strings("flags")
        self.runtime = json.integer("runtime", UINT64, default=0)
        self.deadline = json.integer("deadline", UINT64, default=0)
        self.period = json.integer("period", UINT64, default=0)


class IOPriority:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.class_ = json.string("class")
        self.priority = json.integer("priority", INT64, default=0)


class CPUAffinity:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.initial = json.string("initial", default="")
        self.final = json.string("final", default="")


class Hooks:
    """The hooks of each kind in HOOK_KINDS."""

    def __init__(self, json: Node) -> None:
        self._of_kind = {kind: [Hook(hook) for hook in json.objects(kind)] for kind in HOOK_KINDS}

    def __getitem__(self, kind: str) -> "list[Hook]":
        return self._of_kind[kind]


class Hook:
    """`timeout` is in seconds, None for no limit; if `env` is None, the hook gets the runtime's environment."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.path = json.string("path")
        self.args = json.strings("args")
        self.env = json.strings_or_none("env")
        self.timeout = json.integer_or_none("timeout")

    def document(self) -> "dict[str, Any]":
        """Return the hook as JSON without unknown properties, which have not been checked."""
        known = {"path": self.path, "args": self.args, "env": self.env, "timeout": self.timeout}
        return {name: value for name, value in known.items() if value is not None}

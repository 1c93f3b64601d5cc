"""The annotation run.pyrun.landlock: rules that restrict the processes of a container (landlock(7)).

Its value is a JSON object in the format proposed for the runtime-spec, with the names of <linux/landlock.h>:

    {
      "ruleset": {"handledAccessFS": ["execute", ...], "handledAccessNetwork": ["bind_tcp", ...], "scoped": ["signal"]},
      "rules": {
        "pathBeneath": [{"allowedAccess": ["read_file", "read_dir"], "paths": ["/usr"]}],
        "netPort": [{"allowedAccess": ["bind_tcp"], "ports": [80]}]
      }
    }

Handled rights are denied unless a rule allows them. Unlike in config.json, an unknown name is an error, because its
rule would not be in force.
"""

from foundation.node import UINT16, shown
from pyrun.config.document import LANDLOCK, Config
from pyrun.config.node import Node
from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

# The rights, with the version of Landlock that introduced each; the index of a right is its bit.
FILE_ACCESS = {
    "execute": 1,
    "write_file": 1,
    "read_file": 1,
    "read_dir": 1,
    "remove_dir": 1,
    "remove_file": 1,
    "make_char": 1,
    "make_dir": 1,
    "make_reg": 1,
    "make_sock": 1,
    "make_fifo": 1,
    "make_block": 1,
    "make_sym": 1,
    "refer": 2,
    "truncate": 3,
    "ioctl_dev": 5,
}
NETWORK_ACCESS = {"bind_tcp": 4, "connect_tcp": 4}
SCOPES = {"abstract_unix_socket": 6, "signal": 6}


class Landlock:
    """The parsed rules; rights are bit masks.

    paths, ports   what is allowed: (rights, path or port)
    version        the version of Landlock that the rules need
    """

    def __init__(self, json: Node) -> None:
        self.json = json
        self.version = 1
        _refuse_unknown(json, "ruleset", "rules")
        ruleset, rules = json.object("ruleset"), json.object("rules", default={})
        _refuse_unknown(ruleset, "handledAccessFS", "handledAccessNetwork", "scoped")
        _refuse_unknown(rules, "pathBeneath", "netPort")
        self.file_access = self._bits(ruleset, "handledAccessFS", FILE_ACCESS)
        self.network_access = self._bits(ruleset, "handledAccessNetwork", NETWORK_ACCESS)
        self.scoped = self._bits(ruleset, "scoped", SCOPES)
        self.paths: list[tuple[int, str]] = []
        self.ports: list[tuple[int, int]] = []
        if not (self.file_access or self.network_access or self.scoped):
            raise json.error("ruleset", "handles nothing: name rights in handledAccessFS")
        for rule in rules.objects("pathBeneath"):
            access = self._allowed(rule, "paths", FILE_ACCESS, self.file_access, "handledAccessFS")
            self.paths += [(access, path) for path in _absolute(rule)]
        for rule in rules.objects("netPort"):
            access = self._allowed(rule, "ports", NETWORK_ACCESS, self.network_access, "handledAccessNetwork")
            self.ports += [(access, port) for port in rule.integers("ports", UINT16)]

    def summary(self) -> "list[str]":
        """Return a line for what is denied, and one for each rule."""
        handled = [
            *_names(self.file_access, FILE_ACCESS),
            *_names(self.network_access, NETWORK_ACCESS),
            *_names(self.scoped, SCOPES),
        ]
        lines = [f"deny {' '.join(handled)}"]
        lines += [f"allow {' '.join(_names(access, FILE_ACCESS))} below {path}" for access, path in self.paths]
        lines += [f"allow {' '.join(_names(access, NETWORK_ACCESS))} of port {port}" for access, port in self.ports]
        return lines

    def _bits(self, json: Node, name: str, known: "dict[str, int]") -> int:
        bits = 0
        for i, right in enumerate(json.strings(name)):
            if right not in known:
                raise json.error(f"{name}[{i}]", f"{shown(right)} is not one of {', '.join(known)}")
            bits |= 1 << list(known).index(right)
            self.version = max(self.version, known[right])
        return bits

    def _allowed(self, rule: Node, what: str, known: "dict[str, int]", handled: int, name: str) -> int:
        _refuse_unknown(rule, "allowedAccess", what)
        access = self._bits(rule, "allowedAccess", known)
        if not access or access & ~handled:
            raise rule.error("allowedAccess", f"must name rights that {name} has, at least one")
        return access


def _names(bits: int, known: "dict[str, int]") -> "list[str]":
    return [name for bit, name in enumerate(known) if bits >> bit & 1]


def _refuse_unknown(json: Node, *known: str) -> None:
    for name in json.properties:
        if name not in known:
            raise json.error(name, f"is not one of {', '.join(known)}")


def _absolute(rule: Node) -> "list[str]":
    paths = rule.strings("paths")
    for i, path in enumerate(paths):
        if not path.startswith("/"):
            raise rule.error(f"paths[{i}]", f"{shown(path)} is not an absolute path")
    return paths


def landlock(annotations: "dict[str, str]") -> "Landlock | None":
    """Return the rules of the annotation, None if it is not set. Raises ConfigError."""
    if LANDLOCK not in annotations:
        return None
    source = f"config.json: annotations[{shown(LANDLOCK)}]"
    return Landlock(Node.root(Node.parse(annotations[LANDLOCK], source), source))


def landlock_is_known(config: Config) -> "Iterator[ConfigError]":
    """landlock(7): the annotation can be parsed."""
    try:
        landlock(config.annotations)
    except ConfigError as error:
        yield error

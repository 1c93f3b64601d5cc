"""The stages of a Dockerfile, and its arguments."""

from pyrund.build.dockerfile import Instruction
from pyrund.build.errors import BuildError
from pyrund.build.words import expand, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.platforms import Platform

# Known without ARG, and no part of the cache (https://docs.docker.com/reference/dockerfile/#predefined-args).
PREDEFINED = frozenset(
    name for one in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (one, one.lower())
)


class Stage:
    """What is between one FROM and the next; `name` is that of AS, "" if there is none."""

    def __init__(self, head: Instruction) -> None:
        words = split(head.rest, head.escape)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise head.error("FROM requires either one or three arguments")
        for flag in head.flags:
            if flag != "platform":
                raise head.error(f"Unknown flag: {flag[:40]}")
        self.head = head
        self.base = words[0]
        self.name = words[2].lower() if len(words) == 3 else ""
        if self.name and not _is_name(self.name):
            raise head.error(
                f'invalid name for build stage: "{self.name[:80]}", name can\'t start with a number or contain symbols'
            )
        self.instructions: list[Instruction] = []


def _is_name(text: str) -> bool:
    return text[0].isalpha() and text.isascii() and all(one.isalnum() or one in "-_." for one in text)


def stages_of(instructions: "list[Instruction]", target: str) -> "tuple[list[Instruction], list[Stage]]":
    """Return the ARGs before the first FROM, and the stages up to `target`. Raises BuildError."""
    before: list[Instruction] = []
    stages: list[Stage] = []
    for one in instructions:
        if one.name == "FROM":
            stages.append(Stage(one))
        elif stages:
            stages[-1].instructions.append(one)
        elif one.name == "ARG":
            before.append(one)
        else:
            raise one.error("no build stage in current context")
    if not stages:
        raise BuildError("no build stage in current context")
    if not target:
        return before, stages
    place = next((n for n, one in enumerate(stages) if one.name == target.lower()), None)
    if place is None:
        raise BuildError(f"failed to reach build target {target[:80]} in Dockerfile")
    return before, stages[: place + 1]


class Arguments:
    """The values of ARG: `given` by the client, those before the first FROM, and those of the present stage."""

    def __init__(self, given: "dict[str, str | None]", platform: "Platform") -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        self._unused = set(self._given) - PREDEFINED
        self._global: dict[str, str] = {}
        self._platform = {
            f"{kind}{name}": value
            for kind in ("TARGET", "BUILD")
            for name, value in (
                ("PLATFORM", str(platform)),
                ("OS", platform.os),
                ("ARCH", platform.architecture),
                ("VARIANT", platform.variant),
            )
        }
        self.declared: dict[str, str] = {}

    def begin_stage(self) -> None:
        self.declared = {}

    @property
    def of_from(self) -> "dict[str, str]":
        """The variables that FROM knows."""
        return {**self._platform, **self._global}

    def declare(self, instruction: Instruction, variables: "dict[str, str]", is_global: bool = False) -> str:
        """Take an ARG; return how the image's history shows it."""
        shown = []
        for word in instruction.words():
            name, equals, value = word.partition("=")
            name = expand(name, variables, instruction.escape)
            if not name:
                raise instruction.error("ARG names can not be blank")
            default = expand(value, variables, instruction.escape) if equals else None
            self._unused.discard(name)
            shown.append(f"{name}={default}" if equals else name)
            known = {**self._platform, **self._global} if not is_global else {}
            found = self._given.get(name, default if default is not None else known.get(name))
            into = self._global if is_global else self.declared
            if found is not None:
                into[name] = found
        return f"ARG {' '.join(shown)}"

    def of_run(self, environment: "dict[str, str]") -> "tuple[dict[str, str], dict[str, str]]":
        """Return the variables of a RUN: those that its result depends on, and the predefined ones."""
        known = {name: value for name, value in self.declared.items() if name not in environment}
        predefined = {
            n: v for n, v in self._given.items() if n in PREDEFINED and n not in environment and n not in known
        }
        return {n: v for n, v in known.items() if n not in PREDEFINED}, {
            **predefined,
            **{n: v for n, v in known.items() if n in PREDEFINED},
        }

    def unused(self) -> "list[str]":
        """Return what the client has given and no ARG has taken."""
        return sorted(self._unused)

"""A Dockerfile as a list of instructions.

Source: https://docs.docker.com/reference/dockerfile/. Lines are joined first, then each gives one instruction.
"""

import json

from pyrund.build.errors import BuildError
from pyrund.build.words import expand, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMES = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER "
    "VOLUME WORKDIR".split()
)
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")
_DIRECTIVES = ("escape", "syntax", "check")
MOST = 1 << 20  # bytes of a Dockerfile


class Heredoc:
    """A text below its instruction. `is_literal`: the name was quoted, so variables in the text stay as they are."""

    def __init__(self, word: str, name: str, text: str, is_literal: bool) -> None:
        self.word = word
        self.name = name
        self.text = text
        self.is_literal = is_literal


class Instruction:
    """One instruction.

    original    the joined line, as the output of a build shows it
    flags       {"from": "x"} for --from=x
    rest        what follows the flags
    heredocs    the texts below it
    escape      the escape character of its file
    """

    def __init__(self, line: int, original: str, escape: str = "\\") -> None:
        blank = min((original.find(one) for one in " \t" if one in original), default=len(original))
        name, rest = original[:blank], original[blank:]
        self.line = line
        self.original = original
        self.escape = escape
        self.name = name.upper()
        self.flags, self.rest = _flags(rest.strip(), line)
        self.heredocs: list[Heredoc] = []

    def words(self) -> "list[str]":
        """Return the words as they were written: variables, quotes and escapes are still there."""
        return split(self.rest, self.escape)

    def expanded(self, variables: "Mapping[str, str]") -> "list[str]":
        """Return the strings of the exec form, or the words, with the values of variables: each remains one."""
        strings = self.strings()
        words = self.words() if strings is None else strings
        return [expand(word, variables, self.escape) for word in words]

    def strings(self) -> "list[str] | None":
        """Return the exec form, a JSON list of strings; None if the instruction has another form."""
        if not self.rest.startswith("["):
            return None
        try:
            value = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        if not all(isinstance(one, str) for one in value):
            raise self.error("when using JSON array syntax, arrays must be comprised of strings only")
        found: list[str] = value
        return found

    def error(self, text: str) -> BuildError:
        return BuildError(f"dockerfile parse error line {self.line}: {text}")


def parse(data: bytes) -> "list[Instruction]":
    """Return all instructions. Raises BuildError, which names the line."""
    if b"\0" in data:
        raise BuildError("the Dockerfile has a zero byte: it is no text")
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines() knows ends of lines that are none here
    escape = _directives(lines).get("escape", "\\")
    if escape not in ("\\", "`"):
        raise BuildError(f"invalid escape token '{escape[:20]}' does not match ` or \\")
    found = list(_instructions(lines, escape))
    if not found:
        raise BuildError("file with no instructions")
    return found


def parse_one(text: str) -> Instruction:
    """Return the instruction in `text`, as of `commit --change` and of an ONBUILD."""
    instruction = Instruction(1, text.strip())
    _check(instruction)
    return instruction


def _directives(lines: "list[str]") -> "dict[str, str]":
    found: dict[str, str] = {}
    for line in lines:
        comment = line.strip()
        name, equals, value = comment[1:].partition("=")
        name = name.strip().lower()
        if not comment.startswith("#") or not equals or name not in _DIRECTIVES:
            break
        if name in found:
            raise BuildError(f"only one {name} parser directive can be used")
        found[name] = value.strip()
    return found


def _instructions(lines: "list[str]", escape: str) -> "Iterator[Instruction]":
    position = 0
    while position < len(lines):
        start, joined = position, ""
        while position < len(lines):
            line = lines[position]
            position += 1
            if line.lstrip().startswith("#") or (joined and not line.strip()):
                continue  # also between the lines of one instruction
            content = line.rstrip() if joined else line.strip()
            if content.endswith(escape) and not content.endswith(2 * escape):  # two are one letter
                joined += content[:-1]
                continue
            joined += line if joined else line.strip()
            break
        if not joined.strip():
            continue
        instruction = Instruction(start + 1, joined.strip(), escape)
        _check(instruction)
        if instruction.name in _WITH_HEREDOCS and "<<" in instruction.rest:
            position = _heredocs(instruction, lines, position)
        yield instruction


def _check(instruction: Instruction) -> None:
    if instruction.name not in NAMES:
        raise instruction.error(f"unknown instruction: {instruction.name[:80]}")
    if not instruction.rest:
        what = _NEEDED.get(instruction.name, "at least one argument")
        raise instruction.error(f"{instruction.name} requires {what}")


TWO_PLACES = "at least two arguments, but only one was provided. Destination could not be determined"
_NEEDED = {
    **dict.fromkeys(("USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER"), "exactly one argument"),
    **dict.fromkeys(("ADD", "COPY"), TWO_PLACES),
    "FROM": "either one or three arguments",
}


def _flags(rest: str, line: int) -> "tuple[dict[str, str], str]":
    """Take the flags from the beginning of `rest`."""
    flags: dict[str, str] = {}
    while rest.startswith("--"):
        word, after = (rest.split(None, 1) + [""])[:2]
        name, equals, value = word[2:].partition("=")
        if not name:
            return flags, after
        if name in flags:
            raise BuildError(f"dockerfile parse error line {line}: Duplicate flag specified: {name[:80]}")
        flags[name], rest = value.strip("\"'") if equals else "true", after
    return flags, rest


def _heredocs(instruction: Instruction, lines: "list[str]", position: int) -> int:
    """Give the instruction the texts below it; return where they end."""
    for word in instruction.words():
        number, mark, name = word.partition("<<")
        if not mark or (number and not number.isdigit()) or "<" in name:
            continue
        drops_tabs = name.startswith("-")
        quoted = name.removeprefix("-")
        bare = quoted.strip("\"'")
        if not bare:
            continue
        text, start = "", position
        while True:
            if position >= len(lines):
                raise BuildError(f"dockerfile parse error line {start}: unterminated heredoc: {bare[:80]}")
            line = lines[position].lstrip("\t") if drops_tabs else lines[position]
            position += 1
            if line == bare:
                break
            text += line + "\n"
        instruction.heredocs.append(Heredoc(word, bare, text, bare != quoted))
    return position

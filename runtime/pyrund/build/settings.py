"""What instructions change in the config of an image: those that run nothing and copy nothing."""

from foundation.durations import nanoseconds
from foundation.linux import os
from pyrund.build.dockerfile import Instruction, parse_one
from pyrund.build.errors import BuildError
from pyrund.build.words import expand, expand_words, number
from pyrund.spec import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = dict[str, Any]
    Variables = dict[str, str]

# The fields of Config that an image has.
FIELDS = (
    "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal Healthcheck Shell OnBuild ArgsEscaped"
).split()
DEFAULT_SHELL = ["/bin/sh", "-c"]
_OF_COMMIT = frozenset("CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD USER VOLUME WORKDIR STOPSIGNAL HEALTHCHECK".split())


def change(config: "Json", texts: "list[str]") -> None:
    """Apply the instructions `texts`, as of `commit --change`. Raises BuildError."""
    seen: set[str] = set()
    for text in (line for one in texts for line in one.splitlines() if line.strip()):
        instruction = parse_one(text)
        if instruction.name not in _OF_COMMIT:
            raise BuildError(f"{instruction.name} is not a valid change command")
        apply(config, instruction, environment(config), seen)


def environment(config: "Json") -> "Variables":
    """Return the variables of the image."""
    return {name: value for name, _, value in (entry.partition("=") for entry in config.get("Env") or [])}


def are_same(one: "Json", other: "Json") -> bool:
    """Return whether images with these configs have the same settings; a field may be empty or missing."""
    return all((one.get(name) or None) == (other.get(name) or None) for name in FIELDS)


def shell_of(config: "Json") -> "list[str]":
    return config.get("Shell") or DEFAULT_SHELL


def apply(config: "Json", instruction: Instruction, variables: "Variables", seen: "set[str]") -> str:
    """Change `config` as the instruction says; return how the image's history shows it. Raises BuildError.

    `seen` are the names of the instructions before it in its stage: an ENTRYPOINT removes the CMD of the base image,
    which is meant for the entrypoint of that one.
    """
    shown = _APPLY[instruction.name](config, instruction, variables)
    if instruction.name == "ENTRYPOINT" and "CMD" not in seen:
        config["Cmd"] = None
    seen.add(instruction.name)
    return shown


def is_setting(instruction: Instruction) -> bool:
    return instruction.name in _APPLY


def pairs(instruction: Instruction, variables: "Variables") -> "list[tuple[str, str]]":
    """Return the names and values of ENV and LABEL, also in the old form without an equals sign."""
    words = instruction.words()
    if "=" not in words[0]:
        parts = instruction.rest.split(None, 1)
        if len(parts) < 2:
            raise instruction.error(f"{instruction.name} must have two arguments")
        name, value = (expand(part, variables, instruction.escape) for part in parts)
        return [(name, value)]
    found = []
    for word in words:
        if "=" not in word:
            raise instruction.error(f"Syntax error - can't find = in {word[:80]!r}. Must be of the form: name=value")
        name, _, value = word.partition("=")
        name = expand(name, variables, instruction.escape)
        if not name:
            raise instruction.error(f"{instruction.name} names can not be blank")
        found.append((name, expand(value, variables, instruction.escape)))
    return found


def command(config: "Json", instruction: Instruction) -> "list[str]":
    """Return what CMD, ENTRYPOINT or RUN executes: its list, or its text by the shell."""
    strings = instruction.strings()
    return strings if strings is not None else [*shell_of(config), instruction.rest]


def _quoted(words: "list[str]") -> str:
    """Return the words as Go's %q writes them."""
    return "[" + " ".join('"' + "".join(map(_escaped, word)) + '"' for word in words) + "]"


_ESCAPES = {'"': '\\"', "\\": "\\\\", **dict(zip("\a\b\f\n\r\t\v", (f"\\{letter}" for letter in "abfnrtv")))}


def _escaped(letter: str) -> str:
    if letter in _ESCAPES or letter.isprintable():
        return _ESCAPES.get(letter, letter)
    number = ord(letter)
    if number < 0x80 or 0xDC80 <= number < 0xDD00:  # also a byte that is not valid UTF-8 (PEP 383)
        return f"\\x{number & 0xFF:02x}"
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


def _command(config: "Json", instruction: Instruction, _: "Variables") -> str:
    config["Cmd"] = command(config, instruction)
    return f"CMD {_quoted(config['Cmd'])}"


def _entrypoint(config: "Json", instruction: Instruction, _: "Variables") -> str:
    config["Entrypoint"] = command(config, instruction) or None
    return f"ENTRYPOINT {_quoted(config['Entrypoint'] or [])}"


def _environment(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    shown = []
    for name, value in pairs(instruction, variables):
        known = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] != name]
        position = next((n for n, e in enumerate(config.get("Env") or []) if e.partition("=")[0] == name), len(known))
        config["Env"] = [*known[:position], f"{name}={value}", *known[position:]]
        shown.append(f"{name}={value}")
    return f"ENV {' '.join(shown)}"


def _label(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    added = pairs(instruction, variables)
    config["Labels"] = {**(config.get("Labels") or {}), **dict(added)}
    return "LABEL " + " ".join(f"{name}={value}" for name, value in added)


def _expose(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    words = expand_words(instruction.rest, variables, instruction.escape)
    ports = dict(config.get("ExposedPorts") or {})
    for word in words:
        number, _, protocol = word.partition("/")
        protocol = protocol.lower() or "tcp"
        first, dash, last = number.partition("-")
        if protocol not in ("tcp", "udp", "sctp"):
            raise BuildError(f"invalid proto: {protocol[:20]}")
        if not _is_port(first) or (dash and not (_is_port(last) and int(first) <= int(last))):
            raise BuildError(f"invalid containerPort: {word[:40]}")
        for port in range(int(first), int(last or first) + 1):
            ports[f"{port}/{protocol}"] = {}
    config["ExposedPorts"] = ports
    return f"EXPOSE {' '.join(words)}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536


def _volume(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    strings = instruction.expanded(variables)
    if not all(one.strip() for one in strings):
        raise BuildError("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{one: {} for one in strings}}
    return f"VOLUME [{' '.join(strings)}]"


def _user(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    config["User"] = expand(instruction.rest, variables, instruction.escape)
    return f"USER {config['User']}"


def _directory(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    path = expand(instruction.rest, variables, instruction.escape)
    config["WorkingDir"] = absolute(config, path)
    return f"WORKDIR {config['WorkingDir']}"


def absolute(config: "Json", path: str) -> str:
    """Return `path` from the root, without "." and ".."; a relative one begins at the working directory."""
    above = "" if path.startswith("/") else f"{config.get('WorkingDir') or ''}/"
    return "/" + os.path.normpath(above + path).lstrip("/")


def _stop_signal(config: "Json", instruction: Instruction, variables: "Variables") -> str:
    config["StopSignal"] = expand(instruction.rest, variables, instruction.escape)
    signals.number(config["StopSignal"])
    return f"STOPSIGNAL {config['StopSignal']}"


def _shell(config: "Json", instruction: Instruction, _: "Variables") -> str:
    strings = instruction.strings()
    if not strings:
        raise instruction.error("SHELL requires the arguments to be in JSON form")
    config["Shell"] = strings
    return f"SHELL [{' '.join(strings)}]"


def _trigger(config: "Json", instruction: Instruction, _: "Variables") -> str:
    name = instruction.rest.split(None, 1)[0].upper()  # all else is checked when an image is built on this one
    if name == "ONBUILD":
        raise BuildError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if name in ("FROM", "MAINTAINER"):
        raise BuildError(f"{name} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), instruction.rest]
    return f"ONBUILD {instruction.rest}"


def _health_check(config: "Json", instruction: Instruction, _: "Variables") -> str:
    kind, *rest = instruction.rest.split(None, 1)
    check: Json = {}
    if kind.upper() == "NONE":
        if rest:
            raise instruction.error("HEALTHCHECK NONE takes no arguments")
        check["Test"] = ["NONE"]
    elif kind.upper() == "CMD" and rest:
        inner = Instruction(instruction.line, f"CMD {rest[0]}", instruction.escape)
        strings = inner.strings()
        check["Test"] = ["CMD-SHELL", inner.rest] if strings is None else ["CMD", *strings]
    elif kind.upper() == "CMD":
        raise instruction.error("Missing command after HEALTHCHECK CMD")
    else:
        raise instruction.error(f"Unknown type {kind[:40]!r} in HEALTHCHECK (try CMD)")
    for flag, value in instruction.flags.items():
        if flag == "retries":
            check["Retries"] = number(value)
            if not check["Retries"]:
                raise instruction.error("--retries must be at least 1")
        else:
            if flag not in _TIMES:
                raise instruction.error(f"Unknown flag: {flag[:40]}")
            check[_TIMES[flag]] = _duration(instruction, flag, value)
    config["Healthcheck"] = check
    return " ".join(["HEALTHCHECK", *(f"--{n}={v}" for n, v in instruction.flags.items()), instruction.rest])


_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def _duration(instruction: Instruction, flag: str, text: str) -> int:
    """Return a duration as Go writes it, such as 1m30s, in nanoseconds."""
    try:
        total = nanoseconds(text) if text else -1
    except ValueError:
        total = -1
    if total < 0:
        raise instruction.error(f'--{flag}: time: invalid duration "{text[:40]}"')
    if 0 < total < 10**6:
        raise instruction.error(f"Interval {flag!r} cannot be less than 1ms")
    return total


_APPLY: "dict[str, Callable[[Json, Instruction, Variables], str]]" = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _environment,
    "LABEL": _label,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "USER": _user,
    "WORKDIR": _directory,
    "STOPSIGNAL": _stop_signal,
    "SHELL": _shell,
    "ONBUILD": _trigger,
    "HEALTHCHECK": _health_check,
}

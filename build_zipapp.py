#!/usr/bin/env python3
"""Build dist/pyrun, dist/pyfetch and dist/pyrund: one executable file each, bit for bit the same from the same sources;
and beside them their man pages and pyfetch's completion (the others print theirs), from the tables of their verbs.

Such a file consists of

    the shebang      starts the interpreter without site and environment, with a line of code instead of a script: a zip
                     file as a script goes through runpy, which costs 4 ms
    the pack         written by runtime/pack/compiler.py: a loader, and bytecode for the interpreter that the file is
                     built for
    a zip archive    the sources, for all other interpreters, for `python3 FILE`, and for reading

A program is a package of runtime/ that has a __main__.py, and all packages of runtime/ that its modules import.
"""

import argparse
import ast
import io
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.completion import Option, Program

SOURCES = Path(__file__).resolve().parent / "runtime"
DEFAULT_PYTHON = "/usr/bin/python3"
SHEBANG_MAXIMUM = 255  # BINPRM_BUF_SIZE, Linux 5.1

# The kernel passes everything after the interpreter as one argument, of which -c takes the rest as code. This executes
# the second line, with `p`, the path of the file, and `f`, the file at the position after that line. While another
# version is copied over the file, its end is missing: if it ends in the middle of a line, that must be an error.
START = (
    "import sys;p=sys.argv.pop(1);f=open(p,'rb');f.readline();c=f.readline();"
    "exec(c if c[-1:]==b'\\n'else\"sys.exit('error: '+p+': cut short')\")"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--output", metavar="DIR", default="dist", help="where to write the files (default: %(default)s)"
    )
    parser.add_argument("--python", metavar="PATH", default=DEFAULT_PYTHON, help="interpreter (default: %(default)s)")
    options = parser.parse_args()
    if not os.path.isabs(options.python):
        parser.error(f"--python {options.python}: a shebang needs an absolute path")
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    for program in sorted(path.parent.name for path in SOURCES.glob("*/__main__.py")):
        write(output / program, build(program, options.python))
    write_manuals(output)


def build(program: str, python: str) -> bytes:
    """Return the file that runs `program` of runtime/ with the interpreter `python`."""
    shebang = f"#!{python} -ISc{START}\n".encode()
    if len(shebang) > SHEBANG_MAXIMUM:
        sys.exit(f"build_zipapp.py: --python {python}: too long for a shebang")
    files = sorted(path.relative_to(SOURCES).as_posix() for path in modules_of(program))
    return shebang + compile_all(program, files, python) + archive(program, files)


def modules_of(program: str) -> "list[Path]":
    """Return the modules of the package `program`, and of all packages of SOURCES that they import."""
    modules: list[Path] = []
    packages = [program]
    for package in packages:  # the list grows during the loop
        added = list((SOURCES / package).rglob("*.py"))
        imported = {name for path in added for name in imports_of(path) if (SOURCES / name).is_dir()}
        packages += sorted(imported.difference(packages))
        modules += added
    return modules


def imports_of(path: Path) -> "set[str]":
    """Return the top-level packages and modules that the module at `path` imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def compile_all(program: str, files: "list[str]", python: str) -> bytes:
    """Return the pack that `python` compiles, or this interpreter if `python` is not installed."""
    interpreter = python if os.access(python, os.X_OK) else sys.executable
    # Without the columns of tracebacks the bytecode is a twelfth smaller.
    command = [interpreter, "-IS", "-Xno_debug_ranges", str(SOURCES / "pack/compiler.py"), program, *files]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, env={"PYTHONHASHSEED": "0"}).stdout


def archive(program: str, files: "list[str]") -> bytes:
    """Return a zip archive of the sources, always the same: sorted, dated 1980, stored."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        entries = [(name, (SOURCES / name).read_bytes()) for name in files]
        entries.append(("__main__.py", (SOURCES / program / "__main__.py").read_bytes()))
        for name, data in sorted(entries):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on every build machine
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, data)
    return content.getvalue()


def write_manuals(output: Path) -> None:
    """Write the man pages, and pyfetch's completion."""
    sys.path.insert(0, str(SOURCES))
    from pyfetch.help import EXAMPLES
    from pyfetch.options import EXIT_STATUS
    from pyfetch.options import VERBS as PYFETCH_VERBS
    from pyrun.commands import completion
    from pyrun.commands.help import TEXTS
    from pyrun.completion import bash, fish, zsh
    from pyrun.options import VERBS
    from pyrund.commands import completion as engine
    from pyrund.commands.help import TEXTS as ENGINE_TEXTS
    from pyrund.options import VERBS as ENGINE_VERBS

    pyrun, pyfetch = completion.program(), describe_pyfetch()
    usages = {verb: usage for verb, (usage, _, _) in VERBS.items()}
    status = "0; 1 after an error; for run and exec the status of the program; 255 if exec failed."
    write(output / "pyrun.1", manual(pyrun, "an OCI container runtime", usages, TEXTS, status), 0o644)
    usages = {verb: usage for verb, (usage, _, _) in ENGINE_VERBS.items()}
    status = "0; 1 after an error; for run, exec and attach the status of the program; 125 for a wrong option."
    write(
        output / "pyrund.1", manual(engine.program(), "an engine for containers", usages, ENGINE_TEXTS, status), 0o644
    )
    usages = {verb: usage for verb, (usage, _) in PYFETCH_VERBS.items()}
    texts = {verb: ("", example) for verb, example in EXAMPLES.items()}
    purpose = "turn an image of a registry into a bundle"
    write(output / "pyfetch.1", manual(pyfetch, purpose, usages, texts, EXIT_STATUS.partition(": ")[2] + "."), 0o644)
    for name, shell in (("bash", bash), ("zsh", zsh), ("fish", fish)):
        write(output / f"pyfetch.{name}", (shell.script(pyfetch) + "\n").encode(), 0o644)


def describe_pyfetch() -> "Program":
    """Return the description of pyfetch's command line."""
    from pyfetch.options import VERBS, options_of
    from pyrun.completion import Command, Option, Program

    verbs = {}
    for verb, (usage, summary) in VERBS.items():
        options = []
        for one in options_of(verb):
            short = one.names[0] if len(one.names) > 1 else ""
            options.append(Option(short, one.names[-1], one.value, one.summary))
        takes = {"pull": "FILE", "login": "", "logout": ""}.get(verb, "ID" if usage else "")
        verbs[verb] = Command(summary, options, "ID..." if verb in ("rm", "push", "copy", "tag") else takes)
    return Program("pyfetch", verbs, [], "images | cut -d ' ' -f 1 | tail -n +2")


def manual(
    program: "Program", purpose: str, usages: "dict[str, str]", texts: "dict[str, tuple[str, str]]", status: str
) -> bytes:
    """Return the man page of `program` in the format man(7), made from all of its help."""
    from pyrun import __version__

    name = program.name
    lines = [f'.TH {name.upper()} 1 "" "{name} {__version__}" "User Commands"', ".SH NAME", rf"{name} \- {purpose}"]
    lines += [".SH SYNOPSIS", f".B {name}", "[options] COMMAND [options] [arguments]"]
    if program.options:
        lines += [".SH OPTIONS", *(line for option in program.options for line in paragraph_of(option))]
    lines.append(".SH COMMANDS")
    for verb, command in program.commands.items():
        more, example = texts[verb]
        lines += [f".SS {name} {verb} {roff(usages[verb])}".rstrip(), *filled(f"{command.summary}.")]
        lines += [".PP", *filled(more)] if more else []
        lines += [line for option in command.options for line in paragraph_of(option)]
        lines += [".PP", "Example:", ".PP", ".RS 4", ".nf", *map(roff, example.split("\n")), ".fi", ".RE"]
    lines += [".SH EXIT STATUS", *filled(status), ".SH SEE ALSO"]
    others = [one for one in ("pyrun", "pyfetch", "pyrund") if one != name]
    lines.append(", ".join(f".BR {one} (1)" for one in others).replace(", .BR", " ,\n.BR"))
    return "\n".join([*lines, ""]).encode()


def paragraph_of(option: "Option") -> "list[str]":
    names = ", ".join(rf"\fB{roff(name)}\fR" for name in option.names)
    return [".TP", f"{names} \\fI{roff(option.takes)}\\fR" if option.takes else names, *filled(option.summary)]


def filled(text: str) -> "list[str]":
    return [roff(line) for line in textwrap.wrap(text, 70, break_on_hyphens=False)]


def roff(text: str) -> str:
    """Return `text` with the characters escaped that roff interprets: groff_char(7), and a dot that begins a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def write(path: Path, content: bytes, mode: int = 0o755) -> None:
    """Replace the file at `path` atomically, so that a running program never reads half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.rename(path)
    print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()

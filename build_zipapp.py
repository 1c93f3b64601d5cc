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
import zipfile
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.completion import Program

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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
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
    from pack.manual import manual
    from pyfetch.help import EXAMPLES, MORE
    from pyfetch.options import VERBS as PYFETCH_VERBS
    from pyrun import __version__
    from pyrun.commands import completion
    from pyrun.commands.help import TEXTS
    from pyrun.completion import bash, fish, zsh
    from pyrun.options import VERBS
    from pyrund.commands import completion as engine
    from pyrund.commands.help import TEXTS as ENGINE_TEXTS
    from pyrund.options import VERBS as ENGINE_VERBS

    pyrun, pyfetch = completion.program(), describe_pyfetch()
    usages = {verb: usage for verb, (usage, _, _) in VERBS.items()}
    write(output / "pyrun.1", manual(pyrun, __version__, usages, TEXTS), 0o644)
    usages = {verb: usage for verb, (usage, _, _) in ENGINE_VERBS.items()}
    write(output / "pyrund.1", manual(engine.program(), __version__, usages, ENGINE_TEXTS), 0o644)
    usages = {verb: usage for verb, (usage, _) in PYFETCH_VERBS.items()}
    texts = {verb: (MORE.get(verb, ""), example) for verb, example in EXAMPLES.items()}
    write(output / "pyfetch.1", manual(pyfetch, __version__, usages, texts), 0o644)
    for name, shell in (("bash", bash), ("zsh", zsh), ("fish", fish)):
        write(output / f"pyfetch.{name}", (shell.script(pyfetch) + "\n").encode(), 0o644)


def describe_pyfetch() -> "Program":
    """Return the description of pyfetch's command line."""
    from pyfetch.help import OPTIONS
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
    options = [Option(names.rpartition(", ")[0], names.rpartition(", ")[2], "", summary) for names, summary in OPTIONS]
    return Program("pyfetch", verbs, options, "images | cut -d ' ' -f 1 | tail -n +2")


def write(path: Path, content: bytes, mode: int = 0o755) -> None:
    """Replace the file at `path` atomically, so that a running program never reads half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.rename(path)
    print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()

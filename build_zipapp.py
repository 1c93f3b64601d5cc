#!/usr/bin/env python3
"""Build dist/pyrun and dist/pyfetch: one executable file each, bit for bit the same from the same sources; and beside
them their man pages and pyfetch's completion (pyrun prints its own), made of the tables that parse their command lines.

Such a file consists of

    the shebang      starts the interpreter without site and environment, with a line of code instead of a script: a zip
                     file as a script goes through runpy, which costs 4 ms
    a line of code   goes on to the loader where the bytecode is this interpreter's, else to the zip archive
    the loader       below, as bytecode
    the pack         the bytecode of all modules, for the interpreter that the file was built for, and an index:
                     zipimport would open the file anew for each module, and read a directory of a hundred entries
    a zip archive    the sources, for every other interpreter, for `python3 FILE`, and for whoever wants to read them
"""

import argparse
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
PROGRAMS = ("pyrun", "pyfetch")
DEFAULT_PYTHON = "/usr/bin/python3"
SHEBANG_MAXIMUM = 255  # BINPRM_BUF_SIZE, Linux 5.1

# The kernel hands over all that follows the interpreter as one argument; -c takes the rest of it as code.
START = "import sys;p=sys.argv.pop(1);f=open(p,'rb');f.readline();exec(f.readline())"
CHOOSE = (
    "import marshal;m=sys.modules['_frozen_importlib_external'].MAGIC_NUMBER;exec(marshal.loads(f.read({loader_size})) "
    "if f.read(4)==m else 'sys.path[:0]=[p];from {program}.cli import main;main()')"
)

# `f` is the file, at the index; `p` its path. A module and what it imports are executed in the order that an import
# would execute them in, without importlib's part of it, which is half of the time.
#
# All of the pack is in memory before a verb runs: the file may change while that goes on, and its descriptor could be
# one that the caller should have passed. Four verbs pass none on and end at once: they read the tenth that they need.
LOADER = """\
import gc
program = "{program}"
gc.set_threshold(20000)
def load():
    ModuleSpec = sys.modules["_frozen_importlib"].ModuleSpec
    Module = type(sys)
    pack, groups, size = marshal.loads(f.read(int.from_bytes(f.read(4), "little")))
    start, everything = f.tell(), None
    piecemeal = [program + ".commands." + verb for verb in ("state", "start", "kill", "delete")] + [program + ".cli"]
    def read_all():
        nonlocal everything
        f.seek(start)
        everything = memoryview(f.read(size))
        f.close()
    if f.fileno() < 3:  # where the caller has closed a standard stream
        read_all()
    codes = dict()  # no braces: this text is a format
    def code(name):
        if name not in codes:
            _, offset, length = pack[name]
            if everything:
                piece = everything[offset : offset + length]
            else:
                f.seek(start + offset)
                piece = f.read(length)
            codes.update(marshal.loads(piece))
        return codes.pop(name)
    def path(name):
        return p + "/" + name.replace(".", "/") + ".py"
    def execute(name):
        is_package = pack[name][0]
        module = sys.modules[name] = Module(name)
        module.__file__ = path(name)
        module.__package__ = name if is_package else name.rpartition(".")[0]
        if is_package:
            module.__path__ = []
        parent, _, child = name.rpartition(".")
        try:
            exec(code(name), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], child, module)
    class Pack:
        @staticmethod
        def find_spec(name, path_=None, target=None):
            if name in pack:
                if name in groups and name not in piecemeal and not everything:
                    read_all()
                for needed in groups.get(name, ()):
                    if needed not in sys.modules:
                        execute(needed)
                return ModuleSpec(name, Pack, origin=path(name), is_package=pack[name][0])
        @staticmethod
        def create_module(spec):
            return None
        @staticmethod
        def exec_module(module):
            module.__file__ = path(module.__name__)
            exec(code(module.__name__), module.__dict__)
    sys.meta_path.insert(0, Pack)
load()
try:
    from {program}.cli import main
except (OSError, ImportError) as error:  # too few descriptors, or no memory
    sys.exit("error: " + str(error))
main()
"""

# Run by the interpreter that the file is built for. Reads the loader, then module names, from standard input; writes
# magic number, loader and index, those two behind their sizes, and the bytecode to standard output. The index is
#     {module: (is it a package, offset, size)}, {module: the modules that importing it executes before, in order}, size
# Modules that are always loaded together are one piece, at one offset, for names that many have are then read once:
# a fifth of the time. Annotations are for type checkers.
COMPILE = """\
import ast, marshal, os, sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
loader, *names = sys.stdin.read().split("\\0")
packages, codes, order = {}, {}, []

class WithoutAnnotations(ast.NodeTransformer):
    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)
    def visit_arg(self, node):
        node.annotation = None
        return node

for name in sorted(names):
    module = name[:-len(".py")].replace("/", ".")
    is_package = module.endswith(".__init__")
    module = module[:-len(".__init__")] if is_package else module
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        source = file.read()
    tree = WithoutAnnotations().visit(ast.parse(source, name))
    codes[module] = compile(tree, name, "exec", dont_inherit=True, optimize=2)
    packages[module] = is_package

class Recorder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in codes:
            return ModuleSpec(name, Recorder, is_package=packages[name])
    @staticmethod
    def create_module(spec):
        return None
    @staticmethod
    def exec_module(module):
        if packages[module.__name__]:
            order.append(module.__name__)
        exec(codes[module.__name__], module.__dict__)
        if not packages[module.__name__]:
            order.append(module.__name__)

def record(target):
    order.clear()
    for name in [name for name in sys.modules if name in codes]:
        del sys.modules[name]
    __import__(target)
    return [name for name in order if name != target]

sys.meta_path.insert(0, Recorder)
program = sys.argv[2]
groups = {name: record(name) for name in sorted(codes) if name == program + ".cli" or ".commands." in name}
pieces = {}
for name in sorted(codes):
    users = [target for target in groups if name == target or name in groups[target]]
    key = ("cli",) if program + ".cli" in users else tuple(users) or name
    pieces.setdefault(key, {})[name] = codes[name]
pack, bytecode, offset = {}, [], 0
for piece in pieces.values():
    bytecode.append(marshal.dumps(piece))
    pack.update((name, (packages[name], offset, len(bytecode[-1]))) for name in piece)
    offset += len(bytecode[-1])
loader = marshal.dumps(compile(loader, "loader", "exec", dont_inherit=True, optimize=2))
index = marshal.dumps((pack, groups, offset))
sizes = [len(part).to_bytes(4, "little") for part in (loader, index)]
sys.stdout.buffer.write(b"".join((MAGIC_NUMBER, sizes[0], loader, sizes[1], index, *bytecode)))
"""


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
    for program in PROGRAMS:
        if (SOURCES / program).is_dir():
            write(output / program, build(program, options.python))
    write_manuals(output)


def build(program: str, python: str) -> bytes:
    """Return the file that runs `program` of runtime/ with the interpreter `python`."""
    shebang = f"#!{python} -ISc{START}\n".encode()
    if len(shebang) > SHEBANG_MAXIMUM:
        sys.exit(f"build_zipapp.py: --python {python}: too long for a shebang")
    names = sorted(path.relative_to(SOURCES).as_posix() for path in (SOURCES / program).rglob("*.py"))
    compiled = compile_all(program, names, python)
    magic, loader_size, rest = compiled[:4], int.from_bytes(compiled[4:8], "little"), compiled[8:]
    choose = CHOOSE.format(loader_size=loader_size, program=program) + "\n"
    return shebang + choose.encode() + magic + rest + archive(names, program)


def compile_all(program: str, names: "list[str]", python: str) -> bytes:
    """Return what COMPILE writes, run by `python`, or by this interpreter where that is not here."""
    interpreter = python if os.access(python, os.X_OK) else sys.executable
    return subprocess.run(
        [interpreter, "-IS", "-c", COMPILE, str(SOURCES), program],
        input="\0".join([LOADER.format(program=program), *names]).encode(),
        stdout=subprocess.PIPE,
        check=True,
        env={"PYTHONHASHSEED": "0"},
    ).stdout


def archive(names: "list[str]", program: str) -> bytes:
    """Return a zip archive of the sources, always the same: sorted, dated 1980, stored."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        entries = [(name, (SOURCES / name).read_bytes()) for name in names]
        entries.append(("__main__.py", f"from {program}.cli import main\n\nmain()\n".encode()))
        for name, data in sorted(entries):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whatever builds it
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, data)
    return content.getvalue()


def write_manuals(output: Path) -> None:
    """Write the man pages, and pyfetch's completion."""
    sys.path.insert(0, str(SOURCES))
    from pyfetch.help import EXAMPLES
    from pyfetch.options import EXIT_STATUS
    from pyfetch.options import VERBS as PYFETCH_VERBS
    from pyrun.cli import VERBS
    from pyrun.commands import completion
    from pyrun.commands.help import TEXTS
    from pyrun.completion import bash, fish, zsh

    pyrun, pyfetch = completion.program(), describe_pyfetch()
    usages = {verb: usage for verb, (usage, _, _) in VERBS.items()}
    status = "0, 1 where something failed, that of the container's program for run, 255 where exec failed."
    write(output / "pyrun.1", manual(pyrun, "an OCI container runtime", usages, TEXTS, status), 0o644)
    usages = {verb: usage for verb, (usage, _) in PYFETCH_VERBS.items()}
    texts = {verb: ("", example) for verb, example in EXAMPLES.items()}
    purpose = "turn an image of a registry into a bundle"
    write(output / "pyfetch.1", manual(pyfetch, purpose, usages, texts, EXIT_STATUS.partition(": ")[2] + "."), 0o644)
    for name, shell in (("bash", bash), ("zsh", zsh), ("fish", fish)):
        write(output / f"pyfetch.{name}", (shell.script(pyfetch) + "\n").encode(), 0o644)


def describe_pyfetch() -> "Program":
    """Return what a shell must know of pyfetch."""
    from pyfetch.options import VERBS, options_of
    from pyrun.completion import Command, Option, Program

    verbs = {}
    for verb, (usage, summary) in VERBS.items():
        options = []
        for one in options_of(verb):
            short = one.names[0] if len(one.names) > 1 else ""
            options.append(Option(short, one.names[-1], one.value, one.summary))
        verbs[verb] = Command(summary, options, {"pull": "FILE", "rm": "ID..."}.get(verb, "ID" if usage else ""))
    return Program("pyfetch", verbs, [], "images | cut -d ' ' -f 1 | tail -n +2")


def manual(
    program: "Program", purpose: str, usages: "dict[str, str]", texts: "dict[str, tuple[str, str]]", status: str
) -> bytes:
    """Return the man page of `program`, in man(7): what its help says, in one piece."""
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
    lines.append(".BR pyfetch (1)" if name == "pyrun" else ".BR pyrun (1)")
    return "\n".join([*lines, ""]).encode()


def paragraph_of(option: "Option") -> "list[str]":
    names = ", ".join(rf"\fB{roff(name)}\fR" for name in option.names)
    return [".TP", f"{names} \\fI{roff(option.takes)}\\fR" if option.takes else names, *filled(option.summary)]


def filled(text: str) -> "list[str]":
    return [roff(line) for line in textwrap.wrap(text, 70, break_on_hyphens=False)]


def roff(text: str) -> str:
    """Return `text` so that roff prints it as it is: groff_char(7) has these, and a dot begins a request."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def write(path: Path, content: bytes, mode: int = 0o755) -> None:
    """Put `content` at `path` at once, so that a running program never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.rename(path)
    print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()

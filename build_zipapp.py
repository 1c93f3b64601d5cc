#!/usr/bin/env python3
"""Build dist/pyrun and dist/pyfetch: one executable file each, bit for bit the same from the same sources.

Such a file consists of

    the shebang      starts the interpreter without site and environment, with a line of code instead of a script: a zip
                     file as a script goes through runpy, which costs 4 ms
    the loader       below, in its source
    the pack         the bytecode of all modules, for the interpreter that the file was built for, read at once:
                     zipimport would open the file anew for each module, and read a directory of a hundred entries
    a zip archive    the sources, for every other interpreter, for `python3 FILE`, and for whoever wants to read them
"""

import argparse
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "runtime"
PROGRAMS = ("pyrun", "pyfetch")
DEFAULT_PYTHON = "/usr/bin/python3"
SHEBANG_MAXIMUM = 255  # BINPRM_BUF_SIZE, Linux 5.1

# The kernel hands over all that follows the interpreter as one argument; -c takes the rest of it as code.
START = "import sys;p=sys.argv.pop(1);sys.path[:0]=[p];f=open(p,'rb');f.readline();exec(f.read({loader_size}))"

LOADER = """\
import marshal
def load():
    external = sys.modules["_frozen_importlib_external"]
    if f.read(len(external.MAGIC_NUMBER)) != external.MAGIC_NUMBER:
        return
    pack = marshal.loads(f.read({pack_size}))
    ModuleSpec = sys.modules["_frozen_importlib"].ModuleSpec
    class Pack:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name in pack:
                return ModuleSpec(name, Pack, origin=p, is_package=pack[name][0])
        @staticmethod
        def create_module(spec):
            return None
        @staticmethod
        def exec_module(module):
            module.__file__ = p + "/" + module.__name__.replace(".", "/") + ".py"
            exec(marshal.loads(pack[module.__name__][1]), module.__dict__)
    sys.meta_path.insert(0, Pack)
load()
f.close()
from {program}.cli import main
main()
"""

# Run by the interpreter that the file is built for: writes its magic number and the pack to standard output.
COMPILE = """\
import marshal, os, sys
from importlib.util import MAGIC_NUMBER
pack = {}
for name in sorted(sys.stdin.read().split("\\0")):
    module = name[:-len(".py")].replace("/", ".")
    is_package = module.endswith(".__init__")
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        code = compile(file.read(), name, "exec", dont_inherit=True, optimize=2)
    pack[module[:-len(".__init__")] if is_package else module] = (is_package, marshal.dumps(code))
sys.stdout.buffer.write(MAGIC_NUMBER + marshal.dumps(pack))
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


def build(program: str, python: str) -> bytes:
    """Return the file that runs `program` of runtime/ with the interpreter `python`."""
    names = sorted(path.relative_to(SOURCES).as_posix() for path in (SOURCES / program).rglob("*.py"))
    pack = compile_all(names, python)
    loader = LOADER.format(pack_size=len(pack) - 4, program=program).encode()
    shebang = f"#!{python} -ISc{START.format(loader_size=len(loader))}\n".encode()
    if len(shebang) > SHEBANG_MAXIMUM:
        sys.exit(f"build_zipapp.py: --python {python}: too long for a shebang")
    return shebang + loader + pack + archive(names, program)


def compile_all(names: "list[str]", python: str) -> bytes:
    """Return magic number and pack, made by `python`, or by this interpreter where that is not here."""
    interpreter = python if os.access(python, os.X_OK) else sys.executable
    return subprocess.run(
        [interpreter, "-IS", "-c", COMPILE, str(SOURCES)],
        input="\0".join(names).encode(),
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


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` at once, so that a running program never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.rename(path)
    print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()

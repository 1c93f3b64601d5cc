"""Writes the pack of a program to standard output. It must be run by the interpreter that the pack is for.

    compiler.py PROGRAM FILE...

Each FILE is the path of a module below runtime/. A pack consists of

    a line of code   calls the loader, or imports from the zip archive behind the pack if the interpreter is another one
    magic number     the version of the bytecode
    the loader       loader.py as bytecode
    the index        (program, size, objects, places, imports), which loader.py explains
    the objects      the bytecode of all modules, `size` bytes; what most verbs import comes first, so that a verb can
                     read all that it has not imported in one piece, with little in it that it has read before
"""

import marshal
import sys
import zlib
from collections.abc import Iterator
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from itertools import accumulate
from pathlib import Path
from types import CodeType, ModuleType

# What callers run for every container, beside what every verb imports.
FREQUENT = ("cli", "create", "start", "run", "exec", "state", "kill", "delete", "pull", "serve")
# malloc gives a buffer from 128 KB on pages of its own, and takes them from the process afterwards: mallopt(3),
# M_MMAP_THRESHOLD. With larger objects, `run` has 90 page faults more.
OBJECT_MAXIMUM = 100_000
SOURCES = Path(__file__).parents[1]
# Until the program's main() begins, ^C ends the process as it does with any other program, without a traceback.
LINE = (
    "import marshal,_signal as s;s.getsignal(2)is s.default_int_handler and s.signal(2,s.SIG_DFL);"
    "m=sys.modules['_frozen_importlib_external'].MAGIC_NUMBER;t=f.read(4);l=f.read({loader_size});"
    "exec(\"sys.exit('error: '+p+': cut short')\"if len(l)<{loader_size} else marshal.loads(l)if t==m else"
    "'def start(f,p,_):f.close();sys.path[:0]=[p];from {program}.cli import main;main()');start(f,p,{index_size})\n"
)


class Recorder(Loader):
    """Imports modules, and records the order in which they are executed: a package before its modules."""

    def __init__(self, files: "list[str]") -> None:
        self.codes: dict[str, CodeType] = {}
        self.packages: set[str] = set()
        self.order: list[str] = []
        for file in files:
            name = file[: -len(".py")].replace("/", ".")
            if name.endswith(".__init__"):
                name = name[: -len(".__init__")]
                self.packages.add(name)
            self.codes[name] = compile_file(file)

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        return ModuleSpec(name, self, is_package=name in self.packages) if name in self.codes else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name in self.packages:
            self.order.append(name)
        exec(self.codes[name], module.__dict__)
        if name not in self.packages:
            self.order.append(name)

    def imported_by(self, target: str) -> "list[str]":
        """Return the modules that importing `target` executes before its own."""
        self.order.clear()
        for name in self.codes.keys() & sys.modules.keys():
            del sys.modules[name]
        __import__(target)
        return [name for name in self.order if name != target]


def compile_file(file: str) -> CodeType:
    code: CodeType = compile((SOURCES / file).read_bytes(), file, "exec", dont_inherit=True, optimize=2)
    return code


def pack(program: str, recorder: Recorder) -> bytes:
    main = f"{program}.cli"
    imports = {main: recorder.imported_by(main)}
    first = {main, *imports[main]}
    for verb in recorder.codes:
        if verb.startswith(f"{program}.commands."):
            imports[verb] = [name for name in recorder.imported_by(verb) if name not in first]
    objects: list[tuple[int, int, bool]] = []
    places: dict[str, tuple[bool, int, int]] = {}
    pieces, size = [], 0
    for names, is_compressed in groups(recorder.codes, imports):
        piece = marshal.dumps([recorder.codes[name] for name in names])
        pieces.append(zlib.compress(piece, 9) if is_compressed else piece)
        places |= {name: (name in recorder.packages, len(objects), position) for position, name in enumerate(names)}
        objects.append((size, len(pieces[-1]), is_compressed))
        size += len(pieces[-1])
    index = marshal.dumps((program, size, objects, places, imports))
    loader = marshal.dumps(compile_file("pack/loader.py"))
    line = LINE.format(program=program, loader_size=len(loader), index_size=len(index))
    return b"".join((line.encode(), MAGIC_NUMBER, loader, index, *pieces))


def groups(codes: "dict[str, CodeType]", imports: "dict[str, list[str]]") -> "Iterator[tuple[list[str], bool]]":
    """Divide the modules into objects, and yield (modules, shall the object be compressed).

    Each of FREQUENT imports all modules of an object or none; a module that none of them imports is alone.
    """
    users: dict[str, list[str]] = {}
    for verb, imported in imports.items():
        for name in (*imported, verb):
            users.setdefault(name, []).append(verb)
    users |= {name: [] for name in codes if name not in users}
    together: dict[object, list[str]] = {}
    for name in sorted(users, key=lambda name: -len(users[name])):
        frequent = tuple(verb for verb in users[name] if verb.rpartition(".")[2] in FREQUENT)
        together.setdefault(frequent or name, []).append(name)
    for users_or_name, names in together.items():
        while names:
            sizes = accumulate(len(marshal.dumps(codes[name])) for name in names)
            count = max(1, sum(size <= OBJECT_MAXIMUM for size in sizes))
            yield names[:count], isinstance(users_or_name, str)
            names = names[count:]


def main() -> None:
    program, *files = sys.argv[1:]
    recorder = Recorder(files)
    sys.meta_path.insert(0, recorder)
    sys.stdout.buffer.write(pack(program, recorder))


main()

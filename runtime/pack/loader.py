"""Starts a program from its pack: the bytecode of its modules, which compiler.py has put into the program's file.

The second line of the file calls `start()`. It differs from importlib in six points, which gain the following; `state`
takes 12.4 ms and `run` 27 (CPython 3.11, two busy cores; medians of 100 to 250 interleaved runs):

- The modules that a verb imports are executed in the order that compiler.py has recorded. If importlib looks for each
  of them instead, `run` takes 1.4 ms longer.
- The verbs in BRIEF read a module when they need it. If they read the whole pack, which is 0.7 MB, `state` takes 1.2 ms
  longer.
- Other verbs read what they import piece by piece, and the rest of the pack at once. If they read the whole
  pack first, `run` takes 0.3 ms longer.
- Modules that the same of the frequent verbs import are one object of marshal, which then stores each shared name once.
  If each module is a separate object, `run` executes 5 % more instructions, and `state` 2 %.
- Modules that no frequent verb imports are compressed. If they are not, `run`, which has them in memory, has 3 % more
  page faults, and the file is a fifth larger.
- Modules are of the class Module. If they are of Python's, `run` executes 5 % more instructions.
"""

import gc
import marshal
import sys
from _frozen_importlib import ModuleSpec
from posix import pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import Loader
    from io import BufferedReader
    from types import CodeType, ModuleType
    from typing import NoReturn
else:
    Loader = object  # importlib asks a loader for its methods, not for its class

# While a program waits, its file may be overwritten. So it has the whole pack in memory before it runs, but for these
# verbs, which keep the file open. The brief ones end at once, or import nothing after they have begun to wait. The
# others read the rest while they would wait for the container's init anyway (read_program() in pyrun/launch/create.py):
# that gains 1.5 % of `run`.
BRIEF = tuple(f"pyrun.commands.{verb}" for verb in ("state", "start", "kill", "delete", "exec"))
READS_LATER = tuple(f"pyrun.commands.{verb}" for verb in ("create", "run"))


class Module(type(sys)):  # type: ignore[misc]
    """A module that CPython asks for an attribute which is missing without making an AttributeError.

    `from module import name` asks for __path__, 400 times in `run`. For a module of Python's own class CPython formats
    two messages then, and drops both.
    """

    __getattribute__ = object.__getattribute__


class Pack(Loader):
    """A finder and loader for importlib, of the modules whose bytecode begins at the position of `file`."""

    def __init__(
        self,
        file: "BufferedReader",
        path: str,
        size: int,
        objects: "list[tuple[int, int, bool]]",
        places: "dict[str, tuple[bool, int, int]]",
        imports: "dict[str, list[str]]",
    ) -> None:
        self.file, self.path, self.begin, self.size = file, path, file.tell(), size
        self.objects = objects  # [(offset, size, is it compressed)], by offset; each is a list of bytecode
        self.places = places  # {module: (is it a package, index of its object, index in the object)}
        self.imports = imports  # {module of a verb, or that of main: the modules that it imports, in order}
        self.codes: dict[int, list[CodeType | None]] = {}  # the objects that have been read
        self.rest, self.rest_begin = memoryview(b""), size
        # Each import statement asks the spec of a loaded module whether that is still being initialized. If there is
        # none, CPython makes an AttributeError and drops it, 200 times in `run`. One spec is enough for all modules.
        self.spec = ModuleSpec("pack", self)

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name not in self.places:
            return None
        if name in self.imports:
            self.execute_all(self.imports[name])
            if name not in BRIEF + READS_LATER:
                self.read_rest()
        return ModuleSpec(name, self, origin=self.origin(name), is_package=self.places[name][0])

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # importlib creates the module

    def exec_module(self, module: "ModuleType") -> None:
        module.__file__ = self.origin(module.__name__)
        exec(self.code(module.__name__), module.__dict__)

    def execute_all(self, names: "list[str]") -> None:
        for name in names:
            if name not in sys.modules:
                self.execute(name, self.places[name][0], self.code(name))

    def execute(self, name: str, is_package: bool, code: "CodeType") -> None:
        """Do what `import` does with a module that is not loaded yet, and whose package is."""
        package, _, child = name.rpartition(".")
        module = sys.modules[name] = Module(name)
        module.__spec__ = self.spec
        module.__file__ = self.origin(name)
        module.__package__ = name if is_package else package
        if is_package:
            module.__path__ = []
        try:
            exec(code, module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        if package:
            setattr(sys.modules[package], child, module)

    def origin(self, name: str) -> str:
        return f"{self.path}/{name.replace('.', '/')}.py"

    def code(self, name: str) -> "CodeType":
        """Return the bytecode of a module. It is not kept: only after an interrupted import it is needed again."""
        _, index, position = self.places[name]
        if index not in self.codes or self.codes[index][position] is None:
            self.codes[index] = self.load(*self.objects[index])
        code, self.codes[index][position] = self.codes[index][position], None
        assert code
        return code

    def load(self, offset: int, size: int, is_compressed: bool) -> "list[CodeType | None]":
        if offset < self.rest_begin:
            piece: bytes | memoryview = self.read(size, offset)
        else:
            piece = self.rest[offset - self.rest_begin :][:size]
        try:
            codes: list[CodeType | None] = marshal.loads(self.decompress(piece) if is_compressed else piece)
        except (OSError, ImportError, MemoryError):
            raise
        except Exception:  # EOFError, TypeError and ValueError of marshal, zlib.error
            self.exit_changed()
        return codes

    def decompress(self, piece: "bytes | memoryview") -> bytes:
        from zlib import decompress, error  # the frequent verbs do without it

        try:
            return decompress(piece)
        except error:
            self.exit_changed()

    def exit_changed(self) -> "NoReturn":
        sys.exit(f"error: {self.path}: changed while it was read")

    def read(self, size: int, offset: int) -> bytes:
        return whole(pread(self.file.fileno(), size, self.begin + offset), size, self.path)

    def read_rest(self) -> None:
        """Read everything from the first object that has not been read yet to the end, and close the file."""
        if not self.file.closed:
            ahead = (offset for index, (offset, _, _) in enumerate(self.objects) if index not in self.codes)
            begin = next(ahead, self.size)
            self.rest = memoryview(self.read(self.size - begin, begin))
            self.rest_begin = begin  # not before: if the read fails, what reports it is read from the file
            self.file.close()


def whole(data: bytes, size: int, path: str) -> bytes:
    """Return `data`. Exit if it is shorter than `size`, as it is while another version is copied over the file.

    No exception is raised, because reporting it would need modules from the same file.
    """
    if len(data) < size:
        sys.exit(f"error: {path}: cut short")
    return data


def start(file: "BufferedReader", path: str, index_size: int) -> None:
    """Run the program of the file at `path`, which is open as `file`, at the position of the index."""
    gc.set_threshold(20000)  # a short-lived process has little garbage: the default of 700 costs 2 to 3 %
    try:
        program, *index = marshal.loads(whole(file.read(index_size), index_size, path))
        pack, main = Pack(file, path, *index), f"{program}.cli"
        sys.meta_path.insert(0, pack)
        # A program without verbs may wait at any time. If the file has the number 0, 1 or 2, the caller has closed that
        # standard stream, and the program will open another file there.
        if pack.imports.keys() == {main} or file.fileno() <= 2:
            pack.read_rest()
        pack.execute_all([*pack.imports[main], main])
    except (OSError, ImportError, MemoryError) as error:  # too few descriptors, or too little memory
        sys.exit(f"error: {str(error) or 'out of memory'}")
    sys.modules[main].main()

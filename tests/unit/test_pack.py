"""The pack of a program, from which its modules are read."""

import marshal
import zlib

import pytest

from pack.loader import Pack

CODES = [compile(f"number = {number}", "x", "exec") for number in range(3)]
PLACES = {f"m{number}": (False, 0, number) for number in range(3)}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def content(request):
    data = marshal.dumps(CODES)
    return (zlib.compress(data) if request.param else data), request.param


def pack_of(tmp_path, data, is_compressed, size):
    path = tmp_path / "pack"
    path.write_bytes(data)
    return Pack(open(path, "rb"), str(path), size, [(0, size, is_compressed)], PLACES, {})


def number_of(code):
    names = {}
    exec(code, names)
    return names["number"]


def test_a_module_whose_import_was_interrupted_can_be_imported_again(tmp_path, content):
    data, is_compressed = content
    pack = pack_of(tmp_path, data, is_compressed, len(data))

    assert [number_of(pack.code(name)) for name in ("m1", "m1", "m0", "m1", "m2")] == [1, 1, 0, 1, 2]
    pack.codes.clear()
    pack.read_rest()
    assert [number_of(pack.code(name)) for name in ("m1", "m1", "m0")] == [1, 1, 0]


def test_a_file_that_has_changed_is_one_line(tmp_path, content):
    data, is_compressed = content
    pack = pack_of(tmp_path, b"\xff" * len(data), is_compressed, len(data))

    with pytest.raises(SystemExit, match="changed while it was read"):
        pack.code("m0")

"""Mutated inputs of pyfetch: any is taken, or refused by one line; no traceback, no hang, no growth of memory.

The counts are printed (-rP shows them): a few hundred by default, 100,000 with --full.
"""

import base64
import email.message
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import tarfile
import time

import pytest
from images import Image, directory, entry, hard_link, symlink, tar

from foundation.errors import Error, one_line, reason
from pyfetch.image.document import Document
from pyfetch.image.manifest import ImageConfig, read_manifest
from pyfetch.image.reference import parse_reference
from pyfetch.registry.auth import _challenges
from pyfetch.registry.connection import Origin
from pyfetch.registry.credentials import _in_document, parse
from pyfetch.registry.patience import retry_after
from pyfetch.registry.repository import _media_type
from pyfetch.registry.toml import parse_toml
from pyfetch.unpack.compression import decompressed
from pyfetch.unpack.layer import Applier
from pyfetch.unpack.limits import Limits
from pyfetch.unpack.tar import Archive, Stream

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(7200)]

FEW, ALL = 50, 100_000  # of each kind; with --full all
SECONDS = 5  # for one input, on a busy machine
GROWTH = 48 << 10  # kilobytes; of which the allocator keeps some
PIECES = [
    *(b"\0", b"\xff", b"\n", b"\r\n", b'"', b"\\", b"'", b"=", b",", b"/", b"..", b"../../x", b"[", b"{", b"}", b"]"),
    *(b"-1", b"0", b"9" * 30, b"1e400", b"NaN", b"null", b"true", b"\x80" + b"\xff" * 11, b"7" * 11, b"[" * 2000),
    *(b".wh.", b".wh..wh..opq", b"./", b"\xed\xa0\x80", b"\\ud800", b"\x1b[31m", b"x" * 5000, b"g", b"x", b"L", b"S"),
]


def mutate(chance, data):
    """Return `data` with some bytes changed, left out, repeated or replaced by what parsers stumble over."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at, length = chance.randrange(len(data) + 1), chance.choice([0, 1, 1, 4, 12, 512])
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at : at + length] = chance.choice(PIECES)
        else:
            piece = chance.choice(PIECES)
            data[at : at + len(piece)] = piece
    return bytes(data)


def sums(archive):
    """Correct the checksums of a tar archive: otherwise hardly a mutation would come past them."""
    data = bytearray(archive)
    for at in range(0, len(data) - 511, 512):
        block = data[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            data[at + 148 : at + 156] = f"{sum(block):06o}\0 ".encode()
    return bytes(data)


class Tar:
    """Archives of all kinds, read, and applied to a directory over what the one before left there."""

    def __init__(self, folder):
        files = [
            directory("a", mtime=1.5),
            entry("a/f", data=b"x" * 700, uid=3),
            symlink("a/l", "/a"),
            hard_link("h", "a/f"),
        ]
        headers = {"SCHILY.xattr.user.x": "y", "mtime": "1.25", "path": "long/" * 30 + "x"}
        sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9000"}
        self.seeds = [
            tar(*files, "a/.wh.f", "b/.wh..wh..opq", entry("n" * 200, data=b"x"), entry("p", pax_headers=headers)),
            tar(*files, entry("n" * 200, data=b"x"), format=tarfile.GNU_FORMAT),
            tar(entry("s", data=b"1\n0\n5\n".ljust(512, b"\0") + b"12345", pax_headers=sparse)),
            tar(entry("fifo", tarfile.FIFOTYPE), entry("dev", tarfile.CHRTYPE, devmajor=1, devminor=3), "l/x", ".wh.l"),
        ]
        self.folder = folder

    def __call__(self, data, chance):
        data = sums(data) if chance.random() < 0.8 else data
        if chance.random() < 0.1:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(exist_ok=True)
        root = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lower = chance.random() < 0.5
            stream = Stream(iter([data[:1000], data[1000:]]))
            Applier(root, Limits(1 << 20, 1000), False, one_line, lower).apply(Archive(stream))
            stream.drain()
        finally:
            os.close(root)


class Compressed:
    def __init__(self, folder):
        data = random.Random(1).randbytes(2000) + b"text " * 2000
        zstd = subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
        self.seeds = [gzip.compress(data), zstd, gzip.compress(data) * 2]

    def __call__(self, data, chance):
        size = 0
        pieces = iter([data[:100], data[100:]])
        for piece in decompressed(pieces, of_docker=chance.random() < 0.5, has_digest=chance.random() < 0.5):
            size += len(piece)
            assert size < 100 << 20


class Manifest:
    def __init__(self, folder):
        image = Image(
            tar("x"), config={"User": "a:b", "Env": ["A=b"], "Volumes": {"/v": {}}, "ExposedPorts": {"1": {}}}
        )
        index = {
            "schemaVersion": 2,
            "manifests": [{**image.descriptor, "platform": {"os": "linux", "architecture": "arm"}}],
        }
        self.seeds = [json.dumps(one).encode() for one in (image.manifest, index, image.config)]

    def __call__(self, data, chance):
        if chance.random() < 0.5:
            read_manifest(data, "")
        else:
            ImageConfig(Document.decode(data, "config"))


class Headers:
    """What a server's head says of tokens, of the next attempt and of other places."""

    def __init__(self, folder):
        self.seeds = [
            b'Bearer realm="https://a/token",service="a b",scope="repository:x:pull", Basic realm="\\"x\\""',
            b"Wed, 21 Oct 2026 07:28:00 GMT",
            b"120.5",
            b"https://user:word@[::1]:443/v2/x?y=z#f",
            b"application/vnd.oci.image.index.v1+json; charset=utf-8",
        ]

    def __call__(self, data, chance):
        response = email.message.Message()
        response.headers = response
        text = data.decode("latin-1").replace("\n", "").replace("\r", "")
        for name in ("WWW-Authenticate", "Content-Type"):
            response[name] = text
        _challenges(response)
        _media_type(response)
        retry_after(text)
        Origin(text)


class Reference:
    def __init__(self, folder):
        self.seeds = [b"alpine", b"docker://a.b:5000/c/d:e@sha256:" + b"0" * 64, b"[::1]:5000/x__y/z", b"localhost/a:b"]

    def __call__(self, data, chance):
        parse_reference(os.fsdecode(data))


class Toml:
    def __init__(self, folder):
        self.seeds = [
            b'unqualified-search-registries = ["a", \'b\']\n[[registry]]\nprefix = "x"\ninsecure = true # no\n'
            b'[[registry.mirror]]\nlocation = "y:1"\n[a."b.c"]\nd = """e\nf"""\ng = {h = 1, i = -2.5e3}\n',
            b'server = "https://x"\n[host."http://y"]\n  capabilities = ["pull"]\n'
            b'  [host."http://y".header]\n    a = ["b"]\n',
        ]

    def __call__(self, data, chance):
        parse_toml(data, "a.toml")


class Login:
    def __init__(self, folder):
        auth = base64.b64encode(b"user:word").decode()
        entry_ = {"auth": auth, "identitytoken": "t"}
        self.seeds = [
            json.dumps({"auths": {"https://a/v1/": entry_, "a/b": {"username": "x", "password": "y"}}}).encode(),
            json.dumps({"auths": {"a": {"auth": auth[:-2]}}, "HttpHeaders": {}}).encode(),
        ]

    def __call__(self, data, chance):
        _in_document(parse(data, "auth.json"), "a", "b/c")


def assert_one_line(error):
    line = one_line(reason(error))  # as main() prints it
    assert line and "\n" not in line and line.isprintable(), line


@pytest.mark.parametrize("kind", [Tar, Compressed, Manifest, Headers, Reference, Toml, Login])
def test_any_mutated_input_is_taken_or_refused_by_one_line(tmp_path, kind, full):
    target = kind(tmp_path / "tree")
    chance = random.Random(1)
    count = ALL if full else FEW
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for _ in range(count):
        data = mutate(chance, chance.choice(target.seeds))
        began = time.monotonic()
        try:
            target(data, chance)
        except Error as error:
            refused += 1
            assert_one_line(error)
        except Exception as error:
            raise AssertionError(f"{kind.__name__}: {data!r}") from error
        assert time.monotonic() - began < SECONDS, data
    print(f"{kind.__name__}: {count} inputs, {refused} refused")
    assert 0 < refused < count or not full
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH

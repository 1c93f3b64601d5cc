"""Mutated inputs: any gives what was asked for, or one line; no traceback, no hang, no growth, no control character.

The counts are printed (-rP shows them): hundreds by default, 100,000 with --full.
"""

import contextlib
import copy
import io
import json
import marshal
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from harness import REPOSITORY

from foundation.errors import Error, printable, reason
from pyrun.commands import explain
from pyrun.config.document import Config
from pyrun.config.node import Node
from pyrun.config.validate import findings, warnings
from pyrun.container import state
from pyrun.container.summary import summary
from pyrun.options import GLOBAL, VERBS, Settings, check_count, check_verb, parse

pytestmark = pytest.mark.timeout(3600)

FIXTURES = sorted((REPOSITORY / "spec-fixtures/config").rglob("*.json"))
PROFILE = REPOSITORY / "spec-fixtures/seccomp/docker-default.json"
SECONDS = 2  # for one input, on a busy machine
GROWTH = 24 << 20
# What main() prints as one line.
REPORTED = (Error, OSError, ImportError, MemoryError)
TEXTS = [
    "",
    "\0",
    "\n",
    "\x1b[31m",
    "\ud800",
    "..",
    "/",
    "../" * 50,
    "x" * 5000,
    "²",
    "0x1",
    "-1",
    "a=b",
    "\u202e",
    " ",
]
NUMBERS = [0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**400, 1.5, -0.0]
PLAIN = [None, True, False, [], {}, [None], [[]], {"": None}, [{}]]


class Mutator:
    """Changes documents of JSON: values, names, the order, and pieces of others."""

    def __init__(self, seed, documents):
        self.choose = random.Random(seed)
        self.documents = [marshal.dumps(document) for document in documents]
        self.pieces = [piece for document in documents for piece in _pieces(document)]
        self.weights = [len(_pieces(document)) for document in documents]  # in large ones more can change

    def document(self):
        changed = marshal.loads(self.choose.choices(self.documents, self.weights)[0])
        for _ in range(self.choose.choice([1, 1, 1, 2, 3, 6])):
            holders = [piece for piece in _pieces(changed) if isinstance(piece, (dict, list)) and piece]
            if holders:
                self._change(self.choose.choice(holders))
        return changed

    def text(self):
        """Return the bytes of a document, sometimes with bytes changed, lost or twice."""
        data = json.dumps(self.document(), ensure_ascii=self.choose.random() < 0.5).encode("utf-8", "surrogatepass")
        if self.choose.random() < 0.2:
            start = self.choose.randrange(len(data))
            end = start + self.choose.choice([0, 1, 2, 20, 500])
            new = self.choose.choice([b"", data[start:end] * 2, self.choose.randbytes(3), b'"', b"{", b"\\", b"1e9"])
            data = data[:start] + new + data[end:]
        return data

    def _change(self, holder):
        key = self.choose.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = self.choose.randrange(9)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[self.choose.choice([*TEXTS, key.upper(), key + "s"])] = holder.pop(key)
        elif kind == 1:
            holder.extend(copy.deepcopy(holder[key]) for _ in range(self.choose.choice([1, 30])))
        elif kind == 2:
            holder[key] = copy.deepcopy(self.choose.choice(self.pieces))
        elif kind < 7 and isinstance(holder[key], str):
            holder[key] = self._text(holder[key])
        elif kind < 7 and isinstance(holder[key], int):
            holder[key] += self.choose.choice([-1, 1, -(2**31), 2**32, 2**63])
        else:
            holder[key] = copy.deepcopy(self.choose.choice([*TEXTS, *NUMBERS, *PLAIN]))

    def _text(self, text):
        at = self.choose.randrange(len(text) + 1)
        return text[:at] + self.choose.choice(TEXTS) + text[at + self.choose.choice([0, 1, 5]) :]


def _pieces(value):
    found = [value]
    for piece in found:  # which grows
        found.extend(piece.values() if isinstance(piece, dict) else piece if isinstance(piece, list) else ())
    return found


class Watch:
    """Counts inputs, and sees that each is soon done with and that the process does not grow."""

    def __init__(self):
        self.count = self.refused = 0
        self.size = 0

    @contextlib.contextmanager
    def one(self, what):
        start = time.process_time()
        try:
            yield
        except REPORTED as error:
            self.refused += 1
            assert len(printable(reason(error))) < 8000, what()
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}: {what()}") from error
        self.count += 1
        assert time.process_time() - start < SECONDS, what()
        if self.count == 1000:
            self.size = resident()

    def report(self, name):
        grown = resident() - self.size if self.size else 0
        print(f"{name}: {self.count} inputs, {self.refused} refused, grown by {grown >> 10} KiB")
        assert grown < GROWTH
        assert 0 < self.refused < self.count


def write(path, data):
    """Write a new file: that of one that is there is flushed to the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def documents():
    found = []
    for path in FIXTURES:
        with contextlib.suppress(ValueError):  # some are meant to be no JSON
            found.append(json.loads(path.read_text()))
    return found


@pytest.fixture
def valid_documents():
    """Those that can be explained, and docker's profile of seccomp, whole and in part."""
    found = [json.loads(path.read_text()) for path in FIXTURES if path.parent.name == "valid"]
    found = [{**one, "root": {"path": "rootfs"}} for one in found]
    # The largest profile of all, in the smallest config: most mutations then meet the compiler.
    minimal = next(json.loads(path.read_text()) for path in FIXTURES if path.name == "minimal.json")
    profile = json.loads(PROFILE.read_text())
    small = {**profile, "syscalls": profile["syscalls"][:6]}
    return [*found, *({**minimal, "linux": {"seccomp": one}} for one in (profile, small, small, small))]


def test_any_config_is_read_and_validated_or_refused(documents, full):
    mutator, watch = Mutator(1, documents), Watch()
    for _ in range(100_000 if full else 500):
        data = mutator.text()
        with watch.one(lambda data=data: data[:2000]):
            config = Config(Node.decode(data, "config.json"))
            for message in findings(config) + warnings(config):
                assert message.startswith("config.json: "), message
                assert printable(message).isprintable()
    watch.report("load and validate")


@pytest.fixture
def explained(tmp_path):
    """Return what `explain` prints of a config; descriptors that its plan opens are closed."""
    (tmp_path / "rootfs").mkdir()

    def explained(data):
        write(tmp_path / "config.json", data)
        before, place = set(os.listdir("/proc/self/fd")), os.getcwd()
        shown = io.StringIO()
        try:
            with contextlib.redirect_stdout(shown):
                explain.run(Settings("/nonexistent", True, "cgroupfs"), bundle=str(tmp_path))
        finally:
            os.chdir(place)
            for name in set(os.listdir("/proc/self/fd")) - before:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        return shown.getvalue()

    return explained


def test_any_config_is_explained_or_refused(valid_documents, explained, full):
    """The plan of `create`, with the seccomp filter as the kernel will get it."""
    mutator, watch = Mutator(2, valid_documents), Watch()
    for _ in range(100_000 if full else 600):
        data = mutator.text()
        with watch.one(lambda data=data: data[:2000]):
            for line in explained(data).split("\n"):
                assert line.isprintable(), line
    watch.report("explain and the seccomp compiler")


WORDS = ["", "-", "--", "---", "-x", "--x=", "--=x", "=", "-1", "1e9", "\udcff", "\x1b[31m", "x" * 5000, "²", "/", "."]


def command_line(choose):
    """Return words after `pyrun --root DIR`: a verb, its options and others, with wild values."""
    verb = choose.choice([*VERBS, *VERBS, *VERBS, "", "-h", "--version", "craete"])
    options = [f"{choose.choice(['-', '--'])}{name}" for name in {**VERBS.get(verb, ("", {}, ""))[1], **GLOBAL}]
    words = [
        *WORDS,
        *options,
        *options,
        *(f"{one}={choose.choice(WORDS)}" for one in options),
        "id",
        "id",
        "true",
        "KILL",
    ]
    return [verb, *(choose.choice(words) for _ in range(choose.randrange(7)))]


def test_any_command_line_is_parsed_or_refused(full):
    choose, watch = random.Random(3), Watch()
    for _ in range(100_000 if full else 3000):
        line = command_line(choose)
        with watch.one(lambda line=line: line):
            _, rest = parse(line, GLOBAL, stop_early=True)
            verb = rest.pop(0) if rest else "help"
            check_verb(verb)
            usage, known, _ = VERBS[verb]
            options, positional = parse(rest, {**known, "help": GLOBAL["help"]}, stop_early=usage.endswith("...]"))
            check_count(verb, usage, positional)
    watch.report("command lines")


# They wait for an end that does not come, or do what is slow, or answer for the machine.
NOT_CALLED = ("wait", "events", "stats", "doctor")


def test_any_command_line_ends_in_one_line(bundle, machine, full, directory):
    """The whole program, with a container that has the id that they name."""
    choose, count = random.Random(4), 0
    machine.create(bundle, "sleep 1000")
    empty = directory / "empty"
    empty.mkdir()
    while count < (2000 if full else 60):
        line = command_line(choose)
        if line[0] in NOT_CALLED or "\0" in "".join(line) or any("root" in one or "criu" in one for one in line):
            continue
        result = machine.pyrun(*line, cwd=empty)
        count += 1
        what = (line, result.returncode, result.stderr[:600])
        assert 0 <= result.returncode < 256, what
        assert all(one.isprintable() for one in result.stderr.split("\n")), what
        if result.returncode:
            # Only what is documented to go on in spite of one prints several: one for each id.
            assert 1 <= result.stderr.count("\n") <= max(1, len(line)) or line[0] == "ps", what
            assert len(result.stderr) < 12000, what
    print(f"command lines of the whole program: {count}")


@pytest.fixture
def saved(bundle, machine):
    """The state.json of a running container, with something in each property."""
    bundle.config["annotations"] = {"a": "b"}
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true", "args": ["true"], "env": [], "timeout": 3}]}
    id_ = machine.start(bundle)
    found = json.loads(Path(machine.root, id_, "state.json").read_text())
    return {**found, "mounts": [{"destination": "/x", "id": 5}], "intelRdt": {"directories": ["/x"], "made": []}}


def test_any_state_is_loaded_or_refused(saved, directory, full):
    root = directory / "states"
    (root / "id").mkdir(parents=True)
    mutator, watch = Mutator(5, [saved]), Watch()
    for _ in range(100_000 if full else 1500):
        data = mutator.text()
        write(root / "id/state.json", data)
        with watch.one(lambda data=data: data[:2000]):
            container = state.load(str(root), "id")
            container.oci_state(container.status())
            assert json.dumps(summary(container))
    shutil.rmtree(root)
    watch.report("state.json")


def test_any_state_is_shown_or_refused_in_one_line(saved, machine, directory, full):
    """The whole program; only verbs that change nothing: a mutated state may name the processes of others."""
    root = directory / "states"
    (root / "id").mkdir(parents=True)
    mutator, count = Mutator(6, [saved]), 0
    machine_root, machine.root = machine.root, str(root)
    try:
        for _ in range(1500 if full else 20):
            (root / "id/state.json").write_bytes(mutator.text())
            for line in (["state", "id"], ["list"]):
                result = machine.pyrun(*line)
                count += 1
                assert result.returncode in (0, 1), (line, result)
                for stream in (result.stdout, result.stderr):
                    assert all(one.isprintable() for one in stream.split("\n")), (line, stream)
                assert result.stderr.count("\n") <= 1, (line, result.stderr)
    finally:
        machine.root = machine_root
        shutil.rmtree(root)
    print(f"states shown by the whole program: {count}")

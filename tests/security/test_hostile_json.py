"""config.json as no author would write it: one line of error, nothing created, no traceback, no waiting."""

import json
import os
import random

import pytest

TEXTS = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "NaN": '{"ociVersion": NaN}',
    "infinity": '{"process": {"user": {"uid": Infinity}}}',
    "digits": '{"ociVersion": ' + "9" * 1000000 + "}",
    "depth": "[" * 1000000,
    "objects": '{"a":' * 100000 + "1" + "}" * 100000,
    "surrogate": '{"ociVersion": "\\ud800"}',
    "NUL": '{"ociVersion": "1.0.0\\u0000"}',
    "not closed": '{"ociVersion": "1.0',
    "twice": "{} {}",
    "BOM": "\ufeff{}",
}


def run_text(bundle, machine, text):
    (bundle.path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    return machine.pyrun("run", "--bundle", bundle.path, machine.new_id())


def assert_refused(machine, result):
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert len(result.stderr) < 2000
    assert not os.path.isdir(machine.root) or os.listdir(machine.root) == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_config_is_refused_in_one_line(bundle, machine, name):
    assert_refused(machine, run_text(bundle, machine, TEXTS[name]))


@pytest.mark.parametrize("kind", ["not UTF-8", "fifo", "directory", "huge"])
def test_a_file_that_is_no_config_is_refused(bundle, machine, kind):
    file = bundle.path / "config.json"
    if kind == "not UTF-8":
        file.write_bytes(b'{"ociVersion": "\xff"}')
    elif kind == "directory":
        file.mkdir()
    elif kind == "huge":
        with open(file, "wb") as huge:
            huge.truncate(1 << 30)
    else:
        pytest.skip("a bundle is its author's: a FIFO there may make us wait, as any program that reads it")

    assert_refused(machine, machine.pyrun("run", "--bundle", bundle.path, machine.new_id()))


VALUES = [None, True, -1, 0, 1 << 64, 1.5, "", "\0", "x" * 100000, "\ud800", [], {}, [None], [[]], {"": {}}, "../../x"]


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from places(below, (*path, key))


def replace(config, path, value):
    copy = json.loads(json.dumps(config))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


def test_any_value_at_any_place_is_taken_or_refused_in_one_line(bundle, machine, full):
    config = bundle.config
    config["process"]["args"] = ["/bin/true"]
    cases = [(path, value) for path in places(config) if path for value in VALUES]
    chosen = cases if full else random.Random(5736).sample(cases, 150)
    for path, value in chosen:
        changed = replace(config, path, value)
        result = run_text(bundle, machine, json.dumps(changed))
        case = (path, str(value)[:20], result.stderr[:500])
        assert result.returncode in (0, 1), case
        if result.returncode == 1:
            assert "error: " in result.stderr, case
            assert len(result.stderr.strip().splitlines()) <= 3, case
        assert os.listdir(machine.root) == [] if os.path.isdir(machine.root) else True, case

"""Start-up is a feature: what every command loads must not load what is slow."""

import subprocess
import sys

import pytest

SLOW = set(
    "argparse collections contextlib ctypes dataclasses datetime enum functools inspect json logging pathlib re "
    "select shlex shutil signal socket struct subprocess tempfile threading traceback typing uuid".split()
)


def modules_loaded_by(statement):
    program = f"import sys; sys.path.insert(0, 'runtime'); {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("module", ["config", "validate", "default", "features"])
def test_the_spec_loads_nothing_slow(module):
    assert SLOW & modules_loaded_by(f"import pyrun.spec.{module}") == set()


def test_reading_a_valid_config_loads_nothing_slow():
    statement = (
        "from pyrun.spec.config import load_config; from pyrun.spec.validate import validate; "
        "validate(load_config('spec-fixtures/config/valid/docker.json'))"
    )

    assert SLOW & modules_loaded_by(statement) == set()


def test_a_slow_module_would_be_noticed():
    assert "json" in SLOW & modules_loaded_by("import json")

"""Programs of Debian packages beside the machine's own: unpacked, not installed, where vmrun keeps its kernels."""

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

_LOADER = SourceFileLoader("vmrun", str(Path(__file__).with_name("vmrun")))


def place(name: str) -> Path:
    """Return the folder that fetch() fills."""
    return Path(_vmrun().CACHE, name)


def fetch(name: str, suite: str, package: str, follow: str, finish: "Callable[[str, str], None]") -> None:
    """Unpack a package, and those it depends on whose names match `follow`, if that has not been done.

    `finish` gets the folder of what was unpacked, and the one that it may fill. Ends the program if there is no mirror.
    """
    vmrun = _vmrun()

    def fill(target: str) -> None:
        finish(vmrun.Apt(suite, f"{target}/apt").unpack(package, follow=follow), target)

    try:
        vmrun.cached(name, fill)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"no {name}: {error}")


@functools.lru_cache
def _vmrun() -> ModuleType:
    spec = importlib.util.spec_from_loader("vmrun", _LOADER)
    assert spec
    module = importlib.util.module_from_spec(spec)
    _LOADER.exec_module(module)
    return module

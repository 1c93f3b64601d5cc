"""Tests in a throw-away virtual machine: vmrun, with this interpreter and its packages."""

import os
import subprocess
import sys

import pytest
from harness import REPOSITORY

VM_FAILED = 125


def start(tests, *options, seconds):
    """Start a machine that runs the files `tests`; `options` are vmrun's."""
    vmrun = [f"{REPOSITORY}/tests/vmrun", "--timeout", str(seconds), "--dir", REPOSITORY, "--share", sys.prefix]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    # Not as continuous integration's own machine: this one lacks other things, and skips by name.
    environment = {**os.environ, "CI": ""}
    return subprocess.Popen(
        [*vmrun, *options, "--", *pytest_], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def check(*machines):
    """Wait for the end of machines that were started, and see that all tests have passed in each."""
    for machine, (output, complaint) in [(machine, machine.communicate()) for machine in machines]:
        if machine.returncode == VM_FAILED:  # no kernel to be had, or this machine lets none run
            pytest.skip(f"no virtual machine: {complaint[-300:]}")
        assert machine.returncode == 0, output + complaint
        assert " passed" in output

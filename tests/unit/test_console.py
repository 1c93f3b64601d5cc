"""The container's terminal: what needs no container."""

import os

import pytest

from foundation.errors import reason
from pyrun.rootfs.console import open_own_descriptors, reopen


def test_a_file_that_cannot_be_opened_again_is_named_by_its_path(tmp_path):
    found = os.open(tmp_path, os.O_PATH)
    own_descriptors = open_own_descriptors()
    with pytest.raises(OSError) as raised:
        reopen(own_descriptors, found, os.O_RDWR, "/dev/pts/ptmx")
    os.close(own_descriptors)
    os.close(found)

    assert reason(raised.value) == "/dev/pts/ptmx: Is a directory"

"""Words between the runtime and its child."""

import pytest

from foundation.errors import Error
from pyrun.stub.channel import Channel
from pyrun.stub.report import ROW_SIZE


@pytest.mark.parametrize("length", [1, ROW_SIZE - 1, ROW_SIZE, ROW_SIZE + 1])
def test_a_reason_of_any_length_is_heard(length):
    """With the mark before it, one of these has the size of a report of the stub."""
    ours, theirs = Channel.pair()
    theirs.fail("x" * length)

    with pytest.raises(Error, match=f"^{'x' * length}$"):
        ours.hear("word")

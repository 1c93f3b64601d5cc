"""Words between the runtime and its child."""

import pytest

from foundation.errors import Error
from pyrun.stub.channel import Channel, Ended
from pyrun.stub.report import ROW_SIZE


@pytest.mark.parametrize("length", [1, ROW_SIZE - 1, ROW_SIZE, ROW_SIZE + 1])
def test_a_reason_of_any_length_is_heard(length):
    """With the mark before it, one of these has the size of a report of the stub."""
    ours, theirs = Channel.pair()
    theirs.fail("x" * length)

    with pytest.raises(Error, match=f"^{'x' * length}$"):
        ours.hear("word")


@pytest.mark.parametrize("length", [ROW_SIZE - 1, ROW_SIZE, ROW_SIZE + 1])
def test_a_word_of_any_length_is_heard(length):
    ours, theirs = Channel.pair()
    word = "ready ".ljust(length, "x")
    theirs.say(word)

    assert f"ready {ours.hear('ready').text}" == word


def test_the_reason_of_a_side_that_has_failed_is_raised():
    ours, theirs = Channel.pair()
    theirs.fail("the cause")

    with pytest.raises(Error, match="^the cause$"):
        ours.raise_reason()


def test_the_end_of_a_side_that_has_not_read_what_was_said_is_raised():
    ours, theirs = Channel.pair()
    ours.say("word")
    theirs.close()

    with pytest.raises(Ended):
        ours.raise_reason()


def test_nothing_is_raised_while_the_other_side_goes_on():
    ours, theirs = Channel.pair()
    theirs.say("word")

    ours.raise_reason()
    ours.raise_reason()

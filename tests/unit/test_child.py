"""Child: a forked child whose failure is raised in the parent, and which is collected at the end of the block."""

import os
import signal

import pytest

from foundation.errors import Error
from pyrun.stub.channel import Channel, Ended
from pyrun.stub.child import Child


def work(channel):
    channel.say("done")


def test_the_parent_hears_the_child_and_collects_it():
    child = Child(work)
    with child as channel:
        channel.hear("done")

    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)


def test_what_the_work_raises_is_raised_in_the_parent():
    def fail(channel):
        raise FileNotFoundError(2, "No such file or directory", "/missing")

    with pytest.raises(Error, match="^/missing: No such file or directory$"), Child(fail) as channel:
        channel.hear("done")


def test_a_child_that_is_killed_has_ended():
    with pytest.raises(Ended), Child(lambda channel: os.kill(os.getpid(), signal.SIGKILL)) as channel:
        channel.hear("done")


def test_a_child_that_waits_ends_with_the_block():
    child = Child(Channel.next)
    child.end()

    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)


def test_a_child_does_not_go_on_with_its_parents_code(tmp_path):
    with pytest.raises(ZeroDivisionError), Child(work) as channel:
        channel.hear("done")
        (tmp_path / str(os.getpid())).touch()
        raise ZeroDivisionError

    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_the_signals_that_are_held_across_the_fork_are_released_on_both_sides():
    def tell(channel):
        channel.say(f"held {len(signal.pthread_sigmask(signal.SIG_BLOCK, []))}")

    with Child(tell) as channel:
        assert channel.hear("held").text == "0"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()

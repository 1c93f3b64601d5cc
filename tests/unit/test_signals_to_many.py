"""send_to_all() on processes of our own."""

import os
import signal
import subprocess
import time

import pytest

from foundation.linux.signals import send_to_all


@pytest.fixture
def sleepers():
    made = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    yield made
    for one in made:
        one.kill()
        one.wait()


def listing(*lists):
    """Return a function that returns one list after the other, and the last one ever after."""
    left = list(lists)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_all_that_are_listed_get_the_signal(sleepers):
    pids = [one.pid for one in sleepers]

    assert send_to_all(listing(pids), signal.SIGTERM) == set(pids)
    assert [one.wait() for one in sleepers] == [-signal.SIGTERM] * 3


def test_a_process_that_is_listed_no_longer_is_left_alone(sleepers):
    """A listed process had its pid before, and has ended."""
    first, second, third = (one.pid for one in sleepers)

    send_to_all(listing([first, second, third], [first, third]), signal.SIGTERM)

    assert sleepers[0].wait() == sleepers[2].wait() == -signal.SIGTERM
    assert sleepers[1].poll() is None


def test_those_that_are_left_out_and_those_that_have_ended_get_none(sleepers):
    first, second, third = (one.pid for one in sleepers)
    sleepers[2].kill()
    sleepers[2].wait()

    assert send_to_all(listing([first, second, third]), signal.SIGTERM, but=[first]) == {second, third}
    assert sleepers[1].wait() == -signal.SIGTERM
    assert sleepers[0].poll() is None


def test_more_processes_than_descriptors_get_the_signal():
    pids = []
    for _ in range(1200):
        pid = os.fork()
        if pid == 0:
            time.sleep(100)
            os._exit(0)
        pids.append(pid)

    send_to_all(listing(pids), signal.SIGKILL)

    assert {os.waitpid(pid, 0)[1] for pid in pids} == {signal.SIGKILL}

"""Few machines have core scheduling, so what is asked of the kernel is looked at here."""

import os

from pyrun.confine import core_scheduling

PR_SCHED_CORE, CREATE, SHARE_FROM, THREAD, THREAD_GROUP = 62, 1, 3, 0, 1


def test_the_init_makes_a_cookie_for_itself(monkeypatch):
    monkeypatch.setattr(core_scheduling, "prctl", lambda *arguments: 0)

    assert core_scheduling.call(0)[:2] == ("prctl", (PR_SCHED_CORE, CREATE, 0, THREAD_GROUP))


def test_who_joins_takes_that_of_the_init(monkeypatch):
    monkeypatch.setattr(core_scheduling, "prctl", lambda *arguments: 0)

    assert core_scheduling.call(os.getpid())[:2] == ("prctl", (PR_SCHED_CORE, SHARE_FROM, os.getpid(), THREAD))

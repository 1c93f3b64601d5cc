"""linux.personality: the execution domain of the program, in /proc/PID/personality and in what uname(2) says."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")

WITHOUT_RANDOM_ADDRESSES = "00040000"  # ADDR_NO_RANDOMIZE, of <linux/personality.h>


@pytest.mark.differs("runc", "it knows no personality before 1.2")
@pytest.mark.proves("linux.personality.domain=LINUX32")
def test_a_32_bit_domain_shows_another_machine(container, bundle):
    bundle.linux["personality"] = {"domain": "LINUX32"}
    inside = container.look("cat /proc/self/personality; uname -m").split()
    # user-mode Linux calls itself what it is in every domain.
    machine = subprocess.run(["setarch", "linux32", "uname", "-m"], capture_output=True, text=True, check=True).stdout

    assert inside == ["00000008", machine.strip()]
    assert container.proc("personality").strip() == "00000008"
    assert container.exec("uname", "-m") == machine


@pytest.mark.differs("runc", "it knows no personality before 1.2")
@pytest.mark.proves("linux.personality.domain=LINUX")
def test_the_ordinary_domain_takes_the_callers_away(container, bundle):
    container.prefix = ["setarch", "--addr-no-randomize"]
    bundle.linux["personality"] = {"domain": "LINUX"}
    inside = container.look("cat /proc/self/personality; uname -m").split()

    assert inside == ["00000000", os.uname().machine]
    assert container.proc("personality").strip() == "00000000"


def test_without_one_the_personality_is_the_callers(container):
    container.prefix = ["setarch", "--addr-no-randomize"]
    inside = container.look("cat /proc/self/personality")

    assert inside == container.proc("personality").strip() == WITHOUT_RANDOM_ADDRESSES


@pytest.mark.differs("runc", "it knows no personality before 1.2")
def test_a_filter_that_forbids_the_call_comes_after_it(container, bundle):
    bundle.linux["personality"] = {"domain": "LINUX32"}
    rule = {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    assert container.look("cat /proc/self/personality") == "00000008"


@pytest.mark.differs("runc", "it knows no personality before 1.2")
def test_a_domain_that_is_not_known_is_refused_by_name(container, bundle):
    bundle.linux["personality"] = {"domain": "SVR4"}

    assert "personality.domain" in container.run_fails("true") or container.name != "pyrun"

"""linux.timeOffsets: the container's clocks that count from boot are shifted, the host's are not."""

import os
import time

import pytest

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "namespace time"),
    pytest.mark.timeout(60),
    pytest.mark.differs("runc", "no time namespaces before 1.2"),
    pytest.mark.differs("crun", "no time namespaces before 1.9"),
]

DAY = 86_400


@pytest.fixture
def shifted(bundle):
    def shifted(monotonic=0, boottime=0, nanoseconds=0):
        bundle.namespace("time")
        bundle.linux["timeOffsets"] = {
            "monotonic": {"secs": monotonic, "nanosecs": nanoseconds},
            "boottime": {"secs": boottime},
        }

    return shifted


def uptime(text):
    return float(text.split()[0])


def test_the_program_sees_a_later_boot_time(container, shifted):
    shifted(boottime=DAY)

    seen = uptime(container.run("cat", "/proc/uptime"))
    assert seen == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME) + DAY, abs=5)


@pytest.mark.proves("linux.timeOffsets[].secs", "linux.timeOffsets[].nanosecs", "linux.namespaces[].type=time")
def test_the_program_is_in_a_namespace_with_these_offsets(container, shifted):
    shifted(monotonic=DAY, boottime=-1, nanoseconds=999_999_999)
    inside = container.look("cat /proc/self/timens_offsets")

    assert inside.split() == ["monotonic", str(DAY), "999999999", "boottime", "-1", "0"]
    assert inside.split() == container.proc("timens_offsets").split()
    assert os.readlink(f"/proc/{container.pid()}/ns/time") != os.readlink("/proc/self/ns/time")


def test_exec_sees_the_same_clocks(container, shifted):
    shifted(boottime=DAY)
    container.sleeping()

    assert uptime(container.exec("cat", "/proc/uptime")) > DAY


def test_the_clocks_are_shifted_in_the_hosts_pid_namespace_too(container, shifted, bundle):
    shifted(boottime=DAY)
    bundle.without_namespace("pid")

    assert uptime(container.run("cat", "/proc/uptime")) > DAY


def test_the_clocks_are_shifted_in_a_user_namespace(container, shifted, bundle):
    shifted(boottime=DAY)
    bundle.user_namespace()

    assert uptime(container.run("cat", "/proc/uptime")) > DAY


def test_a_clock_before_the_boot_is_refused_by_name(container, shifted):
    shifted(boottime=-1000 * 365 * DAY)

    assert "/proc/self/timens_offsets" in container.run_fails("true")


def test_the_clocks_of_the_host_stay(container, shifted):
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    shifted(boottime=DAY)
    container.run("true")

    assert time.clock_gettime(time.CLOCK_BOOTTIME) - before < 60

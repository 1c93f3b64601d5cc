"""linux.memoryPolicy, as /proc/PID/numa_maps shows it of every mapping (numa(7))."""

import ctypes
import os

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox", "/proc/self/numa_maps")


def policies(numa_maps):
    return {line.split()[1] for line in numa_maps.splitlines()}


def newer_than_peers(test):
    why = "linux.memoryPolicy is of runtime-spec 1.3"
    return pytest.mark.differs("runc", why)(pytest.mark.differs("crun", why)(test))


def case(mode, shown, *flags, nodes="0"):
    words = [f"mode={mode}", *(f"flags={flag}" for flag in flags), *(["nodes"] if nodes else [])]
    policy = {"mode": mode, "nodes": nodes, "flags": list(flags)}
    proves = pytest.mark.proves(*(f"linux.memoryPolicy.{word}" for word in words))
    return pytest.param(policy, shown, id="-".join((mode, *flags)), marks=proves)


@newer_than_peers
@pytest.mark.parametrize(
    "policy, shown",
    [
        case("MPOL_BIND", "bind:0"),
        case("MPOL_INTERLEAVE", "interleave:0"),
        case("MPOL_WEIGHTED_INTERLEAVE", "weighted interleave:0"),
        case("MPOL_PREFERRED", "prefer:0"),
        case("MPOL_PREFERRED_MANY", "prefer (many):0"),
        case("MPOL_LOCAL", "local", nodes=""),
        case("MPOL_BIND", "bind=static:0", "MPOL_F_STATIC_NODES"),
        case("MPOL_INTERLEAVE", "interleave=relative:0", "MPOL_F_RELATIVE_NODES"),
        case("MPOL_BIND", "bind=balancing:0", "MPOL_F_NUMA_BALANCING"),
    ],
)
def test_the_program_has_the_policy(container, bundle, policy, shown):
    bundle.linux["memoryPolicy"] = policy
    inside = container.look("cat /proc/self/numa_maps")

    assert shown in inside
    assert shown in container.proc("numa_maps")


@pytest.fixture
def interleaving():
    """Let this process, and so the runtime, have a policy (set_mempolicy(2): MPOL_INTERLEAVE, node 0)."""
    set_mempolicy(3, ctypes.byref(ctypes.c_ulong(1)), 64)
    yield
    set_mempolicy(0, None, 0)


def set_mempolicy(*arguments):
    number = {"x86_64": 238, "aarch64": 237}[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, *arguments) == 0


@newer_than_peers
@pytest.mark.proves("linux.memoryPolicy.mode=MPOL_DEFAULT")
def test_the_default_policy_takes_the_callers_away(container, bundle, interleaving):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_DEFAULT"}
    inside = container.look("cat /proc/self/numa_maps")

    assert policies(inside) == policies(container.proc("numa_maps")) == {"default"}


def test_without_a_policy_it_is_the_default(container):
    container.sleeping()

    assert policies(container.proc("numa_maps")) == {"default"}


@newer_than_peers
def test_exec_has_the_policy_too(container, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    container.sleeping()

    assert "interleave:0" in policies(container.exec("cat", "/proc/self/numa_maps"))


@newer_than_peers
def test_a_node_that_is_not_there_is_refused_by_name(container, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "60"}

    assert "memoryPolicy MPOL_BIND: Invalid argument" in container.run_fails("true")

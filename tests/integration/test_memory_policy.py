"""linux.memoryPolicy, as /proc/PID/numa_maps shows it of every mapping (numa(7))."""

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox", "/proc/self/numa_maps")


def policies(numa_maps):
    return {line.split()[1] for line in numa_maps.splitlines()}


@pytest.mark.parametrize(
    "policy, shown",
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, "weighted"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "interleave=relative:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "bind"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["mode"],
)
def test_the_program_has_the_policy(container, bundle, policy, shown):
    bundle.linux["memoryPolicy"] = policy
    container.sleeping()

    assert any(found.startswith(shown) for found in policies(container.proc("numa_maps")))


def test_without_a_policy_it_is_the_default(container):
    container.sleeping()

    assert policies(container.proc("numa_maps")) == {"default"}


def test_exec_has_the_policy_too(container, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    container.sleeping()

    assert "interleave:0" in policies(container.exec("cat", "/proc/self/numa_maps"))


def test_a_node_that_is_not_there_is_refused_by_name(container, bundle):
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "60"}

    assert "memoryPolicy MPOL_BIND: Invalid argument" in container.run_fails("true")

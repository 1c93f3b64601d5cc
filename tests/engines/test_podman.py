"""What only podman has, by conmon on pyrun."""

import pytest
from tools import needs

pytestmark = needs("podman", "conmon", "catatonit", "runc")


@pytest.fixture
def podman(podmen):
    yield podmen["pyrun"]
    podmen["pyrun"].remove("--all")


def test_a_pod_shares_its_namespaces(podman):
    podman("pod", "create", "--name", "p", "--infra=false", check=True)
    result = podman.run("--rm", "--pod", "p", "busybox", "echo", "in")
    podman("pod", "rm", "--force", "p", check=True)

    assert result.output == "in\n"

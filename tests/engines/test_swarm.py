"""A Swarm whose only node has pyrun as its default runtime.

No service has a virtual IP or a published port of the ingress network: those need the kernel's IP_VS, which the
machine may lack. Names (--endpoint-mode dnsrr) and overlay networks need only VXLAN.
"""

import pytest
from dockerd import Dockerd
from tools import needs, wait_until

pytestmark = needs("dockerd", "docker", "containerd", "runc", "ip")

SLEEP = ("sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.1; done')
CREATE = ("service", "create", "--detach", "--quiet", "--no-resolve-image", "--restart-delay", "0s")


@pytest.fixture(scope="module")
def docker(tmp_path_factory, image):
    dockerd = Dockerd(tmp_path_factory.mktemp("swarm"))
    docker = dockerd.docker
    for tag in ("busybox:one", "busybox:two"):
        docker("import", image, tag, check=True)
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1", check=True)
    yield docker
    docker("swarm", "leave", "--force")
    dockerd.stop()


@pytest.fixture(scope="module")
def service(docker):
    docker(*CREATE, "--name", "web", "--replicas", "3", "busybox:one", *SLEEP, check=True)
    return docker


@pytest.fixture
def web(service):
    """A service with three replicas, whatever the last test has made of it."""
    scale(service, 3)
    return service


def scale(docker, replicas):
    docker("service", "scale", "--detach", f"web={replicas}", check=True)
    wait_until(lambda: len(containers(docker)) == replicas)


def containers(docker, *filters):
    """Return the ids of the service's tasks."""
    command = ("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=web", *filters)
    return set(docker(*command).output.split())


def test_the_tasks_of_a_service_run_on_pyrun(web):
    runtimes = web("inspect", "--format", "{{.HostConfig.Runtime}}", *containers(web))

    assert runtimes.output.split() == ["pyrun"] * 3


def test_a_service_is_scaled_to_ten(web):
    before = containers(web)
    scale(web, 10)

    assert before < containers(web)


def test_a_rolling_update_replaces_every_task(web):
    update = ("--update-delay", "0s", "--update-monitor", "1s", "--no-resolve-image", "--detach")
    web("service", "update", *update, "--image", "busybox:two", "web", check=True)

    wait_until(lambda: len(containers(web, "--filter", "ancestor=busybox:two")) == 3)
    wait_until(lambda: len(containers(web)) == 3)


def test_a_killed_task_comes_back(web):
    before = containers(web)
    killed = before.pop()
    web("kill", killed, check=True)
    wait_until(lambda: len(containers(web)) == 3)

    assert before < containers(web)
    assert killed not in containers(web)


def test_services_find_each_other_by_name_over_an_overlay_network(docker):
    docker("network", "create", "--driver", "overlay", "--attachable", "net", check=True)
    serve = "mkdir /w; echo page >/w/i; exec httpd -f -h /w"
    options = ("--name", "page", "--network", "net", "--endpoint-mode", "dnsrr")
    docker(*CREATE, *options, "busybox:one", "sh", "-c", serve, check=True)
    fetch = "until wget -q -O - page/i 2>/dev/null; do sleep 0.1; done"
    result = docker("run", "--rm", "--network", "net", "busybox:one", "sh", "-c", fetch)
    docker("service", "rm", "page", check=True)

    assert result.output == "page\n"

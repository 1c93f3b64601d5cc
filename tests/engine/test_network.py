"""The network bridge: an address, the way out, and nobody comes in."""

import subprocess

import pytest
from daemon import wait_until
from outside import asked, network_beyond

pytestmark = pytest.mark.usefixtures("removed")

SERVE = "exec nc -ll -p 80 -e echo hello"


@pytest.fixture(scope="module")
def outside(hub):
    """A function that runs a command in a network beyond the host's."""
    with network_beyond(hub) as run:
        yield run


def serving(engine, name):
    """Start a container that says hello at port 80; return its address."""
    engine.ok("run", "-d", "--name", name, "busybox", "sh", "-c", SERVE)
    return engine.inspect(name, ".NetworkSettings.IPAddress")


def ask(engine, address):
    return engine.ok("run", "--rm", "busybox", "sh", "-c", f"nc -w 5 {address} 80 < /dev/null")


def test_the_default_network_gives_an_address_and_a_route(engine):
    shown = engine.ok("run", "--rm", "busybox", "sh", "-c", "ip -4 addr show eth0; ip route; cat /etc/hosts")

    assert "inet 172.17.0.2/16" in shown
    assert "default via 172.17.0.1 dev eth0" in shown
    assert "172.17.0.2\t" in shown


def test_inspect_shows_the_address_while_the_container_runs(engine):
    address = serving(engine, "web")

    network = engine.inspect("web", ".NetworkSettings.Networks.bridge")
    listed = engine.inspect("bridge", ".")
    engine.ok("kill", "web")

    assert address == "172.17.0.2"
    assert (network["IPAddress"], network["Gateway"], network["IPPrefixLen"]) == (address, "172.17.0.1", 16)
    assert network["MacAddress"] == "02:42:ac:11:00:02"
    assert [one["IPv4Address"] for one in listed["Containers"].values()] == ["172.17.0.2/16"]
    assert listed["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert engine.inspect("web", ".NetworkSettings.IPAddress") == ""


def test_containers_reach_each_other(engine):
    address = serving(engine, "web")

    assert ask(engine, address) == "hello"


def test_the_host_reaches_a_container(engine, hub):
    address = serving(engine, "web")

    assert asked(hub.run, address, 80) == "hello"


def test_a_container_reaches_the_world_with_the_host_s_address(engine, outside):
    assert ask(engine, "10.88.0.2") == "10.88.0.1"


def test_the_world_does_not_reach_a_container(engine, outside):
    address = serving(engine, "web")

    assert "timed out" in asked(outside, address, 80)


def test_the_lowest_free_address_is_given(engine):
    assert [serving(engine, name) for name in ("one", "two", "three")] == ["172.17.0.2", "172.17.0.3", "172.17.0.4"]
    engine.ok("rm", "-f", "two")

    assert serving(engine, "four") == "172.17.0.3"


def test_addresses_outlive_the_daemon(engine):
    address = serving(engine, "web")

    engine.kill()
    engine.start()

    assert engine.inspect("web", ".NetworkSettings.IPAddress") == address
    assert serving(engine, "other") != address
    assert ask(engine, address) == "hello"


def test_a_removed_container_leaves_no_interface(engine, hub):
    serving(engine, "web")

    engine.ok("rm", "-f", "web")

    wait_until(lambda: "veth" not in interfaces(hub), "the end of the interfaces")


def interfaces(hub):
    return subprocess.run([*hub.inside, "ip", "-br", "link"], capture_output=True, text=True, check=True).stdout

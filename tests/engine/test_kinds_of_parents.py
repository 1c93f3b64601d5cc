"""Interfaces above parents of all kinds. No engine is in it: the kernel that has them all lacks NAT by nftables."""

import subprocess
from contextlib import contextmanager

import pytest
from daemon import wait_until

from foundation.linux import os
from foundation.linux.netlink import inside
from pyrund.model import network
from pyrund.net import bridge, ends, parent
from pyrund.net.ends import End

pytestmark = pytest.mark.needs("root", "ipvlan")

GROUND = """
ip link set lo up
ip link add outside0 type veth peer name eth0 netns "$0"
ip link set outside0 up
ip addr add 10.88.0.1/24 dev outside0
nsenter --net --target "$0" sh -ec "
    ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up; ip route add 10.92.0.0/24 via 10.88.0.1
    ip link add link eth0 name eth0.10 type vlan id 10; ip addr add 10.89.0.2/24 dev eth0.10; ip link set eth0.10 up"
"""
OUTSIDE = "veth0badbee"


class Namespace:
    """A network namespace; a process `pid` is in it."""

    def __init__(self):
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.pid = self._process.pid
        wait_until(lambda: open(f"/proc/{self.pid}/comm").read() == "sleep\n", "the namespace")
        self.fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def do(self, call):
        return inside(self.fd, call)

    def run(self, *words):
        command = ["nsenter", "--net", "--target", str(self.pid), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def end(self):
        os.close(self.fd)
        self._process.kill()
        self._process.wait()


@contextmanager
def namespaces(count):
    made = []
    try:
        for _ in range(count):
            made.append(Namespace())
        yield made
    finally:
        for one in made:
            one.end()


@pytest.fixture
def host():
    """The host's network namespace: outside0 has a neighbour, 10.88.0.2, which is 10.89.0.2 in the VLAN 10."""
    with namespaces(2) as (host, world):
        host.run("sh", "-ec", GROUND, str(world.pid))
        yield host


@pytest.fixture
def container():
    with namespaces(1) as (container,):
        yield container


def base(kind, subnet, **options):
    """Return what a network with these options of its driver is on the host."""
    made = network.new("1" * 64, "pub", kind)
    made.document.update(Options={name.replace("type", kind): value for name, value in options.items()})
    made.document.update(Subnet=f"{subnet}.0/24", Gateway=f"{subnet}.2")
    return made.base()


def connect(host, container, kind, subnet, **options):
    mac = "02:42:0a:58:00:4d" if kind == "macvlan" else ""
    end = End(base(kind, subnet, **options), OUTSIDE, f"{subnet}.77", "", mac)
    host.do(lambda: ends.connect(container.fd, [end]))
    host.do(lambda: ends.route(container.fd, end, of_ipv6=False))


def reaches(container, address):
    return "1 packets received" in container.run("busybox", "ping", "-c", "1", "-W", "5", address)


def test_ipvlan_reaches_the_parent_s_neighbours(host, container):
    connect(host, container, "ipvlan", "10.88.0", parent="outside0")

    assert reaches(container, "10.88.0.2")
    assert "default via 10.88.0.2 dev eth0" in container.run("ip", "route")
    assert "mode l2 bridge" in container.run("ip", "-d", "link", "show", "eth0")


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_ipvlan_of_the_third_layer_is_routed_by_the_host_without_a_gateway(host, container, mode):
    connect(host, container, "ipvlan", "10.92.0", parent="outside0", type_mode=mode)

    assert reaches(container, "10.88.0.2")
    assert "default dev eth0 proto static scope link" in container.run("ip", "route")
    assert f"mode {mode} bridge" in container.run("ip", "-d", "link", "show", "eth0")


@pytest.mark.parametrize("flag", ["private", "vepa"])
def test_ipvlan_has_its_flags(host, container, flag):
    connect(host, container, "ipvlan", "10.88.0", parent="outside0", ipvlan_flag=flag)

    assert f"mode l2 {flag}" in container.run("ip", "-d", "link", "show", "eth0")


@pytest.mark.parametrize("mode", ["private", "vepa", "bridge", "passthru"])
def test_macvlan_has_its_modes(host, container, mode):
    connect(host, container, "macvlan", "10.88.0", parent="outside0", type_mode=mode)

    assert f"macvlan mode {mode}" in container.run("ip", "-d", "link", "show", "eth0")


@pytest.mark.parametrize("kind", parent.KINDS)
def test_a_parent_of_a_vlan_is_made_and_removed(host, container, kind):
    connect(host, container, kind, "10.89.0", parent="outside0.10")

    assert reaches(container, "10.89.0.2")
    host.do(lambda: ends.disconnect(container.fd, OUTSIDE))
    assert "eth0" not in container.run("ip", "link")
    host.do(lambda: bridge.remove_ours("outside0.10"))
    assert "outside0.10" not in host.run("ip", "link")
    host.do(lambda: bridge.remove_ours("outside0"))
    assert "outside0" in host.run("ip", "link")


@pytest.mark.parametrize("kind", parent.KINDS)
def test_containers_without_a_parent_reach_each_other_alone(host, container, kind):
    with namespaces(1) as (other,):
        connect(host, container, kind, "10.90.0")
        mac = "02:42:0a:58:00:4e" if kind == "macvlan" else ""
        second = End(base(kind, "10.90.0"), "veth0badcaf", "10.90.0.78", "", mac)
        host.do(lambda: ends.connect(other.fd, [second]))

        assert reaches(other, "10.90.0.77")
        name = {"macvlan": "dm", "ipvlan": "di"}[kind] + f"-{'1' * 12}"
        assert name in host.run("ip", "link")
        host.do(lambda: bridge.remove_ours(name))
        assert name not in host.run("ip", "link")

"""linux.netDevices: interfaces of the host move into the container, with their addresses."""

import subprocess

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox", "ip")


def newer_than_peers(test):
    why = "linux.netDevices is of runtime-spec 1.3"
    return pytest.mark.differs("runc", why)(pytest.mark.differs("crun", why)(test))


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def veth():
    """Two interfaces of the host, tied to each other; where one goes, and ends, the other ends."""
    ip("link", "add", "pyrun-a", "type", "veth", "peer", "name", "pyrun-b")
    yield "pyrun-a", "pyrun-b"
    subprocess.run(["ip", "link", "delete", "pyrun-b"], capture_output=True)


@newer_than_peers
@pytest.mark.proves("linux.netDevices[].name")
def test_an_interface_moves_with_its_global_addresses_and_is_up(container, bundle, veth):
    ip("address", "add", "192.0.2.7/24", "dev", "pyrun-a")
    ip("address", "add", "2001:db8::7/64", "dev", "pyrun-a", "nodad")
    ip("address", "add", "169.254.9.9/16", "dev", "pyrun-a", "scope", "link")
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "eth0"}}
    inside = container.look("ip address show eth0")
    enter = ["nsenter", "--target", str(container.pid()), "--net"]
    from_the_host = subprocess.run([*enter, "ip", "address"], capture_output=True, text=True, check=True).stdout

    for shown in (inside, from_the_host):
        assert "eth0" in shown
        assert "192.0.2.7/24" in shown
        assert "2001:db8::7/64" in shown
        assert "169.254.9.9" not in shown
        assert ",UP" in shown
    links = ip("-brief", "link")
    assert "pyrun-b" in links
    assert "pyrun-a" not in links and "192.0.2.7" not in ip("address")


@newer_than_peers
def test_an_interface_keeps_its_name_where_no_other_is_given(container, bundle, veth):
    bundle.linux["netDevices"] = {"pyrun-a": {}}

    assert "pyrun-a" in container.run("ip", "link")


@newer_than_peers
def test_a_pattern_is_numbered_by_the_kernel(container, bundle, veth):
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "net%d"}, "pyrun-b": {"name": "net%d"}}
    names = [line.split(":")[1].strip().partition("@")[0] for line in container.sh("ip -o link").splitlines()]

    assert sorted(names) == ["lo", "net0", "net1"]


@newer_than_peers
def test_it_moves_into_the_network_namespace_of_a_user_namespace(container, bundle, veth):
    bundle.user_namespace()
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "eth0"}}

    assert "eth0" in container.run("ip", "link")


@newer_than_peers
def test_a_name_that_is_taken_is_an_error_and_nothing_moves(container, bundle, veth):
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "lo"}}

    assert '"pyrun-a" cannot become "lo"' in container.run_fails("true")
    assert "pyrun-a" in ip("-brief", "link")


@newer_than_peers
def test_an_interface_comes_back_if_the_next_one_cannot_move(container, bundle, veth):
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "eth0"}, "pyrun-b": {"name": "lo"}}

    assert '"pyrun-b" cannot become "lo"' in container.run_fails("true")
    assert "pyrun-a" in ip("-brief", "link")


@newer_than_peers
def test_an_interface_that_is_not_there_is_named(container, bundle):
    bundle.linux["netDevices"] = {"pyrun-none": {}}

    assert '"pyrun-none" is not a network interface of the host' in container.run_fails("true")


def test_without_the_property_the_hosts_interfaces_stay(container, veth):
    assert container.sh("ip -o link | wc -l") == "1"
    assert "pyrun-a" in ip("-brief", "link")


@newer_than_peers
@pytest.mark.parametrize("state", ["up", "down"])
def test_a_failed_create_reports_its_own_error_and_gives_the_interface_back(container, bundle, veth, state):
    """The interface moves while the init mounts: each time, another one of them is the first to fail or to be done."""
    ip("address", "add", "192.0.2.7/24", "dev", "pyrun-a")
    ip("address", "add", "2001:db8::7/64", "dev", "pyrun-a", "nodad")
    ip("link", "set", "pyrun-a", state)
    bundle.linux["netDevices"] = {"pyrun-a": {"name": "eth0"}, "pyrun-b": {}}
    bundle.mount("/early", "tmpfs", "tmpfs", "nonsense=1")
    for _ in range(10):
        assert "nonsense" in container.run_fails("true")

    bundle.config["mounts"].pop()
    bundle.mount("/dev/late", "tmpfs", "tmpfs", "nonsense=1")
    for _ in range(10):
        assert "nonsense" in container.run_fails("true")
    shown = ip("address", "show", "pyrun-a")
    assert "192.0.2.7/24" in shown and ("2001:db8::7/64" in shown or state == "down")
    assert (",UP" in shown) == (state == "up")
    assert "pyrun-b" in ip("-brief", "link")

"""Networks above an interface of the host; more of them in test_kinds_of_parents.py."""

import pytest
from beside_dockerd import said_by_both
from outside import asked, network_beyond

pytestmark = pytest.mark.usefixtures("removed", "no_networks")

# The host's interface outside0 has a neighbour, 10.88.0.2, whose server says who asks.
PUBLIC = ("--subnet=10.88.0.0/24", "--gateway=10.88.0.2", "-o", "parent=outside0")
ASK = "until nc -w 2 10.88.0.2 80 < /dev/null | grep .; do sleep 0.1; done"


@pytest.fixture(scope="module")
def engine(serve_engine):
    """A daemon without the default bridge: what has a parent needs neither bridges nor nftables."""
    yield from serve_engine("--bridge", "none")


@pytest.fixture
def near(engine):
    """A network above a parent that has no neighbours."""
    engine.hub.run("sh", "-ec", "ip link add near0 type veth peer name near1; ip link set near0 up")
    engine.ok("network", "create", "-d", "macvlan", "--subnet=10.91.0.0/24", "-o", "parent=near0", "near")
    yield
    engine.hub.run("ip", "link", "del", "near0")


@pytest.fixture
def no_networks(engine):
    yield
    engine.remove_all()
    engine.ok("network", "prune", "-f")
    left = engine.hub.run("ip", "-br", "link").stdout
    assert not any(name in left for name in ("dm-", "di-", "outside0.")), left


@pytest.fixture(scope="module")
def outside(hub):
    with network_beyond(hub) as run:
        yield run


def run(engine, *words):
    return engine.ok("run", "--rm", *words)


def interfaces(engine, name):
    """Return {interface: its addresses of IPv4} of a running container."""
    lines = engine.ok("exec", name, "ip", "-o", "-4", "addr").splitlines()
    return {line.split()[1]: line.split()[3] for line in lines if "eth" in line}


def test_containers_are_neighbours_of_the_parent_s_neighbours(engine, outside):
    engine.ok("network", "create", "-d", "macvlan", *PUBLIC, "pub")

    assert run(engine, "--network=pub", "--ip=10.88.0.77", "busybox", "sh", "-c", ASK) == "10.88.0.77"
    assert "default via 10.88.0.2 dev eth0" in run(engine, "--network=pub", "busybox", "ip", "route")
    serve = ("busybox", "sh", "-c", "exec nc -ll -p 80 -e echo hello")
    engine.ok("run", "-d", "--name", "web", "--network=pub", "--ip=10.88.0.78", *serve)
    ask = "until nc -w 2 web 80 < /dev/null | grep .; do sleep 0.1; done"
    assert run(engine, "--network=pub", "busybox", "sh", "-c", ask) == "hello"
    assert asked(outside, "10.88.0.78", 80) == "hello"


def test_a_running_container_is_connected_and_disconnected(engine, outside, near):
    engine.ok("network", "create", "-d", "macvlan", *PUBLIC, "pub")
    engine.ok("run", "-d", "--name", "web", "--network=near", "busybox", "sleep", "1000")
    before = interfaces(engine, "web")
    assert before == {"eth0": "10.91.0.2/24"}

    engine.ok("network", "connect", "--ip=10.88.0.77", "pub", "web")
    assert interfaces(engine, "web") == {**before, "eth1": "10.88.0.77/24"}
    assert engine.ok("exec", "web", "sh", "-c", ASK) == "10.88.0.77"
    assert "default via 10.91.0.1 dev eth0" in engine.ok("exec", "web", "ip", "route")
    engine.kill()
    engine.start()
    engine.ok("network", "disconnect", "pub", "web")
    assert interfaces(engine, "web") == before


def test_a_hardware_address_that_the_client_wants(engine, outside):
    engine.ok("network", "create", "-d", "macvlan", *PUBLIC, "pub")

    wanted = "02:42:0a:58:00:63"
    assert wanted in run(engine, "--network=pub", f"--mac-address={wanted}", "busybox", "ip", "link", "show", "eth0")


def test_a_network_of_ipv6_too(engine, outside):
    more = ("--ipv6", "--subnet=fd88::/64", "--gateway=fd88::2")
    engine.ok("network", "create", "-d", "macvlan", *PUBLIC, *more, "pub")

    found = run(engine, "--network=pub", "--ip6=fd88::77", "busybox", "sh", "-c", "ip -6 addr; ip -6 route")
    assert "fd88::77/64" in found and "default via fd88::2 dev eth0" in found


def test_an_internal_network_has_no_way_out(engine, outside):
    engine.ok("network", "create", "-d", "macvlan", "--internal", *PUBLIC, "--ipv6", "--subnet=fd88::/64", "pub")

    found = run(engine, "--network=pub", "busybox", "sh", "-c", "ip -6 addr; ip route; ip -6 route")
    assert "fd88::" in found and "default" not in found


def test_what_is_shown_is_that_of_dockerd_without_ports(engine, dockerd, outside):
    def shown(of):
        """Return what commands say, one engine after the other: both give the same hardware address."""
        seen = "{{json .Ports}} {{with index .Networks `pub`}}{{.Gateway}} {{.IPAddress}} {{.MacAddress}}{{end}}"
        commands = [
            ("network", "create", "-d", "macvlan", *PUBLIC, "-o", "nosuch=x", "pub"),
            ("run", "-d", "--name", "web", "-p", "8080:80", "--network=pub", "busybox", "sleep", "1000"),
            ("inspect", "-f", "{{with .NetworkSettings}}" + seen + "{{end}}", "web"),
            ("port", "web"),
            ("ps", "--format", "{{.Ports}}|{{.Names}}"),
            ("network", "inspect", "-f", "{{.Driver}} {{.Internal}} {{.Options}} {{.IPAM.Config}}", "pub"),
            ("rm", "-f", "web"),
            ("network", "rm", "pub"),
        ]
        done = [of.docker(*command) for command in commands]
        assert [one.returncode for one in done] == [0] * len(commands), done
        texts = [one.stdout if isinstance(one.stdout, str) else one.stdout.decode() for one in done]
        return texts[2:]

    assert shown(engine) == shown(dockerd)


@pytest.mark.parametrize(
    "options",
    [
        ["-d", "macvlan", "-o", "parent=nosuch"],
        ["-d", "macvlan", "-o", "parent=nosuch.10"],
        ["-d", "macvlan", "-o", "parent=outside0.5000"],
        ["-d", "macvlan", "-o", "parent=outside0.0"],
        ["-d", "macvlan", "-o", "parent=outside0.x"],
        ["-d", "macvlan", "-o", "parent=lo"],
        ["-d", "macvlan", "-o", "parent=outside0", "-o", "macvlan_mode=x"],
        ["-d", "ipvlan", "-o", "parent=nosuch"],
        ["-d", "ipvlan", "-o", "parent=lo"],
        ["-d", "ipvlan", "-o", "parent=outside0", "-o", "ipvlan_mode=x"],
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_as_by_dockerd(engine, dockerd, outside, options):
    theirs = dockerd.docker("network", "create", *options, "n1").stderr.decode()

    assert said_by_both(engine, dockerd, "network", "create", *options, "n1")[2] == theirs
    assert "n1" not in engine.ok("network", "ls", "--format", "{{.Name}}").split()


def test_a_flag_of_ipvlan_that_there_is_not_is_refused(engine, outside):
    """dockerd 20.10 does not know it yet."""
    create = ("network", "create", "-d", "ipvlan", "-o", "parent=outside0", "-o", "ipvlan_flag=x", "n1")

    assert "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default" in engine.fails(*create)[1]


def test_a_parent_has_one_network_of_a_kind(engine, outside):
    id_ = engine.ok("network", "create", "-d", "macvlan", *PUBLIC, "pub")

    _, error = engine.fails("network", "create", "-d", "macvlan", "-o", "parent=outside0", "other")
    assert f"network dm-{id_[:12]} is already using parent interface outside0" in error
    engine.ok("network", "rm", "pub")
    engine.ok("network", "create", "-d", "macvlan", "-o", "parent=outside0", "other")


def test_a_parent_that_is_gone_hinders_its_own_containers_alone(engine, near):
    engine.hub.run("ip", "link", "add", "card0", "type", "veth", "peer", "name", "card1")
    engine.ok("network", "create", "-d", "macvlan", "-o", "parent=card0", "pub")
    engine.hub.run("ip", "link", "del", "card0")

    _, error = engine.fails("run", "--rm", "--network=pub", "busybox", "true")
    assert "card0" in error
    assert "eth0" in run(engine, "--network=near", "busybox", "ip", "addr")

"""Networks of one's own: create, list, inspect, remove, prune, and containers that are connected to them."""

import json
import threading
import time
from subprocess import DEVNULL

import pytest
from beside_dockerd import said_by_both
from daemon import DOCKERS, wait_until
from outside import asked, network_beyond

pytestmark = pytest.mark.usefixtures("removed", "no_networks")

SERVE = "exec nc -ll -p 80 -e echo hello"


@pytest.fixture
def no_networks(engine):
    yield
    engine.remove_all()
    engine.ok("network", "prune", "-f")
    assert "br-" not in engine_interfaces(engine)


def engine_interfaces(engine):
    return engine.hub.run("ip", "-br", "link").stdout


@pytest.fixture(scope="module")
def outside(hub):
    with network_beyond(hub) as run:
        yield run


def serve(engine, name, *options):
    engine.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", SERVE)


def ask(engine, name, address):
    """Return what a server at the address says to the container `name`."""
    done = engine.docker("exec", name, "sh", "-c", f"nc -w 1 {address} 80 < /dev/null")
    return done.stdout.strip() or done.stderr.strip()


def address_of(engine, name, network):
    return engine.inspect(name, f'(index .NetworkSettings.Networks "{network}").IPAddress')


def interfaces(engine, name):
    """Return {interface: address with prefix} of a running container."""
    found = engine.ok("exec", name, "ip", "-o", "-4", "addr").splitlines()
    return {line.split()[1]: line.split()[3] for line in found if "eth" in line}


@pytest.mark.parametrize("client", DOCKERS)
def test_a_network_is_made_shown_and_removed(engine, client):
    options = ["--label", "k=v", "--subnet", "10.31.0.0/24", "-o", "com.docker.network.driver.mtu=1400"]
    id_ = engine.ok("network", "create", *options, "n1", client=client)

    shown = json.loads(engine.ok("network", "inspect", "n1", client=client))[0]
    listed = engine.ok("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}", client=client)
    bridge = engine.hub.run("ip", "-o", "-4", "addr", "show", f"br-{id_[:12]}").stdout
    removed = engine.ok("network", "rm", "n1", client=client)

    assert (shown["Id"], shown["Name"], shown["Driver"], shown["Scope"]) == (id_, "n1", "bridge", "local")
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.31.0.0/24"}]
    assert (shown["Labels"], shown["Options"]) == ({"k": "v"}, {"com.docker.network.driver.mtu": "1400"})
    assert listed.splitlines() == ["bridge bridge local", "host host local", "n1 bridge local", "none null local"]
    assert "10.31.0.1/24" in bridge
    assert removed == "n1"
    assert f"br-{id_[:12]}" not in engine_interfaces(engine)


def test_an_interface_of_somebody_else_becomes_no_bridge_of_ours(engine):
    engine.hub.run("ip", "link", "add", "mine0", "type", "bridge")
    try:
        error = engine.fails("network", "create", "-o", "com.docker.network.bridge.name=mine0", "n1")[1]

        assert "bridge mine0: the host has an interface of that name" in error
        assert engine.ok("network", "ls", "-q", "-f", "type=custom") == ""
        assert "mine0" in engine_interfaces(engine)
    finally:
        engine.hub.run("ip", "link", "del", "mine0")


def test_subnets_are_given_one_after_the_other(engine):
    engine.ok("network", "create", "n1")
    engine.ok("network", "create", "n2")

    found = [engine.inspect(name, ".IPAM.Config")[0]["Subnet"] for name in ("n1", "n2")]

    assert found == ["172.18.0.0/16", "172.19.0.0/16"]
    assert engine.inspect("n1", ".IPAM.Config")[0]["Gateway"] == "172.18.0.1"


def test_there_may_be_sixty_networks(engine):
    for number in range(60):
        subnet = {"Driver": "default", "Config": [{"Subnet": f"10.77.{number}.0/24"}]}
        status, answer = engine.call("POST", "/networks/create", {"Name": f"many{number}", "IPAM": subnet})
        assert status == 201, (number, answer)

    engine.ok("run", "--rm", "--network", "many59", "-p", "80", "busybox", "true")
    assert "many59" in engine.ok("network", "prune", "-f")


def test_a_container_gets_its_address_its_route_and_its_hardware_address(engine):
    engine.ok("network", "create", "--subnet", "10.31.0.0/24", "--gateway", "10.31.0.254", "n1")
    options = ["--network", "n1", "--ip", "10.31.0.77", "--mac-address", "02:42:00:00:00:99", "--name", "web"]
    engine.ok("run", "-d", *options, "busybox", "sleep", "1000")

    shown = engine.inspect("web", ".NetworkSettings.Networks.n1")
    inside = engine.ok("exec", "web", "sh", "-c", "ip link show eth0; ip route; cat /etc/hosts")

    assert (shown["IPAddress"], shown["IPPrefixLen"], shown["Gateway"]) == ("10.31.0.77", 24, "10.31.0.254")
    assert shown["MacAddress"] == "02:42:00:00:00:99"
    assert shown["IPAMConfig"]["IPv4Address"] == "10.31.0.77"
    assert "link/ether 02:42:00:00:00:99" in inside
    assert "default via 10.31.0.254 dev eth0" in inside
    assert f"10.31.0.77\t{engine.inspect('web', '.Config.Hostname')}" in inside
    assert interfaces(engine, "web") == {"eth0": "10.31.0.77/24"}


def test_addresses_come_from_the_range_and_spare_what_is_reserved(engine):
    pool = ["--subnet", "10.31.0.0/24", "--ip-range", "10.31.0.128/30", "--aux-address", "printer=10.31.0.128"]
    engine.ok("network", "create", *pool, "--gateway", "10.31.0.129", "n1")
    run = ["run", "-d", "--network", "n1", "busybox", "sleep", "1000"]

    first, second = engine.ok(*run), engine.ok(*run)

    assert [address_of(engine, one, "n1") for one in (first, second)] == ["10.31.0.130", "10.31.0.131"]
    assert "no available IPv4 addresses on this network's address pools: n1" in engine.fails(*run)[1]


def test_an_address_that_is_taken_or_reserved_is_given_to_nobody_however_it_is_written(engine):
    pools = [
        {"Subnet": "10.31.0.0/24", "Gateway": "10.31.0.1", "AuxiliaryAddresses": {"printer": "10.31.0.5"}},
        {"Subnet": "fd31::/64", "Gateway": "fd31::1", "AuxiliaryAddresses": {"printer": "fd31::0005"}},
    ]
    wanted = {"Name": "n1", "EnableIPv6": True, "IPAM": {"Config": pools}}
    assert engine.call("POST", "/networks/create", wanted)[0] == 201
    serve(engine, "one", "--network", "n1", "--ip", "10.31.0.7", "--ip6", "fd31::7")
    kept = ("10.31.0.0", "10.31.0.1", "10.31.0.5", "10.31.0.7", "10.31.0.255", "fd31::", "fd31::1", "fd31::5")

    for address in (*kept, "FD31:0::5", "fd31::0007"):
        kind = "IPv6Address" if ":" in address else "IPv4Address"
        id_ = created_at(engine, {kind: address})[1]["Id"]
        status, answer = engine.call("POST", f"/containers/{id_}/start")
        assert (status, "Address already in use" in answer["message"]) == (403, True), address

    status, answer = created_at(engine, {"IPv4Address": "10.31.0.007"})
    assert (status, "invalid IPv4 address: 10.31.0.007" in answer["message"]) == (400, True)


def created_at(engine, addresses):
    endpoints = {"n1": {"IPAMConfig": addresses}}
    body = {"HostConfig": {"NetworkMode": "n1"}, "NetworkingConfig": {"EndpointsConfig": endpoints}}
    return engine.call("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], **body})


def test_containers_of_different_networks_do_not_reach_each_other(engine):
    for name in ("n1", "n2"):
        engine.ok("network", "create", name)
    serve(engine, "one", "--network", "n1")
    serve(engine, "two", "--network", "n2")
    serve(engine, "three", "--network", "n1")
    serve(engine, "four")

    assert ask(engine, "one", address_of(engine, "three", "n1")) == "hello"
    assert "timed out" in ask(engine, "one", address_of(engine, "two", "n2"))
    assert "timed out" in ask(engine, "one", address_of(engine, "four", "bridge"))


def test_an_internal_network_leads_nowhere(engine, outside):
    engine.ok("network", "create", "--internal", "n1")
    serve(engine, "one", "--network", "n1", "-p", "8080:80")
    serve(engine, "two", "--network", "n1")

    routes = engine.ok("exec", "one", "ip", "route")
    # A hostile container makes the route itself.
    way = "ip route add default via 172.18.0.1; nc -w 1 10.88.0.2 80 < /dev/null"
    hostile = engine.docker("run", "--rm", "--network", "n1", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", way)

    assert ask(engine, "one", address_of(engine, "two", "n1")) == "hello"
    assert "default" not in routes
    assert hostile.returncode != 0 and "timed out" in hostile.stderr
    assert engine.inspect("n1", ".Internal") is True
    assert engine.ok("port", "one") == ""
    assert "refused" in asked(outside, "10.88.0.1", 8080)


def test_without_icc_containers_reach_the_world_alone(engine, outside):
    engine.ok("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "n1")
    serve(engine, "one", "--network", "n1", "-p", "8080:80")
    serve(engine, "two", "--network", "n1")

    assert ask(engine, "two", address_of(engine, "one", "n1")) != "hello"
    assert ask(engine, "two", "10.88.0.2") == "10.88.0.1"
    assert asked(outside, "10.88.0.1", 8080) == "hello"


def test_without_masquerade_the_world_sees_the_container_s_address(engine, outside):
    options = ["-o", "com.docker.network.bridge.enable_ip_masquerade=false", "--subnet", "172.31.5.0/24"]
    engine.ok("network", "create", *options, "n1")
    serve(engine, "one", "--network", "n1", "--ip", "172.31.5.9")

    assert ask(engine, "one", "10.88.0.2") == "172.31.5.9"


def test_ports_are_published_at_the_address_that_the_network_names(engine, outside):
    engine.ok("network", "create", "-o", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1", "n1")
    serve(engine, "one", "--network", "n1", "-p", "8080:80")

    assert engine.ok("port", "one") == "80/tcp -> 127.0.0.1:8080"
    assert "refused" in asked(outside, "10.88.0.1", 8080)


def test_a_running_container_is_connected_and_disconnected(engine, outside):
    engine.ok("network", "create", "--subnet", "10.31.0.0/24", "n1")
    serve(engine, "one", "-p", "8080:80")
    serve(engine, "two", "--network", "n1")

    engine.ok("network", "connect", "--ip", "10.31.0.9", "n1", "one")
    connected, hosts = interfaces(engine, "one"), engine.ok("exec", "one", "cat", "/etc/hosts")
    heard = ask(engine, "two", "10.31.0.9")
    engine.ok("network", "disconnect", "n1", "one")

    assert connected == {"eth0": "172.17.0.2/16", "eth1": "10.31.0.9/24"}
    assert "10.31.0.9\t" in hosts
    assert heard == "hello"
    assert interfaces(engine, "one") == {"eth0": "172.17.0.2/16"}
    assert "10.31.0.9\t" not in engine.ok("exec", "one", "cat", "/etc/hosts")
    assert list(engine.inspect("one", ".NetworkSettings.Networks")) == ["bridge"]
    assert asked(outside, "10.88.0.1", 8080) == "hello"


def test_the_way_out_and_published_ports_move_to_the_network_that_is_left(engine, outside):
    engine.ok("network", "create", "n1")
    serve(engine, "one", "-p", "8080:80")
    engine.ok("network", "connect", "n1", "one")

    engine.ok("network", "disconnect", "bridge", "one")

    assert "default via 172.18.0.1 dev eth1" in engine.ok("exec", "one", "ip", "route")
    assert asked(outside, "10.88.0.1", 8080) == "hello"
    assert ask(engine, "one", "10.88.0.2") == "10.88.0.1"


def test_a_created_container_is_disconnected_and_connected_before_it_starts(engine):
    """As docker-compose 1.29 does it."""
    engine.ok("network", "create", "--subnet", "10.31.0.0/24", "n1")
    engine.ok("create", "--name", "web", "--network", "n1", "busybox", "sleep", "1000")

    engine.ok("network", "disconnect", "n1", "web")
    engine.ok("network", "connect", "--alias", "al", "--ip", "10.31.0.9", "n1", "web")
    engine.ok("start", "web")

    shown = engine.inspect("web", ".NetworkSettings.Networks.n1")
    assert (shown["IPAddress"], shown["Aliases"]) == ("10.31.0.9", ["al"])
    shown = engine.call("GET", "/containers/web/json")[1]
    assert shown["NetworkSettings"]["Networks"]["n1"]["DNSNames"] == ["web", "al", shown["Id"][:12]]


def test_several_networks_from_the_beginning(engine):
    for name in ("n1", "n2"):
        engine.ok("network", "create", name)
    endpoints = {"EndpointsConfig": {"n2": {"GwPriority": 5}, "n1": {}}}
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "n1"}}
    engine.call("POST", "/containers/create?name=web", {**body, "NetworkingConfig": endpoints})

    engine.ok("start", "web")

    assert interfaces(engine, "web") == {"eth0": "172.18.0.2/16", "eth1": "172.19.0.2/16"}
    assert "default via 172.19.0.1 dev eth1" in engine.ok("exec", "web", "ip", "route")


def test_a_container_shares_the_network_of_another(engine):
    serve(engine, "base")
    options = ["--rm", "--network", "container:base", "busybox", "sh", "-c"]

    shown = engine.ok("run", *options, "hostname; cat /etc/hosts; nc -w 2 127.0.0.1 80 < /dev/null")

    assert shown.splitlines()[0] == engine.inspect("base", ".Config.Hostname")
    assert "172.17.0.2\t" in shown
    assert shown.splitlines()[-1] == "hello"


def test_a_network_is_shared_with_a_container_that_is_renamed_meanwhile(engine, dockerd):
    for daemon in (engine, dockerd):
        daemon.docker("run", "-d", "--name", "base", "--network=none", "busybox", "sleep", "1000")
        daemon.docker("create", "--name", "other", "--network", "container:base", "busybox", "true")
        daemon.docker("create", "--name", "early", "--network", "container:later", "busybox", "true")
        daemon.docker("rename", "base", "later")
    try:
        assert said_by_both(engine, dockerd, "start", "-a", "other")[0] == 0
        assert said_by_both(engine, dockerd, "start", "-a", "early")[0] == 0
        assert engine.inspect("other", ".HostConfig.NetworkMode") == f"container:{engine.inspect('later', '.Id')}"
    finally:
        dockerd.docker("rm", "-f", "later", "other", "early")


def test_what_cannot_be_shared_is_said(engine):
    serve(engine, "base")
    engine.ok("create", "--name", "still", "busybox")
    share = ["run", "--rm", "--network"]

    assert "No such container: nosuch" in engine.fails(*share, "container:nosuch", "busybox")[1]
    assert "cannot join network of a non running container: " in engine.fails(*share, "container:still", "busybox")[1]
    conflict = {"Image": "busybox", "HostConfig": {"NetworkMode": "container:base", "PortBindings": {"80/tcp": [{}]}}}
    status, answer = engine.call("POST", "/containers/create", conflict)
    assert (status, answer["message"]) == (
        400,
        "conflicting options: port publishing and the container type network mode",
    )


def test_networks_outlive_the_daemon_and_a_lost_bridge(engine):
    id_ = engine.ok("network", "create", "--label", "k=v", "n1")
    serve(engine, "one", "--network", "n1")
    serve(engine, "two", "--network", "n1")
    before = json.loads(engine.ok("network", "inspect", "n1"))

    engine.kill()
    engine.hub.run("ip", "link", "del", f"br-{id_[:12]}")
    engine.start()

    assert json.loads(engine.ok("network", "inspect", "n1")) == before
    assert ask(engine, "one", address_of(engine, "two", "n1")) == "hello"
    serve(engine, "three", "--network", "n1")
    assert address_of(engine, "three", "n1") == "172.18.0.4"


def test_filters_choose_networks(engine):
    engine.ok("network", "create", "--label", "k=v", "front")
    engine.ok("network", "create", "back")

    def listed(*filters):
        options = [option for text in filters for option in ("-f", text)]
        return engine.ok("network", "ls", *options, "--format", "{{.Name}}").split()

    assert listed("label=k=v") == ["front"]
    assert listed("type=custom") == ["back", "front"]
    assert listed("type=builtin") == ["bridge", "host", "none"]
    assert listed("name=ba", "driver=bridge") == ["back"]
    assert listed("dangling=true") == ["back", "front"]
    assert listed("driver=null") == ["none"]


def test_prune_spares_networks_in_use(engine):
    for name in ("used", "unused", "labelled"):
        engine.ok("network", "create", *(["--label", "keep"] if name == "labelled" else []), name)
    serve(engine, "one", "--network", "used")

    removed = engine.ok("network", "prune", "-f", "--filter", "label!=keep")

    assert removed.splitlines() == ["Deleted Networks:", "unused"]


def test_prune_spares_what_was_made_since(engine):
    engine.ok("network", "create", "young")

    assert engine.ok("network", "prune", "-f", "--filter", "until=24h") == ""
    assert "24h" not in engine.ok("system", "prune", "-f", "--filter", "until=24h")
    assert engine.ok("network", "prune", "-f", "--filter", "until=0s").splitlines() == ["Deleted Networks:", "young"]
    assert "failed to parse value" in engine.fails("network", "prune", "-f", "--filter", "until=x")[1]


@pytest.mark.parametrize(
    ("options", "families"),
    [
        (["--ipv6", "--subnet", "fd00:1::/64"], ["v4 chosen", "v6"]),
        (["--ipv6", "--subnet", "fd00:1::/64", "--subnet", "10.31.0.0/24"], ["v4", "v6"]),
        (["--subnet", "10.31.0.0/24"], ["v4"]),
        ([], ["v4 chosen"]),
    ],
    ids=str,
)
def test_inspect_shows_the_subnets_that_were_wanted_and_those_that_were_chosen(engine, dockerd, options, families):
    shown = []
    for daemon in (engine, dockerd):
        made = daemon.docker("network", "create", *options, "n1")
        try:
            assert made.returncode == 0, made.stderr
            said = daemon.docker("network", "inspect", "--format", "{{json .IPAM.Config}}", "n1").stdout
            pools = sorted(json.loads(said), key=lambda pool: ":" in pool["Subnet"])
            shown.append([f"v{6 if ':' in one['Subnet'] else 4}{' chosen' * ('Gateway' in one)}" for one in pools])
        finally:
            daemon.docker("network", "rm", "n1")

    assert shown == [families, families]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ingress"], "Ingress network can only be global scope network"),
        (["--scope", "swarm"], "cannot create a swarm scoped network when swarm is not active"),
        (["--scope", "nosuch"], "This node is not a swarm manager."),
        (["-d", "overlay"], "This node is not a swarm manager."),
        (["-d", "overlay", "--ingress"], "This node is not a swarm manager."),
        (["-d", "overlay", "--scope", "local"], "cannot downgrade network scope for overlay networks"),
    ],
    ids=str,
)
def test_what_only_a_swarm_has_is_refused_as_by_dockerd(engine, dockerd, options, words):
    status, _, error = said_by_both(engine, dockerd, "network", "create", *options, "n1")

    assert status == 1
    assert words in error
    assert error == dockerd.docker("network", "create", *options, "n1").stderr.decode()


@pytest.mark.parametrize("option", ["--driver=nosuch", "--ipam-driver=nosuch"])
def test_a_driver_that_there_is_not_is_like_one_of_a_plugin(engine, option):
    """dockerd says the same, after it has searched for 15 seconds."""
    name = option.partition("=")[2]

    assert f'plugin "{name}" not found' in engine.fails("network", "create", option, "n1")[1]


def test_the_default_bridge_shows_all_its_options(engine):
    bridge = "com.docker.network.bridge"

    assert engine.inspect("bridge", ".Options") == {
        f"{bridge}.default_bridge": "true",
        f"{bridge}.enable_icc": "true",
        f"{bridge}.enable_ip_masquerade": "true",
        f"{bridge}.host_binding_ipv4": "0.0.0.0",
        f"{bridge}.name": "pyrund0",
        "com.docker.network.driver.mtu": "1500",
    }
    assert engine.inspect("host", ".Options") == {}


def test_events_tell_of_networks(engine):
    body = {"Image": "busybox", "HostConfig": {"NetworkMode": "n1"}}
    since = engine.call("GET", "/info")[1]["SystemTime"]
    engine.ok("network", "create", "n1")
    engine.call("POST", "/containers/create?name=web", {**body, "Cmd": ["true"]})
    engine.ok("start", "-a", "web")
    engine.ok("network", "rm", "n1")
    until = engine.call("GET", "/info")[1]["SystemTime"]

    template = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}"
    options = ["--since", since, "--until", until, "-f", "type=network", "--format", template]

    assert engine.ok("events", *options).splitlines() == [
        "create n1 bridge",
        "connect n1 bridge",
        "disconnect n1 bridge",
        "destroy n1 bridge",
    ]


def test_what_no_network_can_be_is_refused_in_docker_s_words(engine):
    driver = "com.docker.network.bridge"
    for options, words in {
        ("bridge",): "operation is not permitted on predefined bridge network",
        ("-d", "host", "x"): 'only one instance of "host" network is allowed',
        ("--scope", "swarm", "x"): "cannot create a swarm scoped network when swarm is not active",
        ("--scope", "nosuch", "x"): "This node is not a swarm manager.",
        ("-d", "nosuch", "x"): 'plugin "nosuch" not found',
        ("--subnet", "172.17.5.0/24", "x"): "Pool overlaps with other one on this address space",
        ("-o", f"{driver}.enable_icc=maybe", "x"): f"failed to parse {driver}.enable_icc value: maybe",
        ("-o", f"{driver}.name=a/b", "x"): "invalid name of a bridge: a/b",
        ("-o", f"{driver}.name=pyrund0", "x"): "networks have same bridge name",
        ("--subnet", "fd00:5::/64", "x"): "IPv6 has not been enabled for this network",
        ("--ipv6", "--subnet", "fd00:5::1/64", "x"): "invalid subnet fd00:5::1/64: it should be fd00:5::/64",
    }.items():
        assert words in engine.fails("network", "create", *options)[1]
    assert engine.ok("network", "ls", "-q", "-f", "type=custom") == ""


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ({"Subnet": "10.31.0.0"}, "invalid subnet 10.31.0.0: invalid CIDR block notation"),
        ({"Subnet": "10.31.0.1/24"}, "invalid subnet 10.31.0.1/24: it should be 10.31.0.0/24"),
        ({"Subnet": "10.31.0.0/24", "Gateway": "10.32.0.1"}, "parent subnet 10.31.0.0/24 doesn't contain this address"),
        ({"Subnet": "10.31.0.0/24", "IPRange": "10.32.0.0/30"}, "parent subnet 10.31.0.0/24 doesn't contain ip-range"),
        ({"Subnet": "10.31.0.0/24", "AuxiliaryAddresses": {"a": "x"}}, "invalid auxiliary address x: invalid address"),
    ],
)
def test_addresses_that_make_no_sense_are_refused(engine, pool, words):
    status, answer = engine.call("POST", "/networks/create", {"Name": "x", "IPAM": {"Config": [pool]}})

    assert status == 400
    assert answer["message"].startswith("invalid network config:\n") and words in answer["message"]


def test_errors_of_networks_in_use_and_missing_ones_are_docker_s(engine):
    engine.ok("network", "create", "n1")
    serve(engine, "one", "--network", "n1")
    endpoint = engine.inspect("one", ".NetworkSettings.Networks.n1.EndpointID")[:12]

    assert f'network n1 has active endpoints (name:"one" id:"{endpoint}")' in engine.fails("network", "rm", "n1")[1]
    assert "network with name n1 already exists" in engine.fails("network", "create", "n1")[1]
    assert engine.call("DELETE", "/networks/nosuch") == (404, {"message": "network nosuch not found"})
    assert "bridge is a pre-defined network and cannot be removed" in engine.fails("network", "rm", "bridge")[1]
    assert (
        "failed to set up container networking: network nosuch not found"
        in engine.fails("run", "--network", "nosuch", "busybox")[1]
    )


def test_what_cannot_be_connected_is_said_in_docker_s_words(engine):
    engine.ok("network", "create", "n1")
    engine.ok("network", "create", "--subnet", "10.31.0.0/24", "n2")
    for name, network in (("one", "bridge"), ("two", "n2"), ("three", "n1"), ("of-host", "host")):
        static = ["--ip", "10.31.0.5"] if name == "two" else []
        engine.ok("run", "-d", "--name", name, "--network", network, *static, "busybox", "sleep", "1000")

    for options, words in {
        ("--alias", "a", "bridge", "three"): "alias is supported only for containers in user defined networks",
        ("--ip", "172.17.0.9", "bridge", "three"): "IP address is supported on user defined networks only",
        ("--ip", "172.18.0.9", "n1", "one"): "only when connecting to networks with user configured subnets",
        ("host", "one"): "container cannot be connected to host network",
        ("none", "one"): "with one of the networks in private (none) mode",
        ("n2", "two"): "endpoint with name two already exists in network n2",
        ("--ip", "10.31.0.5", "n2", "one"): "Address already in use",
        ("--ip", "10.32.0.5", "n2", "one"): "no configured subnet or ip-range contain the IP address 10.32.0.5",
        ("n1", "of-host"): "container sharing network namespace with another container or host cannot be connected",
        ("n1", "nosuch"): "No such container: nosuch",
    }.items():
        assert words in engine.fails("network", "connect", *options)[1]
    assert interfaces(engine, "one") == {"eth0": "172.17.0.2/16"}


def test_a_container_that_is_not_in_a_network_cannot_leave_it(engine):
    engine.ok("network", "create", "n1")
    id_ = engine.ok("run", "-d", "busybox", "sleep", "1000")

    error = engine.fails("network", "disconnect", "n1", id_)[1]

    assert f"container {id_} is not connected to network n1" in error


def test_a_container_whose_own_interfaces_are_gone_is_still_connected(engine):
    engine.ok("network", "create", "n1")
    options = ["--cap-add", "NET_ADMIN", "--name", "web"]
    engine.ok("run", "-d", *options, "busybox", "sh", "-c", "ip link del eth0; ip link set lo name eth0; sleep 1000")
    wait_until(lambda: "172.17" not in engine.ok("exec", "web", "ip", "addr"), "the loss of the interface")

    engine.ok("network", "connect", "n1", "web")
    engine.ok("network", "disconnect", "bridge", "web")

    assert "172.18.0.2/16" in engine.ok("exec", "web", "ip", "addr")


def address6_of(engine, name, network):
    return engine.inspect(name, f'(index .NetworkSettings.Networks "{network}").GlobalIPv6Address')


def test_a_network_of_ipv6_gets_local_addresses_and_its_containers_find_each_other(engine):
    engine.ok("network", "create", "--ipv6", "n1")
    serve(engine, "one", "--network", "n1")
    serve(engine, "two", "--network", "n1")

    network = engine.inspect("n1", ".")
    subnet, gateway = (network["IPAM"]["Config"][1][key] for key in ("Subnet", "Gateway"))
    endpoint = engine.inspect("two", ".NetworkSettings.Networks.n1")
    inside = engine.ok("exec", "two", "sh", "-c", "ip -6 addr show eth0; ip -6 route; cat /etc/hosts")
    names = engine.ok("exec", "one", "nslookup", "two")

    assert network["EnableIPv6"] is True
    assert subnet.startswith("fd") and subnet.endswith("/64") and gateway == subnet.replace("/64", "1")
    assert (endpoint["GlobalIPv6Address"], endpoint["IPv6Gateway"]) == (subnet.replace("/64", "3"), gateway)
    assert endpoint["GlobalIPv6PrefixLen"] == 64
    assert f"inet6 {endpoint['GlobalIPv6Address']}/64 scope global" in inside
    assert f"default via {gateway} dev eth0" in inside
    assert f"{endpoint['GlobalIPv6Address']}\t" in inside
    assert f"Address: {endpoint['GlobalIPv6Address']}" in names and f"Address: {endpoint['IPAddress']}" in names
    assert ask(engine, "one", endpoint["GlobalIPv6Address"]) == "hello"


def test_ipv6_leads_out_but_nobody_comes_in_and_networks_are_apart(engine, outside):
    engine.hub.run("ip", "addr", "add", "fd99::1/64", "dev", "outside0", "nodad")
    outside("ip", "addr", "add", "fd99::2/64", "dev", "eth0", "nodad")
    outside("ip", "route", "add", "fd31::/16", "via", "fd99::1")
    engine.ok("network", "create", "--ipv6", "--subnet", "fd31::/64", "n1")
    engine.ok("network", "create", "--ipv6", "n2")
    engine.ok("network", "create", "--ipv6", "--internal", "n3")
    serve(engine, "one", "--network", "n1", "--ip6", "fd31::77")
    serve(engine, "two", "--network", "n2")
    serve(engine, "three", "--network", "n3")

    assert address6_of(engine, "one", "n1") == "fd31::77"
    assert ask(engine, "one", "fd99::2") == "fd99::1"
    assert "timed out" in ask(engine, "two", "fd31::77")
    assert ask(engine, "three", "fd99::2") != "fd99::1"
    assert "timed out" in asked(outside, "fd31::77", 80)
    assert asked(engine.hub.run, "fd31::77", 80) == "hello"


def test_a_running_container_gets_and_loses_ipv6(engine):
    engine.ok("network", "create", "--ipv6", "n1")
    serve(engine, "one")
    serve(engine, "two", "--network", "n1")

    engine.ok("network", "connect", "n1", "one")
    there = ask(engine, "one", address6_of(engine, "two", "n1"))
    routes = engine.ok("exec", "one", "ip", "-6", "route")
    engine.ok("network", "disconnect", "n1", "one")

    assert there == "hello"
    assert "default via" in routes
    assert "default via" not in engine.ok("exec", "one", "ip", "-6", "route")


NEIGHBOUR = "ip -6 addr show dev eth0; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6"


def test_a_network_without_ipv6_has_none_for_neighbours_and_the_host_either(engine):
    """CVE-2024-32473: a link-local address is enough to reach what listens on the host, and to send advertisements."""
    engine.ok("network", "create", "n1")
    engine.ok("network", "create", "--ipv6", "n6")
    bridge = f"br-{engine.inspect('n1', '.Id')[:12]}"
    for name, networks in (("four", ["n1"]), ("both", ["n1", "n6"]), ("asked", ["n1"])):
        wanted = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=0") if name == "asked" else ()
        serve(engine, name, *wanted, *(word for network in networks for word in ("--network", network)))
    engine.ok("run", "-d", "--name", "default", "busybox", "sleep", "1000")

    for name in ("four", "default"):
        assert engine.ok("exec", name, "sh", "-c", NEIGHBOUR).split() == ["1"], name
    assert "fe80" not in engine.hub.run("ip", "-6", "addr", "show", "dev", bridge).stdout
    assert "fe80" not in engine.hub.run("ip", "-6", "addr", "show", "dev", "pyrund0").stdout
    assert engine.ok("exec", "both", "ip", "-6", "addr").count("scope global") == 1
    assert "fe80" in engine.ok("exec", "asked", "sh", "-c", NEIGHBOUR)


def test_a_container_that_is_being_removed_is_neither_connected_nor_disconnected(engine):
    engine.ok("network", "create", "n1")
    engine.ok("create", "--name", "web", "--network", "n1", "busybox")
    with engine.without_workers():
        removing = engine.begin("rm", "web", stdout=DEVNULL)
        wait_until(lambda: engine.inspect("web", ".State.Status") == "removing", "its removal")
        others = [
            threading.Thread(target=lambda word=word: errors.append(engine.docker("network", word, "n1", "web").stderr))
            for word in ("connect", "disconnect")
        ]
        errors = []
        for other in others:
            other.start()
        time.sleep(0.3)  # both wait for their turn
    for other in others:
        other.join()

    assert removing.wait(30) == 0
    assert ["is marked for removal" in error for error in errors] == [True, True], errors


def test_many_networks_are_made_and_removed_at_once(engine):
    names = [f"n{number}" for number in range(12)]
    begun = [engine.begin("network", "create", name, stdout=DEVNULL) for name in names]
    assert [process.wait(30) for process in begun] == [0] * 12
    subnets = [engine.inspect(name, ".IPAM.Config")[0]["Subnet"] for name in names]

    begun = [engine.begin("network", "rm", name, stdout=DEVNULL) for name in names]

    assert [process.wait(30) for process in begun] == [0] * 12
    assert len(set(subnets)) == 12


def test_the_bridge_of_a_network_that_was_half_removed_goes_when_the_daemon_begins(engine):
    id_ = engine.ok("network", "create", "n1")
    engine.kill()
    document = engine.data / f"networks/{id_}.json"
    document.rename(document.with_suffix(".removed"))  # as far as the daemon had come

    engine.start()

    assert f"br-{id_[:12]}" not in engine_interfaces(engine)
    assert list((engine.data / "networks").glob("*.removed")) == []
    assert engine.ok("network", "ls", "-q", "-f", "type=custom") == ""

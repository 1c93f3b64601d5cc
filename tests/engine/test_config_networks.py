"""Networks that are only a configuration, and networks that use one. dockerd beside the engine answers the same."""

import json

import pytest
from beside_dockerd import asked, said_by_both

pytestmark = pytest.mark.usefixtures("removed")

ADDRESSES = ("--subnet", "10.9.0.0/24", "--gateway", "10.9.0.9", "--ip-range", "10.9.0.128/25", "--label", "a=b")
OPERATORS = (("--internal",), ("--attachable",), ("--ingress",), ("--scope", "local"), ("--scope", "swarm"))
OWN = (
    ("--subnet", "10.8.0.0/24"),
    ("--label", "q=r"),
    ("--ipv6",),
    ("--opt", "a=b"),
    ("--ipam-opt", "a=b"),
)
FORMAT = "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}"


@pytest.fixture(autouse=True)
def no_networks(engine, dockerd):
    yield
    for daemon in (engine, dockerd):
        networks = asked(daemon, "GET", "/networks")[1][0]
        for one in sorted(networks, key=lambda one: one["ConfigOnly"]):
            if one["Name"] not in ("bridge", "host", "none"):
                assert asked(daemon, "DELETE", f"/networks/{one['Name']}")[0] == 204


def made_by_both(engine, dockerd, *words):
    for daemon in (engine, dockerd):
        assert daemon.docker("network", "create", *words).returncode == 0


def of_both(engine, dockerd, name):
    """Return what both show of a network, without what differs in each network."""
    shown = []
    for daemon in (engine, dockerd):
        network = asked(daemon, "GET", f"/networks/{name}")[1][0]
        shown.append({key: value for key, value in network.items() if key not in ("Id", "Created", "EnableIPv4")})
    return shown


def refused_by_both(engine, dockerd, *words):
    """Return the error, which must be the same."""
    errors = [daemon.docker("network", *words).stderr for daemon in (engine, dockerd)]
    own, theirs = errors[0], errors[1].decode()
    assert own == theirs and own.startswith("Error response from daemon: "), (own, theirs)
    return own


def test_a_configuration_is_shown_as_a_network_without_a_driver(engine, dockerd):
    made_by_both(engine, dockerd, "--config-only", "--driver", "macvlan", "--opt", "parent=eth9", *ADDRESSES, "cfg")
    made_by_both(engine, dockerd, "--config-only", "--ipv6", "--subnet", "fd00:9::/64", "six")

    own, theirs = of_both(engine, dockerd, "cfg")
    assert own == theirs
    assert (own["Driver"], own["ConfigOnly"], own["Options"]) == ("null", True, {"parent": "eth9"})
    own, theirs = of_both(engine, dockerd, "six")
    assert own == theirs and own["EnableIPv6"] is True
    said_by_both(engine, dockerd, "network", "ls", "--filter", "type=custom", "--format", FORMAT)
    said_by_both(engine, dockerd, "network", "ls", "--filter", "driver=null", "--format", FORMAT)


def test_a_network_has_the_addresses_labels_and_options_of_its_configuration(engine):
    options = ("--opt", "com.docker.network.bridge.name=own9", "--opt", "com.docker.network.driver.mtu=1400")
    engine.ok("network", "create", "--config-only", *ADDRESSES, "cfg")
    engine.ok("network", "create", "--config-only", *options, "--subnet", "10.7.0.0/24", "wide")
    engine.ok("network", "create", "--config-from", "cfg", "net")
    engine.ok("network", "create", "--config-from", "wide", "--internal", "inner")

    shown = asked(engine, "GET", "/networks/net")[1][0]
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.9"}]
    assert (shown["Driver"], shown["ConfigFrom"], shown["Labels"]) == ("bridge", {"Network": "cfg"}, {"a": "b"})
    addresses = engine.ok("run", "--rm", "--network", "net", "busybox", "ip", "-4", "-o", "addr", "show", "eth0")
    assert "10.9.0.128/24" in addresses
    inner = asked(engine, "GET", "/networks/inner")[1][0]
    assert inner["Internal"] is True and inner["Options"]["com.docker.network.bridge.name"] == "own9"
    assert "mtu 1400" in engine.hub.run("ip", "link", "show", "own9").stdout


def test_a_network_of_a_configuration_without_addresses_gets_some_as_by_dockerd(engine, dockerd):
    made_by_both(engine, dockerd, "--config-only", "cfg")
    made_by_both(engine, dockerd, "--config-from", "cfg", "net")

    own, theirs = of_both(engine, dockerd, "net")
    for one in (own, theirs):
        assert one["IPAM"].pop("Config")[0].keys() == {"Subnet", "Gateway"}
    assert own == theirs


@pytest.mark.parametrize("more", OPERATORS, ids=" ".join)
def test_what_an_operator_decides_is_no_part_of_a_configuration(engine, dockerd, more):
    assert "Network operator fields" in refused_by_both(engine, dockerd, "create", "--config-only", *more, "cfg")


@pytest.mark.parametrize("more", OWN, ids=" ".join)
def test_a_network_has_a_configuration_or_its_own_settings(engine, dockerd, more):
    made_by_both(engine, dockerd, "--config-only", "cfg")

    assert "are not supported" in refused_by_both(engine, dockerd, "create", "--config-from", "cfg", *more, "net")


def test_only_a_configuration_is_one(engine, dockerd):
    made_by_both(engine, dockerd, "--config-only", "cfg")
    made_by_both(engine, dockerd, "--config-from", "cfg", "net")

    for name in ("nosuch", "host", "net"):
        assert "does not exist" in refused_by_both(engine, dockerd, "create", "--config-from", name, "other")
    refused_by_both(engine, dockerd, "create", "--config-only", "--config-from", "cfg", "both")
    refused_by_both(engine, dockerd, "create", "--config-only", "cfg")


def test_a_configuration_is_kept_as_long_as_a_network_has_it(engine, dockerd):
    made_by_both(engine, dockerd, "--config-only", "cfg")
    made_by_both(engine, dockerd, "--config-from", "cfg", "net")

    assert '"cfg" is in use' in refused_by_both(engine, dockerd, "rm", "cfg")
    engine.stop()
    engine.start()
    assert '"cfg" is in use' in refused_by_both(engine, dockerd, "rm", "cfg")
    said_by_both(engine, dockerd, "network", "rm", "net", "cfg")
    assert engine.docker("network", "inspect", "cfg").returncode == 1


def test_prune_keeps_configurations(engine, dockerd):
    made_by_both(engine, dockerd, "--config-only", "cfg")
    made_by_both(engine, dockerd, "--config-from", "cfg", "net")

    said_by_both(engine, dockerd, "network", "prune", "--force")
    said_by_both(engine, dockerd, "network", "ls", "--filter", "type=custom", "--format", FORMAT)
    assert engine.docker("network", "inspect", "cfg").returncode == 0


def test_no_container_is_in_a_configuration(engine):
    engine.ok("network", "create", "--config-only", "cfg")
    engine.ok("create", "--name", "web", "--network", "cfg", "busybox", "true")
    engine.ok("run", "-d", "--name", "other", "busybox", "sleep", "1000")

    for words in (("start", "web"), ("network", "connect", "cfg", "other")):
        _, error = engine.fails(*words)
        assert "cannot create endpoint on configuration-only network" in error
    assert engine.inspect("web", ".State.Status") in ("created", "exited")
    assert list(engine.call("GET", "/containers/other/json")[1]["NetworkSettings"]["Networks"]) == ["bridge"]
    engine.remove_all()


def test_a_configuration_reserves_no_addresses_and_makes_nothing_on_the_host(engine):
    before = engine.hub.run("ip", "-o", "link").stdout
    for name in ("one", "two"):
        engine.ok("network", "create", "--config-only", "--subnet", "10.9.0.0/24", name)
    assert engine.hub.run("ip", "-o", "link").stdout == before
    engine.ok("network", "create", "--config-from", "one", "net")

    status, answer = engine.call("POST", "/networks/create", {"Name": "other", "ConfigFrom": {"Network": "two"}})
    assert (status, "Pool overlaps" in json.dumps(answer)) == (403, True)


def test_a_configuration_with_wrong_addresses_is_refused_at_once(engine):
    for subnet in ("10.9.0.3/24", "nonsense"):
        pools = {"IPAM": {"Config": [{"Subnet": subnet}]}}
        status, answer = engine.call("POST", "/networks/create", {"Name": "cfg", "ConfigOnly": True, **pools})
        assert status == 400 and answer["message"].startswith("invalid network config:\ninvalid subnet ")

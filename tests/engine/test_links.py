"""Links on the default bridge: hosts files and variables, as dockerd 20.10 makes them."""

import pytest
from daemon import PYRUND, wait_until

pytestmark = pytest.mark.usefixtures("removed")

PORTS = ["--expose", "80", "--expose", "53/udp", "--expose", "8000-8002"]


def hosts(engine, name):
    lines = engine.ok("exec", name, "cat", "/etc/hosts").splitlines()
    return [line for line in lines if line.startswith("172.")]


def test_a_linked_container_is_known_by_its_alias_and_its_name_and_reached(engine):
    db = engine.ok("run", "-d", "--name", "my-db", "busybox", "sh", "-c", "exec nc -ll -p 80 -e echo hello")
    web = engine.ok(
        "run", "-d", "--name", "web", "--link", "my-db:data-base", "--link", "my-db", "busybox", "sleep", "1000"
    )

    assert hosts(engine, "web") == [
        f"172.17.0.2\tdata-base {db[:12]} my-db",
        f"172.17.0.2\tmy-db {db[:12]}",
        f"172.17.0.3\t{web[:12]}",
    ]
    assert engine.ok("exec", "web", "sh", "-c", "nc -w 5 data-base 80 </dev/null") == "hello"
    assert engine.inspect("web", ".HostConfig.Links") == ["/my-db:/web/data-base", "/my-db:/web/my-db"]
    assert engine.inspect("web", ".NetworkSettings.Networks.bridge.Links") is None


def test_variables_tell_of_the_other_s_ports_and_variables(engine):
    db = ["--name", "my-db", "-e", "PW=s", "-e", "HOME=/x", *PORTS]
    engine.ok("run", "-d", *db, "busybox", "sleep", "1000")

    shown = engine.ok("run", "--rm", "--name", "web", "--link", "my-db:x-y", "-e", "X_Y_ENV_PW=own", "busybox", "env")

    found = {line for line in shown.splitlines() if line.startswith("X_Y_")}
    ports = [("tcp", "80"), ("udp", "53"), *(("tcp", port) for port in ("8000", "8001", "8002"))]
    of_ports = set()
    for protocol, port in ports:
        prefix = f"X_Y_PORT_{port}_{protocol.upper()}"
        of_ports |= {f"{prefix}={protocol}://172.17.0.2:{port}", f"{prefix}_ADDR=172.17.0.2"}
        of_ports |= {f"{prefix}_PORT={port}", f"{prefix}_PROTO={protocol}"}
    ends = "X_Y_PORT_8000_TCP_START=tcp://172.17.0.2:8000 X_Y_PORT_8000_TCP_END=tcp://172.17.0.2:8002"
    ends += " X_Y_PORT_8000_TCP_PORT_START=8000 X_Y_PORT_8000_TCP_PORT_END=8002"
    rest = "X_Y_NAME=/web/x-y X_Y_ENV_FROM=image X_Y_PORT=udp://172.17.0.2:53 X_Y_ENV_PW=own"
    assert found == {*of_ports, *ends.split(), *rest.split()}


def test_the_alias_is_a_name_for_clients_until_the_link_is_removed(engine):
    engine.ok("run", "-d", "--name", "db", "busybox", "sleep", "1000")
    engine.ok("run", "-d", "--name", "web", "--link", "db:data", "busybox", "sleep", "1000")
    listed = {one["Names"][0]: one["Names"] for one in engine.call("GET", "/containers/json")[1]}

    assert listed == {"/db": ["/db", "/web/data"], "/web": ["/web"]}
    assert engine.inspect("web/data", ".Name") == "/db"
    engine.ok("rename", "db", "other")
    assert engine.inspect("web", ".HostConfig.Links") == ["/other:/web/data"]
    engine.ok("rm", "--link", "web/data")
    assert "No such" in engine.fails("inspect", "web/data")[1]
    assert len(hosts(engine, "web")) == 1
    assert engine.inspect("other", ".State.Running") is True


def test_the_pyrund_client_makes_and_removes_links_too(engine):
    def client(*words):
        return engine.hub.run(PYRUND, "-H", f"unix://{engine.socket}", *words)

    client("run", "-d", "--name", "db", "busybox", "sleep", "1000")
    client("run", "-d", "--name", "web", "--link", "db:data", "busybox", "sleep", "1000")
    linked = hosts(engine, "web")[0]

    assert client("rm", "--link", "web/data").returncode == 0

    assert linked.split()[1] == "data"
    assert len(hosts(engine, "web")) == 1


def test_a_container_that_starts_again_elsewhere_is_found_there(engine):
    engine.ok("run", "-d", "--name", "db", "busybox", "sleep", "1000")
    engine.ok("run", "-d", "--name", "web", "--link", "db:data", "busybox", "sleep", "1000")
    engine.ok("stop", "-t", "0", "db")
    engine.ok("run", "-d", "--name", "taker", "busybox", "sleep", "1000")

    engine.ok("start", "db")

    assert hosts(engine, "web")[0].split()[:2] == ["172.17.0.4", "data"]
    assert [line.split()[0] for line in hosts(engine, "web")] == ["172.17.0.4", "172.17.0.3"]


def test_links_outlive_the_daemon_and_what_it_could_not_tell_any_more(engine):
    engine.ok("run", "-d", "--name", "db", "--restart", "always", "busybox", "sleep", "1000")
    engine.ok("run", "-d", "--name", "web", "--restart", "always", "--link", "db:data", "busybox", "sleep", "1000")
    path = engine.inspect("web", ".HostsPath")
    before = open(path).read()
    with open(path, "w") as file:
        file.write(before.replace("172.17.0.2\tdata", "172.17.0.9\tdata"))

    engine.kill()
    engine.start()

    assert hosts(engine, "web")[0].split()[:2] == ["172.17.0.2", "data"]
    assert engine.inspect("web", ".HostConfig.Links") == ["/db:/web/data"]


def test_an_engine_that_begins_starts_what_is_linked_before_what_links(engine):
    for name, options in (("db", []), ("web", ["--link", "db:data"])):
        engine.ok("run", "-d", "--name", name, "--restart", "always", *options, "busybox", "sleep", "1000")
    pids = [engine.inspect(name, ".State.Pid") for name in ("web", "db")]
    engine.kill()
    for pid in pids:
        engine.hub.run("kill", "-9", pid)

    engine.start()

    for name in ("web", "db"):
        wait_until(lambda name=name: engine.inspect(name, ".State.Status") == "running", f"the start of {name}")
    assert hosts(engine, "web")[0].split()[1] == "data"


def test_what_cannot_be_linked_is_said_in_docker_s_words(engine):
    engine.ok("create", "--name", "still", "busybox", "true")
    engine.ok("network", "create", "own")
    engine.ok("run", "-d", "--name", "far", "--network", "own", "busybox", "sleep", "1000")
    engine.ok("run", "-d", "--name", "hosted", "--network", "host", "busybox", "sleep", "1000")

    def error(*options):
        return engine.fails("run", "--rm", "--name", "web", *options, "busybox", "true")[1]

    assert "could not get container for nosuch: No such container: nosuch" in error("--link", "nosuch")
    assert "Cannot link to a non running container: /still AS /web/s" in error("--link", "still:s")
    assert "Cannot link to /far, as it does not belong to the default network" in error("--link", "far:f")
    assert "can't be used with links" in error("--link", "hosted:h")
    body = {"Image": "busybox", "HostConfig": {"Links": ["still:s"], "NetworkMode": "host"}}
    assert "can't be used with links" in engine.call("POST", "/containers/create", body)[1]["message"]
    body = {"Image": "busybox", "HostConfig": {"Links": ["still:a b"]}}
    assert engine.call("POST", "/containers/create", body) == (400, {"message": "bad format for links: still:a b"})
    assert engine.call("DELETE", "/containers/web?link=1")[0] == 409
    engine.ok("rm", "-f", "far")
    engine.ok("network", "rm", "own")


def test_a_container_whose_network_is_that_of_itself_cannot_be_linked_to(engine):
    for name, other in (("one", "two"), ("two", "one")):
        engine.ok("create", "--name", name, "--network", f"container:{other}", "busybox")

    errors = engine.fails("create", "--link", "one", "busybox")[1]

    assert "could not get container for one: the network of one is that of itself" in errors


def test_a_container_that_has_lost_its_last_link_shows_none(engine):
    engine.ok("run", "-d", "--name", "db", "busybox", "sleep", "1000")
    engine.ok("create", "--name", "web", "--link", "db:alias", "busybox")
    assert engine.inspect("web", ".HostConfig.Links") == ["/db:/web/alias"]

    engine.ok("rm", "--link", "web/alias")

    assert engine.inspect("web", ".HostConfig.Links") is None

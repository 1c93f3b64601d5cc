"""Containers in networks of one's own find each other by names; everything else is asked of the host's name servers."""

import subprocess

import pytest
from daemon import kill, wait_until

pytestmark = pytest.mark.usefixtures("removed", "no_networks")

SLEEP = ["busybox", "sleep", "1000"]
# A name server on the host's loopback: 9.9.9.9 for *.example, NXDOMAIN for everything else, and both by TCP too.
OTHERS = """
import socket, threading
def answer(data):
    end = data.index(b"\\0", 12) + 5
    known = data[12:end].endswith(b"\\7example\\0\\0\\1\\0\\1")
    record = bytes.fromhex("c00c00010001000000070004") + bytes([9, 9, 9, 9])
    head = data[:2] + (b"\\x81\\x80" if known else b"\\x81\\x83") + bytes([0, 1, 0, known, 0, 0, 0, 0])
    return head + data[12:end] + record * known
def serve():
    while True:
        connection = listener.accept()[0]
        data = answer(connection.recv(999)[2:])
        connection.sendall(len(data).to_bytes(2, "big") + data)
        connection.close()
listener = socket.create_server(("127.0.0.1", 53))
threading.Thread(target=serve, daemon=True).start()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    data, client = udp.recvfrom(999)
    udp.sendto(answer(data), client)
"""
# Ask 127.0.0.11 by TCP, with all that a client may send in one piece or in two.
BY_TCP = """
import socket, sys, time
question = bytes.fromhex("123401000001000000000000") + b"".join(
    bytes([len(label)]) + label.encode() for label in sys.argv[1].split(".")) + bytes.fromhex("0000010001")
with socket.create_connection(("127.0.0.11", 53), 5) as asking:
    for number in range(2):
        data = len(question).to_bytes(2, "big") + question
        asking.sendall(data[:5]); time.sleep(0.05); asking.sendall(data[5:])
        answer = asking.recv(999)
        print(answer[2:6].hex(), socket.inet_ntoa(answer[-4:]))
"""


@pytest.fixture
def no_networks(engine):
    yield
    engine.remove_all()
    engine.ok("network", "prune", "-f")
    wait_until(lambda: "veth" not in engine.hub.run("ip", "-br", "link").stdout, "the end of the interfaces")


@pytest.fixture(scope="module")
def others(hub):
    hub.run("sh", "-c", "echo nameserver 127.0.0.1 > /etc/resolv.conf")
    server = subprocess.Popen([*hub.inside, "/usr/bin/python3", "-c", OTHERS], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    yield
    server.kill()
    server.wait()


def run(engine, name, *options):
    engine.ok("run", "-d", "--name", name, *options, *SLEEP)


def found(engine, asking, name):
    """Return the addresses that the container `asking` finds for a name, or the words of the error."""
    done = engine.docker("exec", asking, "nslookup", name)
    lines = done.stdout.splitlines()[2:]  # without the server's
    addresses = [line.split()[1] for line in lines if line.startswith("Address")]
    return addresses or next((line for line in lines if line), done.stderr)


def address(engine, name, network="n1"):
    return engine.inspect(name, f'(index .NetworkSettings.Networks "{network}").IPAddress')


def test_containers_find_each_other_by_name_alias_and_short_id(engine):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1", "--network-alias", "Front", "-h", "host1")
    run(engine, "other", "--network", "n1")

    names = ["web", "WEB", "front", "web.n1", "host1", engine.inspect("web", ".Id")[:12]]

    assert [found(engine, "other", name) for name in names] == [[address(engine, "web")]] * 6
    assert found(engine, "web", "other") == [address(engine, "other")]
    assert found(engine, "web", "web") == [address(engine, "web")]


def test_resolv_conf_names_our_server_and_nslookup_finds_names_of_addresses(engine):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1")

    conf = engine.ok("exec", "web", "cat", "/etc/resolv.conf")
    name = engine.ok("exec", "web", "nslookup", address(engine, "web"))

    assert conf.splitlines()[0] == "nameserver 127.0.0.11"
    assert "options ndots:0" in conf
    assert "name = web.n1" in name


def test_a_shared_alias_has_all_addresses_each_first_in_its_turn(engine):
    engine.ok("network", "create", "n1")
    for name in ("one", "two", "three"):
        run(engine, name, "--network", "n1", "--network-alias", "all")

    answers = [found(engine, "one", "all") for _ in range(6)]

    assert all(sorted(one) == [address(engine, name) for name in ("one", "two", "three")] for one in answers)
    assert len({one[0] for one in answers}) > 1


def test_names_of_other_networks_are_not_known(engine, others):
    for name in ("n1", "n2"):
        engine.ok("network", "create", name)
    run(engine, "one", "--network", "n1")
    run(engine, "two", "--network", "n2")
    run(engine, "three")

    assert "NXDOMAIN" in found(engine, "one", "two")
    assert "NXDOMAIN" in found(engine, "one", "three")
    assert "127.0.0.11" not in engine.ok("exec", "three", "cat", "/etc/resolv.conf")


def test_names_go_when_containers_go_and_change_with_them(engine, others):
    engine.ok("network", "create", "n1")
    run(engine, "one", "--network", "n1")
    run(engine, "two", "--network", "n1")
    where = address(engine, "two")

    engine.ok("rename", "two", "deux")
    renamed = found(engine, "one", "deux")
    engine.ok("rm", "-f", "deux")

    assert renamed == [where]
    assert "NXDOMAIN" in found(engine, "one", "deux")


def test_everything_else_is_asked_of_the_host_s_servers(engine, others):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1")
    pid = engine.inspect("web", ".State.Pid")
    inside = ["nsenter", "--net", "--target", str(pid), "/usr/bin/python3", "-c", BY_TCP]

    by_tcp = [subprocess.run([*inside, name], capture_output=True, text=True) for name in ("www.example", "web")]

    assert found(engine, "web", "www.example") == ["9.9.9.9"]
    assert "NXDOMAIN" in found(engine, "web", "nosuch")
    assert by_tcp[0].stdout.splitlines() == ["12348180 9.9.9.9"] * 2
    assert by_tcp[1].stdout.splitlines() == [f"12348180 {address(engine, 'web')}"] * 2, by_tcp[1].stderr


def test_what_is_in_internal_networks_alone_asks_nobody_else(engine, others):
    engine.ok("network", "create", "--internal", "n1")
    run(engine, "one", "--network", "n1")
    run(engine, "two", "--network", "n1")

    assert found(engine, "one", "two") == [address(engine, "two")]
    assert "SERVFAIL" in found(engine, "one", "www.example")


def test_a_container_s_own_servers_and_options(engine, others):
    engine.ok("network", "create", "n1")
    wanted = ["--dns", "127.0.0.1", "--dns-search", "example", "--dns-option", "timeout:1"]
    run(engine, "own", "--network", "n1", *wanted)
    run(engine, "default", *wanted)

    confs = [engine.ok("exec", name, "cat", "/etc/resolv.conf").splitlines() for name in ("own", "default")]

    assert found(engine, "own", "www.example") == ["9.9.9.9"]
    assert confs[0] == ["nameserver 127.0.0.11", "search example", "options ndots:0 timeout:1"]
    assert confs[1] == ["nameserver 127.0.0.1", "search example", "options timeout:1"]
    assert (
        "invalid IP address: x"
        in engine.call("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Dns": ["x"]}})[1]["message"]
    )


def test_a_link_is_a_name_for_one_container_alone(engine, others):
    engine.ok("network", "create", "n1")
    run(engine, "db", "--network", "n1")
    run(engine, "app", "--network", "n1", "--link", "db:store")
    run(engine, "other", "--network", "n1")

    assert found(engine, "app", "store") == [address(engine, "db")]
    assert "NXDOMAIN" in found(engine, "other", "store")


def test_a_running_container_gets_names_when_it_is_connected(engine):
    engine.ok("network", "create", "n1")
    run(engine, "late")
    run(engine, "web", "--network", "n1")

    engine.ok("network", "connect", "--alias", "tardy", "n1", "late")
    there = found(engine, "late", "web"), found(engine, "web", "tardy")
    engine.ok("network", "disconnect", "n1", "late")

    assert there == ([address(engine, "web")], ["172.18.0.3"])
    assert "127.0.0.11" not in engine.ok("exec", "late", "cat", "/etc/resolv.conf")


@pytest.mark.parametrize("victim", ["daemon", "streams"])
def test_names_are_found_again_when_a_process_was_killed(engine, victim):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1", "--network-alias", "al")
    run(engine, "other", "--network", "n1")

    if victim == "daemon":
        engine.kill()
        engine.start()
    else:
        kill(engine.children()["streams"])

    wait_until(lambda: found(engine, "other", "al") == [address(engine, "web")], "the name")
    assert found(engine, "web", "other") == [address(engine, "other")]


def test_a_program_that_asks_at_once_is_answered(engine):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1")

    for _ in range(5):
        shown = engine.ok("run", "--rm", "--network", "n1", "busybox", "nslookup", "web")
        assert address(engine, "web") in shown


def test_a_server_of_the_container_s_own_may_have_port_53(engine):
    engine.ok("network", "create", "n1")
    engine.ok("run", "-d", "--name", "dns", "--network", "n1", "busybox", "sh", "-c", "exec nc -ll -p 53 -e echo mine")
    run(engine, "other", "--network", "n1")

    def heard():
        return engine.docker("exec", "other", "sh", "-c", f"nc -w 1 {address(engine, 'dns')} 53 < /dev/null").stdout

    wait_until(lambda: heard() == "mine\n", "the server")
    assert found(engine, "dns", "other") == [address(engine, "other")]


def test_what_is_no_question_harms_nobody(engine):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1")
    pid = engine.inspect("web", ".State.Pid")
    hostile = """
import os, socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 11, 12, 13, 40, 600, 9000):
    for _ in range(20):
        udp.sendto(os.urandom(size), ("127.0.0.11", 53))
head = bytes.fromhex("123401000001000000000000")
for name in (b"\\xc0\\x0c", b"\\x3f" + b"a" * 63, (b"\\x3f" + b"a" * 63) * 5 + b"\\0", b"\\3a.b\\0", b"\\1\\0\\0"):
    udp.sendto(head + name + bytes.fromhex("00010001"), ("127.0.0.11", 53))
connections = [socket.create_connection(("127.0.0.11", 53)) for _ in range(30)]
for connection in connections:
    try:
        connection.sendall(b"\\xff\\xff" + os.urandom(100))
    except OSError:
        pass
"""
    done = subprocess.run(["nsenter", "--net", "--target", str(pid), "/usr/bin/python3", "-c", hostile], text=True)

    assert done.returncode == 0
    assert found(engine, "web", "web") == [address(engine, "web")]


def test_a_container_that_asks_without_a_pause_delays_nobody(engine):
    engine.ok("network", "create", "n1")
    run(engine, "web", "--network", "n1")
    pid = engine.inspect("web", ".State.Pid")
    flood = """
import socket
question = bytes.fromhex("12340100000100000000000003776562") + bytes.fromhex("0000010001")
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.11", 53))
print(flush=True)
while True:
    udp.send(question)
"""
    inside = ["nsenter", "--net", "--target", str(pid), "/usr/bin/python3", "-c", flood]
    asking = subprocess.Popen(inside, stdout=subprocess.PIPE)
    asking.stdout.readline()
    try:
        assert engine.ok("run", "--rm", "busybox", "echo", "heard") == "heard"
    finally:
        asking.kill()
        asking.wait()


def test_host_gateway_is_the_host_s_address_on_the_default_bridge(engine):
    shown = engine.ok("run", "--rm", "--add-host", "up:host-gateway", "busybox", "cat", "/etc/hosts")

    assert "172.17.0.1\tup" in shown.splitlines()


@pytest.mark.parametrize(
    "wanted", [["--dns", "9.9.9.9", "--dns-option", "ndots:3"], ["--dns-search", "example"], ["--dns-option", "x"], []]
)
def test_in_the_host_s_network_name_servers_are_those_that_the_client_wants_as_with_dockerd(engine, dockerd, wanted):
    command = ["run", "--rm", "--network", "host", *wanted, "busybox", "cat", "/etc/resolv.conf"]

    ours, theirs = engine.ok(*command).splitlines(), dockerd.docker(*command).stdout.decode().splitlines()

    assert sorted(ours) == sorted(theirs)  # dockerd 20.10 has another order
    assert not wanted or any(wanted[1] in line for line in ours)

"""Published ports: who reaches them, what docker shows of them, and what is left when the container has gone."""

import subprocess
import time

import pytest
from daemon import REPOSITORY, wait_until
from outside import asked, network_beyond

pytestmark = pytest.mark.usefixtures("removed")

TCP = "exec nc -ll -p 80 -e busybox netstat -tn"  # it says who asks
UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 81))
print("ready", flush=True)
while True:
    address = server.recvfrom(99)[1]
    server.sendto(address[0].encode(), address)
"""
# This kernel may have no sockets of SCTP: the two sides greet each other by hand (RFC 9260, section 5.1).
SCTP = """
import socket, struct, sys

def packet(source, destination, tag, kind, own):
    chunk = struct.pack(">BBHIIHHI", kind, 0, 20, own, 65536, 1, 1, 1)
    data = struct.pack(">HHII", source, destination, tag, 0) + chunk
    crc = 0xFFFFFFFF  # CRC32c
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return data[:8] + struct.pack("<I", crc ^ 0xFFFFFFFF) + data[12:]

greeting = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
greeting.settimeout(20)
INIT, INIT_ACK = 1, 2
if len(sys.argv) > 1:
    greeting.sendto(packet(5000, int(sys.argv[1]), 0, INIT, 77), ("10.88.0.1", 0))
else:
    print("ready", flush=True)
data, (address, _) = greeting.recvfrom(2048)
source, destination, tag, _, kind = struct.unpack(">HHIIB", data[20:33])
if kind == INIT:
    own = struct.unpack(">I", data[36:40])[0]
    greeting.sendto(packet(destination, source, own, INIT_ACK, 88), (address, 0))
print(address, source, destination, tag, kind)
"""
RUN = ["run", "-d", "--name"]


@pytest.fixture(scope="module")
def outside(hub):
    with network_beyond(hub) as run:
        yield run


def serve(engine, name, *options, program=TCP):
    engine.ok(*RUN, name, *options, "busybox", "sh", "-c", program)


def who(run, address, port, protocol="tcp"):
    """Return the address that the server in the container sees, or the error."""
    answers = []

    def is_up():  # the server may not listen yet
        answers.append(asked(run, address, port, protocol))
        return "refused" not in answers[-1] and "reset" not in answers[-1]

    wait_until(is_up, f"the server: {answers}")
    return visitor(answers[-1])


def visitor(answer):
    """Return the address of netstat's last connection to port 80, or the answer itself."""
    lines = [line.split() for line in answer.splitlines() if "ESTABLISHED" in line or "CLOSE_WAIT" in line]
    lines = [line for line in lines if line[3].endswith(":80")]
    return lines[-1][4].rpartition(":")[0].removeprefix("::ffff:") if lines else answer


def test_the_world_reaches_a_published_port_and_is_seen_as_it_is(engine, outside):
    serve(engine, "web", "-p", "8080:80")

    assert who(outside, "10.88.0.1", 8080) == "10.88.0.2"


def test_the_host_reaches_it_at_each_of_its_addresses(engine, hub):
    serve(engine, "web", "-p", "8080:80")

    assert who(hub.run, "127.0.0.1", 8080) == "172.17.0.1"
    assert who(hub.run, "172.17.0.1", 8080) == "172.17.0.1"


def test_a_container_reaches_its_own_published_port_and_another_s(engine):
    serve(engine, "web", "-p", "8080:80")
    visit = "nc -w 5 172.17.0.1 8080 < /dev/null"

    own = engine.ok("exec", "web", "sh", "-c", visit)
    other = engine.ok("run", "--rm", "busybox", "sh", "-c", visit)

    assert (visitor(own), visitor(other)) == ("172.17.0.1", "172.17.0.1")


def test_udp_is_published_too(engine, outside, hub):
    serve(engine, "web", "-p", "8081:81/udp")
    inside = ["nsenter", "--net", "--target", str(engine.inspect("web", ".State.Pid"))]
    server = subprocess.Popen([*inside, "/usr/bin/python3", "-c", UDP], stdout=subprocess.PIPE)
    server.stdout.readline()
    try:
        assert who(outside, "10.88.0.1", 8081, "udp") == "10.88.0.2"
        assert who(hub.run, "127.0.0.1", 8081, "udp") == "172.17.0.1"
    finally:
        server.kill()
        server.wait()


def test_sctp_is_published_too(engine, outside, hub):
    engine.ok(*RUN, "web", "-p", "8090:81/sctp", "busybox", "sleep", "1000")
    inside = ["nsenter", "--net", "--target", str(engine.inspect("web", ".State.Pid"))]
    server = subprocess.Popen([*inside, "/usr/bin/python3", "-c", SCTP], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"

    heard = outside("/usr/bin/python3", "-c", SCTP, "8090").stdout.split()

    assert server.communicate(timeout=30)[0].split() == ["10.88.0.2", "5000", "81", "0", "1"]
    assert heard == ["10.88.0.1", "8090", "5000", "77", "2"]
    assert engine.ok("ps", "--format", "{{.Ports}}") == "0.0.0.0:8090->81/sctp"
    assert "port is already allocated" in engine.fails("run", "--rm", "-p", "8090:1/sctp", "busybox", "true")[1]
    engine.ok("run", "--rm", "-p", "8090:1/tcp", "-p", "8090:1/udp", "busybox", "true")
    engine.stop()
    engine.start()
    assert "port is already allocated" in engine.fails("run", "--rm", "-p", "8090:1/sctp", "busybox", "true")[1]


def test_a_port_at_one_address_is_not_at_others(engine, outside, hub):
    serve(engine, "web", "-p", "127.0.0.1:8080:80", "-p", "10.88.0.1:8082:80")

    assert who(hub.run, "127.0.0.1", 8080) == "172.17.0.1"
    assert "refused" in asked(outside, "10.88.0.1", 8080)
    assert who(outside, "10.88.0.1", 8082) == "10.88.0.2"
    assert "refused" in asked(hub.run, "127.0.0.1", 8082)


def test_a_container_does_not_reach_what_is_bound_to_the_host_s_loopback(engine, hub):
    server = "import socket; s = socket.create_server(('127.0.0.1', 8099)); print(flush=True)\nwhile s.accept(): pass"
    listening = subprocess.Popen([*hub.inside, "/usr/bin/python3", "-c", server], stdout=subprocess.PIPE)
    listening.stdout.readline()
    # Packets to 127.0.0.1 leave the container by way of the bridge, as only a hostile one lets them.
    hostile = "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 172.17.0.1; nc -w 2 127.0.0.1 8099 || exit 7"
    try:
        engine.ok("network", "inspect", "bridge")
        options = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.conf.all.route_localnet=1"]
        done = engine.docker("run", "--rm", *options, "busybox", "sh", "-c", hostile)
    finally:
        listening.kill()
        listening.wait()

    assert (done.returncode, done.stdout) == (7, ""), done.stderr


def test_docker_shows_the_ports_as_long_as_the_container_runs(engine):
    serve(engine, "web", "-p", "8080:80", "-p", "127.0.0.1:8081:81/udp", "--expose", "90")

    shown = engine.inspect("web", ".NetworkSettings.Ports")
    listed = engine.call("GET", "/containers/json")[1][0]["Ports"]
    people = engine.ok("ps", "--format", "{{.Ports}}")
    lines = engine.ok("port", "web").splitlines()
    engine.ok("kill", "web")

    assert shown == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "81/udp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "90/tcp": None,
    }
    assert sorted(listed, key=lambda one: one["PrivatePort"]) == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 81, "PublicPort": 8081, "Type": "udp"},
        {"PrivatePort": 90, "Type": "tcp"},
    ]
    assert people == "90/tcp, 0.0.0.0:8080->80/tcp, 127.0.0.1:8081->81/udp"
    assert sorted(lines) == ["80/tcp -> 0.0.0.0:8080", "81/udp -> 127.0.0.1:8081"]
    assert engine.inspect("web", ".NetworkSettings.Ports") == {}
    assert engine.call("GET", "/containers/json?all=1")[1][0]["Ports"] == []


def test_a_port_that_is_not_chosen_is_one_that_programs_get(engine, hub):
    serve(engine, "web", "-P", "--expose", "80")

    port = int(engine.ok("port", "web", "80").rpartition(":")[2])

    low, high = map(int, hub.run("cat", "/proc/sys/net/ipv4/ip_local_port_range").stdout.split())
    assert low <= port <= high
    assert who(hub.run, "127.0.0.1", port) == "172.17.0.1"


def test_of_a_range_the_first_free_one_is_taken(engine):
    found = []
    for name in ("one", "two"):
        serve(engine, name, "-p", "8085-8086:80")
        found.append(engine.ok("port", name))

    error = engine.fails("run", "-p", "8085-8086:80", "busybox")[1]

    assert found == ["80/tcp -> 0.0.0.0:8085", "80/tcp -> 0.0.0.0:8086"]
    assert "Bind for 0.0.0.0:8085 failed: all ports are allocated" in error


def test_a_taken_port_is_refused_in_docker_s_words_and_nothing_is_left(engine):
    serve(engine, "web", "-p", "8080:80")

    status, error = engine.fails("run", "--name", "other", "-p", "8090:90", "-p", "127.0.0.1:8080:80", "busybox")
    serve(engine, "third", "-p", "8090:90")

    assert status == 125
    assert "driver failed programming external connectivity on endpoint other (" in error
    assert "Bind for 127.0.0.1:8080 failed: port is already allocated" in error
    assert engine.inspect("other", ".State.Status") == "created"


def test_a_port_of_another_program_is_refused_and_one_of_ours_is_taken_for_others(engine, hub):
    server = "import socket; s = socket.create_server(('0.0.0.0', 8097)); print(flush=True); s.accept()"
    listening = subprocess.Popen([*hub.inside, "/usr/bin/python3", "-c", server], stdout=subprocess.PIPE)
    listening.stdout.readline()
    try:
        error = engine.fails("run", "-p", "8097:80", "busybox")[1]
    finally:
        listening.kill()
        listening.wait()
    serve(engine, "web", "-p", "8097:80")

    assert "failed to bind host port 0.0.0.0:8097/tcp: address already in use" in error
    assert "Address already in use" in hub.run("/usr/bin/python3", "-c", server).stderr


def test_a_port_is_free_as_soon_as_its_container_has_stopped(engine, hub):
    for number in range(3):
        serve(engine, f"web{number}", "-p", "8080:80")
        assert who(hub.run, "127.0.0.1", 8080) == "172.17.0.1"
        engine.ok("kill", f"web{number}")

    assert "refused" in asked(hub.run, "127.0.0.1", 8080)


def test_ports_outlive_the_daemon(engine, hub, outside):
    serve(engine, "web", "-p", "8080:80")
    serve(engine, "short", "-p", "8083:80", program="sleep 0.3")

    engine.kill()
    between = who(outside, "10.88.0.1", 8080)
    time.sleep(0.5)  # meanwhile the short one ends
    engine.start()

    assert between == "10.88.0.2"
    assert who(outside, "10.88.0.1", 8080) == "10.88.0.2"
    assert engine.ok("port", "web") == "80/tcp -> 0.0.0.0:8080"
    assert "port is already allocated" in engine.fails("run", "-p", "8080:80", "busybox")[1]
    wait_until(lambda: engine.inspect("short", ".State.Status") == "exited", "the end")
    serve(engine, "next", "-p", "8083:80")
    assert who(hub.run, "127.0.0.1", 8083) == "172.17.0.1"


def test_a_daemon_that_starts_repairs_what_was_flushed(engine, hub, outside):
    serve(engine, "web", "-p", "8080:80")
    assert who(outside, "10.88.0.1", 8080) == "10.88.0.2"
    flush = "import sys; sys.path.insert(0, sys.argv[1]); from foundation.linux.nftables import Transaction\n"
    flush += "flushed = Transaction('pyrund'); flushed.make_anew(); flushed.commit()"
    done = hub.run("/usr/bin/python3", "-c", flush, REPOSITORY / "runtime")
    hub.run("ip", "link", "del", "pyrund0")
    assert done.returncode == 0, done.stderr
    assert asked(outside, "10.88.0.1", 8080) != "10.88.0.2"

    engine.stop()
    engine.start()

    assert who(outside, "10.88.0.1", 8080) == "10.88.0.2"
    assert who(hub.run, "127.0.0.1", 8080) == "172.17.0.1"


def test_a_thousand_ports_are_published_by_one_container(engine, hub):
    serve(engine, "web", "-p", "20000-20999:20000-20999", "-p", "8080:80")

    assert len(engine.inspect("web", ".NetworkSettings.Ports")) == 1001
    assert who(hub.run, "127.0.0.1", 8080) == "172.17.0.1"


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"80/foo": [{}]}, 'invalid port specification: "80/foo"'),
        ({"x/tcp": [{}]}, 'invalid port specification: "x"'),
        ({"80/tcp": [{"HostPort": "70000"}]}, 'invalid port specification: "70000"'),
        ({"80/tcp": [{"HostPort": "9-8"}]}, 'invalid port specification: "9-8"'),
        ({"80/tcp": [{"HostIp": "300.1.1.1"}]}, "invalid IP address: 300.1.1.1"),
        ({"80/tcp": 5}, "invalid JSON: HostConfig"),
    ],
)
def test_bindings_that_make_no_sense_are_refused(engine, bindings, message):
    status, answer = engine.call(
        "POST", "/containers/create", {"Image": "busybox", "HostConfig": {"PortBindings": bindings}}
    )

    assert (status, answer["message"][: len(message)]) == (400, message)


def test_docker_py_s_bindings_are_understood(engine, hub):
    host = {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": None}}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", TCP], "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
    _, created = engine.call("POST", "/containers/create?name=web", body)

    engine.ok("start", "web")

    port = engine.inspect("web", '(index .NetworkSettings.Ports "80/tcp")')[0]["HostPort"]
    assert who(hub.run, "127.0.0.1", port) == "172.17.0.1"


def test_on_the_host_s_network_ports_are_discarded_with_a_warning(engine):
    host = {"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}

    answer = engine.call("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})[1]

    assert answer["Warnings"] == ["Published ports are discarded when using host network mode"]


@pytest.fixture
def network_of_ipv6(engine, hub, outside):
    hub.run("ip", "addr", "add", "fd99::1/64", "dev", "outside0", "nodad")
    outside("ip", "addr", "add", "fd99::2/64", "dev", "eth0", "nodad")
    engine.ok("network", "create", "--ipv6", "six")
    yield "six"
    engine.remove_all()
    engine.ok("network", "rm", "six")


def test_a_container_with_ipv6_is_published_at_the_host_s_addresses_of_both(engine, hub, outside, network_of_ipv6):
    serve(engine, "web", "--network", "six", "-p", "8080:80", "-p", "[fd99::1]:8082:80")

    assert who(outside, "fd99::1", 8080) == "fd99::2"
    assert who(outside, "10.88.0.1", 8080) == "10.88.0.2"
    assert who(outside, "fd99::1", 8082) == "fd99::2"
    assert "refused" in asked(outside, "10.88.0.1", 8082)
    assert who(hub.run, "fd99::1", 8080) == "fd99::1"
    assert "refused" in asked(hub.run, "::1", 8080)  # so that a client goes on to 127.0.0.1
    assert engine.inspect("web", '(index .NetworkSettings.Ports "80/tcp")') == [
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
        {"HostIp": "::", "HostPort": "8080"},
        {"HostIp": "fd99::1", "HostPort": "8082"},
    ]
    gateway = engine.inspect("web", ".NetworkSettings.Networks.six.IPv6Gateway")
    hairpin = engine.ok("exec", "web", "sh", "-c", f"nc -w 5 {gateway} 8080 < /dev/null")
    assert visitor(hairpin) == gateway


def test_ports_of_ipv6_are_free_again_and_outlive_the_daemon(engine, outside, network_of_ipv6):
    serve(engine, "web", "--network", "six", "-p", "8080:80")

    engine.kill()
    engine.start()

    assert who(outside, "fd99::1", 8080) == "fd99::2"
    assert "port is already allocated" in engine.fails("run", "--network", "six", "-p", "8080:80", "busybox")[1]
    engine.ok("rm", "-f", "web")
    assert "refused" in asked(outside, "fd99::1", 8080)
    serve(engine, "next", "--network", "six", "-p", "8080:80")
    assert who(outside, "fd99::1", 8080) == "fd99::2"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("publish=8090", "web"),
        ("publish=8000-8099/tcp", "web"),
        ("publish=8090/udp", ""),
        ("publish=80", ""),
        ("expose=80", "web"),
        ("expose=53/udp", "other"),
        ("network=bridge", "other web"),
        ("network=ID", "other web"),
    ],
)
def test_containers_are_found_by_their_ports_and_networks(engine, wanted, found):
    engine.ok(*RUN, "web", "-p", "8090:80", "busybox", "sleep", "1000")
    engine.ok(*RUN, "other", "--expose", "53/udp", "busybox", "sleep", "1000")
    wanted = wanted.replace("ID", engine.ok("network", "ls", "-q", "--filter", "name=bridge"))

    assert engine.ok("ps", "--filter", wanted, "--format", "{{.Names}}").split() == found.split()


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_container_without_a_network_of_ours_shows_no_exposed_ports(engine, network):
    engine.ok(*RUN, "web", "--network", network, "--expose", "80", "busybox", "sleep", "1000")

    assert engine.ok("ps", "--format", "{{.Ports}}") == ""
    assert engine.inspect("web", ".NetworkSettings.Ports") == {}


def test_a_port_at_an_address_of_ipv6_is_served_for_a_container_with_ipv4_alone(engine, hub):
    serve(engine, "web", "-p", "[::1]:8080:80", "-p", "[::]:8081:80")

    for port in (8080, 8081):
        assert who(hub.run, "::1", port) == "172.17.0.1"  # as by docker-proxy, the container sees its bridge
    assert engine.inspect("web", ".NetworkSettings.Ports") == {
        "80/tcp": [{"HostIp": "::1", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8081"}]
    }
    assert "refused" in asked(hub.run, "127.0.0.1", 8080)
    engine.kill()
    engine.start()
    assert who(hub.run, "::1", 8080) == "172.17.0.1"
    engine.ok("rm", "-f", "web")
    assert "refused" in asked(hub.run, "::1", 8080)


def test_a_port_that_a_client_names_is_not_given_to_one_that_any_will_do_for(engine):
    engine.ok("run", "-d", "--name", "one", "-p", "80", "busybox", "sleep", "1000")
    following = int(engine.inspect("one", '(index .NetworkSettings.Ports "80/tcp")')[0]["HostPort"]) + 1

    engine.ok("run", "-d", "--name", "two", "-p", "80", "-p", f"{following}:81", "busybox", "sleep", "1000")

    assert engine.inspect("two", '(index .NetworkSettings.Ports "81/tcp")')[0]["HostPort"] == str(following)

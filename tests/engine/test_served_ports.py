"""Published ports on a host whose firewall forwards nothing: a worker serves them."""

import itertools
import os
import resource
import shutil
import subprocess

import pytest
from conftest import serve
from daemon import kill, wait_until
from outside import asked, network_beyond

pytestmark = [
    pytest.mark.usefixtures("removed"),
    pytest.mark.skipif(shutil.which("iptables") is None, reason="not installed: iptables"),
]

WHO = "exec nc -ll -p 80 -e busybox netstat -tn"
ECHO = "exec nc -ll -p 80 -e busybox cat"
UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 81))
print("ready", flush=True)
while True:
    data, address = server.recvfrom(99)
    server.sendto(data + address[0].encode(), address)
"""
SEND = """
import hashlib, os, socket, threading
data = os.urandom(3_000_000)
with socket.create_connection(("10.88.0.1", 8080)) as connection:
    def send():
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    heard = b""
    while part := connection.recv(65536):
        heard += part
print(heard == data)
"""
HEAR = """
import socket
with socket.create_connection(("10.88.0.1", 8080), timeout=30) as connection:
    print(connection.recv(1))
"""
HOLD = """
import socket
held = [socket.create_connection(("10.88.0.1", 8080)) for _ in range(300)]
print("ready", flush=True)
while held[0].recv(1):
    pass
print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def firewall(hub):
    """A function for iptables on the host, which drops what is to be forwarded."""

    def iptables(*words):
        done = hub.run("iptables", *words)
        assert done.returncode == 0, done.stderr

    iptables("-P", "FORWARD", "DROP")
    yield iptables
    iptables("-P", "FORWARD", "ACCEPT")


@pytest.fixture(scope="module")
def engine(hub, firewall, tmp_path_factory):
    yield from serve(hub, tmp_path_factory.mktemp("engine"), "busybox")


@pytest.fixture(scope="module")
def outside(hub):
    with network_beyond(hub) as run:
        yield run


def start(engine, name, *options, program=WHO):
    engine.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", program)


def who(run, address="10.88.0.1", port=8080):
    """Return what the container says of its visitors, when it says something."""
    wait_until(lambda: "ESTABLISHED" in asked(run, address, port), "an answer")
    return asked(run, address, port)


def test_the_world_and_the_host_reach_a_port_and_are_seen_as_the_host(engine, outside, hub):
    start(engine, "web", "-p", "8080:80")

    assert "172.17.0.1:" in who(outside)
    assert "172.17.0.1:" in who(hub.run, "127.0.0.1")
    assert "172.17.0.2" not in asked(outside, "172.17.0.2", 80)  # nothing else has been opened
    assert "172.17.0.1:" in engine.ok("run", "--rm", "busybox", "sh", "-c", "nc -w 5 172.17.0.1 8080 </dev/null")
    assert engine.ok("ps", "--format", "{{.Ports}}") == "0.0.0.0:8080->80/tcp"


def test_what_the_firewall_does_not_let_in_stays_outside(engine, outside, hub, firewall):
    start(engine, "web", "-p", "8080:80")
    rule = ("INPUT", "-p", "tcp", "--dport", "8080", "-i", "outside0", "-j", "DROP")
    firewall("-A", *rule)
    try:
        assert "timed out" in asked(outside, "10.88.0.1", 8080)
        assert "172.17.0.1:" in who(hub.run, "127.0.0.1")
    finally:
        firewall("-D", *rule)
    assert "172.17.0.1:" in who(outside)


def test_udp_is_served_too(engine, outside, hub):
    start(engine, "web", "-p", "8081:81/udp", program="sleep 1000")
    inside = ["nsenter", "--net", "--target", str(engine.inspect("web", ".State.Pid"))]
    server = subprocess.Popen([*inside, "/usr/bin/python3", "-c", UDP], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    try:
        for run in (outside, outside, hub.run):
            assert asked(run, "10.88.0.1", 8081, "udp") == "who am I?172.17.0.1"
    finally:
        server.kill()
        server.wait()


def test_bytes_arrive_whole_both_ways_and_one_side_may_end_first(engine, outside):
    start(engine, "web", "-p", "8080:80", program=ECHO)
    wait_until(lambda: "refused" not in asked(outside, "10.88.0.1", 8080), "the server")

    assert outside("/usr/bin/python3", "-c", SEND).stdout == "True\n"


def test_a_port_is_served_again_whoever_is_killed(engine, outside):
    start(engine, "web", "-p", "8080:80")
    who(outside)

    kill(engine.children()["launcher"])  # and its workers with it
    wait_until(lambda: "refused" not in asked(outside, "10.88.0.1", 8080), "another worker")
    assert "172.17.0.1:" in who(outside)
    engine.kill()
    engine.start()
    assert "172.17.0.1:" in who(outside)


def test_connections_end_with_the_container_and_delay_nobody_before(engine, outside, hub):
    start(engine, "web", "-p", "8080:80", program="exec nc -ll -p 80 -e sleep 1000")
    start(engine, "noisy", program="while true; do echo y; done")
    wait_until(lambda: "timed out" in asked(outside, "10.88.0.1", 8080), "the server")
    words = ["/usr/bin/python3", "-c", HOLD]
    holding = subprocess.Popen([*outside.inside, *words], stdout=subprocess.PIPE, text=True)
    assert holding.stdout.readline() == "ready\n"

    assert engine.ok("run", "--rm", "busybox", "echo", "prompt") == "prompt"
    engine.ok("kill", "web")

    assert holding.stdout.readline() == "ended\n"
    assert holding.wait(30) == 0
    assert "refused" in asked(outside, "10.88.0.1", 8080)
    start(engine, "other", "-p", "8080:80")
    assert "172.17.0.1:" in who(outside)


def test_a_connection_for_which_no_descriptor_is_left_is_closed(engine, outside):
    start(engine, "web", "-p", "8080:80")
    who(outside)
    (worker,) = engine.workers()
    taken = set(map(int, os.listdir(f"/proc/{worker}/fd")))
    first = next(number for number in itertools.count() if number not in taken)
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (first + 1, before[1]))

    assert outside("/usr/bin/python3", "-c", HEAR).stdout == "b''\n"

    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert "172.17.0.1:" in who(outside)
    assert "Traceback" not in engine.log.read_text()


def test_a_served_port_moves_with_the_way_out(engine, outside):
    engine.ok("network", "create", "own")
    start(engine, "web", "-p", "8080:80")
    engine.ok("network", "connect", "own", "web")

    engine.ok("network", "disconnect", "bridge", "web")

    assert f"{engine.inspect('own', '(index .IPAM.Config 0).Gateway')}:" in who(outside)
    engine.ok("rm", "-f", "web")
    engine.ok("network", "rm", "own")


@pytest.mark.parametrize(("option", "policy"), [("=true", "ACCEPT"), ("=false", "DROP")])
def test_the_administrator_may_decide(hub, tmp_path, outside, firewall, option, policy):
    firewall("-P", "FORWARD", policy)
    try:
        for own in serve(hub, tmp_path, "busybox", options=("--bridge", "own0", f"--userland-proxy{option}")):
            start(own, "web", "-p", "8088:80")
            gateway = own.inspect("web", ".NetworkSettings.Gateway")
            if policy == "ACCEPT":
                assert f"{gateway}:" in who(outside, port=8088)
            else:
                assert f"{gateway}:" in who(hub.run, "127.0.0.1", 8088)
                assert "timed out" in asked(outside, "10.88.0.1", 8088)
    finally:
        firewall("-P", "FORWARD", "DROP")

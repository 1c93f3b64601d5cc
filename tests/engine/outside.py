"""A network beyond the host of an engine: 10.88.0.0/24, in which a server at 10.88.0.2 says who asks."""

import subprocess
from contextlib import contextmanager

from daemon import wait_until

_NETWORK = """
ip link add outside0 type veth peer name eth0 netns $0
ip addr add 10.88.0.1/24 dev outside0
ip link set outside0 up
nsenter --net --target $0 sh -ec 'ip link set lo up; ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up
ip route add 172.16.0.0/12 via 10.88.0.1'
"""
_WHO_ASKS = """
import socket
with socket.create_server(("", 80), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("ready", flush=True)
    while True:
        connection, (address, *_) = server.accept()
        connection.sendall(address.removeprefix("::ffff:").encode())
        connection.close()
"""
ASK = """
import socket, sys
protocol, address, port = sys.argv[1:]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as asking:
    asking.settimeout(2)
    asking.connect((address, int(port)))
    if protocol == "udp":
        asking.sendall(b"who am I?")
    answer = b""
    while part := asking.recv(9999):
        answer += part
        if protocol == "udp":
            break
    print(answer.decode())
"""


@contextmanager
def network_beyond(hub):
    """Yield a function that runs a command there; its `inside` is what brings a command there."""
    sandbox = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    wait_until(lambda: open(f"/proc/{sandbox.pid}/comm").read() == "sleep\n", "the namespace")
    subprocess.run([*hub.inside, "sh", "-ec", _NETWORK, str(sandbox.pid)], check=True)
    inside = ["nsenter", "--net", "--target", str(sandbox.pid)]
    server = subprocess.Popen([*inside, "/usr/bin/python3", "-c", _WHO_ASKS], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    try:

        def run(*command):
            return subprocess.run([*inside, *command], capture_output=True, text=True)

        run.inside = inside
        yield run
    finally:
        for process in (server, sandbox):
            process.kill()
            process.wait()


def asked(run, address, port, protocol="tcp"):
    """Return what a server says, or the last line of the error, if `run` runs the client."""
    done = run("/usr/bin/python3", "-c", ASK, protocol, address, str(port))
    return done.stdout.strip() or done.stderr.splitlines()[-1]

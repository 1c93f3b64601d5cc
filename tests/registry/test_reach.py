"""To which addresses a registry may lead, as the network sees it: every address is there, and every name resolves."""

import ctypes
import os
import subprocess
import threading

import pytest
from conftest import over_etc
from images import Image, tar
from misbehaving import Registry, Server

pytestmark = pytest.mark.needs("root")

CLONE_NEWNET = 0x40000000
PUBLIC, INSIDE, BESIDE, METADATA = "11.0.0.1", "10.9.8.7", "192.168.7.6", "169.254.169.254"
NAMES = {
    "public.example": PUBLIC,
    "other.example": "11.0.0.2",
    "inside.example": INSIDE,
    "loop.example": "127.0.0.1",
    "metadata.example": METADATA,
    "localhost": "127.0.0.1",
}


class Network:
    """A network namespace whose loopback device has addresses of every kind, and the /etc/hosts that pyfetch sees."""

    def __init__(self, pyfetch):
        addresses = [PUBLIC, "11.0.0.2", INSIDE, BESIDE, METADATA, "64:ff9b::7f00:1", "64:ff9b::b00:2"]
        commands = ["ip link set lo up", *(f"ip address add {address} dev lo" for address in addresses)]
        command = ["unshare", "--net", "sh", "-c", " && ".join([*commands, "echo", "exec sleep infinity"])]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"\n"
        self._servers = []
        (pyfetch.folder / "etc").mkdir()
        self._hosts = pyfetch.folder / "etc/hosts"
        self.resolve({})
        over_etc(pyfetch)
        pyfetch.command = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *pyfetch.command]

    def resolve(self, changed):
        self._hosts.write_text("".join(f"{address} {name}\n" for name, address in {**NAMES, **changed}.items()))

    def serve(self, kind, address, port):
        """Start a server in there. A socket stays in the network namespace that it was made in."""
        thread = threading.Thread(target=self._serve, args=(kind, address, port))
        thread.start()
        thread.join()
        return self._servers[-1]

    def _serve(self, kind, address, port):
        namespace = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        assert ctypes.CDLL(None).setns(namespace, CLONE_NEWNET) == 0
        os.close(namespace)
        self._servers.append(kind(address, port))

    def close(self):
        for server in self._servers:
            server.close()
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()


@pytest.fixture
def network(pyfetch):
    network = Network(pyfetch)
    yield network
    network.close()


@pytest.fixture
def everywhere(network):
    """A server at port 6000 of every address."""
    server = network.serve(Server, "::", 6000)
    server.answer = lambda handler: handler.reply(200, b'{"token": "t"}')
    return server


ELSEWHERE = ["0", "127.1", "2130706433", "0x7f.1", "127.0.0.1", "localhost", "loop.example", "metadata.example"]
ELSEWHERE += [METADATA, "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"]
NEIGHBOURS = [INSIDE, "inside.example", "[::ffff:10.9.8.7]"]


def challenge(registry, place):
    """Make `registry` ask for tokens of `place`."""
    realm = f'Bearer realm="http://{place}:6000/token",service="x"'

    def before(handler):
        if handler.path == "/v2/" or handler.headers.get("Authorization") == "Bearer t":
            return False
        handler.reply(401, b"{}", WWW_Authenticate=realm)
        return True

    registry.before = before


def redirect(registry, place):
    """Make `registry` send whoever asks for a blob to `place`."""
    registry.before = lambda h: "/blobs/" in h.path and (h.reply(307, Location=f"http://{place}:6000/x"), True)[1]


@pytest.mark.parametrize("lead", [challenge, redirect])
@pytest.mark.parametrize("place", ELSEWHERE + NEIGHBOURS)
def test_a_public_registry_leads_to_no_address_of_ours(pyfetch, network, everywhere, lead, place):
    registry = network.serve(Registry, PUBLIC, 5000)
    registry.add(Image(tar("x")))
    lead(registry, place)
    status, error = pyfetch.fails("public.example:5000/test:1", "--insecure", "--retries", "0")

    assert (status, everywhere.requests) == (6, [])
    assert "inside our own network or machine" in error


@pytest.mark.parametrize("place", ["other.example", "[64:ff9b::b00:2]", INSIDE, "inside.example", BESIDE])
def test_a_registry_inside_our_network_leads_to_its_neighbours_and_to_the_internet(pyfetch, network, everywhere, place):
    registry = network.serve(Registry, INSIDE, 5000)
    registry.add(Image(tar("x")))
    challenge(registry, place)

    assert pyfetch.ok("inside.example:5000/test:1", "--insecure")
    assert [r.path.partition("?")[0] for r in everywhere.requests] == ["/token"]


def test_a_registry_inside_our_network_may_have_its_blobs_at_a_neighbour(pyfetch, network, everywhere):
    registry = network.serve(Registry, INSIDE, 5000)
    image = Image(tar("x"))
    registry.add(image)
    place = f"http://{BESIDE}:6000"
    registry.before = lambda h: "/blobs/" in h.path and (h.reply(307, Location=place + h.path), True)[1]
    everywhere.answer = lambda h: h.reply(200, image.blobs[h.path.rpartition("/")[2]])

    assert pyfetch.ok("inside.example:5000/test:1", "--insecure")
    assert len(everywhere.requests) == 2  # the config and the layer


@pytest.mark.parametrize("lead", [challenge, redirect])
@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_registry_inside_our_network_does_not_lead_into_our_machine(pyfetch, network, everywhere, lead, place):
    registry = network.serve(Registry, INSIDE, 5000)
    registry.add(Image(tar("x")))
    lead(registry, place)
    status, _ = pyfetch.fails("inside.example:5000/test:1", "--insecure", "--retries", "0")

    assert (status, everywhere.requests) == (6, [])


def test_a_name_that_gets_another_address_meanwhile_does_not_lead_there(pyfetch, network):
    registry = network.serve(Registry, PUBLIC, 5000)
    inside = network.serve(Registry, "127.0.0.1", 5000)
    name = registry.add(Image(tar("x"))).replace(registry.host, "public.example:5000")

    def rebind(handler):
        if "/blobs/" not in handler.path:
            return False
        network.resolve({"public.example": "127.0.0.1"})
        handler.hang_up()
        return True

    registry.before = rebind
    status, error = pyfetch.fails(name, "--insecure", "--retries", "1")

    assert (status, inside.requests) == (6, [])
    assert "127.0.0.1" in error


@pytest.mark.parametrize("place", ["127.1", "0", "2130706433", METADATA, INSIDE])
def test_a_proxy_is_not_asked_for_addresses_of_ours(pyfetch, network, everywhere, place):
    registry = network.serve(Registry, PUBLIC, 5000)
    proxy = network.serve(Registry, "10.9.8.7", 3128)
    proxy.blobs, proxy.tags = registry.blobs, registry.tags
    registry.add(Image(tar("x")))
    redirect(proxy, place)
    before = proxy.before

    def absolute(handler):
        handler.path = "/" + handler.path.partition("://")[2].partition("/")[2]
        return before(handler)

    proxy.before = absolute
    status, _ = pyfetch.fails(
        "public.example:5000/test:1", "--insecure", "--retries", "0", env={"http_proxy": f"http://{INSIDE}:3128"}
    )

    assert status == 6
    assert {r.path.partition("/v2/")[0] for r in proxy.requests} == {"http://public.example:5000"}

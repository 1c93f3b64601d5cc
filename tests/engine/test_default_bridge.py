"""The default bridge as `serve` is told: two engines on one machine, none, one that is there, addresses, IPv6."""

import os
import signal
import subprocess
import threading

import pytest
from daemon import PYRUND, Daemon
from outside import asked, network_beyond

SERVE = "exec nc -ll -p 80 -e echo hello"


@pytest.fixture
def start(hub, tmp_path):
    """A function that starts daemons beside each other, with busybox, or starts one again with other options.

    Afterwards no bridge of theirs is left, whose addresses the daemons of other tests could not have.
    """
    started = {}
    before = interfaces(hub)

    def begin(name, *options):
        if name in started:
            started[name].stop()
        started[name] = Daemon(hub, tmp_path / name, *options)
        started[name].ok("pull", "-q", "busybox")
        return started[name]

    yield begin
    for daemon in started.values():
        if daemon.process.poll() is not None:
            continue
        daemon.remove_all()
        daemon.ok("network", "prune", "-f")
        daemon.stop()
        assert daemon.left_over() == {}
        assert "Traceback" not in daemon.log.read_text()
    for name in interfaces(hub) - before:
        hub.run("ip", "link", "delete", name)


def interfaces(hub):
    return {line.split(": ")[1].partition("@")[0] for line in hub.run("ip", "-o", "link").stdout.splitlines()}


def refused(hub, folder, *options):
    """Return the line that a daemon says which does not begin."""
    command = [*hub.inside, PYRUND, "serve", "-H", f"unix://{folder}/s"]
    command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/run", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def serving(engine, name, *options):
    engine.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", SERVE)
    return engine.inspect(name, ".NetworkSettings.IPAddress")


def addresses(hub, bridge):
    lines = hub.run("ip", "-o", "addr", "show", "dev", bridge, "scope", "global").stdout.splitlines()
    return [line.split()[3] for line in lines]


# Two engines


def test_an_engine_does_not_share_the_bridge_of_another(hub, start, tmp_path):
    first = start("first")
    serving(first, "web")

    line = refused(hub, tmp_path / "second")
    assert f"the engine of {first.run} has the bridge and the table pyrund here" in line
    assert "--bridge" in line
    first.kill()
    assert str(first.run) in refused(hub, tmp_path / "second")  # its container has gone on
    first.start()
    first.ok("rm", "-f", "web")
    first.stop()
    start("second").ok("run", "--rm", "busybox", "true")


def test_an_engine_waits_for_the_last_process_of_another_that_has_ended(start):
    first = start("first")
    serving(first, "web")  # it has the bridge and the table
    first.ok("rm", "-f", "web")
    launcher = first.children()["launcher"]
    os.kill(launcher, signal.SIGSTOP)
    first.stop()
    continues = threading.Timer(0.5, os.kill, (launcher, signal.SIGCONT))
    continues.start()
    start("second").ok("run", "--rm", "busybox", "true")
    continues.join()


def test_an_engine_that_came_later_to_the_bridge_is_told_so(start):
    first, second = start("first"), start("second")  # nobody has used a bridge yet
    serving(first, "web")

    assert f"the engine of {first.run} has the bridge" in second.fails("run", "--rm", "busybox", "true")[1]

    assert second.ok("run", "--rm", "--network", "none", "busybox", "echo", "none") == "none"


def test_two_engines_with_bridges_of_their_own_are_apart_and_both_reach_the_world(hub, start):
    hub.run("sysctl", "net.ipv4.ip_forward=0")  # so that the first one lets nobody else have packets forwarded
    with network_beyond(hub) as outside:
        first, second = start("first"), start("second", "--bridge", "second0")
        one, two = serving(first, "web", "-p", "8081:80"), serving(second, "web", "-p", "8082:80")
        look = "nc -w 2 {} 80 </dev/null || echo closed"

        assert one != two
        for engine, other, port in ((first, two, 8081), (second, one, 8082)):
            assert asked(outside, "10.88.0.1", port) == "hello"
            assert asked(hub.run, "127.0.0.1", port) == "hello"
            words = ("run", "--rm", "busybox", "sh", "-c")
            assert engine.ok(*words, look.format("10.88.0.2")) == "10.88.0.1"
            assert engine.ok(*words, look.format(other)).endswith("closed")
        first.ok("rm", "-f", "web")
        assert asked(outside, "10.88.0.1", 8082) == "hello"


# A bridge that is there, or none


def test_a_bridge_that_is_there_is_used_with_its_address_and_left_there(hub, start):
    hub.run("ip", "link", "add", "mine0", "type", "bridge")
    hub.run("ip", "addr", "add", "10.44.0.5/24", "dev", "mine0")
    engine = start("engine", "--bridge", "mine0")

    assert serving(engine, "web") == "10.44.0.1"
    assert engine.inspect("web", ".NetworkSettings.Gateway") == "10.44.0.5"
    assert engine.inspect("bridge", ".Options")["com.docker.network.bridge.name"] == "mine0"
    engine.ok("rm", "-f", "web")
    start("engine")  # with the usual bridge again
    assert addresses(hub, "mine0") == ["10.44.0.5/24"]


def test_without_a_default_bridge_containers_have_no_network_unless_they_name_one(hub, start):
    engine = start("engine", "--bridge", "none")

    assert engine.ok("network", "ls", "--format", "{{.Name}}").split() == ["host", "none"]
    assert "eth0" not in engine.ok("run", "--name", "web", "busybox", "ip", "addr")
    assert engine.inspect("web", ".HostConfig.NetworkMode") == "none"
    engine.ok("network", "create", "own")
    assert "eth0" in engine.ok("run", "--rm", "--network", "own", "busybox", "ip", "addr")
    assert start("engine").ok("network", "ls", "--format", "{{.Name}}").split() == ["bridge", "host", "none", "own"]


def test_an_engine_without_a_default_bridge_begins_again_while_containers_run(start):
    engine = start("engine", "--bridge", "none")
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")

    engine.kill()
    engine.start()
    assert engine.inspect("web", ".State.Running")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bridge", "lo"), "existing interface lo is not a bridge"),
        (("--bridge", "a/b"), "bridge: 'a/b' is not the name of an interface"),
        (("--bridge", "br7", "--bip", "10.1.0.1/24"), "You specified -b & --bip, mutually exclusive options."),
        (("--bip", "fd00::1/64"), "bip: 'fd00::1/64' is not the address of a host in a network"),
        (("--ipv6", "--fixed-cidr-v6", "10.0.0.0/8"), "fixed-cidr-v6: '10.0.0.0/8' is not a network such as"),
        (("--ipv6", "--fixed-cidr-v6", "2001:db8::1/64"), "fixed-cidr-v6: '2001:db8::1/64' is not a network such as"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(hub, tmp_path, options, words):
    assert words in refused(hub, tmp_path, *options)


# Addresses


def test_other_addresses_and_names_wait_until_no_container_runs(hub, start):
    engine = start("engine", "--bridge", "first0")
    serving(engine, "web")
    before = addresses(hub, "first0")
    engine.stop()

    line = refused(hub, engine.directory, "--bridge", "second0")
    assert "bridge: it stays first0 while containers run; stop them first" in line
    engine.start()
    assert addresses(hub, "first0") == before
    engine.ok("rm", "-f", "web")
    assert serving(start("engine", "--bip", "10.45.0.9/24"), "web") == "10.45.0.1"
    assert "first0" not in hub.run("ip", "link").stdout  # we had made it
    again = start("engine", "--bip", "10.46.0.9/24")
    assert "pyrund: warning: pyrund0 stays as it is while containers run" in again.log.read_text()
    assert again.inspect("bridge", "(index .IPAM.Config 0).Gateway") == "10.45.0.9"
    assert again.inspect("web", ".NetworkSettings.IPAddress") == "10.45.0.1"
    again.ok("rm", "-f", "web")
    assert serving(start("engine", "--bip", "10.46.0.9/24"), "web") == "10.46.0.1"
    assert addresses(hub, "pyrund0") == ["10.46.0.9/24"]


def test_the_default_bridge_gets_ipv6_and_loses_it_again(hub, start):
    engine = start("engine", "--ipv6", "--fixed-cidr-v6", "2001:db8:7::/64")
    serving(engine, "web", "-p", "8083:80")
    shown = engine.inspect("web", ".NetworkSettings.Networks.bridge")

    assert engine.inspect("bridge", ".EnableIPv6") is True
    assert {"Subnet": "2001:db8:7::/64", "Gateway": "2001:db8:7::1"} in engine.inspect("bridge", ".IPAM.Config")
    assert (shown["GlobalIPv6Address"], shown["IPv6Gateway"]) == ("2001:db8:7::2", "2001:db8:7::1")
    assert "default via 2001:db8:7::1" in engine.ok("exec", "web", "ip", "-6", "route")
    assert {one["HostIp"] for one in engine.inspect("web", ".NetworkSettings.Ports")["80/tcp"]} == {"0.0.0.0", "::"}
    engine.ok("rm", "-f", "web")
    without = start("engine")
    serving(without, "web")
    assert without.inspect("web", ".NetworkSettings.Networks.bridge.GlobalIPv6Address") == ""
    assert [one for one in addresses(hub, "pyrund0") if ":" in one] == []


def test_local_addresses_of_ipv6_are_chosen_if_none_are_given(start, tmp_path):
    config = tmp_path / "daemon.json"
    config.write_text('{"ipv6": true, "bridge": "six0", "registry-mirrors": ["http://127.0.0.1:5000"]}')
    engine = start("engine", "--config-file", config)

    assert engine.ok("run", "--rm", "busybox", "ip", "-6", "addr", "show", "dev", "eth0").count("inet6 fd") == 1
    assert os.listdir(engine.data / "containers") == []

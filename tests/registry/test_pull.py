"""A registry image becomes a bundle that runs."""

import json
import os
import subprocess

import pytest
from conftest import push
from images import Image, busybox_layer, entry, index_of, tar


def run_bundle(path, *arguments):
    name = f"pyfetch-{os.getpid()}-{os.path.basename(path)}"
    command = ["runc", "run", "-b", str(path), *arguments, name]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_a_bundle_of_a_registry_image_runs(pyfetch, docker_registry, busybox, tmp_path):
    name = push(busybox, tmp_path / "layout", f"{docker_registry}/busybox:1")
    done = run_bundle(pyfetch.ok(name))

    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_a_flat_bundle_runs(pyfetch, registry, busybox):
    path = pyfetch.ok("pull", registry.add(busybox), "bundle", "--copy")
    done = run_bundle(path)

    assert path == str(pyfetch.folder / "bundle")
    assert done.stdout == "hello\n"


def test_arguments_after_two_dashes_replace_the_command(pyfetch, registry, busybox):
    done = run_bundle(pyfetch.ok(registry.add(busybox), "--", "echo", "-n", "other"))

    assert done.stdout == "other"


def test_what_a_container_writes_stays_in_its_bundle(pyfetch, registry, busybox):
    name = registry.add(busybox)
    first, second = pyfetch.ok(name, "--", "touch", "/etc/new"), pyfetch.ok(name)
    run_bundle(first)

    assert os.path.exists(f"{first}/rootfs/etc/new")
    assert not os.path.exists(f"{second}/rootfs/etc/new")


def test_a_read_only_bundle_cannot_be_written_but_its_tmp_can(pyfetch, registry, busybox):
    script = "touch /x 2>/dev/null || touch /tmp/x && echo kept"
    done = run_bundle(pyfetch.ok(registry.add(busybox), "--read-only", "--", "sh", "-c", script))

    assert done.stdout == "kept\n"


def test_the_network_is_loopback_only_unless_the_hosts_is_asked_for(pyfetch, registry, busybox):
    name = registry.add(busybox)
    links = ("--", "ls", "/sys/class/net")
    none = run_bundle(pyfetch.ok(name, *links)).stdout
    before = set(os.listdir("/sys/class/net"))
    host = run_bundle(pyfetch.ok(name, "--network", "host", *links)).stdout

    assert none == "lo\n"
    assert before & set(os.listdir("/sys/class/net")) <= set(host.split())  # other tests make interfaces meanwhile


@pytest.mark.parametrize("network", ["none", "host"])
def test_localhost_has_an_address(pyfetch, registry, busybox, network):
    script = "cat /etc/hosts /etc/resolv.conf && hostname"
    done = run_bundle(
        pyfetch.ok(registry.add(busybox), "--network", network, "--hostname", "h1", "--", "sh", "-c", script)
    )

    assert "127.0.0.1" in done.stdout
    assert done.stdout.endswith("h1\n")


# Answers each question for an address with 192.0.2.9, until it is killed.
NAME_SERVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("192.0.2.1", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\\0", 12) + 5
    has_address = query[end - 4 : end - 2] == b"\\0\\1"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\x09" if has_address else b""
    header = query[:2] + b"\\x85\\x80\\0\\1\\0" + bytes([has_address]) + bytes(4)
    server.sendto(header + query[12:end] + answer, client)
"""
# $1 is the bundle, $2 the resolv.conf, $3 the network, $4 the name server. All in namespaces of its own, and with a
# wire from the container to it.
CONNECTED = """
set -e
mount --bind "$2" /etc/resolv.conf
ip link set lo up
ip link add outside type veth peer name inside
ip addr add 192.0.2.1/24 dev outside
ip link set outside up
runc create -b "$1" --pid-file "$1/pid" connected-$$ </dev/null
if [ "$3" = none ]; then
    ip link set inside netns $(cat "$1/pid")
    nsenter -t $(cat "$1/pid") -n sh -c 'ip addr add 192.0.2.2/24 dev inside; ip link set inside up'
fi
python3 -c "$4" >"$1/server" & server=$!
until [ -s "$1/server" ]; do sleep .05; done
runc start connected-$$
while runc ps connected-$$ | grep -q nslookup; do sleep .05; done
kill $server
runc delete -f connected-$$
"""


@pytest.mark.needs("root", "runc", "ip", "nsenter")
@pytest.mark.parametrize("network", ["none", "host"])
def test_names_are_resolved_once_there_is_a_network(pyfetch, registry, busybox, network):
    (pyfetch.folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    name = registry.add(busybox)
    with_file = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"']
    pyfetch.command = [*with_file, str(pyfetch.folder / "resolv.conf"), *pyfetch.command]
    command = ["busybox", "nslookup", "-type=a", "example.org"]
    bundle = pyfetch.ok(name, "bundle", "--copy", "--network", network, "--", *command)
    resolv_conf = str(pyfetch.folder / "resolv.conf")
    script = ["sh", "-c", CONNECTED, "sh", bundle, resolv_conf, network, NAME_SERVER]
    done = subprocess.run(["unshare", "--net", "--mount", *script], capture_output=True, text=True, timeout=30)

    assert "192.0.2.9" in done.stdout, done.stderr


def test_settings_reach_the_container(pyfetch, registry, busybox):
    options = ["-e", "B=c", "-e", "A=changed", "--user", "web", "--workdir", "/tmp"]
    done = run_bundle(pyfetch.ok(registry.add(busybox), *options, "--", "sh", "-c", "id; pwd; echo $A$B"))

    assert done.stdout == "uid=33(web) gid=34(web) groups=8(mail),34(web),99(many)\n/tmp\nchangedc\n"


def test_a_container_has_dockers_capabilities_and_seccomp_profile(pyfetch, registry, busybox):
    script = "cat /proc/self/status"
    status = run_bundle(pyfetch.ok(registry.add(busybox), "--", "sh", "-c", script)).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert fields["CapBnd"] == fields["CapEff"] == "00000000a80425fb"
    assert fields["CapInh"] == fields["CapAmb"] == "0000000000000000"
    assert fields["Seccomp"] == "2"


def test_the_platform_of_this_machine_is_chosen_from_an_index(pyfetch, registry):
    images = [Image(tar("arm"), platform=("linux", "arm64")), Image(tar("intel"))]
    platforms = [{"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"}]
    attestation = {"os": "unknown", "architecture": "unknown"}
    pairs = [(Image(tar("none")), attestation), *zip(images, platforms)]
    registry.blobs, registry.tags["1"] = index_of(*pairs)
    name = f"{registry.host}/test:1"

    assert os.listdir(pyfetch.copy(name)) == ["intel"]
    pyfetch.ok("rm", "bundle")
    assert os.listdir(pyfetch.copy(name, "--platform", "linux/arm64")) == ["arm"]
    pyfetch.ok("rm", "bundle")
    assert os.listdir(pyfetch.copy(name, env={"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})) == ["arm"]


def test_a_platform_that_is_not_there_is_an_error_that_lists_those_that_are(pyfetch, registry):
    registry.blobs, registry.tags["1"] = index_of((Image(tar("x")), {"os": "linux", "architecture": "amd64"}))
    status, error = pyfetch.fails(f"{registry.host}/test:1", "--platform", "linux/s390x")

    assert status == 3
    assert "no matching manifest for linux/s390x in the manifest list entries" in error
    assert "exists for linux/amd64" in error


def test_an_index_in_an_index_is_followed(pyfetch, registry):
    blobs, inner = index_of((Image(tar("x")), {"os": "linux", "architecture": "amd64"}))
    outer = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
    image = Image(tar("x"))
    registry.blobs = {**blobs, image.add(outer, "")["digest"]: outer}
    registry.tags["1"] = image.add(outer, "")
    registry.blobs.update(image.blobs)

    assert os.listdir(pyfetch.copy(f"{registry.host}/test:1")) == ["x"]


def test_an_image_for_another_platform_is_used_with_a_warning(pyfetch, registry):
    name = registry.add(Image(tar("x"), platform=("linux", "arm64")))
    done = pyfetch.run(name, "--copy")

    assert done.returncode == 0
    assert (
        "WARNING: The requested image's platform (linux/arm64) does not match the detected host platform" in done.stderr
    )


def test_a_plain_manifest_of_another_platform_than_asked_for_is_refused(pyfetch, registry):
    status, error = pyfetch.fails(registry.add(Image(tar("x"))), "--platform", "linux/arm64")

    assert status == 3
    assert "linux/amd64" in error


def test_an_image_that_is_not_there_is_not_found(pyfetch, registry):
    status, error = pyfetch.fails(f"{registry.host}/test:2")

    assert status == 3
    assert f"manifest for {registry.host}/test:2 not found" in error
    assert "manifest unknown" in error


def test_a_registry_that_is_not_there_is_a_network_error(pyfetch):
    status, error = pyfetch.fails("127.0.0.1:1/test", "--retries", "0")

    assert status == 5
    assert "Connection refused" in error


def test_a_bundle_of_another_image_is_not_replaced(pyfetch, registry, busybox):
    first, second = registry.add(busybox), registry.add(Image(tar("x")), "2")
    pyfetch.ok(first, "bundle")
    status, error = pyfetch.fails(second, "bundle")

    assert status == 2
    assert "pyfetch rm" in error
    assert os.path.exists(pyfetch.folder / "bundle/rootfs/bin/sh")


def test_a_folder_that_is_no_bundle_is_not_touched(pyfetch, registry, busybox):
    (pyfetch.folder / "mine").mkdir()
    (pyfetch.folder / "mine/file").write_text("x")
    status, error = pyfetch.fails(registry.add(busybox), "mine")

    assert status == 2
    assert os.listdir(pyfetch.folder / "mine") == ["file"]
    assert not registry.requests


def test_the_same_bundle_again_is_the_same_bundle(pyfetch, registry, busybox):
    name = registry.add(busybox)
    first = pyfetch.ok(name, "bundle")
    os.unlink(f"{first}/rootfs/bin/ls")

    assert pyfetch.ok(name, "bundle") == first
    assert not os.path.lexists(f"{first}/rootfs/bin/ls")


def test_a_bundle_is_for_its_owner_only(pyfetch, registry, busybox):
    path = pyfetch.ok(registry.add(busybox), "bundle")

    assert os.stat(path).st_mode & 0o077 == 0
    assert os.stat(pyfetch.store).st_mode & 0o077 == 0


def test_an_image_without_layers_makes_an_empty_root(pyfetch, registry):
    path = pyfetch.ok(registry.add(Image()))

    assert os.listdir(f"{path}/rootfs") == []


def test_an_image_without_a_command_needs_one_before_its_layers_are_fetched(pyfetch, registry):
    name = registry.add(Image(busybox_layer(), config={"Cmd": None}))
    status, error = pyfetch.fails(name, "bundle")

    assert status == 2
    assert registry.count("GET", "/blobs/") == 1  # the config
    assert "no command specified" in error
    assert not os.path.exists(pyfetch.folder / "bundle")
    assert pyfetch.ok(name, "bundle", "--", "true")


def test_a_large_file_goes_to_the_disk_while_it_grows(pyfetch, registry):
    size = 40 << 20
    smaller = entry("some", data=bytes(64 << 10)), entry("small", data=bytes(32 << 10))
    image = Image(tar(entry("large", data=os.urandom(size)), *smaller))
    trace = pyfetch.folder / "trace"
    pyfetch.command = [
        "strace",
        "-fqqy",
        "-e",
        "trace=sync_file_range,fsync,syncfs",
        "-o",
        str(trace),
        *pyfetch.command,
    ]
    bundle = pyfetch.ok(registry.add(image))
    calls = trace.read_text().split("\n")
    begun = [index for index, line in enumerate(calls) if "sync_file_range(" in line]
    of_blob = [index for index in begun if "/partial/" in calls[index]]
    path = calls[of_blob[0]].partition("<")[2].partition(">")[0]
    blob = next(index for index, line in enumerate(calls) if "fsync(" in line and path in line)
    layer = next(index for index, line in enumerate(calls) if "syncfs(" in line)

    assert not any(" = -1 " in line for line in calls)
    assert len(of_blob) == size // (16 << 20)
    assert len([index for index in begun if "/large>" in calls[index]]) == size // (16 << 20) + 1  # and the rest
    assert len([index for index in begun if "/some>" in calls[index]]) == 1
    assert not any("/small>" in line for line in calls)
    assert max(of_blob) < blob and max(begun) < layer
    assert os.stat(f"{bundle}/rootfs/large").st_size == size

"""What `run` and `create` ask for: pyrund's own client sends what docker's does."""

import json
import socket
import subprocess
import threading

import pytest
from daemon import DOCKER, PYRUND, read_until


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """A socket that answers pings, and refuses all else; and the bodies that were sent to create."""
    path = tmp_path_factory.mktemp("listener") / "docker.sock"
    bodies = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=lambda: serve(listening, bodies), daemon=True).start()
        yield path, bodies
        listening.shutdown(socket.SHUT_RDWR)


def serve(listening, bodies):
    while True:
        try:
            connection = listening.accept()[0]
        except OSError:
            return
        threading.Thread(target=answer, args=(connection, bodies), daemon=True).start()


def answer(connection, bodies):
    with connection:
        while True:
            try:
                head, _, body = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
            except AssertionError:
                return
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            while len(body) < int(length.split(b":")[1]):
                body += connection.recv(65536)
            if b"/containers/create" in head.split(b"\r\n")[0]:
                bodies.append((head.split(b"\r\n")[0].split(b" ")[1].partition(b"create")[2], json.loads(body)))
            status, text = (b"200 OK", b"OK") if b"/_ping" in head else (b"500 No", b'{"message":"seen"}')
            is_head = head.startswith(b"HEAD")
            length = b"Content-Length: %d\r\n\r\n%b" % (len(text), b"" if is_head else text)
            connection.sendall(b"HTTP/1.1 %b\r\nApi-Version: 1.51\r\nOstype: linux\r\n%b" % (status, length))


def without_empty(value):
    """Return JSON without what stands for nothing; and sorted, as older clients have no order, but for commands."""
    if isinstance(value, list):
        return [without_empty(one) for one in value]
    if not isinstance(value, dict):
        return value
    value = {key: without_empty(one) for key, one in value.items()}
    value = {key: one for key, one in value.items() if one not in (None, "", 0, False, [], {}, [0, 0])}
    ordered = ("Cmd", "Entrypoint", "Test")
    is_sorted = {key: isinstance(one, list) and key not in ordered for key, one in value.items()}
    return {key: sorted(one, key=json.dumps) if is_sorted[key] else one for key, one in value.items()}


def asked(listener, client, *words):
    path, bodies = listener
    bodies.clear()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(path.parent), "FROM_HERE": "value"}
    command = [client, "-H", f"unix://{path}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=path.parent, timeout=20)
    assert len(bodies) == 1, done.stderr
    return bodies[0][0], without_empty(bodies[0][1])


@pytest.mark.parametrize(
    "words",
    [
        "image",
        "image command -x --y z",
        "--name web image",
        "-i image",
        "-a stdout image",
        "-a stdin -a stderr -i image",
        "-e A=b -e FROM_HERE -e NOT_HERE -e EMPTY= image",
        "--env-file {0}/env -e A=last image",
        "-l a=b -l flag --label-file {0}/labels image",
        "-h box --domainname d -u 1:2 -w /w --entrypoint /bin/x image",
        "--entrypoint= image",
        "-v /a:/b -v /c:/d:ro,z -v name:/e -v /anonymous image",
        "--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave image",
        "--mount type=volume,source=v,target=/v,volume-nocopy,volume-driver=local,volume-opt=a=b,volume-label=c=d i",
        "--mount type=tmpfs,target=/t,tmpfs-size=10m,tmpfs-mode=1770 --mount target=/anonymous image",
        "--tmpfs /t --tmpfs /u:size=1m,exec --volumes-from other:ro --volume-driver local image",
        "-p 80 -p 8080:80 -p 127.0.0.1:81:81/udp -p [::1]:82:82 -P --expose 90-92 --expose 5/udp image",
        "-p 127.0.0.1::83 -p 8000-8002:9000-9002 -p 7000-7005:70 -p published=99,target=98,protocol=udp image",
        "-m 1.5g --memory-swap -1 --memory-reservation 512m --memory-swappiness 10 --shm-size 128k image",
        "--cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit 100 --blkio-weight 300 image",
        "--blkio-weight-device /dev/null:200 --device-read-bps /dev/null:1mb --device-write-bps /dev/zero:2g image",
        "--device-read-iops /dev/null:10 --device-write-iops /dev/zero:20 --device-write-iops /dev/null:30 image",
        "--cpu-rt-period 1000 --cpu-rt-runtime 500 --disable-content-trust image",
        "--gpus all image",
        "--gpus 2 image",
        '--gpus "device=0,1",driver=nvidia,capabilities=utility image',
        "--cpu-period 1000 --cpu-quota 500 --oom-score-adj -5 --oom-kill-disable image",
        "--ulimit nofile=100:200 --ulimit core=0 --ulimit nproc=-1:-1 image",
        "--cap-add NET_ADMIN --cap-drop ALL --privileged --read-only --init image",
        "--security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt apparmor=x image",
        "--security-opt systempaths=unconfined image",
        "--security-opt systempaths=unconfined --security-opt no-new-privileges image",
        "--device /dev/null --device /dev/zero:/dev/z --device /dev/full:/dev/f:r --device /dev/x:rw image",
        "--device-cgroup-rule a\u00a0*:*\u00a0rwm image",
        "--restart on-failure:3 --stop-signal INT --stop-timeout 5 image",
        "--rm --restart no image",
        "--log-driver json-file --log-opt max-size=1m --log-opt max-file=3 --storage-opt size=1g image",
        "--sysctl net.ipv4.ip_forward=1 --group-add 5 --group-add wheel image",
        "--dns 1.1.1.1 --dns-search example.org --dns-opt ndots:2 --add-host a:1.2.3.4 image",
        "--pid host --ipc private --uts host --userns host --cgroup-parent /x --cgroupns host --runtime r image",
        "--network host image",
        "--network container:web image",
        "--network mine --network-alias a --network-alias b --ip 10.0.0.5 --link db:database image",
        "--network mine --ip6 fd00::5 --link-local-ip 169.254.1.1 image",
        "--net none --isolation default image",
        "--health-cmd true --health-interval 1m30s --health-timeout 500ms --health-retries 3 i",
        "--health-start-period 5s --health-cmd x image",
        "--no-healthcheck image",
        "--platform linux/amd64 image",
    ],
)
def test_the_request_is_docker_s(listener, words):
    folder = listener[0].parent
    (folder / "env").write_text("# comment\nFROM_FILE=1\nFROM_HERE\nNOT_HERE\nA=first\n  INDENTED=2\n")
    (folder / "labels").write_text("of=file\n# comment\nbare\n")
    arguments = [word.replace("\u00a0", " ").format(folder) for word in words.split(" ")]

    (theirs, expected), (query, own) = (asked(listener, client, "create", *arguments) for client in (DOCKER, PYRUND))

    assert own == expected
    assert query == theirs

"""The engine of a user who is not root: he is made for the tests, in the mount namespace of their registry alone."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from daemon import PYRUND, Daemon, kill, wait_until
from outside import asked, network_beyond

USER, FIRST_ID, IDS = 4321, 300_000, 65_536
LONE_USER = 4322  # who has no subordinate ids
# The node is there for all on other machines.
SET_UP = f"""
echo tester:x:{USER}:{USER}::/:/bin/sh >> /etc/passwd
echo lone:x:{LONE_USER}:{LONE_USER}::/:/bin/sh >> /etc/passwd
for file in /etc/subuid /etc/subgid; do echo tester:{FIRST_ID}:{IDS} >> $file; done
mkdir -p /dev/net
mount -t tmpfs tun /dev/net
mknod -m 666 /dev/net/tun c 10 200
"""
# An uplink that begins while the container asks takes some moments.
REACHED = "until nc -w 2 10.88.0.2 80 </dev/null | grep .; do sleep 0.1; done"
TCP = "exec nc -ll -p 80 -e echo page"
UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 81))
print("ready", flush=True)
while True:
    data, address = server.recvfrom(99)
    server.sendto(b"heard", address)
"""


class User:
    """The user `uid` with a home and a copy of the program in `directory`, on the host of `hub`."""

    def __init__(self, hub, directory, uid=USER):
        self.directory = directory
        self.home, self.runtime = directory / "home", directory / "run"
        for path in (self.home / ".config/docker", self.runtime):
            path.mkdir(parents=True)
        (self.home / ".config/docker/daemon.json").write_text('{"registry-mirrors": ["http://127.0.0.1:5000"]}')
        self.program = shutil.copy(PYRUND, directory / "pyrund")
        subprocess.run(["chown", "-R", f"{uid}:{uid}", self.home, self.runtime], check=True)
        directory.chmod(0o755)
        self.runtime.chmod(0o700)
        self.data, self.socket = self.home / ".local/share/pyrund", self.runtime / "docker.sock"
        variables = [f"HOME={self.home}", f"XDG_RUNTIME_DIR={self.runtime}", f"PATH={os.environ['PATH']}"]
        ids = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        self.prefix = [*hub.inside, "setpriv", *ids, "env", "-i", *variables]

    def run(self, *words):
        return subprocess.run([*self.prefix, *map(str, words)], capture_output=True, text=True, timeout=60)

    def remove(self):
        subprocess.run(["rm", "-rf", self.directory], check=True)


class UsersDaemon(Daemon):
    """A daemon of the user, at the places that are his."""

    def __init__(self, hub, user):
        self.user = user
        super().__init__(hub, user.directory)

    def start(self):
        self.data, self.run, self.socket = self.user.data, self.user.runtime / "pyrund", self.user.socket
        self._command = [*self.user.prefix, self.user.program, "serve"]
        super().start()


def kill_uplink(of, program="slirp4netns"):
    kill(next(pid for pid, name in processes(of).items() if name.startswith(program)))


def processes(of):
    """Return {pid: name} of all processes of the user `of`; USER has those of his subordinate ids, too."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "status").read_text()  # the owner of the directory is root if the process is not dumpable
            uid = int(status.partition("\nUid:\t")[2].split()[0])
            if uid == of or (of == USER and FIRST_ID <= uid < FIRST_ID + IDS):
                found[int(path.name)] = (path / "comm").read_text().strip()
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def user_s_hub(hub):
    done = hub.run("sh", "-ec", SET_UP)
    assert done.returncode == 0, done.stderr
    yield hub
    hub.run("umount", "/dev/net")


@pytest.fixture(scope="module")
def outside(hub):
    with network_beyond(hub) as run:
        yield run


@pytest.fixture(scope="module")
def engine(user_s_hub):
    yield from serve(user_s_hub, USER)


def serve(hub, uid):
    user = User(hub, new_directory(), uid)
    daemon = UsersDaemon(hub, user)
    try:
        daemon.ok("pull", "busybox")
        yield daemon
        daemon.remove_all()
    finally:
        daemon.stop()
    assert daemon.left_over() == {}
    log = daemon.log.read_text()
    assert "Traceback" not in log, log
    wait_until(lambda: not processes(uid), f"the end of {processes(uid)}")
    user.remove()


def new_directory():
    """Return a directory to which users have a way: pytest's are for root alone."""
    return Path(tempfile.mkdtemp(prefix="rootless", dir="/var/tmp"))


pytestmark = [pytest.mark.usefixtures("removed"), pytest.mark.needs("newuidmap", "slirp4netns", "pasta")]


def wait_for(answer, run, address, port, protocol="tcp"):
    """Wait until the server at a published port says `answer`: it may not listen yet, or the machine is busy."""
    said = []

    def is_said():
        said.append(asked(run, address, port, protocol))
        return said[-1] == answer

    wait_until(is_said, f"{answer}: {said}")


def run(engine, *words):
    return engine.ok("run", "--rm", *words)


def test_root_of_a_container_is_the_user(engine):
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")

    status = Path(f"/proc/{engine.inspect('web', '.State.Pid')}").stat()
    assert (status.st_uid, status.st_gid) == (USER, USER)
    assert engine.ok("exec", "web", "id", "-u") == "0"
    assert engine.ok("exec", "-u", "1000:1000", "web", "id", "-u") == "1000"
    assert engine.ok("ps", "--format", "{{.Names}}") == "web"


def test_other_users_of_a_container_are_subordinate_ids(engine):
    volume = engine.data / "volumes/notes/_data"

    run(engine, "-v", "notes:/v", "busybox", "sh", "-c", "touch /v/root; chmod 777 /v")
    run(engine, "-v", "notes:/v", "-u", "1000:1000", "busybox", "touch", "/v/other")
    assert [(volume / name).stat().st_uid for name in ("root", "other")] == [USER, FIRST_ID + 999]
    engine.ok("volume", "rm", "notes")
    engine.ok("run", "-d", "--name", "web", "-u", "1000:1000", "busybox", "sleep", "1000")
    assert Path(f"/proc/{engine.inspect('web', '.State.Pid')}").stat().st_uid == FIRST_ID + 999


def test_a_part_of_a_volume_is_mounted(engine):
    run(engine, "-v", "notes:/v", "busybox", "mkdir", "/v/part")
    words = ("--mount", "type=volume,src=notes,dst=/x,volume-subpath=part")

    engine.ok("run", "--rm", "--network=none", *words, "busybox", "touch", "/x/here", client=PYRUND)

    assert os.listdir(engine.data / "volumes/notes/_data/part") == ["here"]
    engine.ok("volume", "rm", "notes")


def test_output_logs_and_exit_codes(engine):
    assert run(engine, "--network", "none", "busybox", "echo", "hello") == "hello"
    assert engine.docker("run", "--name", "web", "busybox", "sh", "-c", "echo out; exit 7").returncode == 7
    assert engine.ok("logs", "web") == "out"


def test_top_shows_all_processes(engine):
    engine.ok("run", "-d", "--name", "web", "busybox", "sh", "-c", "sleep 1000 & sleep 2000")
    engine.ok("exec", "-d", "web", "sleep", "3000")

    def shown():
        return {line.split()[-1] for line in engine.ok("top", "web").splitlines() if "sleep" in line}

    wait_until(lambda: {"1000", "2000", "3000"} <= shown(), "all of them")


def test_info_says_that_it_is_rootless(engine):
    info = json.loads(engine.ok("info", "--format", "{{json .}}"))

    assert "name=rootless" in info["SecurityOptions"]
    assert info["DockerRootDir"] == str(engine.data)
    assert info["CgroupDriver"] == "none" and not info["MemoryLimit"]


def test_a_limit_that_cannot_be_set_is_a_warning(engine):
    done = engine.docker("run", "--rm", "--memory", "64m", "busybox", "true")

    assert done.returncode == 0
    assert "does not support memory limit capabilities" in done.stderr


def test_privileged_containers_may_do_what_the_user_may(engine):
    assert run(engine, "--privileged", "busybox", "sh", "-c", "mount -t tmpfs x /tmp && echo mounted") == "mounted"
    assert engine.docker("run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/tmp").returncode != 0


def test_a_file_of_the_host_s_root_stays_closed(engine, tmp_path):
    engine.ok("run", "-d", "--name", "web", "--privileged", "-v", "/etc:/host", "busybox", "sleep", "1000")

    done = engine.docker("exec", "web", "cat", "/host/shadow")
    assert "Permission denied" in done.stderr


def test_a_machine_that_forbids_user_namespaces_is_told_in_one_line(user_s_hub, removed):
    """The limit is that of a user namespace around the engine: nothing else on this machine sees it."""
    user = User(user_s_hub, new_directory())
    around = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-ec"]
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps=-all --inh-caps=-all "$0" serve'
    done = user.run(*around, forbid, user.program)

    assert done.returncode == 1 and done.stderr.count("\n") == 2, done.stderr
    assert "without root, the engine needs a user namespace, which is forbidden here" in done.stderr
    assert "No space left on device: see `pyrun doctor`" in done.stderr
    user.remove()


# Networks


def test_containers_know_each_other_by_name(engine):
    engine.ok("network", "create", "shop")
    engine.ok("run", "-d", "--name", "web", "--network", "shop", "busybox", "sh", "-c", TCP)

    ask = "until nc web 80 < /dev/null; do sleep 0.1; done"
    assert run(engine, "--network", "shop", "busybox", "sh", "-c", ask) == "page"
    engine.ok("rm", "-f", "web")
    engine.ok("network", "rm", "shop")


def test_containers_reach_the_world(engine, outside):
    assert run(engine, "busybox", "nc", "10.88.0.2", "80") == "10.88.0.1"
    assert run(engine, "--network", "host", "busybox", "nc", "10.88.0.2", "80") == "10.88.0.1"


def test_containers_with_ipv6_reach_the_world(engine, outside):
    engine.hub.run("ip", "addr", "add", "fd88::1/64", "dev", "outside0", "nodad")
    outside("ip", "addr", "add", "fd88::2/64", "dev", "eth0", "nodad")
    engine.ok("network", "create", "--ipv6", "six")

    ask = "until nc -w 2 fd88::2 80 </dev/null; do sleep 0.1; done"  # slirp4netns gets its address two seconds late
    assert run(engine, "--network", "six", "busybox", "sh", "-c", ask) == "fd88::1"
    engine.ok("network", "rm", "six")


def test_published_ports_are_reached_from_host_and_world(engine, outside):
    engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1::80", "busybox", "sh", "-c", TCP)

    wait_for("page", outside, "10.88.0.1", 8080)
    wait_for("page", engine.hub.run, "127.0.0.1", 8080)
    port = engine.ok("port", "web", "80").splitlines()
    wait_for("page", engine.hub.run, "127.0.0.1", port[-1].rpartition(":")[2])
    assert "port is already allocated" in engine.fails("run", "-d", "-p", "8080:80", "busybox", "true")[1]
    engine.ok("rm", "-f", "web")
    assert "refused" in asked(outside, "10.88.0.1", 8080)


def test_a_client_that_does_not_read_delays_no_other(engine):
    server = ("nc", "-ll", "-p", "80", "-e", "seq", "100000000")
    engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", *server)
    ask = """
import socket, time
def first():
    asking = socket.create_connection(("127.0.0.1", 8080), timeout=9)
    return asking, asking.recv(2)
while not first()[1]:
    time.sleep(0.1)
lazy = [first() for _ in range(20)]
print(*{answer for _, answer in lazy}, first()[1])
"""

    done = engine.hub.run("/usr/bin/python3", "-c", ask)
    assert done.stdout == "b'1\\n' b'1\\n'\n", done.stderr


def test_published_ports_of_udp(engine, outside):
    engine.ok("run", "-d", "--name", "web", "-p", "8081:81/udp", "busybox", "sleep", "1000")
    pid = engine.inspect("web", ".State.Pid")
    inside = ["nsenter", "--net", "--target", str(pid), "/usr/bin/python3", "-c", UDP]
    with subprocess.Popen(inside, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"ready\n"
            wait_for("heard", outside, "10.88.0.1", 8081, "udp")
            wait_for("heard", engine.hub.run, "127.0.0.1", 8081, "udp")
        finally:
            server.kill()


def test_a_port_of_root_s_is_refused_with_a_way_out(engine):
    status, errors = engine.fails("run", "-d", "--name", "web", "-p", "80:80", "busybox", "true")

    assert status == 125
    assert "cannot expose privileged port 80" in errors and "net.ipv4.ip_unprivileged_port_start" in errors


def test_both_directions_of_a_connection_end_by_themselves(engine):
    engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "nc", "-ll", "-p", "80", "-e", "md5sum")
    ask = """
import socket, time
for _ in range(100):
    asking = socket.create_connection(("127.0.0.1", 8080))
    try:
        asking.sendall(bytes(1 << 20))
        asking.shutdown(socket.SHUT_WR)
        answer = asking.recv(99)
    except OSError:
        answer = b""
    if answer:
        break
    time.sleep(0.1)
print(answer.decode())
"""

    assert engine.hub.run("/usr/bin/python3", "-c", ask).stdout.split()[0] == "b6d81b360a5672d80c27430f39153e2c"


# Recovery


def test_a_killed_engine_finds_its_containers_again(engine, outside):
    engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", TCP)
    engine.ok("run", "-d", "--name", "done", "busybox", "sh", "-c", "sleep 0.3; exit 5")
    network = os.readlink(f"/proc/{monitor_of(engine, 'web')}/ns/net")
    engine.kill()
    engine.start()

    assert engine.inspect("web", ".State.Running")
    wait_until(lambda: engine.inspect("done", ".State.ExitCode") == 5, "the exit code")
    wait_for("page", outside, "10.88.0.1", 8080)
    engine.ok("run", "-d", "--name", "new", "busybox", "sleep", "1000")
    assert os.readlink(f"/proc/{monitor_of(engine, 'new')}/ns/net") == network
    assert run(engine, "busybox", "nc", "10.88.0.2", "80") == "10.88.0.1"
    assert engine.ok("exec", "web", "id", "-u") == "0"


def test_a_worker_of_ports_that_is_killed_is_replaced(engine, outside):
    engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", TCP)
    wait_for("page", outside, "10.88.0.1", 8080)

    kill(engine.children()["launcher"])
    wait_for("page", outside, "10.88.0.1", 8080)


def monitor_of(engine, name):
    state = json.loads((engine.run / "pyrun" / engine.inspect(name, ".Id") / "state.json").read_text())
    return state["monitor"][0]


# Images


def test_images_are_built_changed_and_stored(engine):
    text = "FROM busybox\nRUN mkdir -p /d/e && rm -r /d && mkdir /d && echo x > /d/x\nUSER 1000:1000\nCMD cat /d/x\n"
    engine.ok("build", "-q", "-t", "built", "-", input=text)

    assert run(engine, "built") == "x"
    engine.ok("run", "--name", "web", "-u", "0", "built", "sh", "-c", "rm /d/x; echo y > /d/y")
    assert engine.ok("diff", "web").split() == ["C", "/d", "D", "/d/x", "A", "/d/y"]
    engine.ok("commit", "web", "changed")
    archive = engine.docker("save", "changed", text=False).stdout
    engine.ok("rmi", "changed")
    engine.ok("load", input=archive, text=False)
    assert run(engine, "changed", "ls", "/d") == "y"
    engine.ok("rm", "web")
    engine.ok("rmi", "changed", "built")


def test_cp_both_ways(engine, tmp_path):
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    (tmp_path / "file").write_text("content")
    engine.ok("cp", tmp_path / "file", "web:/tmp")

    assert engine.ok("exec", "web", "cat", "/tmp/file") == "content"
    engine.ok("cp", "web:/tmp/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"


def test_an_uplink_that_was_killed_begins_again(engine, outside):
    kill_uplink(USER)

    assert run(engine, "busybox", "sh", "-c", REACHED) == "10.88.0.1"


def test_an_uplink_that_was_killed_begins_with_the_next_engine(engine, outside):
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    kill_uplink(USER)
    engine.kill()
    engine.start()

    assert run(engine, "busybox", "sh", "-c", REACHED) == "10.88.0.1"


def test_the_uplink_outlives_the_engine_and_ends_with_the_last_container(engine):
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    init = engine.inspect("web", ".State.Pid")
    engine.kill()
    wait_until(lambda: len(processes(USER)) == 3, "the end of all but uplink, monitor and container")
    assert "slirp4netns" in processes(USER).values()

    monitor = next(pid for pid, name in processes(USER).items() if name == "pyrun:[monitor]")
    kill(init)
    kill(monitor)
    wait_until(lambda: not processes(USER), "the end of the uplink")
    engine.start()


# Other users


def test_a_user_s_first_command_starts_his_engine(user_s_hub, removed):
    user = User(user_s_hub, new_directory())
    done = user.run(user.program, "run", "--rm", "hello-world")

    assert (done.returncode, done.stdout) == (0, "Hello from Docker!\n"), done.stderr
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(user.socket))
        daemon = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    assert Path(f"/proc/{daemon}").stat().st_uid == USER
    assert user.run(user.program, "ps", "-q").returncode == 0
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not user.socket.exists(), "its end")
    user.remove()


def test_a_user_without_subordinate_ids_has_root_of_containers_alone(user_s_hub, removed, tmp_path):
    for lone in serve(user_s_hub, LONE_USER):
        assert "user lone has no 65536 subordinate ids" in lone.log.read_text()
        assert run(lone, "busybox", "sh", "-c", "id -u; echo x > /x; cat /x") == "0\nx"
        assert "user 1000:0: in containers there is only root" in lone.fails("run", "-u", "1000", "busybox", "id")[1]
        lone.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
        (tmp_path / "file").write_text("content")
        os.chown(tmp_path / "file", 1000, 1000)
        lone.ok("cp", "-a", tmp_path / "file", "web:/tmp")
        assert lone.ok("exec", "web", "cat", "/tmp/file") == "content"
        assert run(lone, "-t", "busybox", "tty") == "/dev/pts/0"


def test_pasta_is_the_uplink_where_it_is_installed_alone(user_s_hub, removed, outside):
    user = User(user_s_hub, new_directory(), LONE_USER)
    (user.directory / "bin").mkdir()
    for name in ("pasta", "python3"):
        (user.directory / "bin" / name).symlink_to(shutil.which(name))
    user.prefix += [f"PATH={user.directory}/bin"]
    user_s_hub.run("ip", "route", "add", "default", "via", "10.88.0.2")
    daemon = UsersDaemon(user_s_hub, user)
    try:
        daemon.ok("pull", "busybox")
        # pasta of 2023 does not always pass on the server's end, and under load sends the same bytes again.
        ask = "until grep -q . /answer; do nc -w 2 10.88.0.2 80 > /answer & sleep 1; done; head -c 9 /answer"
        assert run(daemon, "busybox", "sh", "-c", ask) == "10.88.0.1"
        kill_uplink(LONE_USER, "passt")  # pasta is a name of passt
        assert run(daemon, "busybox", "sh", "-c", ask) == "10.88.0.1"
        daemon.remove_all()
    finally:
        daemon.stop()
        user_s_hub.run("ip", "route", "del", "default")
    wait_until(lambda: not processes(LONE_USER), f"the end of {processes(LONE_USER)}")
    user.remove()

"""`docker run`: what the program prints and gets, and what docker makes of its end."""

import os
import re
import select
import subprocess

import pytest
from daemon import DOCKER, wait_until
from terminals import PATIENCE, expect, in_terminal, set_size

pytestmark = pytest.mark.usefixtures("removed")


def run(engine, *words, **options):
    return engine.docker("run", "--rm", "--network=none", *words, **options)


def output(engine, *words, **options):
    done = run(engine, *words, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_both_streams_and_the_exit_code_arrive(engine):
    done = run(engine, "busybox", "sh", "-c", "echo out; echo error >&2; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "error\n")


def test_a_signal_is_an_exit_code(engine):
    client = engine.begin(
        "run", "--name", "web", "--network=none", "busybox", "sh", "-c", "echo up; sleep 1000", stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"up\n"
    engine.ok("kill", "web")

    assert client.wait(20) == 137


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("", 127, 'exec: "": executable file not found in $PATH'),
        ("/nosuch", 127, "no such file or directory"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_run_has_a_shell_s_status(engine, command, status, words):
    done = run(engine, "busybox", command)

    assert done.returncode == status
    assert words in done.stderr
    assert engine.ok("ps", "-aq") == ""


def test_standard_input_is_read_to_its_end(engine):
    assert output(engine, "-i", "busybox", "sh", "-c", "cat; echo end", input="data\n") == "data\nend"


def test_without_i_standard_input_is_empty(engine):
    assert output(engine, "busybox", "wc", "-c") == "0"


def test_much_output_arrives_whole(engine):
    done = run(engine, "busybox", "cat", "/bin/busybox", text=False)

    with open("/bin/busybox", "rb") as file:
        assert done.stdout == file.read()


def test_d_prints_the_id_and_leaves_the_container_running(engine):
    id_ = engine.ok("run", "-d", "--network=none", "busybox", "sleep", "1000")

    assert len(id_) == 64
    assert engine.ok("ps", "-q", "--no-trunc") == id_


def test_rm_removes_the_container_when_it_ends(engine):
    run(engine, "--name", "gone", "busybox", "true")

    assert engine.ok("ps", "-aq") == ""


def test_cidfile_has_the_id(engine, tmp_path):
    run(engine, "--cidfile", tmp_path / "id", "busybox", "true")

    assert len((tmp_path / "id").read_text()) == 64


def test_a_terminal_has_the_client_s_size_and_follows_it(engine):
    master, pid = in_terminal(
        DOCKER, "--host", f"unix://{engine.socket}", "run", "--rm", "-it", "--network=none", "busybox", "sh"
    )
    try:
        expect(master, b"# ")
        wait_until(lambda: size_of(master) == b"33 101", "the first size")
        wait_until(lambda: changed_size_of(master) == b"20 50", "the second size")
        os.write(master, b"exit 7\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        os.close(master)


def size_of(master):
    """Return what stty says. It has an error instead of a size until the client has set one, after the start."""
    os.write(master, b"stty size; echo said\n")
    data = b""
    while not (found := re.search(rb"([^\r\n]*)\r\nsaid\r\n", data)):
        assert select.select([master], [], [], PATIENCE)[0], data
        data += os.read(master, 4096)
    return found[1]


def changed_size_of(master):
    """Change the size again before asking: the client hears of changes only from some time after the start on."""
    set_size(master, 20, 49)
    set_size(master, 20, 50)
    return size_of(master)


def test_signals_of_the_client_reach_the_program(engine):
    client = engine.begin(
        *(
            "run",
            "--rm",
            "--network=none",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done",
        ),
        stdout=subprocess.PIPE,
    )
    assert client.stdout.readline() == b"up\n"
    client.terminate()

    assert client.wait(20) == 9


# What the container is given.


@pytest.mark.parametrize(
    ("options", "command", "expected"),
    [
        (["-e", "A=b", "-e", "FROM=me"], "echo $A $FROM", "b me"),
        (["-w", "/tmp/new"], "pwd", "/tmp/new"),
        (["-u", "web"], "id", "uid=33(web) gid=34(web) groups=8(mail),34(web),99(many)"),
        (["-u", "5:6"], "id -u; id -g", "5\n6"),
        (["--group-add", "77"], "id -G", "0 77"),
        (["--hostname", "box"], "hostname; cat /etc/hostname", "box\nbox"),
        (["--add-host", "name:1.2.3.4"], "grep name /etc/hosts", "1.2.3.4\tname"),
        (["--read-only"], "touch /x 2>/dev/null || echo refused", "refused"),
        (
            ["--read-only"],
            "for f in hosts hostname resolv.conf; do (echo x >> /etc/$f) 2>/dev/null || echo $f; done",
            "hosts\nhostname\nresolv.conf",
        ),
        (["--tmpfs", "/scratch:size=1m"], "mount | grep -c /scratch", "1"),
        (["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn", "100\n200"),
        (["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1"),
        (["--cap-drop", "ALL"], "grep CapEff /proc/self/status | tr -d '\\t'", "CapEff:0000000000000000"),
        (["--shm-size", "1m"], "grep -c 'size=1024k' /proc/mounts", "1"),
        (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status | tr -d '\\t'", "NoNewPrivs:1"),
        (["--init"], "cat /proc/1/comm | grep -c sh; echo", "0"),
        (["--entrypoint", "echo"], None, "arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_has_its_effect(engine, options, command, expected):
    words = ["arguments"] if command is None else ["sh", "-c", command]

    assert output(engine, *options, "busybox", *words) == expected


def test_a_bind_shows_the_host_s_files_and_makes_a_missing_folder(engine, tmp_path):
    (tmp_path / "there").write_text("content\n")

    shown = output(
        engine,
        "-v",
        f"{tmp_path}:/in:ro",
        "-v",
        f"{tmp_path}/made:/out",
        "busybox",
        "sh",
        "-c",
        "cat /in/there; echo x > /out/new",
    )

    assert shown == "content"
    assert (tmp_path / "made/new").read_text() == "x\n"


def test_limits_are_in_the_cgroup(engine):
    id_ = engine.ok("run", "-d", "--network=none", "-m", "64m", "--pids-limit", "50", "busybox", "sleep", "1000")

    paths = [line.split(":") for line in open(f"/proc/{engine.inspect(id_, '.State.Pid')}/cgroup")]
    found = {name: f"/sys/fs/cgroup/{name}{path.strip()}" for _, names, path in paths for name in names.split(",")}
    if "memory" in found:
        assert open(f"{found['memory']}/memory.limit_in_bytes").read() == f"{64 << 20}\n"
        assert open(f"{found['pids']}/pids.max").read() == "50\n"
    else:
        assert open(f"/sys/fs/cgroup{found['']}/memory.max".replace("//", "/")).read() == f"{64 << 20}\n"


def test_an_oom_kill_is_said(engine):
    engine.ok(
        "create",
        "--name",
        "web",
        "--network=none",
        "-m",
        "8m",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero bs=64M | tail -c 1000",
    )
    engine.docker("start", "-a", "web")

    assert engine.inspect("web", ".State.OOMKilled")


def test_what_one_run_has_written_is_there_in_the_next(engine):
    engine.ok("create", "--name", "web", "--network=none", "busybox", "sh", "-c", "cat /kept; echo kept >> /kept")
    engine.docker("start", "-a", "web")

    assert engine.ok("start", "-a", "web") == "kept"


def test_host_network_is_the_host_s(engine, hub):
    ours = subprocess.run([*hub.inside, "readlink", "/proc/self/ns/net"], capture_output=True, text=True).stdout
    id_ = engine.ok("run", "-d", "--network=host", "busybox", "sleep", "1000")

    assert os.readlink(f"/proc/{engine.inspect(id_, '.State.Pid')}/ns/net") == ours.strip()


def test_nothing_of_the_daemon_s_is_open_in_the_container(engine):
    id_ = engine.ok("run", "-d", "--network=none", "busybox", "sleep", "1000")

    pid = engine.inspect(id_, ".State.Pid")

    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert engine.ok("exec", id_, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]  # ls reads the folder


# What is refused.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "a b"], "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        (["-m", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--cpus", "1000"], "ange of CPUs is from 0.01 to"),
        (["--stop-signal", "FOO"], "nvalid signal: FOO"),
        (["-v", "/tmp:/x:zzz"], "invalid mode: zzz"),
        (["-v", "/tmp:/x", "-v", "/etc:/x"], "Duplicate mount point: /x"),
        (["--mount", "type=bind,source=/nosuch,target=/x"], "bind source path does not exist: /nosuch"),
        (["-w", "relative"], "the working directory 'relative' is invalid, it needs to be an absolute path"),
        (["-u", "nosuch"], "unable to find user nosuch: no matching entries in passwd file"),
        (["--log-opt", "nosuch=1"], "unknown log opt 'nosuch' for json-file log driver"),
        (["--runtime", "runc"], "HostConfig.Runtime=runc: not part of this engine yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_option_is_refused_in_docker_s_words_and_nothing_is_made(engine, options, words):
    status, errors = engine.fails("run", "--network=none", *options, "busybox", "true")

    assert status == 125
    assert words in errors
    assert engine.ok("ps", "-aq") == "" or "user" in words


def test_two_containers_cannot_have_one_name(engine):
    id_ = engine.ok("create", "--name", "web", "--network=none", "busybox")

    status, errors = engine.fails("create", "--name", "web", "--network=none", "busybox")

    assert f'Conflict. The container name "/web" is already in use by container "{id_}"' in errors


FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
WRITE = f"for file in {' '.join(FILES)}; do true 2>/dev/null >> $file && echo $file; done; true"


@pytest.mark.parametrize("network", ["none", "host", "container:other"])
def test_the_files_of_names_are_as_read_only_as_the_root(engine, dockerd, network):
    for daemon in (engine, dockerd):
        daemon.docker("run", "-d", "--name", "other", "--network=none", "busybox", "sleep", "1000")
        words = ("run", "--rm", "--name", "web", f"--network={network}", "--read-only", "busybox", "sh", "-c", WRITE)
        done = daemon.docker(*words)
        assert (done.returncode, len(done.stdout)) == (0, 0)
        assert daemon.docker("rm", "-f", "other").returncode == 0


def test_a_file_of_the_client_s_in_the_place_of_one_of_names_is_as_it_wants_it(engine, dockerd, tmp_path):
    (tmp_path / "hosts").write_text("mine")
    for daemon in (engine, dockerd):
        daemon.docker("run", "-d", "--name", "other", "--network=none", "busybox", "sleep", "1000")
        options = ("--read-only", "--network=container:other", "-v", f"{tmp_path}/hosts:/etc/hosts")
        done = daemon.docker("run", "--rm", *options, "busybox", "sh", "-c", f"cat /etc/hosts; {WRITE}")
        assert done.stdout.strip() in ("mine/etc/hosts", b"mine/etc/hosts"), done.stderr
        assert daemon.docker("rm", "-f", "other").returncode == 0


@pytest.mark.parametrize("given", ["/etc/../tmp", "//tmp//", "/new/./a/../b", "/../tmp/."])
def test_the_working_directory_is_cleaned_of_dots_and_slashes(engine, dockerd, given):
    seen = []
    for daemon in (engine, dockerd):
        daemon.docker("create", "--name", "web", "--network=none", "-w", given, "busybox", "pwd")
        shown = daemon.docker("inspect", "--format", "{{.Config.WorkingDir}}", "web")
        printed = daemon.docker("start", "-a", "web")
        seen.append([one if isinstance(one, str) else one.decode() for one in (shown.stdout, printed.stdout)])
        assert daemon.docker("rm", "-f", "web").returncode == 0
    assert seen[0] == seen[1]
    assert seen[0][0] == seen[0][1]


@pytest.mark.parametrize("user", [":", ":web", "web:", "2147483647", "2147483648", "0:2147483648", "4294967295", "-1"])
def test_a_user_is_who_dockerd_takes_for_him(engine, dockerd, user):
    seen = []
    for daemon in (engine, dockerd):
        words = ("run", "--name", "web", "--network=none", "-u", user, "busybox", "id")
        done = daemon.docker(*words)
        texts = [one if isinstance(one, str) else one.decode() for one in (done.stdout, done.stderr)]
        seen.append((done.returncode, texts[0], texts[1].partition("response from daemon: ")[2].partition("\n")[0]))
        assert daemon.docker("rm", "-f", "web").returncode == 0
    assert seen[0] == seen[1]


def test_an_exec_of_no_name_and_of_no_user_ends_as_with_dockerd(engine, dockerd):
    for daemon in (engine, dockerd):
        daemon.docker("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
        done = daemon.docker("exec", "web", "")
        text = 'exec: "": executable file not found in $PATH'
        assert done.returncode in (126, 127)
        assert text in (done.stdout + done.stderr if daemon is engine else (done.stdout + done.stderr).decode())
        assert "uid=0(root) gid=0(root)" in str(daemon.docker("exec", "-u", ":", "web", "id").stdout)
        assert daemon.docker("rm", "-f", "web").returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        "--tmpfs /dev/shm:size=1m",
        "-v DIR:/dev/shm",
        "--ipc none --tmpfs /dev/shm",
        "--ipc host -v DIR:/dev/shm",
        "-v DIR:/dev/mqueue",
        "-v /dev:/dev",
        "-t -v /dev:/dev",
        "-v /dev:/dev -v DIR:/dev/shm",
        "-v DIR/file:/etc/hosts",
        "-v DIR:/sys",
    ],
)
def test_a_mount_in_the_place_of_a_usual_one_replaces_it(engine, dockerd, tmp_path, options):
    (tmp_path / "file").touch()
    seen = []
    for daemon in (engine, dockerd):
        words = options.replace("DIR", str(tmp_path)).split()
        look = "grep -E ' /(dev|etc)' /proc/mounts; grep ' /sys ' /proc/mounts"
        done = daemon.docker("run", "--rm", "--network=none", *words, "busybox", "sh", "-c", look)
        lines = [line.split() for line in (done.stdout if daemon is engine else done.stdout.decode()).splitlines()]
        seen.append((done.returncode, sorted((line[1], line[2]) for line in lines)))
    assert seen[0] == seen[1]
    assert seen[0][1]

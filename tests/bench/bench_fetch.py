"""pyfetch beside `skopeo copy` + `umoci unpack`, `podman pull` and `docker pull`, in one run.

    python3 tests/bench/bench_fetch.py [--rounds N] [--files DIR] [--big MIB]

A docker-registry on loopback serves two images: the files of DIR (a debootstrap minbase tree, say; without it, small
files of this machine) and one large file. Each tool pulls each image cold, with nothing in its store, `rounds` times;
the tools take turns, so that a busy machine is busy for all. docker pull asks a dockerd of our own, whose memory is
what counts. Then pyfetch alone, warm: by digest, all in the store; beside it a start of the interpreter that does
nothing. Prints medians. Run build_zipapp.py before, or name the command in PYFETCH.
"""

import argparse
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "registry")]

from images import Image, entry, tar  # noqa: E402

PYFETCH = shlex.split(os.environ.get("PYFETCH", os.path.join(ROOT, "dist/pyfetch")))
PYTHON = "/usr/bin/python3"
PORT = 50997


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", default="")
    parser.add_argument("--big", type=int, default=1024)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR"))
    registry = start_registry(folder)
    try:
        for name, image, files, size in make_images(folder, options):
            push(folder, name, image)
            compare(folder, name, image, files, size, options.rounds)
    finally:
        registry.terminate()
        registry.wait()
        remove(folder)


def remove(folder):
    subprocess.run(["umount", "-l", *mounts_below(folder)], capture_output=True)
    shutil.rmtree(folder)


def start_registry(folder):
    config = os.path.join(folder, "registry.yml")
    with open(config, "w") as file:
        file.write(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '127.0.0.1:{PORT}'}}\n"
        )
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(1)
    return process


def start_docker(folder):
    """Start a dockerd without a network of its own."""
    places = ["--data-root", f"{folder}/docker", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/docker.pid"]
    network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    command = ["dockerd", "--host", f"unix://{folder}/docker.sock", *places, *network]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if subprocess.run([*docker_client(folder), "version"], capture_output=True).returncode == 0:
            break
        time.sleep(0.1)
    return process


def docker_client(folder):
    return ["docker", "--host", f"unix://{folder}/docker.sock"]


def make_images(folder, options):
    """Give (name, image, number of files, bytes unpacked)."""
    yield ("files", *files_image(options.files))
    big = os.path.join(folder, "big")
    chance = random.Random(1)
    piece = b"".join(chance.randbytes(48) + b"some text that compresses well.\n" for _ in range(13107))
    with open(big, "wb") as file:
        for _ in range(options.big):
            file.write(piece)
            file.write(bytes((1 << 20) - len(piece)))
    with open(big, "rb") as file:
        image = Image(tar(entry("big", data=file.read())), compress=gzip)
    os.unlink(big)
    yield "big", image, 1, options.big << 20


def files_image(files):
    if files:
        command = ["tar", "-C", files, "--xattrs", "-c", "."]
        data = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        find = [
            "find",
            "etc",
            "usr/share/doc",
            "usr/share/perl",
            "usr/lib/python3",
            "-xdev",
            "-size",
            "-100k",
            "-print0",
        ]
        names = subprocess.run(find, cwd="/", capture_output=True).stdout
        command = ["tar", "-C", "/", "--no-recursion", "--null", "-T", "-", "-c"]
        data = subprocess.run(command, input=names, capture_output=True).stdout
    count = subprocess.run(["tar", "-t"], input=data, capture_output=True).stdout.count(b"\n")
    return Image(data, compress=gzip), count, len(data)


def gzip(data):
    return subprocess.run(["gzip", "-6c"], input=data, capture_output=True, check=True).stdout


def push(folder, name, image):
    layout = os.path.join(folder, "layout")
    image.write_layout(layout, "x")
    command = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:x"]
    subprocess.run([*command, f"docker://127.0.0.1:{PORT}/{name}:1"], check=True)
    shutil.rmtree(layout)


def podman_storage(folder):
    return ["--root", f"{folder}/podman", "--runroot", f"{folder}/run"]


def tools(folder, name):
    """Return the commands of each tool that are measured."""
    reference = f"127.0.0.1:{PORT}/{name}:1"
    skopeo = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{folder}/layout:x"]
    podman = ["podman", *podman_storage(folder), "pull", "-q", "--tls-verify=false", reference]
    return {
        "pyfetch --copy": [pyfetch(folder, "copy", reference)],
        "pyfetch --overlay": [pyfetch(folder, "overlay", reference)],
        "skopeo + umoci": [skopeo, ["umoci", "unpack", "--image", f"{folder}/layout:x", f"{folder}/umoci"]],
        "podman pull": [podman],
        "docker pull": [[*docker_client(folder), "pull", "-q", reference]],
    }


def pyfetch(folder, kind, reference):
    return [*PYFETCH, "-q", f"--{kind}", "--store", f"{folder}/{kind}", reference, f"{folder}/{kind}-bundle"]


def compare(folder, name, image, files, size, rounds):
    times, memory = {}, {}
    for number in range(rounds):
        # Each round has new stores, and nothing with many files is removed before the end: for minutes ext4 passes over
        # inodes that were freed, one by one, so that a file takes ten times as long (recently_deleted() in ialloc.c).
        place = f"{folder}/{name}{number}"
        os.mkdir(place)
        docker = start_docker(place)
        try:
            for tool, commands in tools(place, name).items():
                os.sync()
                measured = [measure(command) for command in commands]
                times.setdefault(tool, []).append(sum(seconds for seconds, _ in measured))
                memory[tool] = max(memory.get(tool, 0), *(kilobytes for _, kilobytes in measured))
            memory["docker pull"] = max(memory["docker pull"], peak_of(docker.pid))
        finally:
            docker.terminate()
            docker.wait()
        if files == 1 and number < rounds - 1:
            remove(place)
    print(f"\n{name}, cold: {files} files, {size >> 20} MiB unpacked, {len(image.layers[0]) >> 20} MiB compressed")
    print(f"{'':20} {'median s':>9} {'min s':>7} {'MiB':>6} {'files/s':>8} {'MB/s':>6}")
    for tool, seconds in times.items():
        median = statistics.median(seconds)
        rates = f"{files / median:8.0f} {size / median / 1e6:6.0f}"
        print(f"{tool:20} {median:9.2f} {min(seconds):7.2f} {memory[tool] / 1024:6.0f} {rates}")
    warm(place, name, image, rounds)


def warm(folder, name, image, rounds):
    reference = f"127.0.0.1:{PORT}/{name}@{image.digest}"
    command = [*PYFETCH, "-q", "--store", f"{folder}/overlay", reference]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    commands = {"pyfetch, warm": command, "python, nothing": [PYTHON, "-IS", "-c", "pass"]}
    times = {name: [] for name in commands}
    for _ in range(10 * rounds):
        for name, command in commands.items():
            times[name].append(measure(command)[0])
    for name, seconds in times.items():
        print(f"{name:20} {statistics.median(seconds) * 1000:7.1f} ms {min(seconds) * 1000:5.1f} ms")


# In a small process, whose child starts small: after a fork, ru_maxrss begins with what the parent has.
MEASURE = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure(command):
    """Return (wall seconds, peak kilobytes) of a command."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes)


def peak_of(pid):
    """Return the kilobytes that a daemon had at the most."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def mounts_below(folder):
    with open("/proc/self/mounts") as file:
        points = [line.split(" ")[1] for line in file]
    return [point for point in points if point.startswith(folder)]


if __name__ == "__main__":
    main()

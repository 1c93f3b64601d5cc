"""A real dockerd beside the engine, and requests that both get."""

import json
import os
import socket
import subprocess

from daemon import DOCKER, read_all, wait_until


class Dockerd:
    """Debian's dockerd in the hub's namespaces, without networks."""

    def __init__(self, hub, folder):
        self.directory = folder
        self.log = folder / "log"
        self.socket = f"{folder}/s"
        places = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
        network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        self._log = open(self.log, "w")
        command = [*hub.inside, "dockerd", "--host", f"unix://{self.socket}", *places, *network]
        self._process = subprocess.Popen(list(map(str, command)), stdout=self._log, stderr=self._log)
        wait_until(lambda: self.docker("version").returncode == 0, "dockerd")

    def docker(self, *arguments, input=None):
        environment = {**os.environ, "DOCKER_CONFIG": os.path.dirname(self.socket)}
        command = [DOCKER, "--host", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, input=input, capture_output=True, env=environment)

    def stop(self):
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def asked(daemon, method, path, body=b"", headers=None):
    """Return (status, the JSON values of the answer)."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(daemon.socket))
        head = f"{method} {path} HTTP/1.0\r\nHost: d\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        connection.sendall(head.encode() + body)
        answer = read_all(connection)
    head, _, text = answer.partition(b"\r\n\r\n")
    values = [json.loads(line) for line in text.decode().split("\n") if line.lstrip().startswith(("{", "["))]
    return int(head.split(b" ")[1]), values


def said_by_both(engine, dockerd, *words):
    """Run a command on both, which must have the same exit code and output; return our (exit code, output, error)."""
    theirs, own = dockerd.docker(*words), engine.docker(*words)
    seen, expected = (own.returncode, own.stdout), (theirs.returncode, theirs.stdout.decode())
    assert seen == expected, (seen, expected, own.stderr, theirs.stderr)
    return own.returncode, own.stdout, own.stderr

"""`docker build` by the classic builder."""

import os
import subprocess

from daemon import DOCKER


def begin(engine, folder, *options, **more):
    """Start the client."""
    command = [DOCKER, "--host", f"unix://{engine.socket}", "build", *options, str(folder)]
    environment = {**os.environ, "DOCKER_CONFIG": str(engine.directory), "DOCKER_BUILDKIT": "0"}
    return subprocess.Popen(command, env=environment, **more)


def build(engine, folder, *options, status=0, input=None, **more):
    """Build; return all that the client has shown."""
    pipe = subprocess.PIPE
    stdin = subprocess.DEVNULL if input is None else pipe
    with begin(engine, folder, *options, stdin=stdin, stdout=pipe, stderr=pipe, text=True, **more) as client:
        try:
            output, errors = client.communicate(input, timeout=60)
        except subprocess.TimeoutExpired:
            client.kill()
            raise
    assert client.returncode == status, (output, errors, engine.log.read_text()[-3000:])
    return output + errors


def run(engine, image, *command):
    """Return what a container of the image prints."""
    return engine.ok("run", "--rm", "--network=none", image, *command)


def leftovers(engine):
    """Return (containers, folders of builds)."""
    builds = engine.data / "builds"
    return engine.ok("ps", "-aq").split(), os.listdir(builds) if builds.exists() else []

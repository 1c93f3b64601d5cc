"""`docker build` by the classic builder."""

import os
import subprocess

from daemon import DOCKER


def build(engine, folder, *options, status=0, **more):
    """Build; return all that the client has shown."""
    command = [DOCKER, "--host", f"unix://{engine.socket}", "build", *options, str(folder)]
    environment = {**os.environ, "DOCKER_CONFIG": str(engine.directory), "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, **more)
    assert done.returncode == status, (done.stdout, done.stderr, engine.log.read_text()[-3000:])
    return done.stdout + done.stderr


def run(engine, image, *command):
    """Return what a container of the image prints."""
    return engine.ok("run", "--rm", "--network=none", image, *command)


def leftovers(engine):
    """Return (containers, folders of builds)."""
    builds = engine.data / "builds"
    return engine.ok("ps", "-aq").split(), os.listdir(builds) if builds.exists() else []

"""docker-compose 1.29, the last one in Python, as Debian has it: many servers still run it."""

import json
import os
import subprocess

import pytest
from projects import SHOP

COMPOSE = "/usr/bin/docker-compose"
PATIENCE = 60

pytestmark = pytest.mark.needs(COMPOSE)

WEB, DB = SHOP["services"]["web"], SHOP["services"]["db"]
OLDER_SHOP = {
    **SHOP,
    "version": "2.4",
    "services": {
        **SHOP["services"],
        "web": {**WEB, "depends_on": {"db": {"condition": "service_healthy"}}},
        "db": {**DB, "healthcheck": {"test": ["CMD", "true"], "interval": "200ms"}},
        "built": {"build": ".", "image": "shop-built", "command": ["cat", "/file"]},
    },
}


@pytest.fixture
def compose(own_engine, tmp_path):
    """A function that runs docker-compose with the project, which must work, and returns its output."""
    (tmp_path / "compose.json").write_text(json.dumps(OLDER_SHOP))
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /file\n")

    def run(*words):
        done = subprocess.run(
            [COMPOSE, "--no-ansi", "--file", tmp_path / "compose.json", "--project-name", "shop", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "DOCKER_HOST": f"unix://{own_engine.socket}", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, (done.stdout, done.stderr, own_engine.log.read_text()[-3000:])
        return done.stdout

    yield run
    run("down", "--volumes", "--timeout", "0")


def pid(engine, name):
    return engine.inspect(name, ".State.Pid")


def test_a_project_is_built_up_scaled_paused_restarted_and_down(compose, own_engine):
    engine = own_engine
    compose("up", "--detach")

    assert len(compose("ps", "--quiet", "worker").split()) == 3
    assert engine.ok("wait", "shop_built_1") == "0"
    assert compose("logs", "--no-color", "worker").count("| works\n") == 3
    assert compose("logs", "--no-color", "built").endswith("| built\n")
    assert compose("exec", "-T", "web", "sh", "-c", "nc db 5432 </dev/null") == "a row\n"
    page = subprocess.run([*engine.hub.inside, "bash", "-c", "cat </dev/tcp/127.0.0.1/8081"], capture_output=True)
    assert page.stdout == b"a page\n"
    assert compose("port", "web", "80") == "0.0.0.0:8081\n"
    assert compose("run", "--rm", "-T", "worker", "echo", "once") == "once\n"

    compose("up", "--detach", "--scale", "worker=5")
    assert len(compose("ps", "--quiet", "worker").split()) == 5
    compose("pause", "db")
    assert engine.inspect("shop_db_1", ".State.Status") == "paused"
    compose("unpause", "db")
    first = pid(engine, "shop_db_1")
    compose("restart", "db")
    assert pid(engine, "shop_db_1") not in (0, first)
    compose("exec", "-T", "db", "sh", "-c", "echo kept >/data/file")

    second = pid(engine, "shop_db_1")
    compose("up", "--detach", "--force-recreate")
    assert pid(engine, "shop_db_1") not in (0, second)

    compose("down")

    assert engine.call("GET", "/containers/json?all=1")[1] == []
    assert engine.ok("network", "ls", "--format", "{{.Name}}").split() == ["bridge", "host", "none"]
    assert compose("run", "--rm", "-T", "db", "cat", "/data/file") == "kept\n"
    compose("down", "--volumes")
    assert engine.call("GET", "/volumes")[1]["Volumes"] == []

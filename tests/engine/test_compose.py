"""docker compose 5, as it comes from PyPI, with projects as people have them, on pyrund."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import SHOP

COMPOSE = Path(sys.executable).with_name("docker-compose")
PATIENCE = 60

pytestmark = pytest.mark.skipif(not COMPOSE.exists(), reason="compose is not installed: tests/run installs it")


class Project:
    """A compose file, and commands for it."""

    def __init__(self, engine, directory, document):
        self.engine = engine
        self.file = directory / "compose.json"
        self.write(document)

    def write(self, document):
        self.file.write_text(json.dumps(document))

    def compose(self, *words):
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.engine.socket}", "HOME": str(self.file.parent)}
        done = subprocess.run(
            [COMPOSE, "--file", self.file, "--project-name", "shop", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment,
        )
        return done.returncode, done.stdout, done.stderr

    def ok(self, *words):
        status, output, errors = self.compose(*words)
        assert status == 0, (output, errors)
        return output

    def running(self):
        """Return {service: ids} of the containers that run."""
        found = {}
        for line in self.ok("ps", "--format", "json").splitlines():
            one = json.loads(line)
            found.setdefault(one["Service"], []).append(one["ID"])
        return found


@pytest.fixture
def project(own_engine, tmp_path):
    made = Project(own_engine, tmp_path, SHOP)
    yield made
    made.ok("down", "--volumes", "--timeout", "0")


def test_a_web_server_with_a_database_and_workers_is_up_and_down(project):
    engine = project.engine
    project.ok("up", "--detach")

    assert {name: len(ids) for name, ids in project.running().items()} == {"db": 1, "web": 1, "worker": 3}
    assert project.ok("logs", "--no-color", "worker").count("| works\n") == 3
    assert project.ok("exec", "-T", "web", "sh", "-c", "nc db 5432 </dev/null") == "a row\n"
    page = subprocess.run([*engine.hub.inside, "bash", "-c", "cat </dev/tcp/127.0.0.1/8081"], capture_output=True)
    assert page.stdout == b"a page\n"
    assert project.ok("run", "--rm", "-T", "worker", "echo", "once") == "once\n"

    project.ok("down", "--volumes")

    assert engine.call("GET", "/containers/json?all=1")[1] == []
    assert engine.call("GET", "/volumes")[1]["Volumes"] == []
    assert engine.ok("network", "ls", "--format", "{{.Name}}").split() == ["bridge", "host", "none"]


def test_only_what_has_changed_is_made_anew(project):
    project.ok("up", "--detach")
    before = project.running()
    changed = json.loads(project.file.read_text())
    changed["services"]["web"]["environment"]["WORD"] = "another page"
    project.write(changed)
    project.ok("up", "--detach", "--scale", "worker=5")
    after = project.running()

    assert after["db"] == before["db"]
    assert after["web"] != before["web"]
    assert set(before["worker"]) < set(after["worker"]) and len(after["worker"]) == 5


def test_services_are_paused_restarted_and_stopped(project):
    project.ok("up", "--detach", "db")
    project.ok("pause", "db")
    assert project.engine.inspect("shop-db-1", ".State.Status") == "paused"
    project.ok("unpause", "db")
    first = project.engine.inspect("shop-db-1", ".State.Pid")
    project.ok("restart", "db")
    second = project.engine.inspect("shop-db-1", ".State.Pid")
    project.ok("stop", "db")

    assert first != second
    assert project.engine.inspect("shop-db-1", ".State.Running") is False


def test_a_volume_outlives_a_project_that_is_down(project):
    project.ok("run", "--rm", "-T", "db", "sh", "-c", "echo kept >/data/file")
    project.ok("down")

    assert project.ok("run", "--rm", "-T", "db", "cat", "/data/file") == "kept\n"


def test_a_service_has_a_part_of_a_volume(project):
    part = {"type": "volume", "source": "data", "target": "/part", "volume": {"subpath": "sub"}}
    services = {**SHOP["services"], "web": {"image": "busybox", "volumes": [part]}}
    project.write({**SHOP, "services": services})
    missing = project.compose("run", "--rm", "-T", "web", "true")
    project.ok("run", "--rm", "-T", "db", "sh", "-c", "mkdir /data/sub; echo part >/data/sub/file")

    assert missing[0] != 0 and "/_data/sub: no such file or directory" in missing[2]
    assert project.ok("run", "--rm", "-T", "web", "cat", "/part/file") == "part\n"


def test_a_service_waits_for_the_health_of_another(project):
    check = {"test": ["CMD-SHELL", "[ -e /ready ]"], "interval": "200ms", "retries": 100}
    services = {
        "db": {
            "image": "busybox",
            "command": ["sh", "-c", "sleep 0.5; touch /ready; sleep 1000"],
            "healthcheck": check,
        },
        "web": {
            "image": "busybox",
            "command": ["sleep", "1000"],
            "depends_on": {"db": {"condition": "service_healthy"}},
        },
    }
    project.write({"services": services})
    project.ok("up", "--detach")

    assert project.engine.inspect("shop-db-1", ".State.Health.Status") == "healthy"
    log = project.engine.inspect("shop-db-1", ".State.Health.Log")
    ready = next(one["Start"] for one in log if one["ExitCode"] == 0)
    assert project.engine.inspect("shop-web-1", ".State.StartedAt") > ready


def test_a_service_waits_for_the_success_of_another_and_profiles_choose(project):
    shared = {"image": "busybox", "volumes": ["shared:/shared"]}
    services = {
        "migration": {**shared, "command": ["sh", "-c", "sleep 0.3; touch /shared/done"]},
        "server": {
            **shared,
            "command": ["sh", "-c", "ls /shared; sleep 1000"],
            "depends_on": {"migration": {"condition": "service_completed_successfully"}},
        },
        "debugger": {"image": "busybox", "command": ["sleep", "1000"], "profiles": ["debug"]},
    }
    project.write({"services": services, "volumes": {"shared": {}}})
    project.ok("up", "--detach")

    assert "| done" in project.ok("logs", "--no-color", "server")
    assert list(project.running()) == ["server"]
    project.ok("--profile", "debug", "up", "--detach")
    assert sorted(project.running()) == ["debugger", "server"]
    project.ok("--profile", "debug", "down", "--timeout", "0")

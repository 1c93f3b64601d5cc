"""`docker run hello-world`, from an empty store, as the first page of every manual shows it."""

import pytest
from daemon import DOCKER, DOCKERS, PYRUND
from hello import hello


def run(engine, client=DOCKER):
    done = engine.docker("run", "--rm", "hello-world", client=client)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("client", [*DOCKERS, PYRUND])
def test_the_first_run_pulls_the_image_and_shows_how(empty_engine, client):
    done = run(empty_engine, client)

    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "Unable to find image 'hello-world:latest' locally",
        "latest: Pulling from library/hello-world",
    ]
    assert sum(line.endswith(": Pull complete") for line in lines) == 2
    assert lines[-2].startswith("Digest: sha256:")
    assert lines[-1] == "Status: Downloaded newer image for hello-world:latest"
    assert done.stdout == "Hello from Docker!\n"


def test_the_second_run_shows_only_what_the_program_prints(empty_engine):
    run(empty_engine)

    done = run(empty_engine)

    assert (done.stdout, done.stderr) == ("Hello from Docker!\n", "")


def test_a_pull_fetches_a_newer_image(hub, empty_engine):
    hub.push(hello("first"), "changing:latest")
    first = empty_engine.ok("pull", "changing")
    again = empty_engine.ok("pull", "changing")
    hub.push(hello("second"), "changing:latest")
    second = empty_engine.ok("pull", "changing")

    assert "Status: Downloaded newer image for changing:latest" in first
    assert "Status: Image is up to date for changing:latest" in again
    assert "Status: Downloaded newer image for changing:latest" in second
    assert empty_engine.ok("run", "--rm", "--network=none", "changing") == "second"


def test_an_image_that_the_registry_lacks_is_named(empty_engine):
    status, errors = empty_engine.fails("run", "--network=none", "127.0.0.1:5000/library/nosuch")

    assert status == 125
    assert "manifest for 127.0.0.1:5000/library/nosuch:latest not found: manifest unknown: manifest unknown" in errors

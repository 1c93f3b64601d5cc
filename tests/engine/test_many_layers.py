"""Images of as many layers as dockerd allows, 127: more than one option of an overlay can name."""

import pytest
from builds import build, run
from daemon import wait_until

STEPS = 122


@pytest.fixture(scope="module")
def tall(engine, tmp_path_factory):
    """An image of 124 layers: most have a file of their own, and one that all have."""
    folder = tmp_path_factory.mktemp("tall")
    for number in range(STEPS):
        (folder / f"{number}").mkdir()
        (folder / f"{number}/of-{number}").write_text("x")
        (folder / f"{number}/last").write_text(f"{number}")
    copies = "\n".join(f"COPY {number} /" for number in range(STEPS))
    (folder / "Dockerfile").write_text(f"FROM busybox\n{copies}\n")
    build(engine, folder, "-t", "tall")
    yield "tall"
    engine.ok("rmi", "-f", "tall")
    wait_until(lambda: engine.ok("ps", "-aq") == "", "no container is left")


def test_an_image_of_many_layers_runs(engine, tall):
    assert len(engine.inspect(tall, ".RootFS.Layers")) == 124

    shown = run(engine, tall, "sh", "-c", "cat /last; ls / | grep -c of-; echo new > /of-3; cat /of-3")

    assert shown.split() == ["121122", "new"]


def test_a_container_of_many_layers_is_copied_changed_and_committed(engine, tall, tmp_path):
    (tmp_path / "given").write_text("given")
    engine.ok("run", "-d", "--name", "high", "--network=none", tall, "sleep", "1000")
    engine.ok("exec", "high", "rm", "/of-0")
    engine.ok("cp", tmp_path / "given", "high:/etc/given")
    engine.ok("stop", "-t", "0", "high")

    engine.ok("cp", "high:/last", tmp_path / "last")
    assert (tmp_path / "last").read_text() == "121"
    assert engine.ok("diff", "high").splitlines() == ["C /etc", "A /etc/given", "D /of-0"]
    engine.ok("commit", "high", "higher")
    assert run(engine, "higher", "sh", "-c", "cat /etc/given; ls / | grep -c of-") == "given121"
    engine.ok("rm", "high")
    engine.ok("rmi", "higher")


def test_a_build_goes_on_from_many_layers_up_to_dockerd_s_limit(engine, tall, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {tall}\nCOPY Dockerfile /a\nRUN cat /last > /b\nRUN cat /b /a > /c\n")

    build(engine, tmp_path, "-t", "top")

    assert len(engine.inspect("top", ".RootFS.Layers")) == 127
    assert run(engine, "top", "cat", "/c").startswith(f"121FROM {tall}")
    engine.ok("rmi", "top")

"""linux.intelRdt, on a directory that behaves as resctrl does: a new one has its files. Few machines have resctrl."""

import os

import pytest

from foundation.errors import Error
from pyrun.config.linux import IntelRdt
from pyrun.config.node import Node
from pyrun.confine import intel_rdt
from pyrun.errors import ConfigError


@pytest.fixture
def resctrl(tmp_path, monkeypatch):
    """The mount point of resctrl."""

    def populate(directory):
        for name in ("tasks", "schemata"):
            (directory / name).write_text("")
        (directory / "mon_groups").mkdir(exist_ok=True)

    def mkdir(path, mode):
        os.makedirs(path, mode)
        populate(type(tmp_path)(path))

    def rmdir(path):
        directory = type(tmp_path)(path)
        for name in ("tasks", "schemata"):
            (directory / name).unlink()
        (directory / "mon_groups").rmdir()
        os.removedirs(path)

    populate(tmp_path)
    (tmp_path / "schemata").write_text("L3:0=fffff;1=fffff\nMB:0=100;1=100\n")
    (tmp_path / "kept").touch()
    monkeypatch.setattr(intel_rdt, "mount_point", lambda: str(tmp_path))
    monkeypatch.setattr(intel_rdt, "os", FakeOs(mkdir, rmdir))
    return tmp_path


class FakeOs:
    def __init__(self, mkdir, rmdir):
        self.mkdir, self.rmdir = mkdir, rmdir

    def __getattr__(self, name):
        return getattr(os, name)


def planned(json):
    return intel_rdt.plan(IntelRdt(Node.root(json, "config.json")), "box")


def lines(directory):
    return (directory / "schemata").read_text().splitlines()


def test_without_a_class_the_container_gets_one_of_its_name(resctrl):
    service = planned({"l3CacheSchema": "L3:0=f"})
    service.create()

    assert service.directories == [str(resctrl / "box")]
    assert lines(resctrl / "box") == ["L3:0=f"]
    service.remove()
    assert not (resctrl / "box").exists()


def test_the_lines_are_written_in_the_order_of_the_spec(resctrl, monkeypatch):
    written = []
    monkeypatch.setattr(intel_rdt, "write_schema", lambda directory, line: written.append(line))
    wanted = {"l3CacheSchema": "L3:0=f\nMB:0=9", "memBwSchema": "MB:0=50", "schemata": ["L2:0=3", "L3:0=7"]}
    planned(wanted).create()

    assert written == ["L3:0=f", "MB:0=50", "L2:0=3", "L3:0=7"]


def test_processes_join_the_class_and_then_the_group_that_watches_them(resctrl):
    service = planned({"enableMonitoring": True})
    service.create()

    assert service.directories == [str(resctrl / "box"), str(resctrl / "box/mon_groups/box")]
    for fd in service.open_files():
        os.write(fd, b"0")
        os.close(fd)
    assert (resctrl / "box/tasks").read_text() == (resctrl / "box/mon_groups/box/tasks").read_text() == "0"


def test_a_class_that_was_there_stays(resctrl):
    intel_rdt.os.mkdir(str(resctrl / "gold"), 0o755)
    service = planned({"closID": "gold"})
    service.create()
    service.remove()

    assert service.directories == [str(resctrl / "gold")]
    assert (resctrl / "gold").exists()


def test_the_root_is_a_class_too(resctrl):
    assert planned({"closID": "/"}).directories == [str(resctrl)]


def test_a_class_without_schema_must_be_there(resctrl):
    with pytest.raises(ConfigError, match='"gold" is not there'):
        planned({"closID": "gold"})


@pytest.mark.parametrize(
    "schema, fits", [("L3:0=0F", True), ("L3:0=f;1=0ff", True), ("L3:0=7", False), ("L3:2=f", False)]
)
def test_a_class_that_is_there_must_have_the_schema_that_is_asked_for(resctrl, schema, fits):
    intel_rdt.os.mkdir(str(resctrl / "gold"), 0o755)
    (resctrl / "gold/schemata").write_text("    L3:0=0000f;1=000ff\n    MB:0= 100\n")

    if fits:
        assert planned({"closID": "gold", "l3CacheSchema": schema}).schemata == []
    else:
        with pytest.raises(ConfigError, match="with another schema"):
            planned({"closID": "gold", "l3CacheSchema": schema})


def test_update_writes_to_the_containers_class_and_needs_one(resctrl):
    service = planned({})
    service.create()
    intel_rdt.update(service.paths(), "L3:0=3", "")

    assert lines(resctrl / "box") == ["L3:0=3"]
    with pytest.raises(Error, match="no class of service"):
        intel_rdt.update({}, "L3:0=3", "")


def test_the_statistics_tell_the_schemas(resctrl):
    service = planned({"schemata": ["L3:0=3;1=3"]})
    service.create()

    assert intel_rdt.statistics(service.paths()) == {
        "l3_cache_schema": "L3:0=3;1=3",
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "mem_bw_schema_root": "MB:0=100;1=100",
    }


def test_a_group_that_is_gone_is_no_error_of_delete(resctrl):
    intel_rdt.of_state({"directories": ["/nonexistent/a"], "made": ["/nonexistent/a"]}).remove()

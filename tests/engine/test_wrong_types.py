"""Bodies whose fields have types that nobody sends: answers are in the words of the API, never in those of Python."""

import base64

import pytest

pytestmark = pytest.mark.usefixtures("removed")

VALUES = ("x", 5, 1.5, True, [5], [None], [[1]], {"a": 5}, {"a": [{"b": 1}]}, [{"a": 1}], "\0", ["\0"], {"\0": "x"})
WORDS_OF_PYTHON = ("NoneType", "object has", "'int'", "'str'", "'list'", "'dict'", "argument", "unhashable", "unpack")
TOP = (
    "Hostname Domainname User AttachStdin Tty OpenStdin StdinOnce Env Cmd Entrypoint Image Volumes WorkingDir Shell "
    "ExposedPorts Labels StopSignal StopTimeout MacAddress NetworkDisabled OnBuild HostConfig NetworkingConfig "
    "NetworkingConfig.EndpointsConfig NetworkingConfig.EndpointsConfig.none Healthcheck Healthcheck.Test "
    "Healthcheck.Interval Healthcheck.Retries"
)
HOST = (
    "Binds Mounts Tmpfs LogConfig LogConfig.Type LogConfig.Config NetworkMode AutoRemove ConsoleSize CapAdd ExtraHosts "
    "ReadonlyRootfs SecurityOpt ShmSize OomScoreAdj Ulimits Sysctls Init CgroupParent Annotations GroupAdd MaskedPaths "
    "VolumesFrom RestartPolicy RestartPolicy.Name RestartPolicy.MaximumRetryCount PortBindings PublishAllPorts "
    "Privileged Devices DeviceCgroupRules DeviceRequests BlkioWeightDevice BlkioDeviceReadBps MemorySwappiness PidMode "
    "IpcMode Dns Links Memory MemorySwap NanoCpus CpuShares CpuPeriod CpusetCpus PidsLimit BlkioWeight Runtime"
)
CONTAINER = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
ENDPOINT = (
    "EndpointConfig EndpointConfig.IPAMConfig EndpointConfig.Aliases EndpointConfig.Links EndpointConfig.GwPriority"
)


def body(base, field, value):
    """Return a copy of `base` with the value at "a.b.c"."""
    name, _, rest = field.partition(".")
    return {**base, name: body(base.get(name) or {}, rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "base", "fields"),
    [
        ("/containers/create", CONTAINER, TOP.split()),
        ("/containers/create", CONTAINER, [f"HostConfig.{name}" for name in HOST.split()]),
        ("/containers/web/update", {}, [name for name in HOST.split() if "CpusetCpus" not in name]),
        ("/containers/web/exec", {"Cmd": ["true"]}, "Cmd Env User WorkingDir DetachKeys Tty ConsoleSize".split()),
        ("/commit?container=web", {}, "Cmd Entrypoint Env Labels Volumes User Healthcheck OnBuild".split()),
        ("/networks/create", {"Name": "n"}, "Name Driver Options Labels Internal IPAM IPAM.Config IPAM.Driver".split()),
        ("/networks/none/connect", {"Container": "web"}, ["Container", *ENDPOINT.split()]),
        ("/networks/none/disconnect", {"Container": "nosuch"}, ["Container"]),
        ("/volumes/create", {}, "Name Driver Labels DriverOpts".split()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_of_a_wrong_type_is_told_by_its_name(engine, path, base, fields):
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    told = []
    for field in fields:
        for value in VALUES:
            status, answer = engine.call("POST", path, body(base, field, value))
            if status < 400:
                continue
            assert status in (400, 403, 404, 409, 501), (field, value, answer)
            assert not any(word in answer["message"] for word in WORDS_OF_PYTHON), (field, value, answer)
            told += [field] if answer["message"].startswith(f"invalid JSON: {field.replace('.none', '[')}") else []

    assert set(fields) - set(told) <= {"Image"}  # a number is no name of an image
    for one in engine.call("GET", "/volumes")[1]["Volumes"]:
        engine.call("DELETE", f"/volumes/{one['Name']}")
    engine.ok("network", "prune", "-f")
    engine.ok("image", "prune", "-f")


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ({"ConsoleSize": [5]}, "HostConfig.ConsoleSize: expected [height, width]"),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"ExtraHosts": ["a:zz"]}, 'invalid IP address in add-host: "zz"'),
        ({"OomScoreAdj": 1001}, "range for oom score adj is [-1000, 1000]"),
        ({"CpuPeriod": 999}, "CPU cfs period can not be less than 1ms"),
        ({"CpuQuota": 999}, "CPU cfs quota can not be less than 1ms"),
        ({"CpusetCpus": "all"}, "Invalid value all for cpuset cpus"),
        (
            {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/x", "BindOptions": {"Propagation": "up"}}]},
            "mode: up",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_be_is_refused_before_there_is_a_container(engine, host, error):
    status, answer = engine.call("POST", "/containers/create", {**CONTAINER, "HostConfig": host})

    assert status == 400
    assert error in answer["message"]


def test_the_smallest_values_are_taken(engine):
    host = {"NetworkMode": "none", "Memory": -1, "Ulimits": [{"Name": "nofile", "Hard": 100}], "CpuQuota": -1}
    created = engine.call("POST", "/containers/create", {**CONTAINER, "StopTimeout": 0, "HostConfig": host})[1]

    assert engine.call("POST", f"/containers/{created['Id']}/start") == (204, None)
    assert engine.inspect(created["Id"], ".Config.StopTimeout") == 0


def test_credentials_that_are_none_are_refused(engine):
    for text in ("[" * 20_000, "[1]", "{", "\xff", '{"username": NaN}'):
        header = base64.urlsafe_b64encode(text.encode("latin-1")).decode()
        head = "POST /images/create?fromImage=busybox HTTP/1.1\r\nHost: d\r\nConnection: close"
        answered = engine.exchange(f"{head}\r\nX-Registry-Auth: {header}\r\n\r\n".encode())

        assert answered.startswith(b"HTTP/1.1 400 "), answered
        assert b"X-Registry-Auth: expected a JSON object in base64url" in answered


@pytest.mark.parametrize("field", ["CheckpointID", "CheckpointDir", "Exit"])
def test_a_checkpoint_of_wrong_types_is_refused(engine, field):
    engine.ok("create", "--name", "web", "--network=none", "busybox")

    status, answer = engine.call("POST", "/containers/web/checkpoints", {"CheckpointID": "one", field: [5]})

    assert status == 400 and answer["message"].startswith(f"invalid JSON: {field}: expected "), answer

"""The body of containers/create, from the options of `run` and `create`."""

from foundation.linux import whole_file
from pyrund.client import mounts, ports, values
from pyrund.client.attachment import size
from pyrund.client.values import number
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.options import Options

    Json = dict[str, Any]

_ALL_PATHS = "systempaths=unconfined"  # docker's client carries it out itself, too
_STREAMS = ("stdin", "stdout", "stderr")
_PREDEFINED = ("default", "bridge", "host", "none")


def body(image: str, command: "list[str]", options: "Options", is_detached: bool) -> "Json":
    """Return what the daemon is to create. Raises Refused."""
    config = _config(image, command, options)
    config.update(_streams(options, is_detached))
    config["HostConfig"] = _host_config(options)
    endpoints = _endpoints(options)
    config["HostConfig"]["NetworkMode"] = next(iter(endpoints), "default")
    config["NetworkingConfig"] = {"EndpointsConfig": {name: one for name, one in endpoints.items() if one}}
    if len(endpoints) > 1:
        config["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return config


def _streams(options: "Options", is_detached: bool) -> "Json":
    wanted = [stream.lower() for stream in options.get("attach", [])]
    for stream in wanted:
        if stream not in _STREAMS:
            raise values.refused("attach", stream, "valid streams are STDIN, STDOUT and STDERR")
    if is_detached and wanted:
        raise Refused("conflicting options: cannot specify both --attach and --detach", 125)
    opens_input = bool(options.get("interactive"))
    wanted = wanted or ["stdout", "stderr", *(["stdin"] if opens_input else [])]
    if is_detached:
        wanted = []
    return {
        **{f"Attach{stream.capitalize()}": stream in wanted for stream in _STREAMS},
        "Tty": bool(options.get("tty")),
        "OpenStdin": opens_input,
        "StdinOnce": opens_input and "stdin" in wanted,
    }


def _config(image: str, command: "list[str]", options: "Options") -> "Json":
    binds, anonymous = mounts.volumes(options.get("volume", []))
    exposed = [*ports.exposed(options.get("expose", [])), *ports.bindings(options.get("publish", []))]
    config: Json = {
        "Image": image,
        "Cmd": command or None,
        "Entrypoint": [options["entrypoint"]] if "entrypoint" in options else None,
        "Hostname": options.get("hostname", ""),
        "Domainname": options.get("domainname", ""),
        "User": options.get("user", ""),
        "WorkingDir": options.get("workdir", ""),
        "Env": values.environment(options),
        "Labels": values.labels(options),
        "Volumes": {path: {} for path in anonymous},
        "ExposedPorts": {port: {} for port in exposed},
        "Healthcheck": _health(options),
    }
    if "stop_signal" in options:
        config["StopSignal"] = options["stop_signal"]
    if "stop_timeout" in options:
        config["StopTimeout"] = number(options, "stop-timeout")
    return config


def _health(options: "Options") -> "Json | None":
    if options.get("no_healthcheck"):
        if any(name.startswith("health_") for name in options):
            raise Refused("--no-healthcheck conflicts with --health-* options", 125)
        return {"Test": ["NONE"]}
    if not any(name.startswith("health_") for name in options):
        return None
    return {
        "Test": ["CMD-SHELL", options["health_cmd"]] if options.get("health_cmd") else None,
        "Interval": values.duration_of(options, "health-interval"),
        "Timeout": values.duration_of(options, "health-timeout"),
        "StartPeriod": values.duration_of(options, "health-start-period"),
        "StartInterval": values.duration_of(options, "health-start-interval"),
        "Retries": number(options, "health-retries"),
    }


def _host_config(options: "Options") -> "Json":
    given = options.get
    return {
        **_limits(options),
        "Binds": mounts.volumes(given("volume", []))[0] or None,
        "Mounts": mounts.mounts(given("mount", [])),
        "Tmpfs": mounts.tmpfs(given("tmpfs", [])),
        "VolumeDriver": given("volume_driver", ""),
        "VolumesFrom": given("volumes_from"),
        "ContainerIDFile": given("cidfile", ""),
        "ConsoleSize": list(size()) if given("tty") else [0, 0],
        "AutoRemove": bool(given("rm")),
        "RestartPolicy": _restart(options),
        "Privileged": bool(given("privileged")),
        "CapAdd": given("cap_add"),
        "CapDrop": given("cap_drop"),
        "SecurityOpt": [_security(text) for text in given("security_opt", []) if text != _ALL_PATHS] or None,
        **(dict.fromkeys(("MaskedPaths", "ReadonlyPaths"), []) if _ALL_PATHS in given("security_opt", []) else {}),
        "ReadonlyRootfs": bool(given("read_only")),
        "PortBindings": ports.bindings(given("publish", [])),
        "PublishAllPorts": bool(given("publish_all")),
        "Links": given("link"),
        "Dns": given("dns", []),
        "DnsOptions": given("dns_option", []),
        "DnsSearch": given("dns_search", []),
        "ExtraHosts": [text.replace("=", ":", 1) if ":" not in text else text for text in given("add_host", [])],
        "GroupAdd": given("group_add"),
        "Devices": [_device(text) for text in given("device", [])],
        "DeviceCgroupRules": given("device_cgroup_rule"),
        "DeviceRequests": [_gpus(text) for text in given("gpus", [])],
        "LogConfig": {"Type": given("log_driver", ""), "Config": values.pairs(given("log_opt", []), "log-opt")},
        "StorageOpt": values.pairs(given("storage_opt", []), "storage-opt") or None,
        "Sysctls": values.pairs(given("sysctl", []), "sysctl"),
        "Annotations": values.pairs(given("annotation", []), "annotation") or None,
        "Init": True if given("init") else None,
        "Runtime": given("runtime", ""),
        "Isolation": given("isolation", ""),
        "IpcMode": given("ipc", ""),
        "PidMode": given("pid", ""),
        "UTSMode": given("uts", ""),
        "UsernsMode": given("userns", ""),
        "CgroupnsMode": given("cgroupns", ""),
        "CgroupParent": given("cgroup_parent", ""),
    }


def _limits(options: "Options") -> "Json":
    return {
        "Memory": values.size(options, "memory"),
        "MemoryReservation": values.size(options, "memory-reservation"),
        "MemorySwap": values.size(options, "memory-swap"),
        "MemorySwappiness": number(options, "memory-swappiness", -1),
        "ShmSize": values.size(options, "shm-size"),
        "NanoCpus": _cpus(options.get("cpus", "0")),
        "CpuShares": number(options, "cpu-shares"),
        "CpuPeriod": number(options, "cpu-period"),
        "CpuQuota": number(options, "cpu-quota"),
        "CpusetCpus": options.get("cpuset_cpus", ""),
        "CpusetMems": options.get("cpuset_mems", ""),
        "CpuRealtimePeriod": number(options, "cpu-rt-period"),
        "CpuRealtimeRuntime": number(options, "cpu-rt-runtime"),
        "BlkioWeight": number(options, "blkio-weight"),
        "BlkioWeightDevice": _of_devices(options, "blkio-weight-device", "Weight"),
        "BlkioDeviceReadBps": _of_devices(options, "device-read-bps", "Rate"),
        "BlkioDeviceReadIOps": _of_devices(options, "device-read-iops", "Rate"),
        "BlkioDeviceWriteBps": _of_devices(options, "device-write-bps", "Rate"),
        "BlkioDeviceWriteIOps": _of_devices(options, "device-write-iops", "Rate"),
        "PidsLimit": number(options, "pids-limit"),
        "OomKillDisable": bool(options.get("oom_kill_disable")),
        "OomScoreAdj": number(options, "oom-score-adj"),
        "Ulimits": [_ulimit(text) for text in options.get("ulimit", [])],
    }


def _of_devices(options: "Options", name: str, what: str) -> "list[Json]":
    """Return the limits DEVICE:N, or DEVICE:SIZE of the options whose names end in "bps"."""
    found = []
    for text in options.get(name.replace("-", "_"), []):
        path, colon, value = text.rpartition(":")
        if not colon or not path.startswith("/dev/"):
            raise values.refused(name, text, f"bad format for device path: {text}")
        given: Options = {name.replace("-", "_"): value}
        count = values.size(given, name) if name.endswith("bps") else number(given, name)
        found.append({"Path": path, what: count})
    return found


def _gpus(text: str) -> "Json":
    """Return the request for "all", a number, or fields such as count=2,capabilities=utility."""
    request: Json = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    for field in mounts.fields(text, "gpus"):
        key, equals, value = field.partition("=")
        if not equals or key == "count":
            wanted = value if equals else key
            request["Count"] = -1 if wanted == "all" else number({"gpus": wanted}, "gpus")
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = values.pairs(value.split(","), "gpus")
        else:
            raise values.refused("gpus", text, f"unexpected key '{key}' in '{field}'")
    return request


def _cpus(text: str) -> int:
    whole, _, fraction = text.partition(".")
    if not (whole + fraction).isdigit() or not text.isascii() or len(fraction) > 9:
        raise values.refused("cpus", text, "expected a number of CPUs with at most nine decimals")
    return int(whole or 0) * 10**9 + int(fraction.ljust(9, "0"))


def _ulimit(text: str) -> "Json":
    name, equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    if not equals or not values.is_number(soft) or (colon and not values.is_number(hard)):
        raise values.refused("ulimit", text, "expected NAME=SOFT[:HARD]")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def _restart(options: "Options") -> "Json":
    text = options.get("restart", "no")
    name, colon, count = text.partition(":")
    if colon and not (count.isascii() and count.isdigit()):
        raise Refused("invalid restart policy format: maximum retry count must be an integer", 125)
    if options.get("rm") and name not in ("", "no"):
        raise Refused("conflicting options: cannot specify both --restart and --rm", 125)
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _security(text: str) -> str:
    """Return a security option; a seccomp profile is sent itself, as the daemon may be on another machine."""
    name, equals, value = text.partition("=")
    if name != "seccomp" or not equals or value in ("unconfined", "builtin"):
        return text
    try:
        return f"seccomp={whole_file.read(value).decode()}"
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Refused(f"opening seccomp profile ({value}) failed: {why}", 125) from None


def _device(text: str) -> "Json":
    source, *rest = text.split(":")
    permissions = rest.pop() if rest and rest[-1] and not rest[-1].strip("rwm") else "rwm"
    if len(rest) > 1:
        raise Refused(f"invalid device specification: {text}", 125)
    return {"PathOnHost": source, "PathInContainer": rest[0] if rest else source, "CgroupPermissions": permissions}


def _endpoints(options: "Options") -> "dict[str, Json]":
    """Return {network: what is asked of it}. The options for one network are those of the first."""
    found: dict[str, Json] = {}
    for text in options.get("network", ["default"]):
        name, endpoint = _network(text)
        found[name] = endpoint
    first = next(iter(found))
    endpoint = found[first]
    if "network_alias" in options:
        endpoint["Aliases"] = options["network_alias"]
    addresses = {"IPv4Address": options.get("ip"), "IPv6Address": options.get("ip6")}
    addresses = {key: address for key, address in addresses.items() if address}
    if options.get("link_local_ip"):
        addresses["LinkLocalIPs"] = options["link_local_ip"]
    if addresses:
        endpoint["IPAMConfig"] = addresses
    if options.get("mac_address"):
        endpoint["MacAddress"] = options["mac_address"]
    if options.get("link") and first not in _PREDEFINED and not first.startswith("container:"):
        endpoint["Links"] = options["link"]
    return found


_OF_NETWORK = {"ip": "IPv4Address", "ip6": "IPv6Address"}


def _network(text: str) -> "tuple[str, Json]":
    """Return (name, endpoint) of "name=NAME,alias=A,ip=ADDRESS", or of a name alone."""
    if "=" not in text:
        return text, {}
    name, endpoint = "", {}  # type: str, Json
    for field in text.split(","):
        key, _, value = field.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            endpoint.setdefault("Aliases", []).append(value)
        elif key in _OF_NETWORK:
            endpoint.setdefault("IPAMConfig", {})[_OF_NETWORK[key]] = value
        elif key == "mac-address":
            endpoint["MacAddress"] = value
        elif key == "driver-opt":
            option, _, given = value.partition("=")
            endpoint.setdefault("DriverOpts", {})[option] = given
        else:
            raise values.refused("network", text, f"invalid field {key}")
    return name, endpoint

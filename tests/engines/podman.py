"""podman with the containers.conf of doc/engines.md."""

from tools import Engine, readme

# A machine without CAP_SYS_RESOURCE cannot raise the limits that podman asks for by itself.
_CONTAINERS = """
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


def podman_on(directory, pyrun, runtime, *options, before=(), environment=None):
    """Return podman on `runtime`; it is called in `directory`, since conmon writes a file `oom` where it is called."""
    config = directory / "containers.conf"
    config.write_text(readme("containers/containers.conf", pyrun) + _CONTAINERS)
    options = ("--cgroup-manager", "cgroupfs", "--events-backend", "none", *options, "--runtime", runtime)
    environment = {"CONTAINERS_CONF": str(config), **(environment or {})}
    return Engine(*before, "podman", *options, environment=environment, directory=directory)

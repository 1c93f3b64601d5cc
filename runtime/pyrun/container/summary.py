"""What `state` and `list` print about a container."""

from pyrun.container.state import OCI_VERSION, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def summary(container: Container) -> "dict[str, Any]":
    """Return runc's names in runc's order, and after them how the container ended, if its monitor has recorded that."""
    status = container.status()
    found: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": container.created,
    }
    if container.annotations:
        found["annotations"] = container.annotations
    found["owner"] = ""
    if status == "stopped" and container.monitor[0]:
        from pyrun.container.exit_status import outcome  # few containers have a monitor

        found.update(outcome(container))
    return found

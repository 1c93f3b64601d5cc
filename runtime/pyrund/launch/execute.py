"""A worker that executes a process in a running container, and then is its monitor. The answers are those of start.py.

The record of its end is in the folder of the exec, so that it outlives the engine.
"""

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.socketpair import STREAM, socketpair
from pyrun.config.document import Config, Process, load_config
from pyrun.config.node import Node
from pyrun.config.process_rules import validate_process
from pyrun.container.process import process_stat
from pyrun.container.state import load as load_state
from pyrun.launch.exec import NewProcess, Target, end, execute
from pyrun.stdio.descriptors import Preserved
from pyrun.stub.monitor import keep_watch
from pyrund.errors import ApiError
from pyrund.launch import users
from pyrund.launch.ends import Ends
from pyrund.launch.start import NO_NAME
from pyrund.model.container import Container
from pyrund.model.container import existing as existing_container
from pyrund.model.exec import existing
from pyrund.spec.config_json import user_json
from pyrund.spec.confinement import every_capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Start the exec `id`. Returns only by raising."""
    exec_ = existing(places, message["id"])
    wanted = exec_.config
    try:
        state = load_state(places.states, exec_.container_id)
        config = load_config(state.config_file)
        target = Target(state, state.cgroup().beside(state.pid))
        process = _process(config, wanted, existing_container(places, exec_.container_id), target.tree.fd)
        ends = Ends(wanted["Tty"], wanted["AttachStdin"], keeps_stdin=False)
        new = NewProcess(state, "running", config, process, Preserved(0, 0), ends.theirs)
        pid, _ = execute(target, new, lambda masters: ends.take_terminal(masters[0]))
    except (Error, OSError) as error:
        text = f"unable to start container process: {reason(error)}"
        raise ApiError(400, f"OCI runtime exec failed: exec failed: {text}: unknown") from error
    try:
        ours, theirs = socketpair(STREAM)
        record = os.open(exec_.record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        own = process_stat(os.getpid())
        monitor = (os.getpid(), own[2] if own else 0)
        exec_.document.update(Pid=pid, Monitor=monitor)
        exec_.save()  # before the daemon hears of it: the next one finds the monitor by that if it is killed now
        answers.send({"pid": pid, "names": ends.names, "monitor": monitor}, (ours.fileno(), *ends.ours))
        kept = (theirs.fileno(), ours.fileno(), *ends.kept)
        keep_watch(pid, exec_.id.encode(), record, answers.fileno(), kept)
    except BaseException:
        end(pid)
        raise


def _process(config: Config, wanted: "dict[str, Any]", container: Container, root: int) -> Process:
    """Return the process: the container's own with what `wanted` changes. `root` is the container's root directory."""
    own: dict[str, Any] = dict(config.process.json.properties) if config.process else {"cwd": "/"}
    own["terminal"] = wanted["Tty"]
    own["args"] = wanted["Cmd"]
    if not wanted["Cmd"][0]:
        raise Error(NO_NAME)
    own["cwd"] = wanted["WorkingDir"] or own["cwd"]
    # Of two values of a variable the last one counts: the container, or the client, may name another terminal.
    env = [
        *(["TERM=xterm"] if wanted["Tty"] else []),
        *_environment(own.get("env", []), wanted, container),
        *wanted["Env"],
    ]
    unset = {entry for entry in wanted["Env"] if "=" not in entry}  # `docker exec -e NAME`, if the client has no NAME
    own["env"] = [entry for entry in env if entry.partition("=")[0] not in unset]
    own.pop("consoleSize", None)
    if wanted["ConsoleSize"]:
        height, width = wanted["ConsoleSize"]
        own["consoleSize"] = {"height": height, "width": width}
    if wanted["Privileged"]:
        own["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), every_capability())
        own.pop("apparmorProfile", None)
    if wanted["User"]:
        own["user"] = _user(wanted["User"], root)
    process = Process(Node(own, "process: "))
    validate_process(process, config)
    return process


def _environment(env: "list[str]", wanted: "dict[str, Any]", container: Container) -> "list[str]":
    """Return the container's environment; without the TERM of its terminal, if the process has none."""
    if wanted["Tty"] or any(entry.startswith("TERM=") for entry in container.config["Env"] or []):
        return env
    return [entry for entry in env if not entry.startswith("TERM=")]


def _user(text: str, root: int) -> "dict[str, Any]":
    return user_json(users.find(text, lambda find: find(root)))

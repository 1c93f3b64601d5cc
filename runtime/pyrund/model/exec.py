"""An exec: another process in a running container. Its folder is in /run, so it does not outlive the machine."""

import json
from binascii import b2a_base64

from foundation.linux import os, whole_file
from pyrund.errors import ApiError
from pyrund.loop import Future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.places import Places

    Json = dict[str, Any]

_DOCUMENT = "exec.json"
RECORD = "exit"


class Exec:
    """An exec. `document` is what exec.json holds:

    ID, ContainerID, ExecConfig   as in docker's API
    Pid                           0 before it is started
    Monitor                       (pid, start time) of its monitor

    has_monitor whether it has one that has not been dismissed
    exit_code   None until it has ended
    is_settled  done when it runs, or could not be started
    ended       its exit code when it has run and ended
    """

    def __init__(self, places: "Places", document: "Json") -> None:
        self._places = places
        self.document = document
        self.is_running = False
        self.has_begun = False
        self.has_monitor = False
        self.exit_code: int | None = None
        self.is_settled: Future[None] = Future()
        self.ended: Future[int] = Future()

    @property
    def id(self) -> str:
        return str(self.document["ID"])

    @property
    def container_id(self) -> str:
        return str(self.document["ContainerID"])

    @property
    def config(self) -> "Json":
        return self.document["ExecConfig"]  # type: ignore[no-any-return]

    @property
    def record(self) -> str:
        """The path of the record that its monitor writes."""
        return f"{self._places.exec(self.id)}/{RECORD}"

    def save(self) -> None:
        path = f"{self._places.exec(self.id)}/{_DOCUMENT}"
        whole_file.replace(path, json.dumps(self.document).encode(), f"{path}.new")

    def make_folder(self) -> None:
        os.makedirs(self._places.execs, 0o700, exist_ok=True)
        os.mkdir(self._places.exec(self.id), 0o700)

    def remove_folder(self) -> None:
        discard(self._places, self.id)

    def described(self) -> "Json":
        """Return the exec as inspect shows it."""
        config = self.config
        return {
            "ID": self.id,
            "Running": self.is_running,
            "ExitCode": self.exit_code,
            "ProcessConfig": {
                "tty": config["Tty"],
                "entrypoint": config["Cmd"][0],
                "arguments": config["Cmd"][1:],
                "privileged": config["Privileged"],
                "user": config["User"],
            },
            "OpenStdin": config["AttachStdin"],
            "OpenStderr": config["AttachStderr"],
            "OpenStdout": config["AttachStdout"],
            "CanRemove": False,
            "ContainerID": self.container_id,
            "DetachKeys": b2a_base64(config["DetachKeys"].encode("latin-1"), newline=False).decode(),
            "Pid": self.document["Pid"],
        }


def load(places: "Places", id_: str) -> "Exec | None":
    """Return the exec in the folder `id_`; None if that was half made or half removed."""
    try:
        return Exec(places, json.loads(whole_file.read(f"{places.exec(id_)}/{_DOCUMENT}")))
    except FileNotFoundError:
        return None


def existing(places: "Places", id_: str) -> Exec:
    """Return the same. Raises ApiError if it has been removed with its container."""
    found = load(places, id_)
    if found is None:
        raise ApiError(404, f"No such exec instance: {id_}")
    return found


def discard(places: "Places", id_: str) -> None:
    """Remove the folder of an exec."""
    for name in (RECORD, _DOCUMENT, f"{_DOCUMENT}.new"):
        try:
            os.unlink(f"{places.exec(id_)}/{name}")
        except FileNotFoundError:
            pass  # not every exec has been started
    try:
        os.rmdir(places.exec(id_))
    except FileNotFoundError:
        pass  # an earlier attempt has removed it

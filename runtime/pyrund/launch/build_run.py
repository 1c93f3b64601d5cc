"""RUN: a container that the daemon makes and starts, and the layer of what it has written."""

import select

from foundation.linux import os
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.layer import take_layer, write_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.store import Store
    from pyrund.launch.build_output import Output
    from pyrund.messages import Message, Port
    from pyrund.places import Places

    Json = dict[str, Any]

_HEADER = 8  # bytes before each piece of output: the stream, and the size of the piece
_READ = 1 << 16
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Run:
    def __init__(
        self, places: "Places", store: "Store", answers: "Port", output: "Output", removes: bool, removes_failed: bool
    ) -> None:
        self._places = places
        self._store = store
        self._answers = answers
        self._output = output
        self._removes = removes
        self._removes_failed = removes_failed

    def layer(
        self,
        draft: Draft,
        config: "Json",
        command: "list[str]",
        environment: "list[str]",
        mounts: "list[Json]",
        latest: "int | None",
    ) -> "Json | None":
        """Run `command` in a container of the draft; return the layer that it has made. Raises BuildError.

        `mounts` are those of a HostConfig.
        """
        wanted = {
            "Cmd": command,
            "Entrypoint": [],
            "Env": environment,
            **{name: config[name] for name in ("User", "WorkingDir", "Volumes", "Labels") if config.get(name)},
        }
        folders = draft.folders(self._store)
        self._answers.send({"run": {"config": wanted, "mounts": mounts, "layers": folders, "image": draft.id}})
        answer, descriptors = self._hear()
        if "error" in answer:
            raise BuildError(answer["error"])
        id_ = answer["id"]
        self._output.line(f" ---> Running in {id_[:12]}\n")
        code = self._follow(id_, descriptors[0])
        if code:
            if self._removes_failed:
                self._remove(id_)
            raise BuildError(f"The command '{' '.join(command)}' returned a non-zero code: {code}", code)
        upper = f"{self._places.layer(id_)}/upper"
        if not self._removes:
            return write_layer(self._store, draft, upper)
        layer = take_layer(self._store, draft, upper, latest)
        self._remove(id_)
        return layer

    def _hear(self) -> "tuple[Message, list[int]]":
        answer, descriptors = self._answers.receive()
        if answer is None:
            os._exit(1)  # the daemon was killed
        return answer, descriptors

    def _remove(self, id_: str) -> None:
        self._answers.send({"remove": id_})
        self._output.line(f"Removing intermediate container {id_[:12]}\n")

    def _follow(self, id_: str, shown: int) -> int:
        """Show the output of the container until it has ended; return its exit status."""
        waiting = select.poll()
        waiting.register(shown, select.POLLIN)
        waiting.register(self._answers.fileno(), select.POLLIN)
        waiting.register(self._output.client, select.POLLRDHUP)
        data, has_head, answer = b"", False, None
        while shown >= 0 or answer is None:
            for fd, events in waiting.poll():
                if fd == self._output.client and events & _GONE:
                    os._exit(1)  # the daemon then ends the container, and removes it
                elif fd == shown:
                    piece = os.read(shown, _READ)
                    data += piece
                    if not has_head and b"\r\n\r\n" in data:
                        has_head, data = True, data.partition(b"\r\n\r\n")[2]
                    data = self._show(data) if has_head else data
                    if not piece:
                        waiting.unregister(shown)
                        os.close(shown)
                        shown = -1
                elif fd == self._answers.fileno():
                    waiting.unregister(fd)
                    answer = self._hear()[0]
        if "error" in answer:
            if self._removes_failed or self._removes:
                self._remove(id_)
            raise BuildError(answer["error"])
        return int(answer["exit"])

    def _show(self, data: bytes) -> bytes:
        """Show all whole pieces in `data`; return the rest."""
        while len(data) >= _HEADER:
            size = int.from_bytes(data[4:_HEADER], "big")
            if len(data) < _HEADER + size:
                break
            self._output.piece(data[0], data[_HEADER : _HEADER + size])
            data = data[_HEADER + size :]
        return data

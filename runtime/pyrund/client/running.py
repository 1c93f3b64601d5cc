"""A container that is started in the foreground: its streams, signals, exit code."""

from pyrund.client.attachment import Attachment, left, size
from pyrund.client.server import flags, quoted
from pyrund.errors import ApiError, Refused, shell_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.connection import Answer
    from pyrund.client.server import Server
    from pyrund.options import Options


class Foreground:
    """The container `id_`, whose `streams` (of stdin, stdout, stderr) are ours until it ends."""

    def __init__(self, server: "Server", id_: str, is_terminal: bool, streams: "list[str]", options: "Options") -> None:
        self._server = server
        self._id = id_
        self._path = f"/containers/{quoted(id_)}"
        self._is_terminal = is_terminal
        self._streams = streams
        self._keys = options.get("detach_keys", "")
        self.passes_signals = bool(options.get("sig_proxy", True))

    def start(self, is_removed: bool) -> int:
        """Start the container, and wait for its end; return its exit code. Raises Refused if it cannot be started."""
        with self._attachment() as attachment:
            waiting = self._wait("removed" if is_removed else "next-exit")
            try:
                start(self._server, self._id)
            except Refused:
                if is_removed:
                    _code(waiting)  # until it is removed
                raise
            code = self._finish(attachment, waiting)
        return code or 0

    def attach(self) -> int:
        """Attach to the container, which runs; return its exit code."""
        waiting = self._wait("")
        with self._attachment() as attachment:
            self._have_redrawn()
            code = self._finish(attachment, waiting)
        return left() if code is None else code

    def _have_redrawn(self) -> None:
        """Let a program on a terminal draw its screen again, by a size that it does not have."""
        height, width = size()
        if self._is_terminal and height and width:
            try:
                self._resize(height + 1, width + 1)
            except ApiError:
                pass  # it has ended

    def _finish(self, attachment: Attachment, waiting: "Answer") -> "int | None":
        """Return the exit code, or None if the user leaves the container."""
        if not attachment.run():
            return None
        attachment.wait_for(waiting.connection)
        return _code(waiting)

    def _attachment(self) -> Attachment:
        query = {"stream": 1, **dict.fromkeys(self._streams, 1), **flags(detachKeys=self._keys)}
        stream = self._server.hijack(f"{self._path}/attach", query)
        signal = self._kill if self.passes_signals else None
        return Attachment(stream, self._is_terminal, "stdin" in self._streams, self._keys, self._resize, signal)

    def _wait(self, condition: str) -> "Answer":
        return self._server.ask("POST", f"{self._path}/wait", flags(condition=condition))

    def _resize(self, height: int, width: int) -> None:
        self._server.call("POST", f"{self._path}/resize", {"h": height, "w": width})

    def _kill(self, number: int) -> None:
        try:
            self._server.call("POST", f"{self._path}/kill", {"signal": number})
        except ApiError:
            pass  # it has ended


def start(server: "Server", id_: str) -> None:
    """Start the container. Raises Refused with the exit status that stands for the cause."""
    try:
        server.call("POST", f"/containers/{quoted(id_)}/start")
    except ApiError as error:
        raise Refused(f"Error response from daemon: {error}", shell_status(str(error), 125)) from None


def _code(waiting: "Answer") -> int:
    """Return the exit code for which the daemon has been asked."""
    try:
        value = next(waiting.values(), None)
    except OSError as error:
        raise Refused(f"error waiting for container: {error.strerror or error}", 125) from None
    if value is None:
        raise Refused("error waiting for container: the daemon has ended", 125)
    if (value.get("Error") or {}).get("Message"):
        raise Refused(value["Error"]["Message"], 125)
    return int(value["StatusCode"])

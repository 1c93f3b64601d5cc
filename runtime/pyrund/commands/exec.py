"""pyrund exec."""

from pyrund.client import values
from pyrund.client.attachment import Attachment, check_terminal, left, size
from pyrund.client.server import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    name, *command = words
    has_terminal, is_detached = bool(options.get("tty")), bool(options.get("detach"))
    takes_input = bool(options.get("interactive")) and not is_detached
    check_terminal(has_terminal, takes_input)
    body = {
        "User": options.get("user", ""),
        "Privileged": bool(options.get("privileged")),
        "Tty": has_terminal,
        "ConsoleSize": list(size()) if has_terminal else None,
        "AttachStdin": takes_input,
        "AttachStdout": not is_detached,
        "AttachStderr": not is_detached,
        "Detach": is_detached,
        "DetachKeys": options.get("detach_keys", ""),
        "Env": values.environment(options),
        "WorkingDir": options.get("workdir", ""),
        "Cmd": command,
    }
    id_ = server.call("POST", f"/containers/{quoted(name)}/exec", None, body)["Id"]
    start = {"Detach": is_detached, "Tty": has_terminal}
    if is_detached:
        server.call("POST", f"/exec/{id_}/start", None, start)
        return 0

    def resize(height: int, width: int) -> None:
        server.call("POST", f"/exec/{id_}/resize", {"h": height, "w": width})

    stream = server.hijack(f"/exec/{id_}/start", None, {**start, "ConsoleSize": body["ConsoleSize"]})
    with Attachment(stream, has_terminal, takes_input, options.get("detach_keys", ""), resize) as attachment:
        has_ended = attachment.run()
    if not has_ended:
        return left()
    return int(server.call("GET", f"/exec/{id_}/json")["ExitCode"] or 0)

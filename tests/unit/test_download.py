"""What a server of HTTP gives: patience, and what is not asked for."""

import socket
import threading

import pytest

from pyrund.errors import ApiError
from pyrund.launch import download
from pyrund.launch.download import Download


@pytest.fixture
def serve():
    """Return a function that begins a server with one answer, whose connection stays open; it returns the address."""
    open_sockets = []

    def begin(answer):
        server = socket.create_server(("127.0.0.1", 0))
        open_sockets.append(server)

        def run():
            connection = server.accept()[0]
            open_sockets.append(connection)
            connection.recv(65536)
            connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/x"

    yield begin
    for one in open_sockets:
        one.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"])
def test_a_server_that_goes_silent_is_given_up(serve, monkeypatch, answer):
    monkeypatch.setattr(download, "_PATIENCE", 0.2)

    with pytest.raises(ApiError, match="timed out"):
        list(Download(serve(answer)))


def test_a_server_that_keeps_the_connection_open_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(download, "_PATIENCE", 5)
    begun = Download(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nLast-Modified: no date\r\n\r\nfour"))

    assert (b"".join(begun), begun.size, begun.modified) == (b"four", 4, None)


def test_pieces_are_of_a_bounded_size(serve):
    size = 3 << 20
    pieces = list(Download(serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))))

    assert sum(map(len, pieces)) == size and max(map(len, pieces)) <= 1 << 18


@pytest.mark.parametrize(
    "answer", [b"nonsense", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n"]
)
def test_what_is_not_http_is_one_sentence(serve, monkeypatch, answer):
    monkeypatch.setattr(download, "_PATIENCE", 0.2)

    with pytest.raises(ApiError) as caught:
        Download(serve(answer))
    assert "\n" not in str(caught.value) and "/x" in str(caught.value)


def test_files_and_ftp_are_not_opened_whatever_the_environment_says(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("secret")
    monkeypatch.setenv("ftp_proxy", "http://127.0.0.1:1")
    for url in (f"file://{tmp_path}/file", "ftp://127.0.0.1/x", "data:,x"):
        with pytest.raises(ApiError, match="unsupported protocol scheme"):
            Download(url)

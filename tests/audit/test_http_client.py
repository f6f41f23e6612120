"""What the application asks others is bounded, whatever they answer."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from audit_app.base import http_client
from audit_app.base.ssrf import DestinationRefused

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"


@contextmanager
def answering(*pieces: bytes):
    """The URL of a server that says ``pieces`` to one caller, and then nothing more."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                connected, _ = server.accept()
                with connected:
                    connected.recv(4096)
                    for piece in pieces:
                        connected.sendall(piece)
                    ended.wait(30)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        ended.set()
        thread.join()


def get(url: str, seconds: float = 0.2, **more) -> http_client.Answer:
    return http_client.send("GET", url, seconds=seconds, at_most=100, **more)


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200",), (HEAD,)], ids=["", "line", "head"])
def test_who_does_not_finish_their_headers_has_not_answered(pieces):
    with answering(*pieces) as url, pytest.raises(http_client.NoAnswer, match=r"within 0\.2 sec"):
        get(url)


@pytest.mark.parametrize("guard", [None, ["127.0.0.0/8"]])
def test_who_drips_header_lines_has_not_answered(guard):
    """The pieces are never at an end, and each comes in time."""
    with (
        dripping(b"X-Drip: 1\r\n") as url,
        pytest.raises(http_client.NoAnswer, match=r"within 0\.2 sec"),
    ):
        get(url, guard=guard)


@contextmanager
def dripping(piece: bytes):
    """The URL of a server that says ``piece`` again and again until its caller is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connected, _ = server.accept()
            with connected, suppress(OSError):
                connected.recv(4096)
                connected.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connected.sendall(piece)
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch):
    asked, ended = threading.Event(), threading.Event()

    def never(*_, **__):
        asked.set()
        ended.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        with pytest.raises(http_client.NoAnswer, match=r"within 0\.2 sec"):
            get("http://slow.example/", guard=[])
        assert asked.is_set()
        assert not ended.is_set()
    finally:
        ended.set()


def test_of_a_body_counts_what_came_in_time():
    with answering(HEAD + b"\r\n", b"12345") as url:
        assert get(url, seconds=1).body == b"12345"


def test_no_more_is_read_than_is_wanted():
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000) as url:
        assert get(url, seconds=30).body == b"x" * 100


def test_a_redirect_is_an_answer_and_not_followed():
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with answering(head) as url:
        assert get(url, seconds=30).status == 302


def test_who_is_not_there_is_said_to_refuse():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(http_client.NoAnswer, match="Connection refused"):
        get(f"http://127.0.0.1:{port}/", seconds=30)


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1/", "file:///etc/passwd", "x"])
def test_what_is_no_address_answers_nothing(url):
    with pytest.raises(http_client.NoAnswer):
        get(url)


def test_a_guarded_request_goes_to_public_addresses_and_those_allowed():
    with answering(HEAD + b"\r\n1234567890") as url:
        with pytest.raises(DestinationRefused):
            get(url, seconds=30, guard=[])
        assert get(url, seconds=30, guard=["127.0.0.0/8"]).status == 200

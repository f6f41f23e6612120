"""What the server answers before there is a request, and when one never ends."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from orchestrator.server import long_poll, protocol
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

BODY = b'{"agent_role": "support-agent"}'


@pytest.fixture
def server(tmp_path):
    """The port of a running server."""
    port = free_port()
    with gunicorn(tmp_path / "log", on_the_tests_database(port)):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield port


def send(port, data, *, patience):
    """Send ``data`` and return all that is answered until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def problem_in(answer, status):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: application/problem+json" in head.lower()
    assert body, answer
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["trace_id"]
    return problem["code"]


def test_headers_that_never_come_and_a_body_that_stops_are_408(server):
    patience = long_poll.BODY_PAUSE_SECONDS + 30
    with socket.create_connection(("127.0.0.1", server), timeout=patience) as body:
        body.sendall(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        nothing = send(server, b"", patience=patience)
        partly = send(server, b"GET /tasks HTTP/1.1\r\nHost: local", patience=patience)
        stopped = b""
        while piece := body.recv(65_536):
            stopped += piece

    assert problem_in(nothing, 408) == "request_timeout"
    assert problem_in(partly, 408) == "request_timeout"
    assert problem_in(stopped, 408) == "request_timeout"


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"POST /sessions HTTP/1.1\r\nTransfer-Encoding: gibberish\r\n", 501, "not_implemented"),
        (b"nonsense\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n", 431, "headers_too_large"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n", 414, "uri_too_long"),
    ],
)
def test_what_is_no_request_is_a_problem(server, head, status, code):
    answer = send(server, head + b"Host: localhost\r\n\r\n", patience=protocol.HEADERS_SECONDS)

    assert problem_in(answer, status) == code


def test_whoever_sends_too_much_reads_that_it_is_too_much(server, bot):
    request = urllib.request.Request(  # our own server
        f"http://127.0.0.1:{server}/sessions",
        data=b"x" * 20_000_000,
        headers={"Authorization": f"Bearer {bot.key}", "Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)  # noqa: S310  # as above

    assert refused.value.code == 413
    assert json.load(refused.value)["code"] == "body_too_large"


def test_whoever_asks_first_sends_nothing(server, bot):
    head = (
        f"POST /sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bot.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20000000\r\nExpect: 100-continue\r\n\r\n"
    )
    answer = send(server, head.encode(), patience=10)

    assert problem_in(answer, 413) == "body_too_large"


def test_requests_on_one_connection_have_a_deadline_each(server):
    with client_of(server) as client:
        for _ in range(3):
            assert client.get("/status").status_code == 200

"""No request goes where it must not, whatever its name resolves to at the moment of judging."""

import socket
import ssl
import subprocess
import threading
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from audit_app.base import http_client
from audit_app.base.ssrf import DestinationRefused, is_public, resolve_allowed
from audit_app.webhooks import operations, sending
from tests.factories import OPS
from tests.webhooks.conftest import Handler, read_deliveries, try_delivery
from tests.webhooks.test_deliveries import note

PRIVATE = """
127.0.0.1 127.8.9.10 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255
192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1 224.0.0.1
240.0.0.1 255.255.255.255 :: ::1 fe80::1 fc00::1
fd00:ec2::254 ff02::1 fec0::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 2002:7f00:1:: 2002:a00:1::
2001:0:4136:e378:8000:63bf:f5ff:fffe 2001:db8::1 100::1 100:0:0:1::1
3fff::1 3fff:fff:ffff::1 5f00::1 192.88.99.0 192.88.99.255 2002:c058:6301::
""".split()  # noqa: SIM905
PUBLIC = """
1.1.1.1 8.8.8.8 172.32.0.1 192.88.98.1 192.88.100.1
3ffe:ffff::1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_everybodys(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "0",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[fe80::1%25lo]",
    ],
)
def test_however_it_is_written(host):
    try:
        with pytest.raises(DestinationRefused):
            resolve_allowed(urlsplit(f"http://{host}/").hostname, 80)
    except (OSError, ValueError):
        pass  # not an address at all, to this resolver


def test_one_bad_address_of_several_is_enough(monkeypatch):
    def several(host, port, **_):
        return [(2, 1, 6, "", ("1.1.1.1", port)), (2, 1, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    with pytest.raises(DestinationRefused, match=r"10\.0\.0\.1"):
        resolve_allowed("two.example", 443)
    assert resolve_allowed("two.example", 443, allowed=["10.0.0.0/8"])[0] == ip_address("1.1.1.1")


def test_a_refused_one_is_noted_and_nothing_is_sent(webhook, receiver, bot, settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    note(bot)
    [row] = read_deliveries()
    assert try_delivery(row)
    assert "not a public address" in row.response
    assert not receiver.got


def test_a_name_that_changes_its_mind_is_asked_once(receiver, monkeypatch, bot, settings):
    """What was judged is what is connected to: no second look is there to be answered otherwise."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    asked = []
    real = socket.getaddrinfo

    def once(host, *given, **named):
        asked.append(host)
        if host == "rebound.example":
            assert asked.count(host) == 1, "it is resolved again after it was judged"
            host = "127.0.0.1"
        return real(host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    url = f"http://rebound.example:{receiver.server_port}/told"
    operations.create_webhook("r", by=OPS, url=url, event_types=["agent.*"], roles=[])
    note(bot)
    assert try_delivery(read_deliveries()[0]) is None
    assert receiver.got[0].headers["Host"] == f"rebound.example:{receiver.server_port}"


@pytest.fixture
def certificate(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ],
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    return key, cert


def test_over_tls_the_name_is_what_the_certificate_must_say(certificate, bot, monkeypatch):
    key, cert = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    http_client._trust.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.got, server.answers, server.hold = [], [], lambda path: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for name, host in (("good", "localhost"), ("bad", "127.0.0.1")):
                operations.create_webhook(
                    name,
                    by=OPS,
                    url=f"https://{host}:{server.server_port}/",
                    event_types=["agent.*"],
                    roles=[],
                )
            note(bot)
            outcomes = {row.webhook.name: (try_delivery(row), row) for row in read_deliveries()}
        finally:
            http_client._trust.cache_clear()
            server.shutdown()
            thread.join()
    assert outcomes["good"][0] is None, outcomes["good"][1].response
    assert outcomes["bad"][0]
    assert "certificate" in outcomes["bad"][1].response.lower()
    assert sending.TIMEOUT == 10

"""A mail server and a chat of the tests' own, both real, and the consumer that notifies them.

State of a whole file: one Chromium; of a process: the plugins that apprise imports once. Each test
has its own mail server and chat.
"""

import email
import json
import queue
import socketserver
import threading
import warnings
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser

from approvals_app.notifications import delivery
from approvals_app.notifications.channels.apprise import _instantiate
from approvals_app.notifications.models import Notice, NoticeChannel, NoticeSettings
from approvals_app.notifications.views import ChannelForm, _add_channel
from audit_app.live.consumers import CONSUMERS
from orchestrator.settings import _mail, env
from tests.browser.conftest import look, run_chromium, signed_in, site
from tests.trail import advance_once, catch_up

__all__ = ["look", "signed_in", "site"]

PATIENCE = 30


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One a file: the other files send messages in this thread, by a loop of their own."""
    with run_chromium() as browser:
        yield browser


with warnings.catch_warnings():
    # Of its plugins, which it imports at their first use, one imports what Python 3.13 drops.
    warnings.simplefilter("ignore", DeprecationWarning)
    _instantiate("json://localhost")


class Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a client of one mail needs."""

    def handle(self) -> None:
        self._say("220 tests")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if self.server.refuses and verb == self.server.at.encode():
                self._say(self.server.refusal)
            elif verb == b"DATA":
                self._say("354 go on")
                self._take()
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        self.server.mails.put(email.message_from_bytes(b"".join(lines), policy=default))
        self._say("250 taken")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Mailbox(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Smtp)
        self.mails: queue.Queue[EmailMessage] = queue.Queue()
        self.refuses, self.refusal, self.at = False, "450 come back later", "RCPT"
        self.url = f"smtp://127.0.0.1:{self.server_address[1]}"

    def one(self) -> EmailMessage:
        """The next mail; it may be on its way."""
        return self.mails.get(timeout=PATIENCE)

    def all(self) -> list[EmailMessage]:
        """Those that arrived: whoever sent one has its answer by then."""
        found = []
        while not self.mails.empty():
            found.append(self.mails.get())
        return found


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.said.append(json.loads(body))
        self.send_response(self.server.answer)
        if self.server.answer == 302:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class Chat(ThreadingHTTPServer):
    """What apprise speaks to by json://; whoever posts has its answer when ``said`` has it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.said: list[dict[str, Any]] = []
        self.answer = 200
        self.elsewhere = ""
        self.url = f"json://127.0.0.1:{self.server_address[1]}/a-secret-token"


def serve(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    for server in serve(Mailbox()):
        for name, value in _mail(env.email_url_config(server.url)).items():
            setattr(settings, name, value)
        settings.EMAIL_CONFIGURED = True
        settings.PUBLIC_URL = "https://orchestrator.example"
        yield server


@pytest.fixture
def chat(settings: Any) -> Iterator[Chat]:
    """A chat that people may choose: the operator allows json:// and this host."""
    settings.NOTICE_SCHEMES = ["json"]
    settings.NOTICE_PRIVATE_NETWORKS = True
    yield from serve(Chat())


@pytest.fixture
def tell(mailbox: Mailbox) -> Callable[[], list[EmailMessage]]:
    """``tell()``: the relay reads what happened since, what is due is sent; returns the mails."""
    relay = CONSUMERS["notices"]
    advance_once(relay)

    def deliver() -> list[EmailMessage]:
        catch_up(relay)
        send()
        return mailbox.all()

    return deliver


def send() -> None:
    for place in Notice.objects.due().order_by("place").values_list("place", flat=True).distinct():
        delivery.deliver(place)


def wishes(person: User, **columns: Any) -> None:
    NoticeSettings.objects.update_or_create(person=person, defaults=columns)


def adds(person: User, url: str) -> NoticeChannel:
    """As the page does it."""
    _add_channel(person, ChannelForm({"url": url}))
    return NoticeChannel.objects.get(person=person)


def text(mail: EmailMessage) -> str:
    return mail.get_content().replace("\r\n", "\n")

"""A receiver of the tests' own, and webhooks that lead to it.

Nothing here outlives a test: each has its own receiver, and its consumer starts at the end of the
trail.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from django.db import connection

from audit_app.live.consumers import CONSUMERS
from audit_app.models import Delivery
from audit_app.webhooks import dispatcher, operations, sending
from tests.factories import OPS
from tests.trail import advance_once, catch_up


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers as ``answers`` says, by and by; else 200. It does so once
    ``hold`` returns."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got, self.answers = [], []
        self.hold = lambda path: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/told"

    def read_bodies(self):
        """The bodies, in the order in which they came."""
        return [json.loads(each.body) for each in self.got]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # whoever sent it was killed meanwhile
        self.server.hold(self.path)
        self.server.got.append(SimpleNamespace(headers=dict(self.headers), body=body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        status, headers, content = answer if isinstance(answer, tuple) else (answer, {}, b"ok")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def start_consumer(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    advance_once(CONSUMERS["webhooks"])


@pytest.fixture
def webhook(receiver):
    """Wants what agents note."""
    hook, secret = operations.create_webhook(
        "ours", by=OPS, url=receiver.url, event_types=["agent.*"], roles=[]
    )
    hook.secret_text = secret
    return hook


def read_deliveries():
    """Let the relay read all there is; return the deliveries in the trail's order."""
    catch_up(CONSUMERS["webhooks"])
    return list(Delivery.objects.order_by("pk"))


def try_delivery(delivery):
    """One try of ``delivery``; when the next is due, if one is."""
    try:
        return sending.deliver(delivery.pk)
    finally:
        delivery.refresh_from_db()


def claim(number=100):
    """Lease what is due, as a worker does; the ids in the order of the table."""
    return sorted(dispatcher.claim_deliveries(number))


def make_older(days):
    """All tries were made so many days earlier."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE webhook_deliveries"
            " SET first_attempt_at = first_attempt_at - %s * interval '1 day',"
            " delivered_at = delivered_at - %s * interval '1 day'",
            [days, days],
        )

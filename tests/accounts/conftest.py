"""People at the login page, and an issuer that knows them.

Nothing here outlives a test: each has its own issuer and its own browsers.
"""

import html
import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from tests.accounts.provider import CLIENT_ID, CLIENT_SECRET, Provider

INBOX = "/admin/"
LOGIN = "/admin/login/"
START = "/admin/single-sign-on/"


class Browser:
    """One browser: its cookies, and what its person does."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        self.client = Client(raise_request_exception=False, REMOTE_ADDR=address)

    def get(self, path: str, **query: str) -> HttpResponse:
        return self.client.get(path, query or None)

    def post(self, path: str, **sent: str) -> HttpResponse:
        return self.client.post(path, sent)

    def log_in(self, username: str, password: str | None = None, **more: str) -> HttpResponse:
        """The password is the username, as the factories make it."""
        given = username if password is None else password
        return self.post(LOGIN, username=username, password=given, **more)

    def sign_on(self, **query: str) -> HttpResponse:
        """To the issuer and back, as a browser is sent."""
        return self.come_back(follow_redirect(self.get(START, **query)))

    def come_back(self, where: str) -> HttpResponse:
        parts = urlsplit(where)
        return self.client.get(f"{parts.path}?{parts.query}")

    @property
    def person(self) -> str:
        """Who this browser is signed in as; empty: nobody."""
        answer = self.get(INBOX)
        if answer.status_code != 200:
            return ""
        name: str = answer.wsgi_request.user.get_username()
        return name

    def read(self, path: str = LOGIN) -> str:
        """The page at ``path``, after its redirects."""
        return text(self.client.get(path, follow=True))


def text(answer: HttpResponse) -> str:
    """The page, its entities as characters, without what differs at each request."""
    lines = html.unescape(answer.content.decode()).splitlines()
    return "\n".join(line for line in lines if "csrfmiddlewaretoken" not in line)


def follow_redirect(answer: HttpResponse) -> str:
    """Go where ``answer`` sends the browser, which is the issuer, and see where that sends it."""
    assert answer.status_code == 302, answer.content
    parts = urlsplit(answer.headers["Location"])
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        return connection.getresponse().headers["Location"]
    finally:
        connection.close()


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    """Single sign-on is on, and everybody who is sent there is alice, of finance."""
    provider = Provider()
    settings.OIDC_ISSUER_URL = provider.url
    settings.ADMIN_OIDC_CLIENT_ID = CLIENT_ID
    settings.ADMIN_OIDC_CLIENT_SECRET = CLIENT_SECRET
    settings.SINGLE_SIGN_ON = True
    provider.knows("subject-of-alice", "alice", "finance")
    yield provider
    provider.close()


@pytest.fixture
def browser() -> Callable[..., Browser]:
    return Browser


@pytest.fixture
def root() -> User:
    """An administrator in no group; the password is the username."""
    return User.objects.create_superuser("root", password="root")


@contextmanager
def ago(**length: int) -> Iterator[None]:
    """What happens inside happened that long ago."""
    with time_machine.travel(timezone.now() - timedelta(**length), tick=True):
        yield


@contextmanager
def later(**length: int) -> Iterator[None]:
    with time_machine.travel(timezone.now() + timedelta(**length), tick=True):
        yield

"""A real Chromium in which everything is noted that a hostile payload could bring about.

State of the whole package: one Chromium, of tests/browser/conftest.py. Each test has a window of
its own.
"""

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page

from tests.browser.conftest import chromium, site

__all__ = ["chromium", "site"]


class Watch:
    """What happened in a window: ``noted`` is empty where nothing did."""

    def __init__(self, page: Page, site: str) -> None:
        self.noted: list[str] = []
        self._site = site
        page.on("request", lambda asked: self._note_request(asked.url))
        page.on("console", lambda said: self._note_message(said.text))
        page.on("pageerror", lambda error: self.noted.append(f"error: {error}"))
        page.on("popup", lambda _: self.noted.append("popup"))
        page.on("dialog", self._dialog)

    def _note_request(self, url: str) -> None:
        if "stolen" in url or not url.startswith((f"{self._site}/", "data:image/")):
            self.noted.append(f"request: {url[:200]}")

    def _note_message(self, text: str) -> None:
        if "Security Policy" in text:
            self.noted.append(f"policy: {text[:200]}")

    def _dialog(self, dialog: object) -> None:
        self.noted.append("dialog")
        dialog.dismiss()  # type: ignore[attr-defined]


@pytest.fixture
def window(chromium: Browser, site: str) -> Iterator[Callable[..., tuple[Page, Watch]]]:
    """``window(alice)``: a window in which she is signed in, and the Watch of it."""
    contexts = []

    def open_window(person: User, *, width: int = 1280) -> tuple[Page, Watch]:
        client = Client()
        client.force_login(person)
        name = settings.SESSION_COOKIE_NAME
        context = chromium.new_context(base_url=site, viewport={"width": width, "height": 900})
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": site}])
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        return page, Watch(page, site)

    yield open_window
    for context in contexts:
        context.close()

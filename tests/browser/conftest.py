"""A real server and a real Chromium, in light or dark, on a desktop or a phone.

A test that does not choose runs in one of the four combinations, always the same one;
EVERY_LOOK=1 runs it in each.

State of the whole package: one Chromium, and DJANGO_ALLOW_ASYNC_UNSAFE while it runs. Each test
has a server and browser contexts of its own.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


LOOKS = [(1440, "light"), (360, "dark"), (1440, "dark"), (360, "light")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "look" in metafunc.fixturenames and "width" not in metafunc.fixturenames:
        one = LOOKS[zlib.crc32(metafunc.function.__qualname__.encode()) % len(LOOKS)]
        looks = LOOKS if os.environ.get("EVERY_LOOK") else [one]
        metafunc.parametrize("look", looks, ids=[f"{colors}-{width}" for width, colors in looks])


@pytest.fixture
def look() -> tuple[int, str]:
    """How wide a window is, and its colours."""
    return LOOKS[0]


@pytest.fixture(autouse=True)
def undo_seconds(settings: Any) -> None:
    """Votes are sent at once, but in the tests of what is held back (test_flow.py)."""
    settings.UNDO_SECONDS = 0


@contextmanager
def run_chromium() -> Iterator[Browser]:
    """Chromium, and the event loop of Playwright, which runs in this thread until it is stopped:
    while it does, no other test can run one. Django must be told that its database is used from one
    thread all the same."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"None of {', '.join(BROWSERS)} is installed.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One for this folder; what a test sees of it is a context of its own."""
    with run_chromium() as browser:
        yield browser


@pytest.fixture
def site(database: None) -> Iterator[str]:
    """The address of the application, served by threads of this process."""
    server = LiveServerThread("127.0.0.1", static_handler=StaticFilesHandler)
    server.daemon = True
    server.start()
    assert server.is_ready.wait(timeout=30)
    assert server.error is None
    yield f"http://{server.host}:{server.port}"
    server.terminate()


@pytest.fixture
def signed_in(chromium: Browser, site: str, look: tuple[int, str]) -> Iterator[Callable[..., Page]]:
    """``signed_in(alice)``: a window of her own at her inbox; test_login fills in the form."""
    contexts, blocked = [], []

    def sign_in(
        person: User, *, width: int = look[0], colors: str = look[1], javascript: bool = True
    ) -> Page:
        context = chromium.new_context(
            base_url=site,
            viewport={"width": width, "height": 900},
            color_scheme=colors,
            java_script_enabled=javascript,
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        client = Client()
        client.force_login(person)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": site}])
        page = context.new_page()
        page.on(
            "console", lambda said: "Security Policy" in said.text and blocked.append(said.text)
        )
        page.goto("/admin/")
        return page

    yield sign_in
    for context in contexts:
        context.close()
    assert not blocked, "\n".join(blocked)

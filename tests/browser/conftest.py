"""A real server, and a real Chromium at it."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
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


@pytest.fixture(scope="module", autouse=True)
def chromium() -> Iterator[Browser]:
    """One Chromium for a file of tests.

    Playwright's event loop runs in this thread until it is stopped, so Django must be told that
    its database is used from one thread all the same.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"None of {', '.join(BROWSERS)} is installed.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


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
def signed_in(chromium: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """``signed_in(alice)``: a window of her own, after she filled in the login form."""
    contexts, blocked = [], []

    def sign_in(person: User, *, width: int = 1280, colors: str = "light") -> Page:
        context = chromium.new_context(
            base_url=site, viewport={"width": width, "height": 900}, color_scheme=colors
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: "Security Policy" in said.text and blocked.append(said.text)
        )
        page.goto("/admin/")
        page.get_by_label("Username").fill(person.username)
        page.get_by_label("Password").fill(person.username)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/admin/")
        return page

    yield sign_in
    for context in contexts:
        context.close()
    assert not blocked, "\n".join(blocked)

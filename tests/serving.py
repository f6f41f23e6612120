"""gunicorn as operators run it, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.database import database_url

ROOT = Path(__file__).parents[1]


@contextmanager
def gunicorn(
    log: Path, environment: Mapping[str, str], application: str = "orchestrator.asgi"
) -> Iterator["subprocess.Popen[bytes]"]:
    """The server on PORT of exactly this ``environment``; in the end it must stop as asked, and
    have left no stack trace in ``log``."""
    command = [sys.executable, "-m", "gunicorn", "-c", "orchestrator/server/gunicorn.py"]
    with log.open("w") as written:
        web = subprocess.Popen(
            [*command, application],
            cwd=ROOT,
            env=environment,
            stdout=written,
            stderr=written,
        )
    try:
        yield web
    finally:
        web.terminate()
        ended = web.wait(timeout=30)
    assert ended in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text(), log.read_text()


def on_the_tests_database(port: int, **further: str) -> dict[str, str]:
    """An environment for ``gunicorn``: a trial in which the tests' own people are, of one process
    unless more are asked for."""
    ours = {"DATABASE_URL": database_url(), "PORT": str(port), "WEB_CONCURRENCY": "1"}
    # Tests sign in at 127.0.0.1, whose login page leads to localhost where passkeys may be used.
    ours["PASSKEY_ORIGINS"] = "https://orchestrator.example"
    return os.environ | ours | further


def client_of(port: int, **given: object) -> httpx.Client:
    """Patient while the server starts."""
    transport = httpx.HTTPTransport(retries=8)
    base_url = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=base_url, transport=transport, **{"timeout": 30, **given})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def log_in(browser: httpx.Client, name: str, password: str) -> None:
    """A browser's worth of HTTP: the login form, its CSRF token and its cookies."""
    browser.get("/admin/login/")
    form = {
        "username": name,
        "password": password,
        "next": "/admin/",
        "csrfmiddlewaretoken": browser.cookies["csrftoken"],
    }
    page = browser.post("/admin/login/", data=form)
    assert page.url.path == "/admin/", page.text

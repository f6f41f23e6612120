"""Claude Code itself, with a model of ours, asks before it runs a command.

Needs the program `claude` of version 2.1.295 or later; no account.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command

from approvals_app.decisions import operations as approval_operations
from audit_app.base.actors import Actor
from sessions_app.models import Task
from tests.awaiting import until
from tests.factories import approve_task, find_approval, policy, the_approval
from tests.hooks import model
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

CLAUDE = shutil.which("claude")
FAILS_CLOSED = (2, 1, 295)


def _find_version() -> tuple[int, ...]:
    if CLAUDE is None:
        return ()
    said = subprocess.run([CLAUDE, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


pytestmark = pytest.mark.skipif(
    _find_version() < FAILS_CLOSED, reason="Claude Code 2.1.295 or later is not installed"
)


@pytest.fixture
def url(tmp_path):
    port = free_port()
    with gunicorn(tmp_path / "log", on_the_tests_database(port, DATA_DIR=str(tmp_path))):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield f"http://127.0.0.1:{port}"


class Workplace:
    """Somebody's machine, on which Claude Code wants to make a file."""

    def __init__(self, place: Any, monkeypatch: Any, options: tuple[str, ...]) -> None:
        self.home, self.work = place / "home", place / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.options = options
        self.told = ""
        # Without the hook it runs each command; with PermissionRequest only what is allowed by it.
        self.allows = () if "PermissionRequest" in options else ("--allowedTools", "Bash")
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(self.home))

    def run(self, url: str, key: str) -> list[str]:
        """The files that are there once Claude Code is done."""
        call_command("hook", "install", "--url", url, "--timeout", "60", *self.options)
        with model.serving("touch asked") as thinking:
            environment = {
                "HOME": str(self.home),
                "PATH": os.defpath,
                "CLAUDE_CONFIG_DIR": str(self.home),
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
                "ANTHROPIC_BASE_URL": thinking.url,
                "ANTHROPIC_API_KEY": "none",
                "ORCHESTRATOR_KEY": key,
            }
            subprocess.run(
                [str(CLAUDE), "-p", "Make it.", *self.allows],
                cwd=self.work,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=True,
            )
            self.told = " ".join(thinking.told)
        return sorted(os.listdir(self.work))


WAYS = {
    "http": (),
    "command": ("--command",),
    "http, only what its user is asked": ("--event", "PermissionRequest"),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def workplace(tmp_path, monkeypatch, request):
    policy(asks="1 finance")
    return Workplace(tmp_path, monkeypatch, request.param)


@pytest.fixture
def aside():
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def test_the_command_runs_once_it_is_approved(workplace, url, bot, alice, aside):
    working = aside(workplace.run, url, bot.key)
    until(Task.objects.exists)
    task = Task.objects.get()
    assert task.data["input"]["command"] == "touch asked"
    assert not os.listdir(workplace.work)
    approve_task(task, by=alice)
    assert working.result(60) == ["asked"]


def test_what_a_reviewer_edited_is_run(workplace, url, bot, alice, bob, aside):
    working = aside(workplace.run, url, bot.key)
    until(Task.objects.exists)
    approval = the_approval(task := Task.objects.get())
    approval_operations.edit(
        approval.pk,
        by=Actor.human(alice),
        payload_digest=approval.payload_digest,
        data={**task.data, "input": {**task.data["input"], "command": "touch edited"}},
    )
    waiting = find_approval(task, "finance")
    digest = waiting.payload_digest
    approval_operations.approve(waiting.pk, by=Actor.human(bob), payload_digest=digest)
    assert working.result(60) == ["edited"]


def test_a_no_reaches_the_model(workplace, url, bot, alice, aside):
    working = aside(workplace.run, url, bot.key)
    until(Task.objects.exists)
    approval = the_approval(Task.objects.get())
    approval_operations.reject(
        approval.pk,
        by=Actor.human(alice),
        payload_digest=approval.payload_digest,
        notes="Not on Fridays.",
    )
    assert working.result(60) == []
    assert "They say: Not on Fridays." in workplace.told


@pytest.mark.parametrize("key", ["", "wrong"])
def test_nothing_runs_without_a_valid_key(workplace, url, key):
    assert workplace.run(url, key) == []
    assert "The orchestrator does not allow this call" in workplace.told


def test_nothing_runs_while_the_server_is_down(workplace, bot):
    assert workplace.run(f"http://127.0.0.1:{free_port()}", bot.key) == []


def test_nothing_runs_where_somebody_else_answers(workplace, url, bot):
    assert workplace.run(f"{url}/elsewhere", bot.key) == []

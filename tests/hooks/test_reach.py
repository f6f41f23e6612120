"""The coding agent of examples/reach."""

import subprocess
import sys
from typing import Any

import pytest
from django.core.management import call_command

from sessions_app.models import Task
from tests.awaiting import until
from tests.factories import approve_task, policy
from tests.serving import ROOT, client_of, free_port, gunicorn, on_the_tests_database


@pytest.fixture
def start(tmp_path, bot):
    """``start()``: the example, which asks as bot."""
    port = free_port()
    policy(asks="1 finance")
    call_command("hook", "install", "--project", str(tmp_path), "--url", f"http://127.0.0.1:{port}")
    environment = on_the_tests_database(port, DATA_DIR=str(tmp_path), ORCHESTRATOR_KEY=bot.key)
    command = [sys.executable, "examples/reach/coding_agent.py", str(tmp_path), "make deploy"]

    def run() -> Any:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )

    with gunicorn(tmp_path / "log", environment):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield run


def test_it_waits_and_goes_on(start, alice):
    with start() as agent:
        until(Task.objects.exists)
        assert agent.poll() is None
        approve_task(Task.objects.get(), by=alice)
        said, _ = agent.communicate(timeout=60)
    assert (agent.returncode, said.splitlines()[1]) == (0, "would run: make deploy")


def test_nobody_is_there(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    call_command("hook", "install", "--project", str(tmp_path), "--url", url)
    done = subprocess.run(
        [sys.executable, "examples/reach/coding_agent.py", str(tmp_path), "make deploy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[1]) == (2, "runs nothing")

"""`make run` as a newcomer has it: up, a decision, down, and up again with everything there."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.awaiting import until
from tests.clusters import copy_cluster
from tests.serving import free_port, log_in
from tests.trial import Trial

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    from orchestrator.ops import embedded_postgres

    embedded_postgres.stop(tmp_path / "data" / "postgres")


def test_a_newcomer_approves_the_refund_and_finds_it_all_again(data):
    port = free_port()
    first = Trial(data, port)
    key = first.says(r"Key\s+(ork_\S+)")[1]
    password = first.says(r"as\s+alice\s+with the password\s+(\S+)")[1]
    for name in ("bob", "charlie"):
        colleague = first.says(rf"as\s+{name}\s+with the password\s+(\S+)")[1]
        with httpx.Client(base_url=first.url, follow_redirects=True) as client:
            log_in(client, name, colleague)
    first.says(r"agent │ waiting for finance until")
    bearer = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=first.url, headers=bearer) as agent,
        httpx.Client(base_url=first.url, follow_redirects=True) as alice,
    ):
        [task] = agent.get("/tasks").json()["tasks"]
        [approval] = task["approvals"]
        log_in(alice, "alice", password)
        answer = alice.post(
            f"/approvals/{approval['approval_id']}/approve",
            json={"payload_digest": task["payload_digest"], "notes": "Photos seen."},
            headers={"X-CSRFToken": alice.cookies["csrftoken"]},
        )
        assert answer.status_code == 200, answer.text
        first.says(r"agent │ approved by alice: Photos seen\.")
        first.says(r"agent │ the whole story: .*trace_id=")
        story = agent.get("/audit/events", params={"trace_id": task["trace_id"]}).json()["events"]
        assert [event["event_type"] for event in story] == [
            "session.opened",
            "session.activated",
            "task.routed",
            "approval.requested",
            "vote.cast",
            "approval.approved",
            "task.approved",
            "session.completed",
        ]
    until(lambda: run_commands(first.url) >= {"expire_approvals", "remind_approvals"})
    for document in ("README.md", "docs/api.md"):
        for block in COMMANDS.findall((ROOT / document).read_text()):
            if block.startswith("curl"):
                run_as_written(block, first.url, key)
    assert first.interrupt() == 0

    second = Trial(data, port)
    assert second.says(r"Key\s+(ork_\S+)")[1] == key
    assert second.says(r"as\s+alice\s+with the password\s+(\S+)")[1] == password
    with httpx.Client(base_url=second.url, headers=bearer) as agent:
        again = agent.get(f"/tasks/{task['task_id']}").json()
        assert (again["status"], again["payload_digest"]) == ("approved", task["payload_digest"])
    asked = second.says(r"agent │ task (\S+), awaiting_approval")[1]
    second.says(r"agent │ waiting for finance until")
    assert second.interrupt() == 0

    third = Trial(data, port)
    assert third.says(r"agent │ task (\S+), awaiting_approval")[1] == asked, (
        "the agent waits for the same one"
    )
    assert third.interrupt() == 0


def run_commands(url: str) -> set[str]:
    """The scheduled commands that the trial's worker has run."""
    told = httpx.get(f"{url}/metrics").text
    return set(re.findall(r'orchestrator_command_runs_total\{command="(\w+)"\} [1-9]', told))


def run_as_written(command: str, url: str, key: str) -> None:
    """A documented command, at this test's address."""
    done = subprocess.run(
        [
            "bash",
            "-euc",
            command.replace("curl ", "curl --fail-with-body -sS ", 1).replace(
                "http://127.0.0.1:8000", url
            ),
        ],
        env={"PATH": os.environ["PATH"], "ORCHESTRATOR_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_closed_terminal_stops_everything_too(data):
    copy_cluster(data / "postgres")
    trial = Trial(data, free_port())
    trial.says(r"agent │ waiting for finance until")
    trial.process.send_signal(signal.SIGHUP)
    assert trial.wait_for_exit() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{trial.url}/status")


def test_a_taken_port_is_one_sentence(data):
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        trial = Trial(data, port)
        trial.says(rf"Port {port} is taken: stop what uses it, or run")
        assert trial.wait_for_exit() == 1
        assert not any("Traceback" in line for line in trial.lines)


UNSAFE = {
    "SECRET_KEY": "",
    "SECRET_KEY_FALLBACKS": "short",
    "ALLOWED_HOSTS": "*",
    "DATABASE_URL": "mysql://root@localhost/db",
    "APPROVAL_DEFAULT": "perhaps",
    "APPROVAL_TTL": "soon",
    "DB_POOL_MAX": "0",
    "SESSION_RETENTION_DAYS": "-1",
    "LOG_FORMAT": "xml",
    "SCHEDULE": "sometimes",
    "PUBLIC_URL": "https://example.com/orchestrator",
    "OIDC_AUDIENCE": "alone",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_a_production_start_refuses_an_unsafe_value_by_name(name):
    safe = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "SECRET_KEY": "x" * 64,
        "ALLOWED_HOSTS": "orchestrator.example",
    }
    check = [sys.executable, "manage.py", "check"]
    run = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    assert subprocess.run(check, env=safe, **run).returncode == 0
    done = subprocess.run(check, env=safe | {name: UNSAFE[name]}, **run)
    assert done.returncode != 0
    assert done.stderr.startswith(name), done.stderr
    assert "Traceback" not in done.stderr


def test_make_alone_lists_its_targets():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "bench"):
        assert f"make {target}" in listed


RUN_BY = {
    "make run": "this file, as manage.py dev",
    "make test": "CI, by these very words",
    "curl": "run_as_written",
    "python3 -m venv": "the Makefile",
    ".venv/bin/pip install --require-hashes -r requirements.txt": "the Makefile",
    "pip install ./clients/python": "tests/clients/test_package.py",
    ".venv/bin/python manage.py database_roles": "tests/commands/test_database_roles.py",
    ".venv/bin/python manage.py migrate": "tests/faults/test_database_away.py",
    ".venv/bin/python manage.py collectstatic --no-input": "tests/faults/test_database_away.py",
    ".venv/bin/python manage.py check --deploy": "tests/project/test_operating.py",
    ".venv/bin/python manage.py createsuperuser": "tests/project/test_operating.py",
    ".venv/bin/python manage.py create_reviewer": "tests/project/test_operating.py",
    ".venv/bin/python manage.py create_agent": "tests/project/test_operating.py",
    "python manage.py create_agent": "tests/project/test_operating.py",
    "python manage.py hook install": "tests/hooks/test_install.py",
    "export ": "the tests of what is run with it",
    ".venv/bin/python manage.py create_upstream": "tests/gateway",
    ".venv/bin/python manage.py worker": "tests/audit/test_consumers.py",
    ".venv/bin/gunicorn -c orchestrator/server/gunicorn.py": "tests/faults/test_database_away.py",
}


@pytest.mark.skipif(not os.environ.get("CI"), reason="only CI tries the benchmarks: set CI=true")
def test_make_bench_prints_a_table_of_ratios(tmp_path):
    """A short run beside the limit alone: that it works, not how fast."""
    short = os.environ | {"BENCH_PAIRS": "1", "BENCH_RESULTS": str(tmp_path)}
    bench = [sys.executable, "-m", "bench", "--seconds", "0.2", "--peers", "none"]
    done = subprocess.run(bench, cwd=ROOT, env=short, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| `POST /tasks/route` |" in done.stdout
    [kept] = tmp_path.glob("*.json")
    found = json.loads(kept.read_text())
    assert found["left_out"] == []
    assert len(found["sections"]["limit"]) == 6


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=str)
def test_every_command_in_a_document_is_run_by_something(document):
    for block in COMMANDS.findall(document.read_text()):
        for line in block.replace("\\\n", " ").strip().splitlines():
            assert any(line.strip().startswith(known) for known in RUN_BY), f"nothing runs {line!r}"


def test_every_management_command_that_a_document_names_is_there():
    there = {path.stem for path in ROOT.glob("*_app/management/commands/*.py")}
    there |= {path.stem for path in ROOT.glob("orchestrator/**/management/commands/*.py")}
    builtin = {"check", "collectstatic", "createsuperuser", "migrate"}
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        named = set(re.findall(r"manage\.py (\w+)", document.read_text()))
        assert named <= there | builtin, document.name

"""examples/gateway.py, as a process of its own that never asks the orchestrator."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from audit_app.proof import keys
from tests.audit.test_sealing import seal_all
from tests.factories import AgentFactory, TaskFactory, approve_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refund(api, alice):
    """What an agent has after alice approved its refund: payload, and receipt with its proof."""
    agent = AgentFactory()
    task = approve_task(TaskFactory(agent=agent, task_type="refund"), by=alice)
    seal_all()
    receipt = api(agent).get(f"/tasks/{task.pk}/receipt").content.decode()
    return {"receipt": receipt, "payload": json.loads(task.payload)}


@pytest.fixture
def call(api, refund, tmp_path):
    """``call(receipt=…, payload=…)`` of a running gateway."""
    (tmp_path / "keys.json").write_text(json.dumps(keys.publish_keys()))
    (tmp_path / "log-keys.txt").write_bytes(api().get("/audit/log/keys").content)
    given = [f"--{name}={tmp_path / file}" for name, file in FILES.items()]
    command = [sys.executable, "examples/gateway.py", *given, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": "clients/python"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **output) as process:
        port = int(process.stdout.readline().split()[-1].rstrip("."))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield lambda tool="refund", **body: client.post(f"/tools/{tool}", json=body)
        process.terminate()


FILES = {"keys": "keys.json", "log-keys": "log-keys.txt", "used": "used.db"}


def test_it_runs_exactly_what_was_approved_and_once(call, refund):
    changed = refund["payload"] | {"data": refund["payload"]["data"] | {"amount": "4250"}}
    refused = call(receipt=refund["receipt"], payload=changed)
    assert (refused.status_code, refused.json()["code"]) == (403, "payload")
    done = call(**refund)
    assert (done.status_code, done.json()) == (200, {"refunded": refund["payload"]["data"]})
    again = call(**refund)
    assert (again.status_code, again.json()["code"]) == (403, "used")


def test_of_twenty_calls_at_once_one_runs(call, refund):
    with ThreadPoolExecutor(20) as pool:
        statuses = [done.status_code for done in pool.map(lambda _: call(**refund), range(20))]
    assert sorted(statuses) == [200] + [403] * 19


@pytest.mark.parametrize("body", [{}, {"receipt": 1, "payload": []}, {"receipt": "x"}])
def test_nonsense_is_refused(call, body):
    assert call(**body).status_code in (400, 403)


def test_another_tool_is_refused(call, refund):
    assert call("delete_everything", **refund).json()["code"] == "payload"

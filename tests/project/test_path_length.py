"""How much code of ours a request passes, warm: the files and the functions that one has to read to
follow it. Run it with ``-s`` to see the list.

Lambdas, comprehensions and generator expressions count as part of the function they stand in.
"""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from audit_app.live.notifier import Notifier
from sessions_app.auth import authentication, key_cache
from tests.awaiting import until

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(
    f"{ROOT / name}/" for name in ("orchestrator", "approvals_app", "sessions_app", "audit_app")
)
WARM = 3
"""Requests that are sent before the one that is traced, so that caches are filled."""

BODY = {
    "target": "finance",
    "task": {"task_type": "payment.refund", "description": "A refund.", "data": {"amount": 3}},
}


@pytest.fixture(autouse=True)
def cached_keys(bot, monkeypatch):
    """API keys are cached, as in every web process, where a connection listens to their changes."""
    monkeypatch.setattr(key_cache, "MAX_AGE", 3600.0)
    bell = Notifier()
    keys = key_cache.KeyCache(bell)
    monkeypatch.setattr(authentication, "key_cache", keys)
    keys.start()
    until(lambda: keys.generation > 0)
    yield
    bell.stop()


def trace(send: Callable[[], Any]) -> dict[tuple[str, str], None]:
    """The functions of ours that ``send`` calls, as (file, qualified name), in the order of their
    first call."""
    called: dict[tuple[str, str], None] = {}

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and code.co_name[0] != "<":
            called[code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname] = None

    sys.setprofile(profile)
    try:
        send()
    finally:
        sys.setprofile(None)
    return called


def assert_length(called: dict[tuple[str, str], None], *, files: int, functions: int) -> None:
    passed = {file for file, _ in called}
    print(f"\n{len(passed)} files, {len(called)} functions")  # noqa: T201  # shown with -s
    for file, name in called:
        print(f"  {file} {name}")  # noqa: T201
    assert len(passed) <= files
    assert len(called) <= functions


def route(agent: Any) -> Any:
    response = agent.post("/tasks/route", BODY, headers={"Idempotency-Key": str(uuid.uuid4())})
    assert response.status_code == 202, response.content
    return response


def test_routing_a_task(bot, api):
    agent = api(bot)
    for _ in range(WARM):
        route(agent)
    assert_length(trace(lambda: route(agent)), files=34, functions=88)


def test_approving_by_api(bot, api, alice):
    agent, human = api(bot), api(user=alice)

    def approve(task: Any) -> None:
        path = f"/approvals/{task['approvals'][0]['approval_id']}/approve"
        response = human.post(path, {"payload_digest": task["payload_digest"]})
        assert response.status_code == 200, response.content

    tasks = [agent.get(f"/tasks/{route(agent).json()['task_id']}").json() for _ in range(WARM + 1)]
    for task in tasks[:WARM]:
        approve(task)
    assert_length(trace(lambda: approve(tasks[WARM])), files=34, functions=96)

"""A hypothesis state machine drives a server over HTTP beside a model in memory; they never differ.

The short run is part of the suite; ``make fuzz`` makes a thousand. Each run has agents and roles of
its own, so that nothing needs to be emptied in between.
"""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.factories import AgentFactory, ReviewerFactory
from tests.fuzz.model import Answer, Approval, Caller, Model, Session, Task
from tests.fuzz.world import signed_in
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

RUNS = 1_000 if os.environ.get("FUZZ_REQUESTS") else 15
STEPS = 40
ROLES = ("support", "finance", "sre")
AGENTS = {"asker": ["support"], "payer": ["finance"], "rival": ["finance", "sre"]}
PEOPLE = {
    "alice": ["finance"],
    "bob": ["finance", "sre"],
    "charlie": ["sre"],
    "dora": ["support", "finance"],
}
WRONG = "0" * 64

runs = count()
sent: Counter[int] = Counter()

agents = st.sampled_from(sorted(AGENTS))
people = st.sampled_from(sorted(PEOPLE))
anybody = st.sampled_from(sorted([*AGENTS, *PEOPLE]))
roles = st.sampled_from(ROLES)
names = st.sampled_from(["a", "b", "c"])
patches = st.dictionaries(
    names,
    st.none() | st.booleans() | st.integers(0, 2) | st.dictionaries(names, st.none() | st.just(1)),
    max_size=2,
)
states = st.none() | st.sampled_from(["pending", "active", "completed", "failed", "expired"])


class Server:
    """The real one, on a port of loopback, and who may call it."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.people = {name: ReviewerFactory(username=name, roles=[]) for name in PEOPLE}
        auditor = ReviewerFactory(username="auditor", roles=[])
        auditor.user_permissions.add(Permission.objects.get(codename="read_everything"))
        self.cookies = {name: headers_of(user) for name, user in self.people.items()}
        self.auditor = headers_of(auditor)

    def furnish(self, run: int) -> dict[str, tuple[Caller, dict[str, str]]]:
        """The callers of one run, each with what its requests carry."""
        groups = {role: Group.objects.create(name=f"{role}-{run}") for role in ROLES}
        callers = {}
        for name, held in PEOPLE.items():
            self.people[name].groups.set([groups[role] for role in held])
            caller = Caller(name, frozenset(f"{role}-{run}" for role in held), human=True)
            callers[name] = (caller, self.cookies[name])
        for name, held in AGENTS.items():
            owner = "alice" if name == "asker" else None
            mine = [f"{role}-{run}" for role in held]
            agent = AgentFactory(
                name=f"{name}-{run}", roles=mine, owner=owner and self.people[owner]
            )
            caller = Caller(name, frozenset(mine), owner=owner)
            callers[name] = (caller, {"Authorization": f"Bearer {agent.key}"})
        return callers


def headers_of(user: Any) -> dict[str, str]:
    found: dict[str, str] = signed_in(user)["headers"]
    return found


class Orchestrator(RuleBasedStateMachine):
    """Each rule is one request; its answer is the model's, and the model goes on from there."""

    server: Server

    sessions: Bundle[Session] = Bundle("sessions")
    tasks: Bundle[Task] = Bundle("tasks")
    approvals: Bundle[Approval] = Bundle("approvals")
    written: Bundle[Any] = Bundle("written")

    @initialize()
    def begin(self) -> None:
        self.run = next(runs)
        self.keys = count()
        self.model = Model()
        self.callers = self.server.furnish(self.run)

    def role(self, name: str) -> str:
        return f"{name}-{self.run}"

    def send(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        _, mine = self.callers[who]
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.server.http.request(method, path, json=body, headers=mine | given)
        sent[answer.status_code] += 1
        return answer

    def write(
        self,
        expected: Answer,
        who: str,
        method: str,
        path: str,
        body: Any,
        **headers: str,
    ) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Send with a key of its own; the answer's body, and what is needed to send it again."""
        headers["Idempotency_Key"] = f"{self.run}-{next(self.keys)}"
        answer = self.send(who, method, path, body, **headers)
        said = answer.json()
        assert (answer.status_code, said.get("code")) == expected, (who, method, path, body, said)
        assert "Idempotent-Replayed" not in answer.headers
        return said, (who, method, path, body, headers, answer)

    # Sessions

    @rule(target=sessions, who=agents, role=roles, metadata=patches)
    def open_session(self, who: str, role: str, metadata: dict[str, Any]) -> Any:
        caller, role = self.callers[who][0], self.role(role)
        body = {"agent_role": role, "metadata": metadata}
        expected = self.model.may_open(caller, role)
        said, _ = self.write(expected, who, "POST", "/sessions", body)
        if expected[0] != 201:
            return self.model.sessions[-1] if self.model.sessions else self._some_session()
        assert said["status"] == "pending"
        return self.model.add_session(said["session_id"], caller, role, metadata)

    def _some_session(self) -> Session:
        """A bundle wants a value; an agent's own role always gives one."""
        caller, role = self.callers["asker"][0], self.role("support")
        said, _ = self.write((201, None), "asker", "POST", "/sessions", {"agent_role": role})
        return self.model.add_session(said["session_id"], caller, role, {})

    @rule(
        target=written,
        who=agents,
        session=sessions,
        status=states,
        patch=st.none() | patches,
        match=st.sampled_from(["none", "right", "stale", "any"]),
    )
    def update_session(
        self, who: str, session: Session, status: str | None, patch: Any, match: str
    ) -> Any:
        body = {"status": status, "metadata": patch}
        versions = {"right": {session.version}, "stale": {session.version + 1}}.get(match)
        headers = {"If_Match": ", ".join(f'"{v}"' for v in versions)} if versions else {}
        headers |= {"If_Match": "*"} if match == "any" else {}
        expected = self.model.update(self.callers[who][0], session, status, patch, versions)
        said, again = self.write(
            expected,
            who,
            "PUT",
            f"/sessions/{session.id}",
            {name: value for name, value in body.items() if value is not None},
            **headers,
        )
        if expected[0] == 200:
            assert (said["state"], said["metadata"]) == (session.status, session.metadata)
            assert again[-1].headers["ETag"] == f'"{session.version}"'
        return again

    @rule(who=agents, session=sessions)
    def read_session(self, who: str, session: Session) -> None:
        answer = self.send(who, "GET", f"/sessions/{session.id}")
        if session.agent is not self.callers[who][0]:
            assert answer.status_code == 404
            return
        said, etag = answer.json(), answer.headers["ETag"]
        assert (said["state"], said["metadata"]) == (session.status, session.metadata)
        assert etag == f'"{session.version}"'
        same = self.send(who, "GET", f"/sessions/{session.id}", If_None_Match=etag)
        assert (same.status_code, same.content) == (304, b"")

    # Tasks

    @rule(
        target=tasks, who=agents, target_role=roles, notification=st.booleans(), n=st.integers(0, 9)
    )
    def route(self, who: str, target_role: str, notification: bool, n: int) -> Any:
        caller, role = self.callers[who][0], self.role(target_role)
        kind = "notification" if notification else "refund_approval"
        body = {"target": role, "task": {"task_type": kind, "data": {"n": n}}}
        said, (*_, headers, answer) = self.write((202, None), who, "POST", "/tasks/route", body)
        task = self.model.add_task(said["task_id"], caller, role, notification=notification)
        assert said["status"] == task.status
        again = self.send(who, "POST", "/tasks/route", body, **headers)
        assert (again.status_code, again.content) == (202, answer.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        other = self.send(who, "POST", "/tasks/route", body | {"context": {"x": 1}}, **headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        seen = self.send(who, "GET", f"/tasks/{task.id}").json()
        task.digest = seen["payload_digest"]
        for approval in seen["approvals"]:
            assert (approval["approver_role"], approval["status"]) == (role, "pending")
            self.model.add_approval(approval["approval_id"], task, role)
        assert len(task.approvals) == (0 if notification else 1)
        return task

    @rule(target=approvals, task=tasks)
    def remember_its_approval(self, task: Task) -> Any:
        if task.approvals:
            return task.approvals[-1]
        return self.remember_its_approval(self.route("asker", "finance", False, 0))

    @rule(target=written, who=agents, task=tasks)
    def claim(self, who: str, task: Task) -> Any:
        expected = self.model.claim(self.callers[who][0], task)
        said, again = self.write(expected, who, "POST", f"/tasks/{task.id}/claim", {})
        if expected[0] == 200:
            assert said["status"] == "claimed"
        return again

    @rule(target=written, who=agents, task=tasks)
    def extend(self, who: str, task: Task) -> Any:
        expected = self.model.extend(self.callers[who][0], task)
        return self.write(expected, who, "POST", f"/tasks/{task.id}/extend", {})[1]

    @rule(target=written, who=agents, task=tasks, how=st.sampled_from(["complete", "fail"]))
    def finish(self, who: str, task: Task, how: str) -> Any:
        status = {"complete": "completed", "fail": "failed"}[how]
        expected = self.model.finish(self.callers[who][0], task, status)
        body = {"result": {"ok": True}} if how == "complete" else {"error": "no"}
        return self.write(expected, who, "POST", f"/tasks/{task.id}/{how}", body)[1]

    @rule(target=written, who=agents, task=tasks)
    def cancel(self, who: str, task: Task) -> Any:
        expected = self.model.cancel(self.callers[who][0], task)
        return self.write(expected, who, "POST", f"/tasks/{task.id}/cancel", {})[1]

    @rule(who=anybody, task=tasks)
    def read_task(self, who: str, task: Task) -> None:
        answer = self.send(who, "GET", f"/tasks/{task.id}")
        visible = task.visible_to(self.callers[who][0])
        assert answer.status_code == (200 if visible else 404)
        if visible:
            self._is(task, answer.json())

    @rule(who=anybody, status=st.none() | st.sampled_from([*("approved", "claimed", "cancelled")]))
    def list_tasks(self, who: str, status: str | None) -> None:
        query = f"&status={status}" if status else ""
        said = self.send(who, "GET", f"/tasks?page_size=100{query}").json()
        caller = self.callers[who][0]
        mine = [t for t in self.model.tasks if t.visible_to(caller) and status in (None, t.status)]
        assert said["total"] == len(mine)
        assert [task["task_id"] for task in said["tasks"]] == [task.id for task in reversed(mine)]

    # Approvals

    @rule(target=approvals, who=anybody, task=tasks, role=roles)
    def ask_one_more(self, who: str, task: Task, role: str) -> Any:
        role = self.role(role)
        expected = self.model.may_ask(self.callers[who][0], task, role)
        body = {"task_id": task.id, "approver_role": role}
        said, _ = self.write(expected, who, "POST", "/approvals", body)
        if expected[0] == 201:
            return self.model.add_approval(said["approval_id"], task, role)
        return self.remember_its_approval(task)

    @rule(
        target=written,
        who=st.one_of(people, anybody),
        approval=approvals,
        how=st.sampled_from(["approve", "approve", "reject"]),
        right=st.sampled_from([True, True, True, False]),
    )
    def decide(self, who: str, approval: Approval, how: str, right: bool) -> Any:
        status = {"approve": "approved", "reject": "rejected"}[how]
        expected = self.model.decide(self.callers[who][0], approval, status, right_digest=right)
        body = {"payload_digest": approval.task.digest if right else WRONG, "notes": "Seen."}
        path = f"/approvals/{approval.id}/{how}"
        said, again = self.write(expected, who, "POST", path, body)
        if expected[0] == 200:
            assert (said["status"], said["decided_by"]) == (status, who)
        return again

    # The same again

    @rule(again=consumes(written))
    def repeat(self, again: tuple[Any, ...]) -> None:
        who, method, path, body, headers, first = again
        second = self.send(who, method, path, body, **headers)
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers.get("ETag") == first.headers.get("ETag")
        assert second.headers["Idempotent-Replayed"] == "true"

    # In the end everything is compared

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for session in self.model.sessions:
            said = self.send(session.agent.name, "GET", f"/sessions/{session.id}").json()
            assert (said["state"], said["metadata"]) == (session.status, session.metadata)
            self._tells(session)
        for task in self.model.tasks:
            self._is(task, self.send(task.agent.name, "GET", f"/tasks/{task.id}").json())
            self._tells(task)
        for approval in self.model.approvals:
            said = self.send(approval.task.agent.name, "GET", f"/approvals/{approval.id}").json()
            decider = approval.decided_by and approval.decided_by.name
            assert (said["status"], said["decided_by"]) == (approval.status, decider)
            self._tells(approval)

    def _is(self, task: Task, said: dict[str, Any]) -> None:
        assert (said["status"], said["payload_digest"]) == (
            task.status,
            task.digest or said["payload_digest"],
        )
        asked = {(a["approval_id"], a["approver_role"], a["status"]) for a in said["approvals"]}
        assert asked == {(a.id, a.role, a.status) for a in task.approvals}

    def _tells(self, subject: Session | Task | Approval) -> None:
        """The trail's own story of ``subject`` is the model's."""
        answer = self.server.http.get(
            "/audit/events",
            params={"subject": subject.id, "page_size": 100},
            headers=self.server.auditor,
        )
        events = answer.json()["events"]
        assert [event["seq"] for event in events] == list(range(1, subject.version + 1))
        assert [(e["from_state"], e["to_state"]) for e in events] == subject.moves


@pytest.fixture
def server(database: None, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    unlimited = {"RATE_LIMIT_PER_MINUTE": "0", "ADDRESS_LIMIT_PER_MINUTE": "0"}
    env = on_the_tests_database(port, **unlimited)
    with gunicorn(tmp_path / "log", env), client_of(port) as http:
        yield Server(http)


def test_the_server_and_the_model_never_disagree(
    server: Server, request: pytest.FixtureRequest
) -> None:
    machine = type("Run", (Orchestrator,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=RUNS < 100,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    request.node.add_report_section("call", "answers", f"{next(runs)} runs: {dict(sent)}")
    call_command("verify_audit")

"""Who sends the fuzzed requests, and what they find there."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any
from zlib import crc32

from django.contrib.auth.models import User
from django.test import Client
from schemathesis import Case, Response
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CoverageScenario, coverage_scenario

from approvals_app.models import Approval
from sessions_app.models import AgentSession, Task
from sessions_app.tasks import operations as task_operations
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    session_in,
)

CSRF = "c" * 32
KEPT = 30
"""Values of each kind that are kept: the furnished ones and the newest that answers named."""
PLACES = (
    ("path_parameters", ParameterLocation.PATH),
    ("query", ParameterLocation.QUERY),
    ("headers", ParameterLocation.HEADER),
    ("body", ParameterLocation.BODY),
)
ID_OF = {
    "sessions": "session_id",
    "tasks": "task_id",
    "approvals": "approval_id",
    "audit": "event_id",
}
WORDS = {
    "agent_role": ["support-agent", "finance"],
    "approver_role": ["finance", "sre"],
    "target": ["finance", "support-agent", "nobody"],
    "Idempotency-Key": ["again", '"again"', "and-again", '"once more"'],
    "If-Match": ["*", '"1"', '"2"', 'W/"1"', '"1", "2", "3", "4"'],
    "If-None-Match": ["*", '"1"', 'W/"1"'],
    "X-Trace-Id": [
        "7b0c8a1e-6a5d-4a53-9f0e-0d8a5d6f3c11",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
}


class World:
    """Agents and reviewers with their work; each request is sent as one of the callers.

    What a request becomes depends on the request and on what was answered before, on nothing else:
    the same seed gives the same run.
    """

    def __init__(self) -> None:
        self.sent: Counter[int] = Counter()
        self.known: dict[str, list[str]] = {name: list(words) for name, words in WORDS.items()}
        self.alice = ReviewerFactory(username="alice", roles=["finance"], is_superuser=True)
        self.bot = AgentFactory(name="bot", roles=["support-agent"])
        self.payer = AgentFactory(name="payer", roles=["finance", "support-agent"])
        self.callers: list[dict[str, Any]] = [
            {"headers": {"Authorization": f"Bearer {self.bot.key}"}},
            {"headers": {"Authorization": f"Bearer {self.payer.key}"}},
            signed_in(self.alice),
            signed_in(ReviewerFactory(username="charlie", roles=["sre"])),
            {},
        ]
        self._furnish()
        self._furnished = {name: len(values) for name, values in self.known.items()}

    def send(self, case: Case) -> Response:
        """Send ``case`` as one of the callers, with values that exist in half of its valid places.

        The anonymous caller sends one request in twenty: there is little that it can reach.
        """
        lot = Random(crc32(as_asked(case).encode()))  # nothing secret
        for attribute, location in PLACES:
            if case.meta is None or not case.meta.is_negative_at(location):
                self._make_real(case, getattr(case, attribute), lot)
        # To wait shows nothing that an answer at once doesn't, and takes up to a minute.
        case.headers.pop("Prefer", None)
        valid = case.meta is not None and case.meta.generation.mode.is_positive
        unspecified = coverage_scenario(case) == CoverageScenario.UNSPECIFIED_HTTP_METHOD
        for name in ("X-Trace-Id", "Last-Event-ID"):
            if (valid or unspecified) and case.headers.get(name) == "0":
                # Both are filled from a template that knows no pattern, and a malformed one is
                # refused before anything else is looked at.
                del case.headers[name]
        caller = lot.choices(self.callers, weights=(6, 6, 5, 2, 1))[0]
        self.said = caller
        response: Response = case.call(**caller)
        self.sent[response.status_code] += 1
        self._learn(response)
        return response

    def _make_real(self, case: Case, values: Any, lot: Random) -> None:
        if not hasattr(values, "keys"):
            return
        for name in list(values):
            kind = ID_OF[case.path.split("/")[1]] if name == "id" else name
            if kind in self.known and lot.random() < 0.5:
                values[name] = lot.choice(self.known[kind])

    def _learn(self, response: Response) -> None:
        kinds = response.headers.get("content-type", [""])
        if response.status_code < 300 and response.content and "json" in kinds[0]:
            for name, value in find_references(response.json()):
                self._know(name, value)

    def _furnish(self) -> None:
        for status in AgentSession.Status.values:
            self._know("session_id", str(session_in(status, self.bot).pk))
        for session in (session_in("active", self.payer), SessionFactory(agent=self.payer)):
            self._know("session_id", str(session.pk))
            self._know_task(TaskFactory(agent=self.payer, session_id=session.pk))
        for _ in range(4):
            self._know_task(TaskFactory(agent=self.bot))
            self._know_task(approve_task(TaskFactory(agent=self.bot), self.alice))
            claimed = approve_task(TaskFactory(agent=self.bot), self.alice)
            task_operations.claim(claimed.pk, by=self.payer.as_actor(), lease=timedelta(hours=1))
            self._know_task(claimed)

    def _know_task(self, task: Task) -> None:
        self._know("task_id", str(task.pk))
        for approval in Approval.objects.filter(task=task):
            self._know("approval_id", str(approval.pk))
            self._know("payload_digest", approval.payload_digest)

    def _know(self, name: str, value: str) -> None:
        values = self.known.setdefault(name, [])
        if value in values:
            return
        values.append(value)
        if hasattr(self, "_furnished") and len(values) > KEPT:
            del values[self._furnished.get(name, 0)]


def as_asked(case: Case) -> str:
    """What ``case`` asks, as a text: the same for the same request."""
    headers = dict(case.headers or {})
    return repr((case.method, case.path_parameters, case.path, case.query, headers, case.body))


def signed_in(user: User) -> dict[str, Any]:
    """What the browser of ``user`` sends along, the CSRF token included."""
    client = Client()
    client.force_login(user)
    cookies = f"sessionid={client.cookies['sessionid'].value}; csrftoken={CSRF}"
    return {"headers": {"X-CSRFToken": CSRF, "Cookie": cookies}}


def find_references(answer: Any) -> Iterator[tuple[str, str]]:
    """The ids, digests and cursors in ``answer``, with the names that requests give them."""
    names = {"next_cursor": "cursor", "subject_id": "subject"}
    wanted = {"session_id", "task_id", "approval_id", "payload_digest", *names}
    if isinstance(answer, list):
        for inner in answer[:5]:
            yield from find_references(inner)
    elif isinstance(answer, dict):
        for name, value in answer.items():
            if name in wanted and isinstance(value, str):
                yield names.get(name, name), value
            elif isinstance(value, list):
                yield from find_references(value)

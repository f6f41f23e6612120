"""Who may know of what, and who may change it: every address, asked by everybody who may not.

The tables below say it. What is asked is read from the published document and from the admin's
addresses, so a route that no line of theirs names fails here.

Whoever may not know of a row is told the same, in status, headers and body, as for an id that
nobody has. Whoever may see it and not change it is refused by name. No row moves.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.urls import get_resolver

from approvals_app.decisions import operations as approval_operations
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.models import Event
from audit_app.proof import sealing
from audit_app.webhooks import operations as webhooks
from orchestrator.gateway import operations as upstreams
from sessions_app import agents, freezes, operations
from sessions_app.tasks import operations as task_operations
from tests.client import Api, schema
from tests.database import as_superuser
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    the_approval,
)
from tests.trail import wait_until_stable

ASKED = "treasury"
"""The role whose yes the asker's tasks need."""

SEES = {
    # Who                                       may know of what the asker has
    "an agent of another role": "",
    "a colleague in the asking role": "",
    "an agent of the role that is asked": "task approval",
    "a reviewer of another group": "",
    "a reviewer of the group that is asked": "session task approval",
    "a reviewer who owns the asking agent": "session task approval agent",
    "a member of another group who is no staff": "",
    "staff in no group": "",
    "an auditor": "session task approval agent webhook upstream freeze people",
    "a superuser in no group": "session task approval agent webhook upstream freeze people",
}
STRANGERS = ("nobody", "an old key of the asker", "a key of a revoked agent")
"""They are told who they are not (401), whatever they ask for."""

PEOPLE = [who for who in SEES if "an agent of" not in who and "colleague" not in who]
OUTSIDERS = [who for who, kinds in SEES.items() if not kinds]


@dataclass(frozen=True)
class Opens:
    """Open to all: nobody's rows are behind it."""


@dataclass(frozen=True)
class Lists:
    """What the caller sees, under this name, and no more."""

    name: str


@dataclass(frozen=True)
class Streams:
    """What the caller sees of what happens, and no more."""


@dataclass(frozen=True)
class Makes:
    """Something of an agent's own; people are refused with this code."""

    body: str
    person: str


@dataclass(frozen=True)
class Reads:
    """Whoever sees this kind of row reads it here, or is told that it is not there yet."""

    about: str
    statuses: tuple[int, ...] = (200,)


@dataclass(frozen=True)
class Changes:
    """Who sees the row and may not do this is refused with one of these codes."""

    about: str
    body: str
    agent: str
    person: str


@dataclass(frozen=True)
class ForAuditors:
    """About nobody's rows; for auditors."""


@dataclass(frozen=True)
class Several:
    """Each of several rows is answered for as it would be alone."""

    body: str


NO_VOTE = "no_vote already_decided"
WAITS_OR_IS_TAKEN = "invalid_transition task_taken"
NOT_THEIRS = "invalid_transition not_claimant"
NOT_THEIR_YES = "not_eligible separation_of_duties already_decided"

RULES = {
    "POST /sessions": Makes('{"agent_role": "%(role)s", "task_id": "%(task)s"}', "agents_only"),
    "GET /sessions": Lists("sessions"),
    "GET /sessions/{id}": Reads("session"),
    "PUT /sessions/{id}": Changes("session", '{"status": "completed"}', "-", "agents_only"),
    "GET /sessions/{session_id}/tasks": Reads("session"),
    "POST /tasks/route": Makes(
        '{"target": "nobody", "task": {"task_type": "t"}, "context": {"of": "%(task)s"}}',
        "agents_only",
    ),
    "POST /tasks/route:batch": Several("%(batch)s"),
    "GET /tasks": Lists("tasks"),
    "GET /tasks/{id}": Reads("task"),
    "POST /tasks/{id}/claim": Changes("task", "{}", WAITS_OR_IS_TAKEN, "agents_only"),
    "POST /tasks/{id}/extend": Changes("task", "{}", NOT_THEIRS, NOT_THEIRS),
    "POST /tasks/{id}/complete": Changes("task", '{"result": 1}', NOT_THEIRS, NOT_THEIRS),
    "POST /tasks/{id}/fail": Changes("task", '{"error": 1}', NOT_THEIRS, NOT_THEIRS),
    "POST /tasks/{id}/cancel": Changes("task", "{}", "not_router", "not_router"),
    "POST /tasks/{id}/erase": Changes(
        "task", '{"reason": "x"}', "no_right_to_erase", "no_right_to_erase"
    ),
    "POST /approvals": Makes('{"task_id": "%(task)s", "approver_role": "x"}', "agents_only"),
    "GET /approvals": Lists("approvals"),
    "GET /approvals/{id}": Reads("approval"),
    "POST /approvals/{id}/approve": Changes("approval", "%(yes)s", "humans_only", NOT_THEIR_YES),
    "POST /approvals/{id}/reject": Changes("approval", "%(yes)s", "humans_only", NOT_THEIR_YES),
    "POST /tasks/{id}/revise": Changes("task", '{"data": {"x": 1}}', "not_router", "agents_only"),
    "GET /tasks/{id}/revisions": Reads("task"),
    "GET /tasks/{id}/receipt": Reads("task", (200, 409)),
    "GET /approvals/{id}/receipt": Reads("approval", (200, 409)),
    "POST /approvals/{id}/request_changes": Changes(
        "approval", "%(change)s", "humans_only", NOT_THEIR_YES
    ),
    "POST /approvals/{id}/withdraw_vote": Changes("approval", "{}", NO_VOTE, NO_VOTE),
    "POST /approvals/{id}/edit": Changes("approval", "%(edit)s", "humans_only", NOT_THEIR_YES),
    "POST /approvals/{id}/delegate": Changes(
        "approval", '{"to": "nobody"}', "humans_only", NOT_THEIR_YES
    ),
    "POST /approvals/{id}/break_glass": Changes(
        "approval", "%(break)s", "humans_only", "no_right_to_override"
    ),
    "POST /approvals/{id}/recall": Changes(
        "approval",
        '{"reason": "x", "then": "cancel"}',
        "humans_only",
        "no_right_to_recall invalid_transition recall_too_late",
    ),
    "POST /approvals/bulk": Several("%(several)s"),
    "GET /audit/events": Lists("events"),
    "GET /audit/events/{id}/proof": Reads("event"),
    "GET /audit/log/checkpoint": ForAuditors(),
    "GET /events": Streams(),
    "POST /audit/events": Makes(
        '{"event_type": "agent.noted", "metadata": {"of": "%(task)s"}}', "agents_only"
    ),
    "GET /health": Opens(),
    "GET /status": Opens(),
}
MAY = {
    ("a reviewer of the group that is asked", "POST /approvals/{id}/approve"),
    ("a reviewer of the group that is asked", "POST /approvals/{id}/reject"),
    ("a reviewer of the group that is asked", "POST /approvals/{id}/request_changes"),
    ("a reviewer of the group that is asked", "POST /approvals/{id}/edit"),
    ("a reviewer of the group that is asked", "POST /approvals/{id}/delegate"),
    ("an agent of the role that is asked", "POST /approvals"),
}
"""What they may, and so is not tried here."""

APPROVE = "POST /approvals/{id}/approve"

UNDOCUMENTED = {
    *("/", "/schema", "/docs", "/metrics", "/admin", "/admin/"),
    *("/favicon.ico", "/.well-known/security.txt", "/.well-known/jwks.json"),
    "/audit/log/keys",
    "/audit/log/tile/{}/{}",  # for auditors, see tests/audit/test_log_api.py
    "/audit/log/tile/entries/{}",
    "/gateway/{}/mcp",  # see tests/gateway
    "/mcp",  # the same operations as over REST, see tests/protocol/test_mcp.py
    "/hooks/claude-code",  # strangers get a denial, too: see tests/hooks/test_claude_code.py
}
"""Addresses outside of the document and of the tables of the admin: nobody learns a thing there."""

TELLING = {
    "agent_role": None,
    "approver_role": ASKED,
    "actor": "agent:asker",
    "after": None,
    "created_after": None,
    "created_before": None,
    "cursor": None,
    "event_type": None,
    "from": None,
    "from_role": None,
    "page": None,
    "page_size": None,
    "role": ASKED,
    "session_id": "%(session)s",
    "state": None,
    "status": None,
    "subject": "%(task)s",
    "task_id": "%(task)s",
    "task_type": "canary_type_approval",
    "to": None,
    "to_role": ASKED,
    "trace_id": "%(trace)s",
}
"""A list's parameters, each with the asker's value that must find what a made-up one finds; None:
it names nothing that could be there or not."""

PLAIN = {
    "agent_role": "support-agent",
    "created_after": "2001-01-01T00:00:00Z",
    "created_before": "2999-01-01T00:00:00Z",
    "event_type": "task.routed",
    "from": "2001-01-01T00:00:00Z",
    "from_role": "support-agent",
    "page": "1",
    "page_size": "100",
    "to": "2999-01-01T00:00:00Z",
}
"""A value for each of the others; those with a choice of values are sent all of them."""

ADMINISTRATORS = "a superuser in no group"
PAGES = {
    # The last word of a page's name: who gets more than a refusal there, besides administrators
    # where the row is an agent, a person or a group.
    "changelist": "whoever reads at all, their own rows",
    "change": "whoever sees the row",
    "edit": "whoever sees the row",
    "payload": "whoever sees the row",
    "sign": "whoever sees the row",
    "bulk": "whoever reads at all; each row as it would be alone",
    "csv": "whoever reads at all, their own rows",
    "add": "nobody",
    "delete": "nobody",
    "history": "nobody",
    "erase": "nobody",
    "rotate": "nobody",
    "roles": "nobody",
    "revoke": "nobody",
    "lift": "nobody",
    "pause": "nobody",
    "resume": "nobody",
    "disable": "nobody",
    "replay": "nobody",
    "again": "nobody",
    "test": "nobody",
    "credentials": "nobody",
    "enable": "nobody",
    "password_change": "nobody",
    "redirect": "everybody, to the page of that id",
}
DONE_AT_ONCE = ("pause", "resume", "replay", "again", "test", "enable")
"""What an administrator's mere POST does."""

FRAME = {
    # Addresses about no row, and what is asked of them; None: nothing, for the reason given.
    "admin/": "",
    "admin/search/": "?s=canary&extended=1",  # not found, as the next
    "admin/r/<path:rest>": None,
    "admin/login/": "",
    "admin/logout/": None,  # a GET is refused, a POST ends the session
    "admin/password_change/": "",
    "admin/password_change/done/": "",
    "admin/jsi18n/": "",
    "admin/autocomplete/": None,  # see test_nothing_is_offered_to_complete
    "admin/r/<path:content_type_id>/<path:object_id>/": None,  # see test_what_has_no_public_page
    # As the lists.
    "admin/^(?P<app_label>gateway|audit_app|sessions_app|auth|approvals_app)/$": None,
    "admin/(?P<url>.*)$": None,  # not found
    # Rules, which whoever reviews may know; and who stands in for the caller.
    "admin/policies/": "",
    "admin/policies/csv/": "",
    "admin/policies/new/": "",
    "admin/policies/simulate/": "",
    "admin/policies/<uuid:policy_id>/": None,  # as the list, see tests/approvals/test_policy_pages
    "admin/policies/<uuid:policy_id>/retire/": None,  # for those who may change policies, see there
    "admin/policies/describe/": None,  # of what is posted alone, see there
    "admin/away/": "",
    "admin/sw.js": "",  # the same script for everybody
    "admin/notifications/": "",  # the caller's own, see tests/notifications/test_page.py
    "admin/dashboards/": "?days=30",
    "admin/timeline/<slug:kind>/<path:name>/": None,  # see tests/approvals/test_timelines
    # The inbox's own: what it lists now, the caller's names for it, and who looks at a decision.
    "admin/inbox/": "?q=canary",
    "admin/inbox/csv/": "?q=canary",
    "admin/inbox/views/": "",
    "admin/inbox/snooze/<uuid:approval_id>/": None,  # see tests/approvals/test_attention.py
    "admin/inbox/claim/<uuid:approval_id>/": None,
    "admin/inbox/comment/<uuid:approval_id>/": None,
    "admin/inbox/looking/<uuid:approval_id>/": None,  # see tests/approvals/test_inbox.py
    # Signing in, and proving who one is: about the caller alone.
    "admin/code/": "",
    "admin/second-factor/": "",
    "admin/prove/": "",
    "admin/reauthenticate/": "",
    "admin/passkeys/": "",
    # Posted only, see tests/accounts/test_passkeys.py.
    "admin/passkeys/new/": None,
    "admin/passkeys/use/": None,
    "admin/login/passkey/": None,
    "admin/code/passkey/": None,
    "admin/reauthenticate/passkey/": None,
    "admin/single-sign-on/": None,  # asks the issuer
    "admin/single-sign-on/callback/": None,
    "admin/single-sign-on/logout/": None,  # posted by the issuer
}

MODELS = {
    "approval": "approval",
    "task": "task",
    "agentsession": "session",
    "event": "event",
    "agent": "agent",
    "webhook": "webhook",
    "upstream": "upstream",
    "freeze": "freeze",
    "user": "people",
    "group": "people",
}
"""A page's model, and the kind of row that SEES speaks of; an event is seen with its subject."""

METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

VISITORS = [*PEOPLE, "an agent of another role", "nobody"]
"""Who asks for the admin's pages: an agent's key opens none of them."""

OUTSIDE_VISITORS = [who for who in VISITORS if not SEES.get(who)]

NOWHERE = str(uuid4())
"""An id that nobody has."""

NOBODY = "987654321"
"""The same of people and groups."""


@dataclass
class Caller:
    """Somebody, with what the tables say of them."""

    who: str
    api: Api
    kind: str
    sees: set[str]
    secrets: set[str] = field(default_factory=set)

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Ask, and hold the answer against everything that this caller may not learn."""
        raw = body.encode() if body is not None else None
        answer = self.api.send(method, path, raw, headers=headers, content_type=content_type)
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        said = f"{content.decode()} {dict(answer.headers)}"
        sent = f"{path} {body} {headers}"
        learned = [s for s in self.secrets if s in said and quote(s) not in sent and s not in sent]
        assert not learned, f"{self.who} learns {learned} from {method} {path} {body}: {said}"
        return answer


class World:
    """The asker, what it has, and everybody else. ``furnish`` makes what it has."""

    def __init__(self) -> None:
        self.owner = ReviewerFactory(username="olivia", roles=[ASKED])
        self.asker = AgentFactory(name="asker", roles=["support-agent"], owner=self.owner)
        self.old_key = self.asker.key
        self.asker.key = agents.rotate_key(self.asker.pk, by=OPS).text
        self.decider = ReviewerFactory(username="beatrix-who-decides", roles=[ASKED])
        self.worker = AgentFactory(name="worker", roles=[ASKED])
        self.secrets: dict[str, set[str]] = {}
        self.callers = {who: self._caller(who) for who in (*SEES, *STRANGERS)}

    def furnish(self) -> None:
        """Two sessions, a task that waits, one that another agent executes, and their approvals."""
        asker, by = self.asker, self.asker.as_actor()
        session = SessionFactory(agent=asker, metadata={"note": "canary-session"})
        self.session = operations.update_session(session.pk, by=by, status="active")
        another = SessionFactory(agent=asker, metadata={"note": "canary-session"})
        given = {
            "agent": asker,
            "target": ASKED,
            "task_type": "canary_type_approval",
            "description": "canary-description",
            "data": {"what": "canary-data"},
        }
        self.waiting = TaskFactory(**given, session_id=session.pk, idempotency_key="canary-key-1")
        self.claimed = TaskFactory(**given, session_id=another.pk, idempotency_key="canary-key-2")
        self.pending, self.decided = the_approval(self.waiting), the_approval(self.claimed)
        approval_operations.approve(
            self.decided.pk,
            by=Actor.human(self.decider),
            payload_digest=self.decided.payload_digest,
            notes="canary-notes",
        )
        task_operations.claim(self.claimed.pk, by=self.worker.as_actor(), lease=timedelta(hours=1))
        self.webhook, _ = webhooks.create_webhook(
            "canary-webhook", by=OPS, url="https://canary.example/", event_types=[], roles=[]
        )
        self.upstream = upstreams.create_upstream(
            "canary-upstream", by=OPS, role=ASKED, agent_roles=[], url="https://canary.example/"
        )
        freeze = freezes.begin_freeze("role", role=ASKED, by=OPS, reason="canary-reason")
        freezes.lift_freeze(freeze.pk, by=OPS)
        self.rows = {
            "freeze": [freeze.pk],
            "session": [self.session.pk, another.pk],
            "task": [self.waiting.pk, self.claimed.pk],
            "approval": [self.pending.pk, self.decided.pk],
            "agent": [asker.pk],
            "webhook": [self.webhook.pk],
            "event": [Event.objects.get(subject_id=self.waiting.pk, seq=1).pk],
            "upstream": [self.upstream.pk],
            "user": [self.decider.pk],
            "group": [self.decider.groups.get().pk],
        }
        wait_until_stable()
        sealing.seal_batch()
        self._keep_secrets()

    def _keep_secrets(self) -> None:
        words = [*self.rows["session"], *self.rows["task"], *self.rows["approval"]]
        events = Event.objects.filter(subject_id__in=words).values_list("pk", flat=True)
        traces = [self.session.trace_id, self.waiting.trace_id, self.claimed.trace_id]
        everything = {str(word) for word in (*words, *events, *traces, self.asker.pk)}
        everything |= {ASKED, self.decider.username, "canary-", self.waiting.payload_digest}
        for caller in self.callers.values():
            if caller.who in STRANGERS or not caller.sees:
                caller.secrets = everything
            elif "session" not in caller.sees:
                caller.secrets = {"canary-session"}

    def _caller(self, who: str) -> Caller:
        sees = set(SEES.get(who, "").split())
        sees |= {"event"} if "task" in sees else set()  # those of what they see
        match who:
            case "an agent of another role":
                return Caller(who, self._busy("stranger", "weather"), "agent", sees)
            case "a colleague in the asking role":
                return Caller(who, self._busy("colleague", "support-agent"), "agent", sees)
            case "an agent of the role that is asked":
                return Caller(who, Api(AgentFactory(name="payer", roles=[ASKED])), "agent", sees)
            case "nobody":
                return Caller(who, Api(), "stranger", sees)
            case "an old key of the asker":
                return Caller(who, Api(Authorization=f"Bearer {self.old_key}"), "stranger", sees)
            case "a key of a revoked agent":
                agent = AgentFactory(name="former", roles=["support-agent"])
                agents.revoke_agent(agent.pk, by=OPS)
                return Caller(who, Api(agent), "stranger", sees)
        return Caller(who, Api(user=self._person(who)), "person", sees)

    def _person(self, who: str) -> User:
        match who:
            case "a reviewer of another group":
                return ReviewerFactory(username="charlie", roles=["sre"])
            case "a reviewer of the group that is asked":
                return ReviewerFactory(username="alice", roles=[ASKED])
            case "a reviewer who owns the asking agent":
                return self.owner
            case "a member of another group who is no staff":
                return ReviewerFactory(username="vera", roles=["sre"], is_staff=False)
            case "staff in no group":
                return ReviewerFactory(username="newcomer")
            case "an auditor":
                user = ReviewerFactory(username="olga")
                allowed = ("read_everything", "view_user", "view_group")
                user.user_permissions.set(Permission.objects.filter(codename__in=allowed))
                return user
        assert who == "a superuser in no group"
        return ReviewerFactory(username="root", is_superuser=True)

    def _busy(self, name: str, role: str) -> Api:
        """An agent with a session and a task of its own, so that its lists are not empty."""
        agent = AgentFactory(name=name, roles=[role])
        session = SessionFactory(agent=agent)
        TaskFactory(agent=agent, target="elsewhere", session_id=session.pk)
        return Api(agent)

    def names(self, task: Any = None) -> dict[str, str]:
        """What bodies and parameters can name of the asker's."""
        return {
            "role": "support-agent",
            "session": str(self.session.pk),
            "task": str(task or self.waiting.pk),
            "trace": str(self.waiting.trace_id),
            **self.decisions(str(self.pending.pk)),
        }

    def decisions(self, approval: str) -> dict[str, str]:
        """Bodies of decisions on an approval."""
        seen = {"payload_digest": self.pending.payload_digest}
        each = {"approval_id": approval, "decision": "approve", **seen}
        wanted = {"idempotency_key": str(uuid4()), "target": "nobody", "task": {"task_type": "t"}}
        return {
            "yes": json.dumps(seen),
            "change": json.dumps(seen | {"message": "Less."}),
            "edit": json.dumps(seen | {"data": {"x": 1}}),
            "break": json.dumps(seen | {"reason": "Fire."}),
            "several": json.dumps({"decisions": [each]}),
            "batch": json.dumps({"tasks": [wanted]}),
        }

    def nowhere(self) -> dict[str, str]:
        """The same of nobody's."""
        made_up = {"session": NOWHERE, "task": NOWHERE, "trace": NOWHERE}
        return self.names() | made_up | self.decisions(NOWHERE)


@pytest.fixture
def world(settings) -> World:
    """Limits would refuse those who ask so much."""
    settings.RATE_LIMIT_PER_MINUTE = settings.ADDRESS_LIMIT_PER_MINUTE = 0
    settings.METRICS_TOKEN = "the operators'"  # without it, a trial shows them to everybody
    return World()


@pytest.fixture
def furnished_world(world) -> World:
    world.furnish()
    return world


def run_for(who: Iterable[str]) -> Callable[[Any], Any]:
    """Run a test for each of these callers in one world, and tell of all that it finds."""

    def decorate(test: Any) -> Any:
        def by_everybody(self: Any, furnished_world: World) -> None:
            faults = []
            for name in who:
                try:
                    test(self, furnished_world, furnished_world.callers[name])
                except AssertionError as fault:
                    faults.append(f"{name}: {fault}")
            assert not faults, "\n\n".join(faults)

        by_everybody.__name__ = test.__name__
        return by_everybody

    return decorate


def normalize(answer: Any, *asked: Any) -> tuple[int, dict[str, str], tuple[str, ...], str]:
    """An answer without what differs between any two: the id that was asked for, and tokens."""

    def mask(text: str) -> str:
        for value in (answer.headers["X-Trace-Id"], *asked):
            for form in (quote(str(value), safe=""), str(value)):
                # A whole word: a row's number may be a digit of something else.
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "…", text)
        return re.sub(
            r'(csrf\w*" value="|data-csrf="|X-CSRFToken\W+)[A-Za-z0-9]+', r"\1…", text, flags=re.I
        )

    passing = ("Expires", "Server-Timing", "traceparent")
    if answer.content:  # compared itself; how long it is may be how long the id is
        passing += ("Content-Length",)
    headers = {name: mask(v) for name, v in answer.headers.items() if name not in passing}
    headers |= {name: "…" for name in passing if name in answer.headers}
    return (
        answer.status_code,
        headers,
        tuple(sorted(answer.cookies)),
        mask(answer.content.decode()),
    )


def list_operations() -> Iterator[tuple[str, str, str]]:
    """Each operation of the published document: its name here, method and path."""
    for path, methods in schema()["paths"].items():
        for method in methods:
            yield f"{method.upper()} {path}", method.upper(), path


def list_ruled_operations() -> Iterator[tuple[str, str, str]]:
    """Those that a rule speaks of; TestTheTables tells of the others."""
    return (found for found in list_operations() if found[0] in RULES)


def about_a_row() -> Iterator[tuple[str, str, str, Reads | Changes]]:
    for name, method, path in list_ruled_operations():
        rule = RULES[name]
        if isinstance(rule, Reads | Changes):
            yield name, method, path, rule


def addresses_of_rows() -> list[tuple[str, str, set[str]]]:
    """Each address of a row: its path, the kind of row, and the methods that are documented."""
    found: dict[str, tuple[str, str, set[str]]] = {}
    for _, method, path, rule in about_a_row():
        found.setdefault(path, (path, rule.about, set()))[2].add(method)
    return list(found.values())


def address(path: str, pk: Any) -> str:
    return re.sub(r"\{\w+\}", str(pk), path)


@dataclass(frozen=True)
class Page:
    """One of the admin's addresses: its name, and its route with a place for an id."""

    name: str
    route: str

    @property
    def model(self) -> str:
        """The model that it is a page of; empty for the frame."""
        found = re.fullmatch(r"admin/(?:\w+_?app|auth|gateway)/(\w+)/.*", self.route)
        return found[1] if found else ""

    @property
    def way(self) -> str:
        """What is done there: the last words of its name."""
        if self.name.endswith("_password_change"):
            return "password_change"
        return self.name.rpartition("_")[2] or "redirect"

    def at(self, pk: Any) -> str:
        return "/" + re.sub(r"<[^>]+>", str(pk), self.route)


def every_route() -> Iterator[tuple[str, str]]:
    """Each address that the resolver knows, with its name."""

    def walk(patterns: Any, before: str) -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            route = before + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns, route)
            else:
                yield route, pattern.name or ""

    yield from walk(get_resolver().url_patterns, "")


def pages() -> list[Page]:
    found = [Page(name, route) for route, name in every_route() if route.startswith("admin/")]
    return [page for page in found if page.model]


def whole_rows() -> dict[str, list[str]]:
    """Every row of every table that is anybody's, as text."""
    tables = ["sessions", "tasks", "approvals", "agents", "auth_user", "auth_group"]
    tables += ["auth_user_groups", "auth_user_user_permissions", "auth_group_permissions"]
    with connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(f"SELECT r::text FROM {table} AS r ORDER BY 1")
            found[table] = [text for (text,) in cursor.fetchall()]
        cursor.execute("SELECT (k.id, k.agent_id, k.hash, k.revoked_at)::text FROM agent_keys AS k")
        found["keys"] = sorted(text for (text,) in cursor.fetchall())
        kept = "event_type <> 'operation.refused'"
        cursor.execute(f"SELECT r::text FROM audit_events AS r WHERE {kept} ORDER BY 1")
        found["events"] = [text for (text,) in cursor.fetchall()]
        return found


class TestTheTables:
    """They name everything that there is, and nothing else."""

    def test_a_rule_says_who_may_call_each_operation_of_the_document(self):
        ruleless = {name for name, _, _ in list_operations()} ^ set(RULES)
        assert not ruleless, f"no rule says who may call this, or it is no more: {ruleless}"

    def test_each_address_outside_of_the_admin_is_documented_or_known(self):
        paths = {re.sub(r"\{\w+\}", "{}", path) for path in schema()["paths"]}
        for route, _ in every_route():
            path = "/" + re.sub(r"<[^>]+>", "{}", route)
            known = path in paths or path in UNDOCUMENTED or path.startswith("/admin/")
            assert known, f"no rule says who may call {path}"

    def test_each_parameter_of_a_list_is_known_to_tell_or_not(self):
        for name, method, path in list_operations():
            operation = schema()["paths"][path][method.lower()]
            for given in operation.get("parameters", ()):
                if given["in"] == "query":
                    assert given["name"] in TELLING, f"{name} has a parameter {given['name']}"

    def test_a_rule_says_who_may_open_each_page_of_the_admin(self):
        for route, name in every_route():
            if not route.startswith("admin/"):
                continue
            page = Page(name, route)
            if page.model:
                assert page.model in MODELS, f"no rule says who may open {route}"
                assert page.way in PAGES, f"no rule says who may open {route}"
            else:
                assert route in FRAME, f"no rule says who may open {route}"

    def test_every_model_of_the_admin_is_known(self):
        assert {model._meta.model_name for model in admin.site._registry} == set(MODELS)


class TestTheApi:
    @run_for(SEES)
    def test_what_is_not_theirs_is_not_there_or_refused(self, furnished_world, caller):
        before = whole_rows()

        for name, method, path, rule in about_a_row():
            if rule.about in caller.sees:
                may_see_and_no_more(furnished_world, caller, name, method, path, rule)
            else:
                tells_nothing(furnished_world, caller, method, path, rule)

        assert whole_rows() == before

    @run_for(SEES)
    def test_other_methods_tell_nothing_either(self, furnished_world, caller):
        before = whole_rows()
        for path, about, known in addresses_of_rows():
            if about in caller.sees:
                continue
            pk = furnished_world.rows[about][0]
            for method in sorted(METHODS - known):
                body = None if method in ("GET", "HEAD", "OPTIONS") else "{}"
                there = caller.ask(method, address(path, pk), body)
                nowhere = caller.ask(method, address(path, NOWHERE), body)
                assert normalize(there, pk) == normalize(nowhere, NOWHERE), (method, path)
                assert there.status_code in (200, 403, 404, 405), (method, path)
        assert whole_rows() == before

    @run_for(STRANGERS)
    def test_whoever_is_not_known_is_told_so_and_nothing_else(self, furnished_world, caller):
        before = whole_rows()
        for name, method, path in list_ruled_operations():
            rule = RULES[name]
            if isinstance(rule, Opens):
                assert caller.ask(method, path).status_code == 200
                continue
            pks = (
                furnished_world.rows[rule.about] if isinstance(rule, Reads | Changes) else [NOWHERE]
            )
            body = getattr(rule, "body", None)
            sent = body % furnished_world.names() if body else None
            for pk in pks:
                answer = caller.ask(method, address(path, pk), sent, {"If-None-Match": "*"})
                assert answer.status_code == 401, (caller.who, name)
                nowhere = caller.ask(method, address(path, NOWHERE), sent)
                assert normalize(answer, pk) == normalize(nowhere, NOWHERE), (caller.who, name)
        assert whole_rows() == before
        assert not Event.objects.filter(event_type="operation.refused").exists()

    @run_for([*OUTSIDERS, *STRANGERS])
    def test_what_is_open_to_all_tells_of_nobodys_work(self, furnished_world, caller):
        there = {f"/{route}" for route, _ in every_route()}
        opened = {
            path for name, _, path in list_ruled_operations() if isinstance(RULES[name], Opens)
        }
        for path in sorted(UNDOCUMENTED & there | opened):
            assert caller.ask("GET", path).status_code in (200, 302, 401, 403, 404, 405), path

    def test_a_key_that_ended_sounds_like_one_that_never_was(self, furnished_world):
        made_up = Caller("made up", Api(Authorization="Bearer ork_" + "x" * 43), "stranger", set())
        never = normalize(made_up.ask("GET", "/sessions"))
        for who in ("an old key of the asker", "a key of a revoked agent"):
            assert normalize(furnished_world.callers[who].ask("GET", "/sessions")) == never

    @run_for([*OUTSIDERS, "an agent of the role that is asked"])
    def test_lists_and_totals_hold_what_they_see_and_no_more(self, furnished_world, caller):
        for name, _, path in list_ruled_operations():
            rule = RULES[name]
            if not isinstance(rule, Lists):
                continue
            for query in queries_of(
                path, furnished_world.names(), cursor_of(furnished_world, path)
            ):
                answer = caller.ask("GET", f"{path}?{urlencode(query)}")
                assert answer.status_code == 200, (path, query)
                holds_only_what_is_seen(furnished_world, caller, rule, answer.json())

    @run_for([*OUTSIDERS, "an agent of the role that is asked"])
    def test_streams_tell_what_they_see_and_no_more(self, furnished_world, caller):
        for query in ("", "&task_id=%(task)s", "&session_id=%(session)s", "&trace_id=%(trace)s"):
            there = f"/events?after=0.0.0{query % furnished_world.names()}"
            answer = caller.ask("GET", there)
            assert answer.status_code == 200, there
            lines = answer.content.decode().splitlines()
            rows = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            holds_only_what_is_seen(furnished_world, caller, Lists("events"), {"events": rows})

    @run_for(OUTSIDERS)
    def test_a_search_for_theirs_finds_what_a_search_for_nothing_finds(
        self, furnished_world, caller
    ):
        for name, _, path in list_ruled_operations():
            if not isinstance(RULES[name], Lists):
                continue
            described = schema()["paths"][path]["get"]["parameters"]
            parameters = [p["name"] for p in described if p["in"] == "query"]
            for parameter in sorted(name for name in parameters if TELLING[name]):
                theirs = TELLING[parameter] % furnished_world.names()
                other = made_up(theirs)
                for more in ("", "&cursor="):
                    found = caller.ask("GET", f"{path}?{parameter}={theirs}{more}")
                    none = caller.ask("GET", f"{path}?{parameter}={other}{more}")
                    assert normalize(found, theirs) == normalize(none, other), (path, parameter)
                    assert found.json().get("total", 0) == 0

    @run_for(OUTSIDERS)
    def test_another_callers_cursor_tells_nothing(self, furnished_world, caller):
        """All that they have is older than what it points at, so they get all of it."""
        for path in ("/sessions", "/tasks", "/approvals"):
            theirs = caller.ask("GET", f"{path}?cursor={quote(cursor_of(furnished_world, path))}")
            first = caller.ask("GET", f"{path}?cursor=")
            assert theirs.status_code == 200
            assert normalize(theirs) == normalize(first), path

    def test_what_they_read_is_the_same_whether_or_not_the_asker_ever_worked(self, world):
        lists = [
            path for name, _, path in list_ruled_operations() if isinstance(RULES[name], Lists)
        ]
        asked = [f"{path}{query}" for path in lists for query in ("", "?cursor=", "?page_size=1")]
        asked += ["/admin/", *(page.at("") for page in pages() if page.way == "changelist")]

        def everything() -> dict[tuple[str, str], Any]:
            callers = [world.callers[who] for who in OUTSIDERS]
            return {(c.who, path): normalize(c.ask("GET", path)) for c in callers for path in asked}

        before = everything()
        world.furnish()
        after = everything()

        assert [where for where in before if before[where] != after[where]] == []


class TestWhatIsMade:
    """Nobody's row is learned of, or changed, by naming it in what one makes oneself."""

    @run_for(PEOPLE)
    def test_people_make_nothing_that_is_an_agents_to_make(self, furnished_world, caller):
        before = whole_rows()
        for name, method, path in list_ruled_operations():
            rule = RULES[name]
            if isinstance(rule, Makes):
                key = {"Idempotency-Key": "mine"}
                answer = caller.ask(method, path, rule.body % furnished_world.names(), key)
                assert answer.status_code in (403, 404), (name, answer.content)
                assert answer.json()["code"] in (rule.person, "not_found"), name
        assert whole_rows() == before

    @run_for(OUTSIDERS)
    def test_naming_another_ones_row_is_like_naming_none(self, furnished_world, caller):
        before = whole_rows()
        for name, method, path in list_ruled_operations():
            rule = RULES[name]
            if isinstance(rule, Makes | Several):
                theirs, nobodys = ({"Idempotency-Key": key} for key in ("theirs", "nobodys"))
                found = caller.ask(method, path, rule.body % furnished_world.names(), theirs)
                none = caller.ask(method, path, rule.body % furnished_world.nowhere(), nobodys)
                found, none = normalize(found, furnished_world.waiting.pk), normalize(none, NOWHERE)
                assert without_ids(found) == without_ids(none), name
        unchanged_but_for_their_own(before)

    @run_for([*OUTSIDERS, "an agent of the role that is asked"])
    def test_another_ones_session_in_a_header_is_like_none(self, furnished_world, caller):
        before = whole_rows()
        theirs = str(furnished_world.session.pk)
        route = '{"target": "nobody", "task": {"task_type": "t"}}'
        asked = [("/tasks/route", route)]
        for pk in furnished_world.rows["task"]:
            asked += [(f"/tasks/{pk}/{way}", "{}") for way in ("claim", "complete", "fail")]
        for path, body in asked:
            key = f"key {path}"
            found = caller.ask("POST", path, body, build_headers(theirs, f'"{key} theirs"'))
            none = caller.ask("POST", path, body, build_headers(NOWHERE, f'"{key} none"'))
            assert normalize(found, theirs) == normalize(none, NOWHERE), path
            assert found.status_code >= 400, path
        assert whole_rows() == before

    def test_what_says_it_works_on_anothers_task_does_not_see_it(self, furnished_world):
        caller = furnished_world.callers["an agent of another role"]
        body = json.dumps({"agent_role": "weather", "task_id": str(furnished_world.waiting.pk)})
        opened = caller.ask("POST", "/sessions", body)
        assert opened.status_code == 201
        listed = caller.ask("GET", f"/sessions/{opened.json()['session_id']}/tasks").json()
        assert (listed["tasks"], listed["total"]) == ([], 0)

    def test_nobody_is_given_the_answer_to_anothers_request(self, furnished_world):
        asker = Caller("the asker", Api(furnished_world.asker), "agent", set())
        role = {"agent_role": "support-agent", "metadata": {"note": "canary-replayed"}}
        route = {"target": ASKED, "task": {"task_type": "canary_type_approval"}}
        asked = [("POST", "/sessions", role), ("POST", "/tasks/route", route)]
        asked += [("PUT", f"/sessions/{furnished_world.session.pk}", {"metadata": {"a": 1}})]
        asked += [("POST", f"/tasks/{furnished_world.waiting.pk}/cancel", {})]
        key = {"Idempotency-Key": "the-askers"}
        answers = []
        for method, path, body in asked:
            answers.append(asker.ask(method, path, json.dumps(body), key))
            assert answers[-1].status_code < 300, answers[-1].content
        ids = set(re.findall(r"[0-9a-f-]{36}", " ".join(a.content.decode() for a in answers)))
        for caller in furnished_world.callers.values():
            for method, path, body in asked:
                answer = caller.ask(method, path, json.dumps(body), key)
                assert "Idempotent-Replayed" not in answer.headers, (caller.who, path)
                if not caller.sees:
                    own = set(re.findall(r"[0-9a-f-]{36}", answer.content.decode()))
                    assert not (own & ids) - set(path.split("/")), (caller.who, path)

    def test_a_refusal_stands_in_the_trail_of_whoever_was_refused_and_no_other(
        self, furnished_world
    ):
        asker = Caller("the asker", Api(furnished_world.asker), "agent", set())
        payer = furnished_world.callers["an agent of the role that is asked"]
        stranger = furnished_world.callers["an agent of another role"]
        alice = furnished_world.callers["a reviewer of the group that is asked"]
        another = Caller("another agent of that role", Api(furnished_world.worker), "agent", set())
        readers = (asker, stranger, alice, another)
        everything = "/audit/events?page_size=100"
        before = [normalize(reader.ask("GET", everything)) for reader in readers]

        path = f"/tasks/{furnished_world.waiting.pk}/cancel"
        assert payer.ask("POST", path, "{}").status_code == 403
        assert stranger.ask("POST", path, "{}").status_code == 404

        after = [normalize(reader.ask("GET", everything)) for reader in readers]
        assert after == before
        refused = Event.objects.get(event_type="operation.refused")
        assert str(refused.pk) in payer.ask("GET", everything).text

    def test_an_event_put_into_anothers_trace_is_not_in_its_readers_trail(self, furnished_world):
        trace = str(furnished_world.waiting.trace_id)
        stranger = furnished_world.callers["an agent of another role"]
        body = '{"event_type": "agent.lied"}'
        added = stranger.ask("POST", "/audit/events", body, {"X-Trace-Id": trace})
        assert added.status_code == 201
        asker = Caller("the asker", Api(furnished_world.asker), "agent", set())
        alice = furnished_world.callers["a reviewer of the group that is asked"]
        for reader in (asker, alice):
            seen = reader.ask("GET", f"/audit/events?trace_id={trace}").text
            assert "task.routed" in seen
            assert "agent.lied" not in seen
        page = alice.ask("GET", page_of("approval", furnished_world.pending.pk)).text
        assert "task.routed" in page
        assert "agent.lied" not in page


class TestLocks:
    @run_for(["an agent of another role", "a reviewer of another group"])
    def test_who_may_not_know_of_a_row_does_not_wait_for_its_lock(self, furnished_world, caller):
        """A wait, and the conflict after it, would tell that there is something."""
        with as_superuser() as somebody:
            for table in ("sessions", "tasks", "approvals"):
                somebody.execute(f"SELECT FROM {table} FOR UPDATE")
            for name, method, path, rule in about_a_row():
                if isinstance(rule, Changes):
                    pk, body = (
                        furnished_world.rows[rule.about][0],
                        rule.body % furnished_world.names(),
                    )
                    there = caller.ask(method, address(path, pk), body)
                    nowhere = caller.ask(method, address(path, NOWHERE), body)
                    assert normalize(there, pk) == normalize(nowhere, NOWHERE), name


class TestTheAdmin:
    @run_for(VISITORS)
    def test_no_page_tells_of_what_is_not_theirs(self, furnished_world, caller):
        before = whole_rows()
        for page in pages():
            if "<" not in page.route or sees_page(caller, page):
                continue
            none = NOBODY if page.model in ("user", "group") else NOWHERE
            pks = furnished_pks(furnished_world, page.model)
            for method, form in (("GET", None), ("HEAD", None), *forms(furnished_world)):
                answer = caller.ask(method, page.at(none), form, content_type=FORM)
                nowhere = normalize(answer, none)
                for pk in pks if page.way == "change" else pks[:1]:
                    there = caller.ask(method, page.at(pk), form, content_type=FORM)
                    assert normalize(there, pk) == nowhere, (page.name, method)
                    assert there.status_code in (301, 302, 403, 404), (page.name, method)
        assert whole_rows() == before

    @run_for([who for who in PEOPLE if SEES[who]])
    def test_whoever_sees_a_row_reads_its_page_and_changes_nothing(self, furnished_world, caller):
        before = whole_rows()
        for page in pages():
            if not sees_page(caller, page) or not is_ours(page) or "<" not in page.route:
                continue
            for pk in furnished_pks(furnished_world, page.model):
                if page.way == "change":
                    assert caller.ask("GET", page.at(pk)).status_code == 200, page.name
                if (page.model, caller.who) in (
                    ("approval", "a reviewer of the group that is asked"),
                ):
                    continue
                if page.way in DONE_AT_ONCE and caller.who == ADMINISTRATORS:
                    continue
                for method, form in forms(furnished_world):
                    answer = caller.ask(method, page.at(pk), form, content_type=FORM)
                    assert answer.status_code in (302, 400, 403, 404, 409), (page.name, form)
                    if answer.status_code == 302:
                        assert page.way == "redirect", (page.name, form)
        assert whole_rows() == before

    @run_for(OUTSIDE_VISITORS)
    def test_no_search_of_a_list_finds_what_is_not_theirs(self, furnished_world, caller):
        before = whole_rows()
        for page in pages():
            if page.way != "changelist":
                continue
            opened = caller.ask("GET", page.at(""))
            if opened.status_code != 200:
                assert opened.status_code in (302, 403), page.name
                continue
            for theirs, nobodys in searches(furnished_world):
                found = caller.ask("GET", f"{page.at('')}?{theirs}")
                assert found.status_code in (200, 302, 400, 403), (page.name, theirs)
                none = caller.ask("GET", f"{page.at('')}?{nobodys}")
                assert normalize(found, *asked_for(theirs)) == normalize(
                    none, *asked_for(nobodys)
                ), theirs
        assert whole_rows() == before

    @run_for([who for who in VISITORS if who != ADMINISTRATORS])
    def test_nothing_can_be_added_and_no_action_be_run(self, furnished_world, caller):
        before = whole_rows()
        action = {"action": "delete_selected", "post": "yes"}
        for page in pages():
            if page.way == "add":
                for method in ("GET", "POST"):
                    answer = caller.ask(method, page.at(""), "name=x&roles=y", content_type=FORM)
                    assert answer.status_code in (302, 403), page.name
                    assert answer.status_code == 403 or "/login/" in answer.headers["Location"]
            if page.way == "changelist":
                pks = [*furnished_pks(furnished_world, page.model)]
                form = urlencode({**action, "_selected_action": pks}, doseq=True)
                answer = caller.ask("POST", page.at(""), form, content_type=FORM)
                assert answer.status_code < 500, page.name
        assert whole_rows() == before

    @run_for(OUTSIDE_VISITORS)
    def test_the_frame_tells_nothing(self, furnished_world, caller):
        for route, _ in every_route():
            query = FRAME.get(route)
            if query is not None:
                answer = caller.ask("GET", f"/{route}{query}")
                assert answer.status_code in (200, 302, 403, 404), route

    @run_for([*OUTSIDERS, "a reviewer of the group that is asked"])
    def test_nothing_is_offered_to_complete(self, furnished_world, caller):
        words = ("", "canary", "asker", "beatrix", ASKED, str(furnished_world.waiting.pk))
        for model in admin.site._registry:
            for related in model._meta.get_fields():
                if not related.is_relation or related.auto_created:
                    continue
                for word in words:
                    asked = {
                        "app_label": model._meta.app_label,
                        "model_name": model._meta.model_name,
                        "field_name": related.name,
                        "term": word,
                    }
                    answer = caller.ask("GET", f"/admin/autocomplete/?{urlencode(asked)}")
                    assert answer.status_code in (200, 302, 403, 404), asked
                    if answer.status_code == 200:
                        found = answer.json()["results"]
                        assert all(row["text"] not in ("asker", "former") for row in found), asked

    @run_for(OUTSIDE_VISITORS)
    def test_what_has_no_public_page_tells_nothing(self, furnished_world, caller):
        for model in admin.site._registry:
            kind = ContentType.objects.get_for_model(model).pk
            for pk in furnished_pks(furnished_world, model._meta.model_name):
                none = NOBODY if isinstance(pk, int) else NOWHERE
                there = caller.ask("GET", f"/admin/r/{kind}/{pk}/")
                nowhere = caller.ask("GET", f"/admin/r/{kind}/{none}/")
                assert normalize(there, pk) == normalize(nowhere, none), model
                assert there.status_code in (302, 404)

    @run_for(["a superuser in no group", "an auditor", "staff in no group"])
    def test_nothing_waits_for_whoever_is_in_no_group(self, furnished_world, caller):
        page = caller.ask("GET", "/admin/").text
        assert "canary" not in page
        assert "All clear." in page


FORM = "application/x-www-form-urlencoded"


def tells_nothing(
    world: World, caller: Caller, method: str, path: str, rule: Reads | Changes
) -> None:
    """Each request for what is there is answered as one for what is not."""
    body = rule.body % world.names() if isinstance(rule, Changes) else None
    asked = [(body, headers) for headers in conditions(world)]
    if body:
        asked.append(('{"nonsense": 1}', {}))
    for sent, headers in asked:
        nowhere = normalize(caller.ask(method, address(path, NOWHERE), sent, headers), NOWHERE)
        for pk in world.rows[rule.about]:
            there = caller.ask(method, address(path, pk), sent, headers)
            assert normalize(there, pk) == nowhere, (method, path, sent, headers)
            assert there.status_code in (400, 403, 404), (method, path, sent, headers)
            assert not {"ETag", "Location"} & set(there.headers)


def conditions(world: World) -> list[dict[str, str]]:
    """Headers that are judged against what is there."""
    return [
        {},
        {"If-None-Match": "*", "If-Match": f'"{world.session.version}"', "Prefer": "wait=9"},
        {"If-None-Match": f'"{world.session.version}"', "If-Match": '"999"'},
    ]


def may_see_and_no_more(
    world: World, caller: Caller, name: str, method: str, path: str, rule: Reads | Changes
) -> None:
    """A read is answered; a change is refused, each with a code that the rule names."""
    for pk in world.rows[rule.about]:
        if isinstance(rule, Reads):
            assert caller.ask(method, address(path, pk)).status_code in rule.statuses, name
            continue
        if (caller.who, name) in MAY:
            continue
        body = rule.body % world.names(pk)
        if rule.about == "approval":
            digest = Approval.objects.get(pk=pk).payload_digest
            body = body.replace(world.pending.payload_digest, digest)
        answer = caller.ask(method, address(path, pk), body)
        expected = (rule.agent if caller.kind == "agent" else rule.person).split()
        assert answer.json()["code"] in expected, (name, answer.content)
        assert answer.status_code in (403, 409), (name, answer.content)


def queries_of(path: str, names: dict[str, str], cursor: str) -> list[dict[str, str]]:
    """A list's address with nothing, and with each of its parameters."""
    queries: list[dict[str, str]] = [{}, {"cursor": ""}, {"cursor": cursor}]
    for parameter in schema()["paths"][path]["get"]["parameters"]:
        name = parameter["name"]
        if parameter["in"] != "query" or name == "cursor":
            continue
        if value := TELLING[name] or PLAIN.get(name):
            queries.append({name: value % names})
        else:
            queries += [{name: each} for each in parameter["schema"]["enum"]]
    return queries


def cursor_of(world: World, path: str) -> str:
    """A cursor that the asker was given."""
    cursor = Api(world.asker).get(path, cursor="", page_size=1).json()["next_cursor"]
    assert cursor, path
    return cursor


def holds_only_what_is_seen(world: World, caller: Caller, rule: Lists, body: Any) -> None:
    rows = body[rule.name]
    kind = rule.name.removesuffix("s")
    if kind == "event":
        kinds = ("session", "task", "approval", "agent")
        foreign = {str(pk): k for k in kinds for pk in world.rows[k]}
        seen = [foreign[row["subject_id"]] for row in rows if row["subject_id"] in foreign]
        assert set(seen) <= caller.sees
        return
    ids = {row[f"{kind}_id"] for row in rows}
    theirs = {str(pk) for pk in world.rows[kind]}
    if kind not in caller.sees:
        assert not ids & theirs
    if "total" in body:
        assert body["total"] == len(rows)


def build_headers(session: str, key: str) -> dict[str, str]:
    return {"X-Session-Id": session, "Idempotency-Key": key}


def without_ids(answer: Any) -> str:
    """An answer about something new: its id, its times and its cursor are its own."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", str(answer))
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "…", text)


def unchanged_but_for_their_own(before: dict[str, list[str]]) -> None:
    """Every row that was there is there as it was."""
    after = whole_rows()
    for table, rows in before.items():
        assert set(rows) <= set(after[table]), table


def page_of(model: str, pk: Any) -> str:
    return next(p for p in pages() if p.model == model and p.way == "change").at(pk)


def is_ours(page: Page) -> bool:
    """Not of Django's people and groups, which are administered by its permissions."""
    return page.model not in ("user", "group")


def sees_page(caller: Caller, page: Page) -> bool:
    """Whether the table lets this caller know of the rows of this page, in the admin."""
    if caller.kind != "person":
        return False
    kind = MODELS[page.model]
    return bool(caller.sees) if kind == "event" else kind in caller.sees


def furnished_pks(world: World, model: str) -> list[Any]:
    """The asker's rows of a model; for people and groups, those who decided."""
    if model == "event":
        rows = [*world.rows["session"], *world.rows["task"], *world.rows["approval"]]
        return list(Event.objects.filter(subject_id__in=rows).values_list("pk", flat=True)[:3])
    return world.rows[MODELS[model] if model not in ("user", "group") else model]


def forms(world: World) -> list[tuple[str, str]]:
    """What could be sent to a page: a decision, a change of the state, a removal."""
    decision = {"decision": "approve", "payload_digest": world.pending.payload_digest}
    return [
        ("POST", urlencode(decision)),
        ("POST", urlencode({"status": "approved", "post": "yes", "_save": "Save"})),
    ]


def asked_for(query: str) -> list[str]:
    """What the page says again of how it was asked for."""
    name, _, value = query.partition("=")
    return [query, f"{name}={quote(value, safe='')}", f'"{value}"']


def made_up(value: Any) -> str:
    """A value as long as ``value`` that nothing has."""
    text = str(value)
    if re.fullmatch(r"[0-9a-f-]{36}", text):
        return NOWHERE
    return "9" * len(text) if text.isdigit() else re.sub("[a-z]", "z", text)


def searches(world: World) -> list[tuple[str, str]]:
    """What can be put behind a list's address: the asker's value, and one of nobody's."""
    asked = {
        "q": (world.waiting.pk, "canary-description", "asker", "agent:asker"),
        "id": (world.waiting.pk,),
        "id__exact": (world.pending.pk,),
        "agent": (world.asker.pk,),
        "agent__id__exact": (world.asker.pk,),
        "session__id__exact": (world.session.pk,),
        "task__id__exact": (world.waiting.pk,),
        "claimed_by__id__exact": (world.worker.pk,),
        "trace_id": (world.waiting.trace_id,),
        "subject_id": (world.waiting.pk,),
        "role": (ASKED,),
        "type": ("canary_type_approval",),
        "description__contains": ("canary",),
        "task__description__startswith": ("canary",),
        "keys__prefix__startswith": ("ork_",),
        "owner__password__startswith": ("md5$",),
        "owner__id__exact": (world.owner.pk,),
        "name__startswith": ("ask",),
        "actor": ("agent:asker",),
    }
    pairs = [(name, value) for name, values in asked.items() for value in values]
    return [(f"{name}={value}", f"{name}={made_up(value)}") for name, value in pairs]

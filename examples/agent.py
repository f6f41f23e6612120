"""A small agent: it asks for something that needs a human's yes, waits, and says what was decided.

    ORCHESTRATOR_KEY=ork_… python examples/agent.py refund

The task goes to the role that executes such tasks; this agent only asks, and claims nothing. Every
write has an Idempotency-Key made of this run's trace id, the same however often it is sent again,
and no digest is trusted that was not computed here. Exit status: 0 approved, 3 rejected, 4 expired
or withdrawn, 1 anything else; of several payloads, the highest.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import rfc8785

PAYLOADS = Path(__file__).parent / "payloads"
PAYLOAD_FIELDS = ("context", "data", "description", "from_role", "task_type", "to_role")
EXIT = {"approved": 0, "rejected": 3}
TRIES = 8
WAIT_SECONDS = 30


class Refused(Exception):
    """What stopped this run, in one sentence."""


class Orchestrator:
    """The few calls that an agent needs."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self.trace_id = str(uuid4())
        self.http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}", "X-Trace-Id": self.trace_id},
            timeout=WAIT_SECONDS + 10,
        )

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request, sent again while the server is away or busy: every write here has a key."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            pause = min(0.2 * 2**attempt, 5)
            try:
                answer = self.http.request(method, path, **request)
            except httpx.TransportError as error:
                if last:
                    raise Refused(f"{self.url} can't be reached: {error}") from error
            else:
                after = answer.headers.get("Retry-After", "")
                if last or not (answer.is_server_error or after):
                    break
                pause = min(int(after), 60) if after.isdecimal() else pause
            time.sleep(pause)
        if not answer.is_success:
            raise Refused(_told(answer))
        return answer

    def send(self, step: str, method: str, path: str, body: Any, **headers: str) -> Any:
        """A write: ``step`` names it within this run, so that it happens once."""
        headers["Idempotency-Key"] = f"{self.trace_id}-{step}"
        return self.call(method, path, json=body, headers=headers).json()

    def decision(self, approval_id: str) -> Any:
        """The approval once it is decided; each request is held by the server while it waits."""
        while True:
            prefer = {"Prefer": f"wait={WAIT_SECONDS}"}
            answer = self.call("GET", f"/approvals/{approval_id}", headers=prefer)
            approval = answer.json()
            if approval["status"] != "pending":
                return approval
            # A preference may be ignored, and a server that is ending cuts it short: never spin.
            if "Preference-Applied" not in answer.headers or answer.elapsed.total_seconds() < 1:
                time.sleep(1)


def run(orchestrator: Orchestrator, bodies: list[Any], role: str) -> int:
    """Ask for all of ``bodies``, wait for every human they need, and tell the outcome."""
    opened = orchestrator.send("open", "POST", "/sessions", {"agent_role": role})
    session = f"/sessions/{opened['session_id']}"
    orchestrator.send("activate", "PUT", session, {"status": "active"})
    ended = "failed"
    try:
        tasks = [
            _ask(orchestrator, body, f"route-{number}", opened["session_id"])
            for number, body in enumerate(bodies)
        ]
        status = max(EXIT.get(_outcome(orchestrator, task), 4) for task in tasks)
        ended = "failed" if status else "completed"
    finally:
        orchestrator.send("end", "PUT", session, {"status": ended})
    print(f"the whole story: {orchestrator.url}/audit/events?trace_id={orchestrator.trace_id}")
    return status


def _ask(orchestrator: Orchestrator, body: Any, step: str, session: str) -> Any:
    routed = orchestrator.send(step, "POST", "/tasks/route", body, **{"X-Session-Id": session})
    task = orchestrator.call("GET", f"/tasks/{routed['task_id']}").json()
    print(f"asked: {task['description']}")
    print(f"task {task['task_id']}, {task['status']}, payload {_digest(task)}")
    return task


def _outcome(orchestrator: Orchestrator, task: Any) -> str:
    """Wait for each approval of ``task``, those that are asked for meanwhile included."""
    heard: set[str] = set()
    query = {"task_id": task["task_id"], "page_size": "100"}
    while True:
        found = orchestrator.call("GET", "/approvals", params=query).json()["approvals"]
        unheard = [asked for asked in found if asked["approval_id"] not in heard]
        if not unheard:
            return "approved"
        for asked in unheard:
            heard.add(asked["approval_id"])
            approval = _decided(orchestrator, asked, _digest(task))
            if approval["status"] != "approved":
                return str(approval["status"])


def _decided(orchestrator: Orchestrator, asked: Any, digest: str) -> Any:
    page = f"/admin/approvals_app/approval/{asked['approval_id']}/change/"
    until = asked["expires_at"][:16].replace("T", " ")
    print(f"decide: {orchestrator.url}{page}")
    print(f"waiting for {asked['approver_role']} until {until} UTC …")
    approval = orchestrator.decision(asked["approval_id"])
    if approval["payload_digest"] != digest:
        raise Refused("What was decided on is not what was asked: the digests differ.")
    who = f" by {approval['decided_by']}" if approval["decided_by"] else ""
    notes = f": {approval['notes']}" if approval["notes"] else ""
    print(f"{approval['status']}{who}{notes}")
    return approval


def _digest(task: Any) -> str:
    """SHA-256 of the RFC 8785 text of what was asked: what a human's yes is bound to."""
    return hashlib.sha256(rfc8785.dumps({name: task[name] for name in PAYLOAD_FIELDS})).hexdigest()


def _told(answer: httpx.Response) -> str:
    try:
        told = answer.json()
        said = f"{told['title']}: {told['detail']}"
        return f"{said} ({told['code']}, trace {told['trace_id']})"
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.url} answered {answer.status_code}."

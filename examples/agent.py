"""A small agent: it asks for something that needs a human's yes, waits, and says what was decided.

    ORCHESTRATOR_KEY=ork_… python examples/agent.py refund

The task is routed to the role that executes such tasks; this agent only asks. It sends one
Idempotency-Key however often it has to retry, and it trusts no digest that it has not computed
itself. Exit status: 0 approved, 3 rejected, 4 expired or withdrawn, 1 anything else.
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
TRIES = 6
WAIT_SECONDS = 30


class Refused(Exception):
    """The server said no, and said why."""


class Orchestrator:
    """The few calls that an agent needs."""

    def __init__(self, url: str, key: str) -> None:
        self.trace_id = str(uuid4())
        self.http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "X-Trace-Id": self.trace_id},
            timeout=WAIT_SECONDS + 10,
        )

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request, sent again while the server is out of reach: every write here has a key."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = self.http.request(method, path, **request)
            except httpx.TransportError as error:
                if last:
                    raise Refused(f"{self.http.base_url} can't be reached: {error}") from error
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status_code < 500 or last:
                break
            time.sleep(float(answer.headers.get("Retry-After", 0.2 * 2**attempt)))
        if answer.is_error:
            raise Refused(_told(answer))
        return answer

    def send(self, method: str, path: str, body: Any, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call(method, path, json=body, headers=named).json()

    def story(self, trace_id: str) -> str:
        return f"{self.http.base_url}/audit/events?trace_id={trace_id}"

    def decision(self, approval_id: str) -> Any:
        """The approval once it is decided; each request is held by the server while it waits."""
        while True:
            prefer = {"Prefer": f"wait={WAIT_SECONDS}"}
            answer = self.call("GET", f"/approvals/{approval_id}", headers=prefer)
            approval = answer.json()
            if approval["status"] != "pending":
                return approval
            if "Preference-Applied" not in answer.headers:
                time.sleep(1)


def run(orchestrator: Orchestrator, payload: Path, role: str) -> str:
    """Ask for what ``payload`` holds, wait for every human it needs, and end the session."""
    once = str(uuid4())
    session = orchestrator.send(
        "POST", "/sessions", {"agent_role": role}, Idempotency_Key=f"{once}-session"
    )["session_id"]
    orchestrator.send(
        "PUT", f"/sessions/{session}", {"status": "active"}, Idempotency_Key=f"{once}-active"
    )
    routed = orchestrator.send(
        "POST",
        "/tasks/route",
        json.loads(payload.read_text()),
        Idempotency_Key=once,
        X_Session_Id=session,
    )
    outcome = wait(orchestrator, routed["task_id"])
    ended = "completed" if outcome == "approved" else "failed"
    orchestrator.send(
        "PUT", f"/sessions/{session}", {"status": ended}, Idempotency_Key=f"{once}-ended"
    )
    print(f"the whole story: {orchestrator.story(routed['trace_id'])}")
    return outcome


def wait(orchestrator: Orchestrator, task_id: str) -> str:
    """Tell what was asked and what became of it; an agent that comes back begins here."""
    task = orchestrator.call("GET", f"/tasks/{task_id}").json()
    digest = _digest(task)
    print(f"asked: {task['description']}")
    print(f"task {task['task_id']}, payload {digest[:12]}…, {task['status']}", flush=True)
    return _outcome(orchestrator, task, digest)


def _outcome(orchestrator: Orchestrator, task: Any, digest: str) -> str:
    for asked in task["approvals"]:
        until = asked["expires_at"][:16].replace("T", " ")
        print(f"waiting for {asked['approver_role']} until {until} UTC …", flush=True)
        approval = orchestrator.decision(asked["approval_id"])
        if approval["payload_digest"] != digest:
            raise Refused("what was decided on is not what was asked: the digests differ.")
        who = f" by {approval['decided_by']}" if approval["decided_by"] else ""
        notes = f": {approval['notes']}" if approval["notes"] else ""
        print(f"{approval['status']}{who}{notes}", flush=True)
        if approval["status"] != "approved":
            return str(approval["status"])
    return "approved"


def _digest(task: Any) -> str:
    """SHA-256 of the RFC 8785 text of what was asked: what a human's yes is bound to."""
    return hashlib.sha256(rfc8785.dumps({name: task[name] for name in PAYLOAD_FIELDS})).hexdigest()


def _told(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{problem['detail']} ({problem['code']}, trace {problem['trace_id']})"
    except (ValueError, KeyError):
        return f"{answer.request.url} answered {answer.status_code}."


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask for something, and wait for a human.")
    parser.add_argument("payload", nargs="?", default="refund", help="a name or a file")
    parser.add_argument(
        "--url", default=os.environ.get("ORCHESTRATOR_URL", "http://127.0.0.1:8000")
    )
    parser.add_argument("--key", default=os.environ.get("ORCHESTRATOR_KEY", ""))
    parser.add_argument("--role", default="support-agent")
    parser.add_argument("--task", metavar="ID", help="wait for this one, asked before")
    given = parser.parse_args()
    orchestrator = Orchestrator(given.url, given.key)
    named = PAYLOADS / f"{given.payload}.json"
    try:
        if given.task:
            outcome = wait(orchestrator, given.task)
        else:
            payload = named if named.exists() else Path(given.payload)
            outcome = run(orchestrator, payload, given.role)
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return EXIT.get(outcome, 4)


if __name__ == "__main__":
    sys.exit(main())

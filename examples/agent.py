"""A small agent: it routes a task that needs a human's approval, waits, and prints the decision.

    ORCHESTRATOR_KEY=ork_… python examples/agent.py refund

The task goes to the role that executes such tasks; this agent only routes it and claims nothing.
Every write has an Idempotency-Key derived from this run's trace id, equal for all its retries, and
the agent trusts only digests that it computed itself. Exit status: 0 approved, 3 rejected, 4
expired or withdrawn, 1 anything else; of several payloads, the highest.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import rfc8785

PAYLOADS = Path(__file__).parent / "payloads"
PAYLOAD_FIELDS = ("context", "data", "description", "from_role", "task_type", "to_role")
EXIT = {"approved": 0, "rejected": 3}
PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 0)  # 0: the last try
HOLD = {"Prefer": "wait=30"}

say = partial(print, flush=True)


class Refused(Exception):
    """The reason why this run stopped, in one sentence."""


class Orchestrator:
    """The server, as one run of an agent sees it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self.trace_id = str(uuid4())
        headers = {"Authorization": f"Bearer {key}", "X-Trace-Id": self.trace_id}
        self.http = httpx2.Client(base_url=self.url, headers=headers, timeout=40)

    def call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Send a request, and retry while the server is unavailable. Raises Refused."""
        # Safe for writes too: each has an Idempotency-Key.
        for pause in PAUSES:
            after = ""
            try:
                answer = self.http.request(method, path, **request)
                after = answer.headers.get("Retry-After", "")
                if not (pause and (answer.is_server_error or after)):
                    break
            except httpx2.TransportError as error:
                if not pause or isinstance(error, httpx2.UnsupportedProtocol):
                    raise Refused(f"{self.url} can't be reached: {error}") from error
            time.sleep(min(int(after), 60) if after.isdecimal() else pause)
        if not answer.is_success:
            raise Refused(_describe_error(answer))
        return answer

    def send(self, step: str, method: str, path: str, body: Any, **headers: str) -> Any:
        """Send a write; ``step`` names it within this run, so that it takes effect once."""
        headers["Idempotency-Key"] = f"{self.trace_id}-{step}"
        return self.call(method, path, json=body, headers=headers).json()


def run(orchestrator: Orchestrator, bodies: list[Any], role: str) -> int:
    """Route all of ``bodies`` and wait for their decisions; return the exit status."""
    session = orchestrator.send("open", "POST", "/sessions", {"agent_role": role})["session_id"]
    orchestrator.send("activate", "PUT", f"/sessions/{session}", {"status": "active"})
    status = 1
    try:
        tasks = [_ask(orchestrator, session, n, body) for n, body in enumerate(bodies)]
        status = max(EXIT.get(_outcome(orchestrator, task), 4) for task in tasks)
    finally:
        outcome = {"status": "failed" if status else "completed"}
        orchestrator.send("end", "PUT", f"/sessions/{session}", outcome)
    say(f"the whole story: {orchestrator.url}/audit/events?trace_id={orchestrator.trace_id}")
    return status


def resume(orchestrator: Orchestrator, task_id: str) -> int:
    """Wait for a task of an earlier run; return the exit status."""
    return EXIT.get(_outcome(orchestrator, _show(orchestrator, task_id)), 4)


def _ask(orchestrator: Orchestrator, session: str, number: int, body: Any) -> Any:
    step = f"route-{number}"
    routed = orchestrator.send(step, "POST", "/tasks/route", body, **{"X-Session-Id": session})
    return _show(orchestrator, routed["task_id"])


def _show(orchestrator: Orchestrator, task_id: str) -> Any:
    task = orchestrator.call("GET", f"/tasks/{task_id}").json()
    say(f"asked: {task['description']}")
    say(f"task {task['task_id']}, {task['status']}, payload {_digest(task)}")
    return task


def _outcome(orchestrator: Orchestrator, task: Any) -> str:
    """Wait for each approval of ``task``, including those requested meanwhile."""
    query = {"task_id": task["task_id"], "page_size": "100"}
    decided: set[str] = set()
    while True:
        approvals = orchestrator.call("GET", "/approvals", params=query).json()["approvals"]
        approval = next((one for one in approvals if one["approval_id"] not in decided), None)
        if approval is None:
            return "approved"
        decided.add(approval["approval_id"])
        if (status := _decision(orchestrator, approval, _digest(task))) != "approved":
            return status


def _decision(orchestrator: Orchestrator, approval: Any, digest: str) -> str:
    """Wait for a human's decision by long-poll; return the approval's status. Raises Refused."""
    approval_id = approval["approval_id"]
    until = approval["expires_at"][:16].replace("T", " ")
    say(f"decide: {orchestrator.url}/admin/approvals_app/approval/{approval_id}/change/")
    say(f"waiting for {approval['approver_role']} until {until} UTC …")
    while approval["status"] == "pending":
        answer = orchestrator.call("GET", f"/approvals/{approval_id}", headers=HOLD)
        approval = answer.json()
        # The server may ignore the preference, or end its long-polls at shutdown: never spin.
        if approval["status"] == "pending" and answer.elapsed.total_seconds() < 1:
            time.sleep(1)
    if approval["payload_digest"] != digest:
        raise Refused("What was decided on is not what was asked: the digests differ.")
    who = f" by {approval['decided_by']}" if approval["decided_by"] else ""
    notes = f": {approval['notes']}" if approval["notes"] else ""
    say(f"{approval['status']}{who}{notes}")
    return str(approval["status"])


def _digest(task: Any) -> str:
    """SHA-256 of the payload's RFC 8785 text: what a human's decision is bound to."""
    return hashlib.sha256(rfc8785.dumps({name: task[name] for name in PAYLOAD_FIELDS})).hexdigest()


def _describe_error(answer: httpx2.Response) -> str:
    try:
        return "{title}: {detail} ({code}, trace {trace_id})".format_map(answer.json())
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.url} answered {answer.status_code}."


def _body(payload: str) -> Any:
    example = PAYLOADS / f"{payload}.json"
    path = example if example.exists() else Path(payload)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is no payload: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask for something, and wait for a human.")
    option = parser.add_argument
    option("payload", nargs="*", default=["refund"], help="names or files; without any: refund")
    option("--url", default=os.environ.get("ORCHESTRATOR_URL", "http://127.0.0.1:8000"))
    option("--key", default=os.environ.get("ORCHESTRATOR_KEY", ""))
    option("--role", default="support-agent")
    option("--task", metavar="ID", help="ask for nothing: wait for this one, asked before")
    options = parser.parse_args()
    try:
        if not options.key.strip():
            raise Refused("An API key is needed: set ORCHESTRATOR_KEY, or give --key.")
        orchestrator = Orchestrator(options.url, options.key.strip())
        if options.task:
            return resume(orchestrator, options.task)
        return run(orchestrator, [_body(payload) for payload in options.payload], options.role)
    except (Refused, ValueError, httpx2.InvalidURL) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

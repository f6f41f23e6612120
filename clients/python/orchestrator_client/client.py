"""The synchronous client. Written by generate.py from aclient.py."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from orchestrator_client.decisions import is_waiting
from orchestrator_client.errors import Problem, StillWaiting
from orchestrator_client.requests import (
    LONG_POLL_TIMEOUT,
    LONGEST_WAIT,
    POLL_INTERVAL,
    STREAM_TIMEOUT,
    Deadline,
    drop_none,
    settings,
    write_headers,
)
from orchestrator_client.retrying import Patience, is_unavailable
from orchestrator_client.streaming import ALIVE, OPENED, Message, Reader
from orchestrator_client.types import (
    Approval,
    BatchTaskRequest,
    Event,
    OpenedSession,
    RoutedBatch,
    RoutedOfMany,
    RoutedTask,
    Session,
    Task,
)


class Events:
    """Events as they happen, without loss or repetition even after a lost connection.

    The stream starts when its ``with`` block is entered. ``cursor`` is the position of the last
    event: passed as ``after``, it lets another stream continue from there.
    """

    def __init__(self, messages: Generator[Message, None, None], after: str | None) -> None:
        self._messages = messages
        self._first: Message | None = None
        self.cursor = after

    def __enter__(self) -> Self:
        for message in self._messages:
            if message.cursor:  # from here on a lost connection can be resumed
                self._first, self.cursor = message, message.cursor
                break
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        first, self._first = self._first, None
        if first and first.data:
            return cast(Event, json.loads(first.data))
        for message in self._messages:
            self.cursor = message.cursor or self.cursor
            if message.data:
                return cast(Event, json.loads(message.data))
        raise StopIteration

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stream."""
        self._messages.close()


class Client:
    """One agent's access to an orchestrator.

    A call is retried while the server is unavailable or busy (connection errors, 429, 502, 503,
    504), for up to ``patience`` seconds and always with the same Idempotency-Key, so that it takes
    effect once. Every method raises Problem where the server refuses the request, and
    ``httpx.TransportError`` where it can't be reached. ``url`` and ``key`` default to
    ORCHESTRATOR_URL and ORCHESTRATOR_KEY; ``options`` are httpx's.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: float = 120,
        **options: Any,
    ) -> None:
        self.patience = patience
        self._http = httpx.Client(**settings(url, key, options))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def open_session(
        self,
        agent_role: str,
        *,
        task_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> OpenedSession:
        """Open a session in one of the agent's roles; it is pending at first."""
        body = drop_none(agent_role=agent_role, task_id=task_id, metadata=metadata)
        headers = write_headers(idempotency_key, trace_id=trace_id)
        return cast(OpenedSession, self._send("POST", "/sessions", body, headers))

    def update_session(
        self,
        session_id: str,
        *,
        status: str | None = None,
        task_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Session:
        """Change a session's status (active, completed, failed); ``metadata`` is merged."""
        body = drop_none(status=status, task_id=task_id, metadata=metadata)
        path = f"/sessions/{quote(session_id, safe='')}"
        return cast(Session, self._send("PUT", path, body, write_headers(idempotency_key)))

    def route_task(
        self,
        target: str,
        task_type: str,
        description: str = "",
        *,
        data: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        on_behalf_of: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> RoutedTask:
        """Route a task to the role ``target``.

        With an ``idempotency_key`` of your own, there is one task even if your process restarts and
        routes it again.
        """
        task = drop_none(task_type=task_type, description=description or None, data=data)
        body = drop_none(target=target, task=task, context=context, on_behalf_of=on_behalf_of)
        headers = write_headers(idempotency_key, session_id=session_id, trace_id=trace_id)
        return cast(RoutedTask, self._send("POST", "/tasks/route", body, headers))

    def route_tasks(
        self,
        tasks: Iterable[BatchTaskRequest],
        *,
        session_id: str | None = None,
        trace_id: str | None = None,
    ) -> list[RoutedOfMany]:
        """Route up to 500 tasks in one request, each with an ``idempotency_key`` of its own.

        Returns one result per task, in the same order. A refused task has a ``problem``; it does
        not raise.
        """
        headers = drop_none(**{"X-Session-Id": session_id, "X-Trace-Id": trace_id})
        answer = self._send("POST", "/tasks/route:batch", {"tasks": list(tasks)}, headers)
        return cast(RoutedBatch, answer)["results"]

    def notify(
        self,
        target: str,
        message: str,
        *,
        priority: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> RoutedTask:
        """Send the role ``target`` a message that needs no approval."""
        return self.route_task(
            target,
            "notification",
            message,
            data=drop_none(priority=priority),
            session_id=session_id,
            trace_id=trace_id,
            idempotency_key=idempotency_key,
        )

    def task(self, task_id: str) -> Task:
        """The present state of a task, with its approvals and votes."""
        return cast(Task, (self._request("GET", _task(task_id))).json())

    def approval(self, approval_id: str) -> Approval:
        """The present state of one approval."""
        answer = self._request("GET", f"/approvals/{quote(approval_id, safe='')}")
        return cast(Approval, answer.json())

    def request_approval(
        self,
        task_id: str,
        approver_role: str,
        *,
        reason: str = "",
        idempotency_key: str | None = None,
    ) -> Approval:
        """Request an approval by one more role, while the task is pending."""
        body = {"task_id": task_id, "approver_role": approver_role, "reason": reason}
        headers = write_headers(idempotency_key)
        return cast(Approval, self._send("POST", "/approvals", body, headers))

    def revise(
        self,
        task_id: str,
        *,
        description: str | None = None,
        data: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Change a pending task; votes on its earlier revision no longer count."""
        body = drop_none(description=description, data=data, context=context)
        return self._finish(task_id, "revise", body, write_headers(idempotency_key))

    def claim(
        self,
        task_id: str,
        *,
        lease_seconds: int | None = None,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Claim an approved task to execute it; the agent must hold the task's target role."""
        headers = write_headers(idempotency_key, session_id=session_id)
        return self._finish(task_id, "claim", drop_none(lease_seconds=lease_seconds), headers)

    def extend(
        self,
        task_id: str,
        *,
        lease_seconds: int | None = None,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Extend the lease of a claimed task, counted from now."""
        headers = write_headers(idempotency_key, session_id=session_id)
        body = drop_none(lease_seconds=lease_seconds)
        return self._finish(task_id, "extend", body, headers)

    def complete(
        self,
        task_id: str,
        result: Any = None,
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Report a claimed task as done, or acknowledge a notification."""
        headers = write_headers(idempotency_key, session_id=session_id)
        return self._finish(task_id, "complete", {"result": result}, headers)

    def fail(
        self,
        task_id: str,
        error: Any = None,
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Report a claimed task as failed."""
        headers = write_headers(idempotency_key, session_id=session_id)
        return self._finish(task_id, "fail", {"error": error}, headers)

    def cancel(
        self,
        task_id: str,
        *,
        reason: str = "",
        idempotency_key: str | None = None,
        patience: float | None = None,
    ) -> Task:
        """Cancel one of the agent's own tasks; ``patience`` applies to this call alone."""
        headers = write_headers(idempotency_key)
        return self._finish(task_id, "cancel", {"reason": reason}, headers, patience)

    def wait_for_decision(self, task_id: str, *, timeout: float | None = None) -> Task:
        """Return the task once people have decided on it or requested changes.

        Listens to the task's event stream. The last minute before ``timeout`` is a long-poll, as is
        the whole wait where no stream is available; where the server does not hold requests, it
        polls every few seconds. Raises StillWaiting after ``timeout`` seconds.
        """
        deadline = Deadline(timeout)
        try:
            task = self._wait_by_stream(task_id, deadline)
        except Problem as problem:
            if problem.status in (401, 403):
                raise
            task = None
        return task or self._wait_by_polling(task_id, deadline)

    def events(
        self,
        *,
        task_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        role: str | None = None,
        event_type: str | Iterable[str] | None = None,
        after: str | None = None,
    ) -> Events:
        """The events that the agent may see, from now on or after the cursor ``after``.

        ``with client.events() as events: for event in events: …``
        """
        types = (
            event_type
            if event_type is None or isinstance(event_type, str)
            else ",".join(event_type)
        )
        filters = drop_none(
            task_id=task_id, session_id=session_id, trace_id=trace_id, role=role, event_type=types
        )
        return Events(self._listen(filters, Patience(self.patience), after), after)

    def _wait_by_stream(self, task_id: str, deadline: Deadline) -> Task | None:
        """None where the remaining time is left to ``_wait_by_polling``."""
        if deadline.remaining() <= LONGEST_WAIT:
            return None
        patience = Patience(min(self.patience, deadline.remaining()))
        with closing(self._listen({"task_id": task_id}, patience, None)) as messages:
            for message in messages:
                if message.opened or message.data:
                    # Read the task after the stream has opened, so that no decision is missed.
                    task = self.task(task_id)
                    if not is_waiting(task):
                        return task
                if deadline.remaining() <= LONGEST_WAIT:
                    return None
        return None

    def _wait_by_polling(self, task_id: str, deadline: Deadline) -> Task:
        while True:
            remaining = deadline.remaining()
            seconds = int(min(LONGEST_WAIT, remaining))
            headers = {"Prefer": f"wait={seconds}"} if seconds else {}
            try:
                answer = self._request(
                    "GET",
                    _task(task_id),
                    headers=headers,
                    timeout=LONG_POLL_TIMEOUT,
                    patience=min(self.patience, remaining),
                )
            except (Problem, httpx.TransportError) as error:
                if remaining < self.patience and is_unavailable(error):
                    raise StillWaiting(task_id) from error
                raise
            task = cast(Task, answer.json())
            if not is_waiting(task):
                return task
            remaining = deadline.remaining()
            if not remaining:
                raise StillWaiting(task_id)
            if "Preference-Applied" not in answer.headers:
                time.sleep(min(remaining, POLL_INTERVAL))
            elif answer.elapsed.total_seconds() < 1:
                time.sleep(min(remaining, 1))  # a server that shuts down ends its long-polls early

    def _listen(
        self, filters: dict[str, str], patience: Patience, after: str | None
    ) -> Generator[Message, None, None]:
        failure: httpx.Response | httpx.TransportError | None
        # Reconnects with Last-Event-ID until patience.after() raises.
        while True:
            headers = {"Accept": "text/event-stream"} | drop_none(**{"Last-Event-ID": after})
            opened = False
            try:
                with self._http.stream(
                    "GET", "/events", params=filters, headers=headers, timeout=STREAM_TIMEOUT
                ) as failure:
                    if failure.status_code == 200:
                        opened = True
                        yield OPENED
                        reader, received = Reader(), False
                        for piece in failure.iter_bytes():
                            for message in reader.feed(piece):
                                after = message.cursor or after
                                yield message
                            if received:
                                patience.renew()
                            received = True
                            yield ALIVE
                        failure = None
                    else:
                        failure.read()
            except httpx.TransportError as error:
                failure = None if opened else error
            time.sleep(patience.after(failure))

    def _finish(
        self,
        task_id: str,
        action: str,
        body: dict[str, Any],
        headers: dict[str, str],
        patience: float | None = None,
    ) -> Task:
        path = f"{_task(task_id)}/{action}"
        return cast(Task, self._send("POST", path, body, headers, patience))

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
        patience: float | None = None,
    ) -> Any:
        answer = self._request(method, path, json=body, headers=headers, patience=patience)
        return answer.json()

    def _request(
        self, method: str, path: str, *, patience: float | None = None, **request: Any
    ) -> httpx.Response:
        attempts = Patience(self.patience if patience is None else patience)
        while True:
            failure: httpx.Response | httpx.TransportError
            try:
                failure = self._http.request(method, path, **request)
                if failure.is_success:
                    return failure
            except httpx.TransportError as error:
                failure = error
            time.sleep(attempts.after(failure))


def _task(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"

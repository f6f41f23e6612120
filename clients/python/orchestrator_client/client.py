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
    HELD,
    LONGEST_WAIT,
    SLOWLY,
    STREAMED,
    Deadline,
    drop_none,
    settings,
    write_headers,
)
from orchestrator_client.retrying import Patience, is_away
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
    """What happens, as it happens, without loss or repetition also after a cut.

    It begins where its ``with`` block does. ``cursor`` is where it stands: kept, and given as
    ``after`` to another one, that one goes on behind it.
    """

    def __init__(self, messages: Generator[Message, None, None], after: str | None) -> None:
        self._messages = messages
        self._first: Message | None = None
        self.cursor = after

    def __enter__(self) -> Self:
        for message in self._messages:
            if message.cursor:  # from here on it is known where a cut stream goes on
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
        """Leave the stream."""
        self._messages.close()


class Client:
    """One agent's access to an orchestrator.

    A call is repeated while the server is away or busy (connection errors, 429, 502, 503, 504), for
    ``patience`` seconds at most and always under one Idempotency-Key, so that it takes effect once.
    Every method raises Problem where the server refuses, and ``httpx.TransportError`` where it
    can't be reached. ``url`` and ``key`` default to ORCHESTRATOR_URL and ORCHESTRATOR_KEY;
    ``options`` are httpx's.
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
        """A pending session in one of the agent's roles."""
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
        """Move a session on (active, completed, failed); ``metadata`` is merged into its own."""
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
        """Ask the role ``target`` for something. With an ``idempotency_key`` of your own there is
        one task for it, also when your process starts anew."""
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
        """Up to 500 tasks in one request, each with an ``idempotency_key`` of its own: what became
        of each, in their order. One that is refused has a ``problem``, and is not raised."""
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
        """Tell the role ``target`` something that needs nobody's yes."""
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
        """The task as it is, with its approvals and what people said."""
        return cast(Task, (self._request("GET", _task(task_id))).json())

    def approval(self, approval_id: str) -> Approval:
        """One approval as it is."""
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
        """Ask for the yes of one more role, while the task waits."""
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
        """Ask for something else while the task waits; what people said before is void."""
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
        """Take an approved task, to execute it; the agent must hold the role it was routed to."""
        headers = write_headers(idempotency_key, session_id=session_id)
        return self._finish(task_id, "claim", drop_none(lease_seconds=lease_seconds), headers)

    def complete(
        self,
        task_id: str,
        result: Any = None,
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Report a claimed task done; acknowledge a notification."""
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
        """Report a claimed task failed."""
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
        """Take back a task of one's own; ``patience`` is for this call alone."""
        headers = write_headers(idempotency_key)
        return self._finish(task_id, "cancel", {"reason": reason}, headers, patience)

    def wait_for_decision(self, task_id: str, *, timeout: float | None = None) -> Task:
        """The task, once people have decided on it or asked for changes.

        It listens to the task's stream. The last minute before ``timeout`` is a request that the
        server holds, as is all of it where no stream can be had; where the server holds nothing,
        it looks every few seconds. Raises StillWaiting after ``timeout`` seconds.
        """
        until = Deadline(timeout)
        try:
            task = self._wait_by_stream(task_id, until)
        except Problem as problem:
            if problem.status in (401, 403):
                raise
            task = None
        return task or self._wait_by_polling(task_id, until)

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
        """What happens from now on (or behind ``after``, a cursor) to what the agent may see:
        ``with client.events() as events: for event in events: …``."""
        types = (
            event_type
            if event_type is None or isinstance(event_type, str)
            else ",".join(event_type)
        )
        asked = drop_none(
            task_id=task_id, session_id=session_id, trace_id=trace_id, role=role, event_type=types
        )
        return Events(self._listen(asked, Patience(self.patience), after), after)

    def _wait_by_stream(self, task_id: str, until: Deadline) -> Task | None:
        """None where what is left of the time is better asked for by ``_wait_by_polling``."""
        if until.remaining() <= LONGEST_WAIT:
            return None
        patience = Patience(min(self.patience, until.remaining()))
        with closing(self._listen({"task_id": task_id}, patience, None)) as messages:
            for message in messages:
                if message.opened or message.data:
                    # Read after the stream began, so that no decision falls in between.
                    task = self.task(task_id)
                    if not is_waiting(task):
                        return task
                if until.remaining() <= LONGEST_WAIT:
                    return None
        return None

    def _wait_by_polling(self, task_id: str, until: Deadline) -> Task:
        while True:
            left = until.remaining()
            seconds = int(min(LONGEST_WAIT, left))
            headers = {"Prefer": f"wait={seconds}"} if seconds else {}
            try:
                answer = self._request(
                    "GET",
                    _task(task_id),
                    headers=headers,
                    timeout=HELD,
                    patience=min(self.patience, left),
                )
            except (Problem, httpx.TransportError) as error:
                if left < self.patience and is_away(error):
                    raise StillWaiting(task_id) from error
                raise
            task = cast(Task, answer.json())
            if not is_waiting(task):
                return task
            left = until.remaining()
            if not left:
                raise StillWaiting(task_id)
            if "Preference-Applied" not in answer.headers:
                time.sleep(min(left, SLOWLY))
            elif answer.elapsed.total_seconds() < 1:
                time.sleep(min(left, 1))  # a server that ends cuts its waits short

    def _listen(
        self, asked: dict[str, str], patience: Patience, after: str | None
    ) -> Generator[Message, None, None]:
        failure: httpx.Response | httpx.TransportError | None
        while True:
            headers = {"Accept": "text/event-stream"} | drop_none(**{"Last-Event-ID": after})
            opened = False
            try:
                with self._http.stream(
                    "GET", "/events", params=asked, headers=headers, timeout=STREAMED
                ) as failure:
                    if failure.status_code == 200:
                        opened = True
                        yield OPENED
                        reader, began = Reader(), False
                        for piece in failure.iter_bytes():
                            for message in reader.feed(piece):
                                after = message.cursor or after
                                yield message
                            if began:
                                patience.renew()
                            began = True
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
        what: str,
        body: dict[str, Any],
        headers: dict[str, str],
        patience: float | None = None,
    ) -> Task:
        path = f"{_task(task_id)}/{what}"
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
        left = Patience(self.patience if patience is None else patience)
        while True:
            failure: httpx.Response | httpx.TransportError
            try:
                failure = self._http.request(method, path, **request)
                if failure.is_success:
                    return failure
            except httpx.TransportError as error:
                failure = error
            time.sleep(left.after(failure))


def _task(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"

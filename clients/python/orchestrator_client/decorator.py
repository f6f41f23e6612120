"""A decorator for functions whose every call needs approval."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast, overload

import httpx

from orchestrator_client.aclient import AsyncClient
from orchestrator_client.client import Client
from orchestrator_client.decisions import require_approved
from orchestrator_client.errors import NotApproved, OrchestratorError
from orchestrator_client.types import Task

P = ParamSpec("P")
R = TypeVar("R")

NAMED_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
REPORT_FAILURES = (OrchestratorError, httpx.TransportError)
CANCEL_REASON = "The agent that asked waits no longer."


class ArgumentsRefused(OrchestratorError, TypeError):
    """An argument is not JSON, so nobody could review it; or the approved arguments don't match
    the function's parameters."""


@overload
def needs_approval(
    client: Client,
    *,
    target: str,
    task_type: str,
    description: str | Callable[..., str] = "",
    executor: Client | None = None,
    lease_seconds: int | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


@overload
def needs_approval(
    client: AsyncClient,
    *,
    target: str,
    task_type: str,
    description: str | Callable[..., str] = "",
    executor: AsyncClient | None = None,
    lease_seconds: int | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...


def needs_approval(
    client: Client | AsyncClient,
    *,
    target: str,
    task_type: str,
    description: str | Callable[..., str] = "",
    executor: Client | AsyncClient | None = None,
    lease_seconds: int | None = None,
    timeout: float | None = None,
) -> Any:
    """Require approval for each call, and execute exactly what was approved.

    The call's arguments by name become the task's ``data``. Once the task is approved, ``executor``
    claims it (by default ``client``; its agent must hold the role ``target``), and the function is
    called with the claimed task's ``data``, which a reviewer may have edited. Then the task is
    completed with the function's result, or failed with its exception. ``description`` is a text
    with ``{names}`` of arguments in it, or a function of the arguments.

    A call raises NotApproved with the reviewers' comments, StillWaiting after ``timeout`` seconds,
    and ArgumentsRefused where an argument is not JSON or the approved ``data`` does not have
    exactly the function's parameters: in all of these cases nothing was executed. A call that stops
    waiting cancels its task. A result that is not JSON is reported as its ``repr``.

    An ``async def`` function takes an AsyncClient, any other a Client; a function with ``*args``,
    ``**kwargs`` or positional-only parameters can't be decorated (TypeError).
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        approved_function = _ApprovedFunction(
            function, target, task_type, description, lease_seconds, timeout
        )
        if isinstance(client, AsyncClient) != inspect.iscoroutinefunction(function):
            raise TypeError("An async function takes an AsyncClient, any other function a Client.")
        executing_client = executor or client
        if isinstance(client, AsyncClient):
            return approved_function.asynchronous(client, cast(AsyncClient, executing_client))
        return approved_function.synchronous(client, cast(Client, executing_client))

    return decorate


@dataclass(frozen=True)
class _ApprovedFunction:
    function: Callable[..., Any]
    target: str
    task_type: str
    description: str | Callable[..., str]
    lease_seconds: int | None
    timeout: float | None

    def __post_init__(self) -> None:
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind not in NAMED_KINDS:
                raise TypeError(f"{parameter} has no name of its own that people could be shown.")

    def synchronous(self, client: Client, executor: Client) -> Callable[..., Any]:
        @functools.wraps(self.function)
        def call(*args: Any, **kwargs: Any) -> Any:
            routed = client.route_task(**self.build_task(*args, **kwargs))
            task_id = routed["task_id"]
            try:
                task = client.wait_for_decision(task_id, timeout=self.timeout)
                require_approved(task)
            except BaseException as error:
                # KeyboardInterrupt too: nobody should be asked to approve what nobody waits for.
                with suppress(*REPORT_FAILURES):
                    if _is_open(error):
                        client.cancel(task_id, reason=CANCEL_REASON, patience=0)
                raise
            task = executor.claim(task_id, lease_seconds=self.lease_seconds)
            try:
                result = self.function(**self.approved_arguments(task))
            except BaseException as error:
                try:
                    executor.fail(task_id, _describe_error(error))
                except REPORT_FAILURES as unreported:
                    error.add_note(f"This was not reported: {unreported}")
                raise
            executor.complete(task_id, _as_json(result))
            return result

        return call

    def asynchronous(self, client: AsyncClient, executor: AsyncClient) -> Callable[..., Any]:
        @functools.wraps(self.function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            routed = await client.route_task(**self.build_task(*args, **kwargs))
            task_id = routed["task_id"]
            try:
                task = await client.wait_for_decision(task_id, timeout=self.timeout)
                require_approved(task)
            except BaseException as error:
                with suppress(*REPORT_FAILURES):
                    if _is_open(error):
                        await client.cancel(task_id, reason=CANCEL_REASON, patience=0)
                raise
            task = await executor.claim(task_id, lease_seconds=self.lease_seconds)
            try:
                result = await self.function(**self.approved_arguments(task))
            except BaseException as error:
                try:
                    await executor.fail(task_id, _describe_error(error))
                except REPORT_FAILURES as unreported:
                    error.add_note(f"This was not reported: {unreported}")
                raise
            await executor.complete(task_id, _as_json(result))
            return result

        return call

    def build_task(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments of ``route_task`` for a call. Raises ArgumentsRefused."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if not _round_trips(value):
                raise ArgumentsRefused(f"{name} is not JSON, so that nobody could approve it.")
        describe = self.description
        format_description = describe.format if isinstance(describe, str) else describe
        return {
            "target": self.target,
            "task_type": self.task_type,
            "description": format_description(**bound.arguments),
            "data": dict(bound.arguments),
        }

    def approved_arguments(self, task: Task) -> dict[str, Any]:
        """The arguments that were approved. Raises ArgumentsRefused."""
        # Defaults fill nothing in: what reviewers did not see is not executed.
        data, names = task["data"], inspect.signature(self.function).parameters
        if data.keys() != names.keys():
            raise ArgumentsRefused(
                f"What was approved has {sorted(data)}, the function takes {sorted(names)}."
            )
        return data


def _is_open(error: BaseException) -> bool:
    """Whether the task may still be pending after ``error`` ended the wait for it."""
    return not isinstance(error, NotApproved) or error.outcome == "changes_requested"


def _round_trips(value: Any) -> bool:
    """Whether ``value`` is unchanged by a round trip through JSON."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def _as_json(result: Any) -> Any:
    return result if _round_trips(result) else repr(result)


def _describe_error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "detail": str(error)}

"""A function whose every call needs people's yes first."""

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

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
UNREPORTED = (OrchestratorError, httpx.TransportError)
TAKEN_BACK = "The agent that asked waits no longer."


class ArgumentsRefused(OrchestratorError, TypeError):
    """Arguments that people could not be shown as they are, or that they approved and the function
    does not take."""


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
    """Have each call approved, and execute exactly what was approved.

    The call's arguments by name are the task's ``data``. Once the task is approved, it is claimed
    by ``executor`` (``client`` itself, unless given; its agent must hold the role ``target``), and
    the function is called with the ``data`` of the claimed task, which a reviewer may have edited;
    then the task is completed with what the function returned, or failed with what it raised.
    ``description`` is a text with ``{names}`` of arguments in it, or a function of them.

    A call raises NotApproved with the reviewers' words, StillWaiting after ``timeout`` seconds, and
    ArgumentsRefused where an argument is not JSON, or where the approved ``data`` has not exactly
    the function's parameters: then nothing was executed. Whoever gives up waiting takes the task
    back. A result that is not JSON is reported as its ``repr``.

    An ``async def`` function takes an AsyncClient, any other a Client; a function with ``*args``,
    ``**kwargs`` or positional-only parameters can't be decorated (TypeError).
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        guarded = _Guarded(function, target, task_type, description, lease_seconds, timeout)
        if isinstance(client, AsyncClient) != inspect.iscoroutinefunction(function):
            raise TypeError("An async function takes an AsyncClient, any other function a Client.")
        executes = executor or client
        if isinstance(client, AsyncClient):
            return guarded.asynchronous(client, cast(AsyncClient, executes))
        return guarded.synchronous(client, cast(Client, executes))

    return decorate


@dataclass(frozen=True)
class _Guarded:
    function: Callable[..., Any]
    target: str
    task_type: str
    description: str | Callable[..., str]
    lease_seconds: int | None
    timeout: float | None

    def __post_init__(self) -> None:
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind not in NAMED:
                raise TypeError(f"{parameter} has no name of its own that people could be shown.")

    def synchronous(self, client: Client, executor: Client) -> Callable[..., Any]:
        @functools.wraps(self.function)
        def call(*args: Any, **kwargs: Any) -> Any:
            routed = client.route_task(**self.asked(*args, **kwargs))
            task_id = routed["task_id"]
            try:
                task = client.wait_for_decision(task_id, timeout=self.timeout)
                require_approved(task)
            except BaseException as error:
                with suppress(*UNREPORTED):
                    if _is_open(error):
                        client.cancel(task_id, reason=TAKEN_BACK, patience=0)
                raise
            task = executor.claim(task_id, lease_seconds=self.lease_seconds)
            try:
                result = self.function(**self.approved_arguments(task))
            except BaseException as error:
                try:
                    executor.fail(task_id, _describe_error(error))
                except UNREPORTED as unreported:
                    error.add_note(f"This was not reported: {unreported}")
                raise
            executor.complete(task_id, _as_json(result))
            return result

        return call

    def asynchronous(self, client: AsyncClient, executor: AsyncClient) -> Callable[..., Any]:
        @functools.wraps(self.function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            routed = await client.route_task(**self.asked(*args, **kwargs))
            task_id = routed["task_id"]
            try:
                task = await client.wait_for_decision(task_id, timeout=self.timeout)
                require_approved(task)
            except BaseException as error:
                with suppress(*UNREPORTED):
                    if _is_open(error):
                        await client.cancel(task_id, reason=TAKEN_BACK, patience=0)
                raise
            task = await executor.claim(task_id, lease_seconds=self.lease_seconds)
            try:
                result = await self.function(**self.approved_arguments(task))
            except BaseException as error:
                try:
                    await executor.fail(task_id, _describe_error(error))
                except UNREPORTED as unreported:
                    error.add_note(f"This was not reported: {unreported}")
                raise
            await executor.complete(task_id, _as_json(result))
            return result

        return call

    def asked(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What is routed for a call. Raises ArgumentsRefused."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if not _survives(value):
                raise ArgumentsRefused(f"{name} is not JSON, so that nobody could approve it.")
        describe = self.description
        told = describe.format if isinstance(describe, str) else describe
        return {
            "target": self.target,
            "task_type": self.task_type,
            "description": told(**bound.arguments),
            "data": dict(bound.arguments),
        }

    def approved_arguments(self, task: Task) -> dict[str, Any]:
        """The arguments that were approved. Raises ArgumentsRefused.

        Defaults fill nothing in: what people did not see is not executed.
        """
        data, names = task["data"], inspect.signature(self.function).parameters
        if data.keys() != names.keys():
            raise ArgumentsRefused(
                f"What was approved has {sorted(data)}, the function takes {sorted(names)}."
            )
        return data


def _is_open(error: BaseException) -> bool:
    """Whether the task that ``error`` ended the wait for may wait on for people."""
    return not isinstance(error, NotApproved) or error.outcome == "changes_requested"


def _survives(value: Any) -> bool:
    """Whether ``value`` is the same again after it was JSON."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def _as_json(result: Any) -> Any:
    return result if _survives(result) else repr(result)


def _describe_error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "detail": str(error)}

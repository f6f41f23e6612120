"""What this floor does inside the transactions of the floor below."""

from collections.abc import Sequence
from typing import Any

from django.dispatch import receiver

from approvals_app import operations, policies
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.operation import clock
from sessions_app import signals
from sessions_app.models import Task
from sessions_app.verdicts import Kind, Verdict


@receiver(signals.task_judging)
def say_whose_yes_is_needed(
    tasks: Sequence[Task], **_: Any
) -> Sequence[Verdict | OrchestratorError]:
    return policies.judge_all(tasks)


@receiver(signals.task_revising)
def only_in_time(task: Task, **_: Any) -> None:
    policies.must_be_in_time(task, clock())


@receiver(signals.task_judged)
def ask_them(judged: Sequence[tuple[Task, Verdict]], by: Actor, **_: Any) -> None:
    waiting = [(task, said.plan) for task, said in judged if said.kind is Kind.REQUIRE]
    if waiting:
        operations.ask_all(waiting, by=by)


@receiver(signals.task_closed)
def ask_nobody_any_more(task: Task, by: Actor, why: str, **_: Any) -> None:
    operations.withdraw_pending(task, None, by=by, why=why)

"""What this floor does inside the transactions of the floor below."""

from typing import Any

from django.dispatch import receiver

from approvals_app import operations, policies, questions
from audit_app.actors import Actor
from audit_app.operation import clock
from sessions_app import signals
from sessions_app.models import Task
from sessions_app.verdicts import Kind, Verdict


@receiver(signals.task_judging)
def say_whose_yes_is_needed(task: Task, **_: Any) -> Verdict:
    questions.must_be_askable(task)
    return policies.judge(task)


@receiver(signals.task_revising)
def only_in_time(task: Task, **_: Any) -> None:
    policies.must_be_in_time(task, clock())


@receiver(signals.task_judged)
def ask_them(task: Task, verdict: Verdict, by: Actor, **_: Any) -> None:
    if verdict.kind is Kind.REQUIRE:
        operations.ask_all(task, verdict.plan, by=by)


@receiver(signals.task_closed)
def ask_nobody_any_more(task: Task, by: Actor, why: str, **_: Any) -> None:
    operations.withdraw_pending(task, None, by=by, why=why)

"""What this floor does inside the transactions of the floor below."""

from typing import Any

from django.dispatch import receiver

from approvals_app import operations, policies
from audit_app.actors import Actor
from sessions_app import signals
from sessions_app.models import Task


@receiver(signals.task_routing)
def say_whose_yes_is_needed(task: Task, **_: Any) -> list[str]:
    return policies.roles_needed(task)


@receiver(signals.task_routed)
def ask_them(task: Task, needs: list[list[str]], by: Actor, **_: Any) -> None:
    for role in dict.fromkeys(role for roles in needs for role in roles):
        operations.ask(task, role, by=by)


@receiver(signals.task_closed)
def ask_nobody_any_more(task: Task, by: Actor, why: str, **_: Any) -> None:
    operations.withdraw_pending(task, by=by, why=why)

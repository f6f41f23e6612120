"""Recall an approved task in the name of a person."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from approvals_app.decisions.recall import Then, recall
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, name
from sessions_app.models import Task


class Command(OperatorCommand):
    help = (
        "Take back the approval of a task that no agent has claimed yet: cancel the task, or have "
        "it wait again. It is recorded as done by a person, who voted on it or was asked to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("task", metavar="TASK", type=UUID, help="the id of the task")
        parser.add_argument("--by", metavar="USERNAME", type=name, required=True)
        parser.add_argument("--reason", metavar="TEXT", required=True)
        parser.add_argument(
            "--then",
            choices=[str(each) for each in Then],
            default=str(Then.CANCEL),
            help="cancel the task (the default), or wait for new approvals",
        )

    def handle(
        self, *args: Any, task: UUID, by: str, reason: str, then: str, **options: Any
    ) -> None:
        person = User.objects.filter(username=by).first()
        if person is None:
            raise CommandError(f"There is no user called {by}.")
        if not reason.strip():
            raise CommandError("The reason is empty.")
        row: Task = Task.objects.one(task)
        approval = Approval.objects.filter(task=row, revision=row.revision).first()
        if approval is None:
            raise CommandError("Nobody was asked about this task.")
        recalled = recall(approval.pk, by=Actor.human(person), reason=reason, then=Then(then))
        facts = {
            "task_id": str(task),
            "status": recalled.status,
            "revision": recalled.revision,
            "by": by,
        }
        outcome = "waits again" if then == Then.WAIT else "is cancelled"
        self.report(facts, f"Recalled by {by}: the task {outcome}.")

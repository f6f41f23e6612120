"""Erase the payload of a finished task in the name of a person."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from approvals_app.decisions.erasure import erase_payload
from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, name


class Command(OperatorCommand):
    help = (
        "Erase the payload of a task that has finished, its earlier revisions and what was "
        "reported of it. Its digest and its events stay, and an event says who erased it and why. "
        "It is recorded as done by a person, who has the permission to erase payloads."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("task", metavar="TASK", type=UUID, help="the id of the task")
        parser.add_argument("--as", metavar="USERNAME", type=name, required=True, dest="username")
        parser.add_argument("--reason", metavar="TEXT", required=True)
        parser.add_argument(
            "--keep-result", action="store_true", help="keep its result, or why it failed"
        )

    def handle(
        self,
        *args: Any,
        task: UUID,
        username: str,
        reason: str,
        keep_result: bool,
        **options: Any,
    ) -> None:
        person = User.objects.filter(username=username).first()
        if person is None:
            raise CommandError(f"There is no user called {username}.")
        if not reason.strip():
            raise CommandError("The reason is empty.")
        by = Actor.human(person)
        erased = erase_payload(task, by=by, reason=reason.strip(), keep_result=keep_result)
        facts = {
            "task_id": str(task),
            "payload_digest": erased.payload_digest,
            "by": username,
            "kept_result": keep_result,
        }
        sentence = (
            f"Erased by {username}: the payload of task {task}. Its SHA-256 stays: "
            f"{erased.payload_digest}. Backups made before still have it."
        )
        self.report(facts, sentence)

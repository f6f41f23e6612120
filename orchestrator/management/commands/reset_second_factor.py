"""Remove a lost second factor."""

from typing import Any

import structlog
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from approvals_app.decisions.passkeys import list_active, revoke_passkey
from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, name
from orchestrator.accounts import two_factor

log = structlog.get_logger("orchestrator.accounts")


class Command(OperatorCommand):
    help = (
        "Remove a person's authenticator, recovery codes and passkeys; none counts in their "
        "sessions any more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", metavar="USERNAME", type=name)

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user called {username}.")
        removed = two_factor.forget(user)
        for passkey in list_active(user.pk):
            revoke_passkey(passkey.pk, by=Actor.system("reset_second_factor"))
            removed = True
        log.info("second factor reset", username=username, removed=removed)
        sentence = f"Removed the second factor of {username}." if removed else "There was none."
        self.report({"username": username, "removed": removed}, sentence)

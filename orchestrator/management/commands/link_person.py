"""Link a person to the issuer without a login."""

from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError

from audit_app.commands import OperatorCommand, name
from orchestrator.accounts.models import Identity

log = structlog.get_logger("orchestrator.accounts")


class Command(OperatorCommand):
    help = "Link a person to their sub at the issuer, as their first single sign-on would do."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", metavar="USERNAME", type=name)
        parser.add_argument("--subject", metavar="SUB", required=True)

    def handle(self, *args: Any, username: str, subject: str, **options: Any) -> None:
        issuer = settings.OIDC_ISSUER_URL
        if not issuer:
            raise CommandError("OIDC_ISSUER_URL is not set.")
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user called {username}.")
        try:
            identity, created = Identity.objects.get_or_create(
                user=user, defaults={"issuer": issuer, "subject": subject}
            )
        except IntegrityError as error:
            raise CommandError(f"{subject} is linked to somebody else.") from error
        if (identity.issuer, identity.subject) != (issuer, subject):
            raise CommandError(f"{username} is linked to {identity}.")
        if created:
            log.info("identity linked", username=username, issuer=issuer, subject=subject)
        facts = {"username": username, "issuer": issuer, "subject": subject, "created": created}
        self.report(facts, f"{username} is {subject} at {issuer}.")

"""``manage.py database_roles``: make the two roles in PostgreSQL, or only check them."""

from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand
from orchestrator.ops.database_roles import Login, create_roles, find_excess_privileges


class Command(OperatorCommand):
    help = (
        "Make the roles of DATABASE_OWNER_URL (owns the tables, migrates) and DATABASE_URL (the "
        "application, owns nothing) by way of DATABASE_ADMIN_URL, and check them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--check", action="store_true", help="change nothing, only check")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        try:
            if not check:
                self._establish()
            with psycopg.connect(settings.DATABASE_URL) as application:
                role = application.info.user
                found = list(find_excess_privileges(application))
        except psycopg.OperationalError as error:
            raise CommandError(f"PostgreSQL can't be reached: {_first_line(error)}.") from error
        except psycopg.Error as error:
            raise CommandError(f"PostgreSQL refused: {_first_line(error)}.") from error
        facts = {"application": role, "least_privilege": not found, "shortcomings": found}
        if not found:
            self.report(facts, f"The role {role} owns nothing and can do no more than it needs.")
        elif self.as_json:
            self.stdout.write(self.format_result(facts, ""))
            raise CommandError("The role can do more than it should.")
        else:
            raise CommandError("\n".join([f"The role {role} can do more than it should:", *found]))

    def _establish(self) -> None:
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_ADMIN_URL"):
            if not getattr(settings, name):
                raise CommandError(f"{name} must be set (--check needs DATABASE_URL alone).")
        owner, application = (
            Login.of(settings.DATABASE_OWNER_URL),
            Login.of(settings.DATABASE_URL),
        )
        if owner.name == application.name:
            raise CommandError("DATABASE_OWNER_URL and DATABASE_URL must name different roles.")
        with psycopg.connect(settings.DATABASE_ADMIN_URL) as admin:
            create_roles(admin, owner=owner, application=application)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or ["it gave no reason"])[0].rstrip(".")

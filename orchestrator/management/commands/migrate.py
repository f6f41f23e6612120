"""Django's ``migrate``, by the owner's role where DATABASE_OWNER_URL names one.

Then the functions, views and triggers become those of the files under ``*/sql``, and the
application's role is given what it needs of what is new. A statement may take as long as it takes:
to build an index of a large table needs more than the minute that requests have.
"""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from audit_app import schema_objects
from orchestrator.ops.database_roles import grant
from orchestrator.settings import database


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DATABASE_OWNER_URL:
            self._migrate(*args, **options)
            return
        application = dict(connection.settings_dict)
        connection.close()
        connection.settings_dict.update(database(settings.DATABASE_OWNER_URL))
        try:
            self._migrate(*args, **options)
            connection.ensure_connection()
            grant(connection.connection, application["USER"])
        finally:
            connection.close()
            connection.settings_dict.update(application)

    def _migrate(self, *args: Any, **options: Any) -> None:
        _refuse_partial_squash()
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        super().handle(*args, **options)
        # One app's tables are not enough, and --plan changes nothing.
        if not (options["app_label"] or options["plan"]):
            self._apply_schema_objects(**options)
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")

    def _apply_schema_objects(self, **options: Any) -> None:
        if options["check_unapplied"]:
            if schema_objects.is_outdated():
                self.stderr.write("Functions, views or triggers are not those of */sql.")
                sys.exit(1)
            return
        number = schema_objects.apply()
        if number and options["verbosity"] >= 1:
            self.stdout.write(f"Functions, views and triggers: {number} applied or dropped.")


def _refuse_partial_squash() -> None:
    """Django passes over a squashed migration of which some are applied and some are not."""
    loader = MigrationLoader(connection)
    for migration in loader.replacements.values():
        missing = [each for each in migration.replaces if each not in loader.applied_migrations]
        if 0 < len(missing) < len(migration.replaces):
            names = ", ".join(f"{app}.{name}" for app, name in missing)
            raise CommandError(
                "This database is of a version that can't be upgraded at once. Migrate it with "
                f"version 0.1.0 first; it lacks {names}."
            )

"""Django's ``migrate``, by the owner's role where DATABASE_OWNER_URL names one.

Afterwards the application's role is given what it needs of what is new.
"""

from typing import Any

from django.conf import settings
from django.core.management.commands.migrate import Command as Migrate
from django.db import connection

from orchestrator.database_roles import grant
from orchestrator.settings import database


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DATABASE_OWNER_URL:
            super().handle(*args, **options)
            return
        application = dict(connection.settings_dict)
        connection.close()
        connection.settings_dict.update(database(settings.DATABASE_OWNER_URL))
        try:
            super().handle(*args, **options)
            connection.ensure_connection()
            grant(connection.connection, application["USER"])
        finally:
            connection.close()
            connection.settings_dict.update(application)

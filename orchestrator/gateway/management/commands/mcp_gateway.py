"""Serve an upstream over standard input and output, through the gateway."""

import os
from typing import Any
from uuid import uuid4

import anyio
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from rest_framework.exceptions import AuthenticationFailed

from audit_app.base.errors import OrchestratorError
from orchestrator.gateway.http import find_upstream
from sessions_app.auth.authentication import _authenticate_key


class Command(BaseCommand):
    help = (
        "Serve an upstream over stdin and stdout, through the gateway, as the agent whose key is "
        "in ORCHESTRATOR_KEY."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the upstream's name")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        key = os.environ.get("ORCHESTRATOR_KEY", "")
        if not key.isascii() or not key.isprintable() or not key:
            raise CommandError("ORCHESTRATOR_KEY must hold the API key of the agent that calls.")
        # Imported late: the SDK takes a second.
        from orchestrator.gateway.front import Visit
        from orchestrator.gateway.pool import UpstreamAway
        from orchestrator.gateway.stdio import serve

        def visit() -> Visit:
            actor = _authenticate_key(key, use_cache=False)
            return Visit(find_upstream(name, actor), actor, uuid4(), renew=visit)

        try:
            first = visit()
        except (AuthenticationFailed, OrchestratorError) as error:
            raise CommandError(str(error)) from error
        connection.close()
        try:
            anyio.run(serve, first)
        except UpstreamAway as away:
            raise CommandError(f"{name} can't be reached: {away}") from away

"""Serve MCP over standard input and output."""

import os
from typing import Any

import anyio
from django.core.management.base import BaseCommand, CommandError

from orchestrator.mcp.rest import Refused, Rest
from orchestrator.mcp.stdio import serve


class Command(BaseCommand):
    help = "Serve MCP over stdin and stdout, as the agent whose key is in ORCHESTRATOR_KEY."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        key = os.environ.get("ORCHESTRATOR_KEY", "")
        if not key.isascii() or not key.isprintable() or not key:
            raise CommandError("ORCHESTRATOR_KEY must hold the API key of the agent that calls.")
        rest = Rest.with_key(key)
        try:
            rest.get("/tasks", page_size=1)
        except Refused as refused:
            # Only an unknown key is hopeless: an unavailable database comes back.
            if refused.problem["status"] == 401:
                raise CommandError(refused.problem["detail"]) from refused
        anyio.run(serve, rest)

"""Revoke an agent."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, name
from sessions_app import agents
from sessions_app.models import Agent


class Command(OperatorCommand):
    help = "Revoke an agent and all its keys for good."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", type=name)
        parser.add_argument(
            "--reason", default="", help="kept in the audit trail, and shown at the tasks it ends"
        )

    def handle(self, *args: Any, name: str, reason: str, **options: Any) -> None:
        agent = Agent.objects.filter(name=name).first()
        if agent is None:
            raise CommandError(f"There is no agent called {name}.")
        agent = agents.revoke_agent(agent.pk, by=Actor.system("revoke_agent"), reason=reason)
        self.report(
            {"agent_id": str(agent.pk), "name": name, "status": str(agent.status)},
            f"Revoked the agent {name} and its keys.",
        )

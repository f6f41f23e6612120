"""Issue a new key for an agent."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, length_of_time, name, stoppable
from sessions_app import agents
from sessions_app.models import Agent


class Command(OperatorCommand):
    help = "Issue and print a new API key; the present keys end now, or after --overlap."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", type=name)
        parser.add_argument(
            "--overlap",
            type=length_of_time,
            default=timedelta(),
            help="how long the present keys still work, for example 1h (default: not at all)",
        )

    def handle(self, *args: Any, name: str, overlap: timedelta, **options: Any) -> None:
        agent = Agent.objects.filter(name=name).first()
        if agent is None:
            raise CommandError(f"There is no agent called {name}.")
        with stoppable():  # the old key is gone once this commits: the new one must be shown
            key = agents.rotate_key(agent.pk, by=Actor.system("rotate_agent_key"), overlap=overlap)
            end = f"in {overlap}" if overlap else "now"
            self.report(
                {
                    "agent_id": str(agent.pk),
                    "name": name,
                    "key": key.text,
                    "overlap_seconds": int(overlap.total_seconds()),
                },
                f"The keys that {name} had end {end}. The new one is shown this once:\n"
                f"key: {key.text}",
            )

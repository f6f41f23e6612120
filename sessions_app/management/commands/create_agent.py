"""Create an agent and print its first key."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, add_roles, name, stoppable
from sessions_app import agents


class Command(OperatorCommand):
    help = "Create an agent and print its API key, which is shown only once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", type=name)
        add_roles(parser, help="a role that it works in; the first is its default")
        parser.add_argument(
            "--owner",
            metavar="USERNAME",
            help="the person responsible for it, who then can't decide on its tasks",
        )
        parser.add_argument(
            "--subject", metavar="SUB", type=name, help="the sub claim of its OIDC tokens"
        )

    def handle(
        self,
        *args: Any,
        name: str,
        roles: list[str],
        owner: str | None,
        subject: str | None,
        **options: Any,
    ) -> None:
        with stoppable():  # an agent whose key nobody saw is useless
            agent, key = agents.create_agent(
                name,
                by=Actor.system("create_agent"),
                roles=roles,
                owner_id=_user_id(owner) if owner else None,
                subject=subject,
            )
            self.report(
                {"agent_id": str(agent.pk), "name": name, "roles": agent.roles, "key": key.text},
                f"Created the agent {name} ({', '.join(agent.roles)}). "
                f"Its key is shown this once:\nkey: {key.text}",
            )


def _user_id(username: str) -> int:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user called {username}.")
    return user.pk

"""Put the gateway in front of an MCP server."""

import os
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, stoppable
from audit_app.commands import name as one_line
from orchestrator.gateway import operations


class Command(OperatorCommand):
    help = (
        "Add an MCP server behind the gateway: one at --url, or one that the COMMAND behind -- "
        "starts. Only this command can name a program; the admin can't."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="a to z, 0 to 9 and hyphens")
        parser.add_argument("--url", default="", help="where it is, if it speaks HTTP")
        parser.add_argument(
            "--role",
            required=True,
            type=one_line,
            help="who is asked about its tools if no policy matches",
        )
        parser.add_argument(
            "--agent-role",
            action="append",
            type=one_line,
            default=[],
            dest="agent_roles",
            metavar="ROLE",
            help="agents with this role may use it; may be repeated; without it, all agents may",
        )
        parser.add_argument(
            "--secret",
            action="append",
            default=[],
            dest="secrets",
            metavar="NAME",
            help="an environment variable of this command that holds a header's value (with _ for "
            "-), or is passed on to the program; may be repeated",
        )
        parser.add_argument("command", nargs="*", metavar="COMMAND", help="behind --")

    def handle(
        self,
        *args: Any,
        name: str,
        url: str,
        role: str,
        agent_roles: list[str],
        secrets: list[str],
        command: list[str],
        **options: Any,
    ) -> None:
        if bool(url) == bool(command):
            raise CommandError("Give either --url, or a command behind --.")
        with stoppable():
            upstream = operations.create_upstream(
                name,
                by=Actor.system("create_upstream"),
                role=role,
                agent_roles=agent_roles,
                url=url,
                command=command,
                secrets={
                    (each if command else each.replace("_", "-")): _read(each) for each in secrets
                },
            )
            path = f"/gateway/{name}/mcp"
            self.report(
                {"upstream_id": str(upstream.pk), "name": name, "path": path},
                f"Created the upstream {name}. Agents reach it at {path}.",
            )


def _read(name: str) -> str:
    # Not from an argument: other users of the machine see those.
    value = os.environ.get(name)
    if value is None:
        raise CommandError(f"The environment variable {name} is not set.")
    return value

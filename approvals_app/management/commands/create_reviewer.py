"""Create a reviewer."""

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand, add_roles, name, stoppable
from sessions_app import people


class Command(OperatorCommand):
    help = "Create a staff user who can decide for these roles, and nothing else."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", metavar="USERNAME", type=name)
        add_roles(parser, help="a group that they decide for; created if missing")
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            help="read the password from the first line of standard input and print none",
        )

    def handle(
        self, *args: Any, username: str, roles: list[str], password_stdin: bool, **options: Any
    ) -> None:
        typed = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
        password = people.make_password() if typed is None else typed
        roles = list(dict.fromkeys(roles))
        with stoppable():  # no user remains whose password nobody saw
            try:
                user = people.create_reviewer(username, roles=roles, password=password)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from error
            facts: dict[str, Any] = {"user_id": user.pk, "username": username, "roles": roles}
            sentence = f"Created the reviewer {username} ({', '.join(roles)})."
            if typed is None:
                facts["password"] = password
                sentence += f" The password is shown this once:\npassword: {password}"
            self.report(facts, sentence)

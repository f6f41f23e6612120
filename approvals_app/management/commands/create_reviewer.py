"""Create a reviewer."""

import sys
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, transaction
from django.utils.crypto import get_random_string

from audit_app.commands import OperatorCommand, add_roles, name, stoppable

PASSWORD_LENGTH = 24


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
        password = get_random_string(PASSWORD_LENGTH) if typed is None else typed
        roles = list(dict.fromkeys(roles))
        with stoppable():  # no user remains whose password nobody saw
            user = _create_user(username, password, roles)
            facts: dict[str, Any] = {"user_id": user.pk, "username": username, "roles": roles}
            sentence = f"Created the reviewer {username} ({', '.join(roles)})."
            if typed is None:
                facts["password"] = password
                sentence += f" The password is shown this once:\npassword: {password}"
            self.report(facts, sentence)


def _create_user(username: str, password: str, roles: list[str]) -> User:
    """Create the user and the missing groups, all or nothing. Raises CommandError."""
    user = User(username=username, is_staff=True)
    try:
        user.clean()  # normalizes the username (NFKC), as the sign-in does
        user.clean_fields(exclude=["password"])
        validate_password(password, user)
        user.set_password(password)
        with transaction.atomic(durable=True):
            user.save(force_insert=True)
            user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    except IntegrityError as error:
        raise CommandError(f"User {username} already exists.") from error
    return user

"""Freeze an agent, a role or everything."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand, name
from sessions_app import freezes
from sessions_app.models import Freeze


def describe(freeze: Freeze) -> dict[str, Any]:
    """A freeze, as the commands report it."""
    return {
        "freeze_id": str(freeze.pk),
        "scope": freeze.scope,
        "agent": freeze.agent.name if freeze.agent else None,
        "role": freeze.role,
        "reason": freeze.reason,
        "frozen_by": freeze.frozen_by,
        "since": freeze.created_at.isoformat(),
        "status": str(freeze.status),
    }


def add_target(parser: CommandParser) -> None:
    """Add ``--agent``, ``--role`` and ``--everything``, of which at most one is given."""
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--agent", metavar="NAME", type=name)
    target.add_argument("--role", metavar="ROLE", type=name)
    target.add_argument("--everything", action="store_true")


def scope_of(agent: str | None, role: str | None, everything: bool) -> str | None:
    """What the arguments name; None if they name nothing."""
    if everything:
        return str(Freeze.Scope.EVERYTHING)
    if agent is not None:
        return str(Freeze.Scope.AGENT)
    return None if role is None else str(Freeze.Scope.ROLE)


class Command(OperatorCommand):
    help = (
        "Freeze an agent, a role or everything: nothing is claimed and nothing expires until "
        "`thaw`. Without a target, list what is frozen."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_target(parser)
        parser.add_argument("--reason", metavar="TEXT", default="", help="kept in the audit trail")

    def handle(
        self,
        *args: Any,
        agent: str | None,
        role: str | None,
        everything: bool,
        reason: str,
        **options: Any,
    ) -> None:
        scope = scope_of(agent, role, everything)
        if scope is None:
            self._list()
            return
        if not reason.strip():
            raise CommandError("Say why: --reason TEXT.")
        freeze = freezes.begin_freeze(
            scope, by=Actor.system("freeze"), reason=reason.strip(), agent=agent, role=role
        )
        self.report(describe(freeze), f"{freeze.target} is frozen.")

    def _list(self) -> None:
        active = freezes.list_active()
        lines = [
            f"{each.target}, since {each.created_at:%Y-%m-%d %H:%M} UTC, by "
            f"{each.frozen_by}: {each.reason}"
            for each in active
        ]
        facts = {"freezes": [describe(each) for each in active]}
        self.report(facts, "\n".join(lines) or "Nothing is frozen.")

"""Lift a freeze."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand
from sessions_app import freezes
from sessions_app.management.commands.freeze import add_target, describe, scope_of


class Command(OperatorCommand):
    help = (
        "Lift the freeze of an agent, a role or everything. Each is lifted by itself: what another "
        "freeze covers stays frozen."
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
            raise CommandError("Say what to thaw: --agent NAME, --role ROLE or --everything.")
        target = (scope, agent, role)
        for each in freezes.list_active():
            if (each.scope, each.agent and each.agent.name, each.role) == target:
                break
        else:
            raise CommandError("There is no such freeze. `freeze` without a target lists them.")
        lifted = freezes.lift_freeze(each.pk, by=Actor.system("thaw"), reason=reason.strip())
        others = [other.target for other in freezes.list_active()]
        stays = f" Still frozen: {', '.join(others)}." if others else " Nothing is frozen now."
        facts = describe(lifted) | {"still_frozen": others}
        self.report(facts, f"{lifted.target}: the freeze is lifted.{stays}")

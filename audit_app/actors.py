"""Who acts: a human, an agent or the system itself."""

from dataclasses import dataclass
from enum import StrEnum

from django.contrib.auth.models import AnonymousUser, User


class ActorKind(StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever an operation is done by, as far as the trail and the rules need to know them.

    ``id`` is the primary key as text (of a Django user or an Agent; for the system, the name of
    what runs), ``roles`` are an agent's roles
    (its first is the one it speaks as) or a human's group names, and an ``auditor`` may
    read everything. What an Actor says of roles is as old as the request: a rule that matters
    asks the database again, under the lock.
    """

    kind: ActorKind
    id: str
    name: str
    roles: tuple[str, ...] = ()
    auditor: bool = False

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def is_human(self) -> bool:
        return self.kind is ActorKind.HUMAN

    @property
    def is_agent(self) -> bool:
        return self.kind is ActorKind.AGENT

    @classmethod
    def human(cls, user: User | AnonymousUser) -> "Actor":
        """The actor behind a signed-in Django user, with the roles that their groups give."""
        return cls(
            kind=ActorKind.HUMAN,
            id=str(user.pk),
            name=user.get_username(),
            roles=tuple(user.groups.order_by("name").values_list("name", flat=True)),
            auditor=user.has_perm("audit_app.read_everything"),
        )

    @classmethod
    def system(cls, name: str) -> "Actor":
        """The orchestrator itself, acting as a command or a sweeper called ``name``."""
        return cls(kind=ActorKind.SYSTEM, id=name, name=name, auditor=True)

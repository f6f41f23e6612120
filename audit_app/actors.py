"""Who acts: a human, an agent or the system itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import AnonymousUser, User


class ActorKind(StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"


SECOND_FACTORS_AMR = frozenset({"mfa", "otp", "hwk", "swk", "sc", "pop", "sms"})
"""RFC 8176: what an issuer names where more than a password was asked for."""

SECOND_FACTORS_ACR = frozenset(
    {
        "phr",
        "phrh",
        "http://schemas.openid.net/pape/policies/2007/06/multi-factor",
        "https://refeds.org/profile/mfa",
    }
)

CLOCK_SKEW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Assurance:
    """How a human proved who they are: by what, when (None: nobody said), and whether with more
    than one factor. Taken at the door, and recorded with what they decide."""

    authenticated_by: str = "unknown"
    authenticated_at: datetime | None = None
    second_factor: bool = False

    @classmethod
    def claimed(cls, claims: Mapping[str, Any]) -> "Assurance":
        """What a verified OpenID Connect token says in ``auth_time``, ``amr`` and ``acr``."""
        methods = claims.get("amr")
        named = {m for m in methods if isinstance(m, str)} if isinstance(methods, list) else set()
        level = claims.get("acr")
        return cls(
            authenticated_by="oidc",
            authenticated_at=_moment(claims.get("auth_time")),
            second_factor=bool(named & SECOND_FACTORS_AMR)
            or (isinstance(level, str) and level in SECOND_FACTORS_ACR),
        )

    def as_details(self) -> dict[str, Any]:
        """For the metadata of an event."""
        at = self.authenticated_at
        return {
            "authenticated_by": self.authenticated_by,
            "authenticated_at": at.isoformat() if at else None,
            "second_factor": self.second_factor,
        }


def _moment(seconds: Any) -> datetime | None:
    """A claim's seconds since 1970; not later than now, give or take a clock's error."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    now = datetime.now(UTC)
    if not 0 < seconds < now.timestamp() + CLOCK_SKEW_SECONDS:
        return None
    return min(now, datetime.fromtimestamp(int(seconds), UTC))


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever an operation is done by, as far as the trail and the rules need to know them.

    ``id`` is the primary key as text (of a Django user or an Agent; for the system, the name of
    what runs), ``roles`` are an agent's roles
    (its first is the one it speaks as) or a human's group names, and an ``auditor`` may
    read everything. ``assurance`` is how a human proved who they are. What an Actor says of roles
    is as old as the request: a rule that matters
    asks the database again, under the lock.
    """

    kind: ActorKind
    id: str
    name: str
    roles: tuple[str, ...] = ()
    auditor: bool = False
    assurance: Assurance = field(default_factory=Assurance, compare=False)

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
        """The actor behind a signed-in Django user, with the roles that their groups give.

        Whoever authenticated the user has left an Assurance on it as ``assurance``; without one,
        nothing is known, and nothing is enough.
        """
        return cls(
            kind=ActorKind.HUMAN,
            id=str(user.pk),
            name=user.get_username(),
            roles=tuple(user.groups.order_by("name").values_list("name", flat=True)),
            auditor=user.has_perm("audit_app.read_everything"),
            assurance=getattr(user, "assurance", None) or Assurance(),
        )

    @classmethod
    def system(cls, name: str) -> "Actor":
        """The orchestrator itself, acting as a command or a sweeper called ``name``."""
        return cls(kind=ActorKind.SYSTEM, id=name, name=name, auditor=True)

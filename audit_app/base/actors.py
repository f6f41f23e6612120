"""Who acts: a human, an agent or the system itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat

from audit_app.base.errors import AgentsOnly


class ActorKind(StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"


SECOND_FACTORS_AMR = frozenset({"mfa", "otp", "hwk", "swk", "sc", "pop", "sms"})
"""RFC 8176: the methods by which an issuer says that it asked for more than a password."""

SECOND_FACTORS_ACR = frozenset(
    {
        "phr",
        "phrh",
        "http://schemas.openid.net/pape/policies/2007/06/multi-factor",
        "https://refeds.org/profile/mfa",
    }
)

READ_EVERYTHING = "audit_app.read_everything"


@dataclass(frozen=True, slots=True)
class Assurance:
    """How a human proved who they are: by what, when (None if unknown), and whether with more than
    one factor. Set by whoever authenticates the request, and recorded with each decision."""

    authenticated_by: str = "unknown"
    authenticated_at: datetime | None = None
    second_factor: bool = False

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> "Assurance":
        """Read ``auth_time``, ``amr`` and ``acr`` of a verified OpenID Connect token."""
        methods = claims.get("amr")
        names = {m for m in methods if isinstance(m, str)} if isinstance(methods, list) else set()
        level = claims.get("acr")
        return cls(
            authenticated_by="oidc",
            authenticated_at=_parse_time(claims.get("auth_time")),
            second_factor=bool(names & SECOND_FACTORS_AMR)
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


def _parse_time(seconds: Any) -> datetime | None:
    """A claim's seconds since 1970 as a time, at most now; None if it is no such number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    now = datetime.now(UTC)
    # The issuer's clock may run ahead of ours.
    if not 0 < seconds < now.timestamp() + settings.OIDC_CLOCK_SKEW.total_seconds():
        return None
    return min(now, datetime.fromtimestamp(int(seconds), UTC))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who performs an operation, as far as the trail and the rules need to know.

    ``id`` is the primary key of a Django user or an Agent as text; for the system, the name of the
    program. ``roles`` are an agent's roles, its default first, or the names of a human's groups.
    ``rights`` are the permissions that a human or their groups were given by name, as
    ``app.codename``. An ``auditor`` may read everything.

    Roles are as old as the request: a rule that matters reads them again under the lock.
    """

    is_authenticated: ClassVar[bool] = True

    kind: ActorKind
    id: str
    name: str
    roles: tuple[str, ...] = ()
    auditor: bool = False
    rights: frozenset[str] = field(default=frozenset(), compare=False)
    assurance: Assurance = field(default_factory=Assurance, compare=False)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def is_human(self) -> bool:
        return self.kind is ActorKind.HUMAN

    @property
    def is_agent(self) -> bool:
        return self.kind is ActorKind.AGENT

    def require_agent(self) -> UUID:
        """The id of the Agent that acts. Raises AgentsOnly."""
        if self.kind is not ActorKind.AGENT:
            raise AgentsOnly(kind=self.kind)
        return UUID(self.id)

    @classmethod
    def human(cls, user: User | AnonymousUser) -> "Actor":
        """The actor of a signed-in Django user, with the roles of their groups.

        ``user.assurance`` is set by whoever authenticated the user; without it, no rule that asks
        for assurance is satisfied. Costs one query, or none for a user read by ``with_standing``.
        """
        row: Any = user
        if not hasattr(user, "group_names"):
            row = with_standing(User.objects.filter(pk=user.pk or 0)).first()
        rights = frozenset(row.rights_given) if row and user.is_active else frozenset()
        return cls(
            kind=ActorKind.HUMAN,
            id=str(user.pk),
            name=user.get_username(),
            roles=tuple(row.group_names) if row else (),
            auditor=user.is_active and (user.is_superuser or READ_EVERYTHING in rights),
            rights=rights,
            assurance=getattr(user, "assurance", None) or Assurance(),
        )

    @classmethod
    def system(cls, name: str) -> "Actor":
        """The orchestrator itself, as the command or job called ``name``."""
        return cls(kind=ActorKind.SYSTEM, id=name, name=name, auditor=True)


def with_standing(users: "QuerySet[User]") -> "QuerySet[Any]":
    """Annotate ``users`` with ``group_names`` and ``rights_given``: the permissions that they or
    their groups were given, as ``app.codename``. It costs no query of its own."""
    groups = Group.objects.filter(user=OuterRef("pk")).order_by("name")
    person = OuterRef(OuterRef("pk"))
    own = User.user_permissions.through.objects.filter(user=person)
    of_groups = Group.permissions.through.objects.filter(group__user=person)
    permissions = Permission.objects.filter(
        Q(pk__in=own.values("permission")) | Q(pk__in=of_groups.values("permission"))
    ).order_by()
    name = Concat(F("content_type__app_label"), Value("."), F("codename"))
    return users.annotate(
        group_names=ArraySubquery(groups.values("name")),
        rights_given=ArraySubquery(permissions.annotate(name_=name).values("name_")),
    )


def may_administer(by: Actor, permission: str) -> bool:
    """Whether ``by`` is the system (a command run by ops) or a person with the permission now."""
    if not by.is_human:
        return not by.is_agent
    # Read again: the right may have been taken since the request began.
    person = User.objects.filter(pk=by.id).first()
    return person is not None and person.has_perm(permission)

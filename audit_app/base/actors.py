"""Who acts: a human, an agent or the system itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat


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
READ_EVERYTHING = "audit_app.read_everything"


@dataclass(frozen=True, slots=True)
class Assurance:
    """How a human proved who they are: by what, when (None: nobody said), and whether with more
    than one factor. Taken at the door, and recorded with what they decide."""

    authenticated_by: str = "unknown"
    authenticated_at: datetime | None = None
    second_factor: bool = False

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> "Assurance":
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
    (its first is the one it speaks as) or a human's group names, ``rights`` the permissions that a
    human or a group of theirs was given by name, and an ``auditor`` may
    read everything. ``assurance`` is how a human proved who they are. What an Actor says of roles
    is as old as the request: a rule that matters
    asks the database again, under the lock.
    """

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
        nothing is known, and nothing is enough. Whoever is ``with_standing`` costs no statement,
        anybody else one.
        """
        known: Any = user
        if not hasattr(user, "group_names"):
            known = with_standing(User.objects.filter(pk=user.pk or 0)).first()
        rights = frozenset(known.rights_given) if known and user.is_active else frozenset()
        return cls(
            kind=ActorKind.HUMAN,
            id=str(user.pk),
            name=user.get_username(),
            roles=tuple(known.group_names) if known else (),
            auditor=user.is_active and (user.is_superuser or READ_EVERYTHING in rights),
            rights=rights,
            assurance=getattr(user, "assurance", None) or Assurance(),
        )

    @classmethod
    def system(cls, name: str) -> "Actor":
        """The orchestrator itself, acting as a command or a sweeper called ``name``."""
        return cls(kind=ActorKind.SYSTEM, id=name, name=name, auditor=True)


def with_standing(users: "QuerySet[User]") -> "QuerySet[Any]":
    """``users``, each with ``group_names`` and with ``rights_given``: the permissions that they or
    those groups were given, as ``app.codename``. All in the statement that reads them."""
    groups = Group.objects.filter(user=OuterRef("pk")).order_by("name")
    person = OuterRef(OuterRef("pk"))
    own = User.user_permissions.through.objects.filter(user=person)
    of_groups = Group.permissions.through.objects.filter(group__user=person)
    given = Permission.objects.filter(
        Q(pk__in=own.values("permission")) | Q(pk__in=of_groups.values("permission"))
    ).order_by()
    name = Concat(F("content_type__app_label"), Value("."), F("codename"))
    return users.annotate(
        group_names=ArraySubquery(groups.values("name")),
        rights_given=ArraySubquery(given.annotate(name_=name).values("name_")),
    )


def may_administer(by: Actor, permission: str) -> bool:
    """Whether ``by`` is the system (a command run by ops), or a person with the right now."""
    if not by.is_human:
        return not by.is_agent
    person = User.objects.filter(pk=by.id).first()
    return person is not None and person.has_perm(permission)

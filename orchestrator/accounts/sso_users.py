"""Maps an issuer's claims to a person here, to their address and to their groups."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import structlog
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from approvals_app.decisions.aliases import remember_aliases
from orchestrator.accounts.models import Identity
from sessions_app.auth.roles import map_roles
from sessions_app.auth.tokens import get_claim

log = structlog.get_logger("orchestrator.accounts")

MAX_NAME_LENGTH = 150
MAX_ADDRESS_LENGTH = 254


class SignInRefused(Exception):
    """A sign-in that fails. The message tells the person why, and ``reason`` tells the log."""

    def __init__(self, sentence: str, reason: str, **details: Any) -> None:
        super().__init__(sentence)
        self.reason, self.details = reason, details


def admit(issuer: str, claims: Mapping[str, Any]) -> User:
    """Return the person behind ``claims["sub"]`` of ``issuer``, in the groups that the claims give,
    with the address and the name that the claims give.

    Someone new is linked to the user with their username, or created. Raises SignInRefused, after
    the groups were updated: whoever lost every role at the issuer loses them here.
    """
    try:
        user = _synchronize(issuer, claims)
    except IntegrityError:
        # Two first logins at once: the constraint lets one link, and the other now finds that.
        user = _synchronize(issuer, claims)
    if not user.is_staff:
        raise _no_role(user.get_username())
    return user


@transaction.atomic
def _synchronize(issuer: str, claims: Mapping[str, Any]) -> User:
    identities = Identity.objects.select_related("user").select_for_update()
    identity = identities.filter(issuer=issuer, subject=claims["sub"]).first()
    roles = _roles(claims)
    user = identity.user if identity else _link(issuer, claims, roles)
    if not user.is_active:
        sentence = "Your account is disabled. An administrator can enable it."
        raise SignInRefused(sentence, "The account is disabled.", username=user.get_username())
    _set_roles(user, roles)
    _set_profile(user, claims)
    return user


def _link(issuer: str, claims: Mapping[str, Any], roles: set[str]) -> User:
    """Link a first login to a user. Raises SignInRefused."""
    username = _username(claims)
    users = User.objects.select_for_update(no_key=True)
    user = users.filter(username=username).first() or _create(username, roles)
    linked = Identity.objects.filter(user=user).first()
    if linked and (linked.issuer, linked.subject) == (issuer, claims["sub"]):
        return user  # by another first login of theirs, while this one waited for the row
    if user.is_superuser or linked:
        # A username chosen at the issuer must not take over somebody else's account.
        raise SignInRefused(
            f"The username {username} belongs to somebody else. An administrator can help.",
            "The username is a superuser's or linked to another subject.",
            username=username,
        )
    Identity.objects.create(user=user, issuer=issuer, subject=claims["sub"])
    log.info("identity linked", username=username, issuer=issuer, subject=claims["sub"])
    return user


def _username(claims: Mapping[str, Any]) -> str:
    """The username in the claims. Raises SignInRefused."""
    name = settings.ADMIN_OIDC_USERNAME_CLAIM
    value = get_claim(claims, name)
    if not isinstance(value, str) or not value:
        raise SignInRefused(
            f"Single sign-on did not send your username: {name} is missing.",
            f"The claim {name} (ADMIN_OIDC_USERNAME_CLAIM) is missing.",
        )
    username: str = User.normalize_username(value)
    try:
        User(username=username).clean_fields(exclude=["password"])
    except ValidationError:
        raise SignInRefused(
            "Your username has characters that are not allowed here.",
            f"The claim {name} (ADMIN_OIDC_USERNAME_CLAIM) is not a valid username.",
        ) from None
    return username


def _create(username: str, roles: set[str]) -> User:
    """Create a user who has a role here. Raises SignInRefused."""
    # The issuer knows many people; whoever has no role here gets no account.
    if not settings.ADMIN_OIDC_CREATE_USERS:
        raise SignInRefused(
            f"User {username} does not exist. An administrator can add you.",
            "The user does not exist, and ADMIN_OIDC_CREATE_USERS is off.",
            username=username,
        )
    if not Group.objects.filter(permissions=None, name__in=roles).exists():
        raise _no_role(username)
    return User.objects.create_user(username)


def _no_role(username: str) -> SignInRefused:
    return SignInRefused(
        f"You are {username}, but none of your groups gives you a role.",
        f"No value of the claim {settings.ADMIN_OIDC_GROUPS_CLAIM} (ADMIN_OIDC_GROUPS_CLAIM) is a "
        "role here.",
        username=username,
    )


def _roles(claims: Mapping[str, Any]) -> set[str]:
    """The group names that the claims give."""
    groups = get_claim(claims, settings.ADMIN_OIDC_GROUPS_CLAIM)
    if groups is None:
        log.warning("groups missing", claim=settings.ADMIN_OIDC_GROUPS_CLAIM)
    values = groups if isinstance(groups, list) else []
    prefix, names = settings.ADMIN_OIDC_GROUPS_PREFIX, settings.ADMIN_OIDC_GROUPS_MAP
    return {name for name in map_roles(values, prefix, names) if "\x00" not in name}


def _set_roles(user: User, roles: set[str]) -> None:
    """Make ``user`` a member of exactly those ``roles`` that are groups here, and staff if any is.

    Groups with permissions are left alone, and so are the staff rights of their members.
    """
    # A claim must make nobody an administrator: groups with permissions are managed here only.
    plain = Group.objects.filter(permissions=None)
    before = set(user.groups.filter(permissions=None).values_list("name", flat=True))
    wanted = set(plain.filter(name__in=roles).values_list("name", flat=True))
    if before != wanted:
        user.groups.remove(*plain.filter(name__in=before - wanted))
        user.groups.add(*plain.filter(name__in=wanted - before))
        changed = {"given": sorted(wanted - before), "taken": sorted(before - wanted)}
        log.info("roles changed", username=user.get_username(), **changed)
    staff = bool(wanted) or user.is_superuser or _has_permissions(user)
    if user.is_staff != staff:
        user.is_staff = staff
        user.save(update_fields=["is_staff"])
        log.info("staff rights changed", username=user.get_username(), staff=staff)


def _has_permissions(user: User) -> bool:
    return user.user_permissions.exists() or user.groups.filter(permissions__isnull=False).exists()


def _set_profile(user: User, claims: Mapping[str, Any]) -> None:
    """Take over the address and the name; what the claims lack stays as it is."""
    address, verified = _address(claims)
    profile = _name(claims) | ({"email": address} if verified else {})
    changed = [field for field, value in profile.items() if getattr(user, field) != value]
    if changed:
        for field in changed:
            setattr(user, field, profile[field])
        user.save(update_fields=changed)
        log.info("profile changed", username=user.get_username(), fields=changed)
    # Agents may call the person by any of these. One that is not verified gets no mail, but whoever
    # claims it must not decide on what is asked for it.
    username = get_claim(claims, settings.ADMIN_OIDC_USERNAME_CLAIM)
    names = {username if _is_text(username, MAX_ADDRESS_LENGTH) else "", address}
    remember_aliases(user, names - {user.get_username(), user.email})


def _address(claims: Mapping[str, Any]) -> tuple[str, bool]:
    """The e-mail address, "" if there is none, and whether it may be used."""
    address = claims.get("email")
    if not _is_text(address, MAX_ADDRESS_LENGTH):
        return "", False
    try:
        validate_email(address)
    except ValidationError:
        return "", False
    # Many issuers never send email_verified; some send it as text.
    verified = claims.get("email_verified", True)
    return address, str(verified).lower() == "true"


def _name(claims: Mapping[str, Any]) -> dict[str, str]:
    """The person's given and family names; their full name in one where those are missing."""
    given, family = claims.get("given_name"), claims.get("family_name")
    first, last = (given, family) if given or family else (claims.get("name"), None)
    names = {"first_name": first, "last_name": last or ("" if first else None)}
    return {field: name for field, name in names.items() if _is_text(name, MAX_NAME_LENGTH)}


def _is_text(value: Any, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= longest and value.isprintable()

"""Maps an issuer's claims to a person here and to their groups."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from orchestrator.accounts.models import Identity

log = structlog.get_logger("orchestrator.accounts")


class NotAdmitted(Exception):
    """The issuer authenticated a person who may not log in here. The message says why."""


def admit(issuer: str, claims: Mapping[str, Any]) -> User:
    """Return the person behind ``claims["sub"]`` of ``issuer``, in the groups that the claims give.

    Someone new is linked to the user with their username, or created. Raises NotAdmitted, after
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
        log.warning("sign-in refused", username=user.get_username(), reason="inactive")
        raise NotAdmitted("Your account is disabled. An administrator can enable it.")
    _set_roles(user, roles)
    return user


def _link(issuer: str, claims: Mapping[str, Any], roles: set[str]) -> User:
    """Link a first login to a user. Raises NotAdmitted."""
    username = _username(claims)
    users = User.objects.select_for_update(no_key=True)
    user = users.filter(username=username).first() or _create(username, roles)
    linked = Identity.objects.filter(user=user).first()
    if linked and (linked.issuer, linked.subject) == (issuer, claims["sub"]):
        return user  # by another first login of theirs, while this one waited for the row
    if user.is_superuser or linked:
        # A username chosen at the issuer must not take over somebody else's account.
        log.warning("sign-in refused", username=username, reason="the username is somebody's")
        raise NotAdmitted(
            f"The username {username} belongs to somebody else. An administrator can help."
        )
    Identity.objects.create(user=user, issuer=issuer, subject=claims["sub"])
    log.info("identity linked", username=username, issuer=issuer, subject=claims["sub"])
    return user


def _username(claims: Mapping[str, Any]) -> str:
    """The username in the claims. Raises NotAdmitted."""
    name = settings.ADMIN_OIDC_USERNAME_CLAIM
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise NotAdmitted(f"Single sign-on did not send your username: {name} is missing.")
    username: str = User.normalize_username(value)
    try:
        User(username=username).clean_fields(exclude=["password"])
    except ValidationError:
        raise NotAdmitted("Your username has characters that are not allowed here.") from None
    return username


def _create(username: str, roles: set[str]) -> User:
    """Create a user who has a role here. Raises NotAdmitted."""
    # The issuer knows many people; whoever has no role here gets no account.
    if not settings.ADMIN_OIDC_CREATE_USERS:
        log.warning("sign-in refused", username=username, reason="unknown")
        raise NotAdmitted(f"User {username} does not exist. An administrator can add you.")
    if not Group.objects.filter(permissions=None, name__in=roles).exists():
        raise _no_role(username)
    return User.objects.create_user(username)


def _no_role(username: str) -> NotAdmitted:
    log.warning("sign-in refused", username=username, reason="no role")
    return NotAdmitted(f"You are {username}, but none of your groups gives you a role.")


def _roles(claims: Mapping[str, Any]) -> set[str]:
    """The group names in the claims that carry our prefix, without it."""
    groups = claims.get(settings.ADMIN_OIDC_GROUPS_CLAIM)
    if groups is None:
        log.warning("groups missing", claim=settings.ADMIN_OIDC_GROUPS_CLAIM)
    names = groups if isinstance(groups, list) else []
    prefix = settings.ADMIN_OIDC_GROUPS_PREFIX
    return {
        name.removeprefix(prefix)
        for name in names
        if isinstance(name, str) and name.startswith(prefix) and "\x00" not in name
    }


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

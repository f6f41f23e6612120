"""Which roles here the values of a claim give."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group


def map_roles(values: Iterable[Any], prefix: str, names: Mapping[str, str]) -> Iterator[str]:
    """The roles that ``values`` of a claim give, in their order.

    ``names`` maps values such as the GUIDs of groups to roles, and no other value counts then.
    Without it a value is a role if it starts with ``prefix``, which is cut off.
    """
    for value in values:
        if not isinstance(value, str):
            continue
        if names:
            if value in names:
                yield names[value]
        elif value.startswith(prefix):
            yield value.removeprefix(prefix)


def keep_known_roles(roles: Iterable[str], stored: Iterable[str]) -> tuple[str, ...]:
    """Those of a token's ``roles`` that exist here: the agent's ``stored`` ones, groups, and
    OIDC_ROLES_ALLOWED. Where a prefix or a map marks those meant for this server, all of them."""
    # An issuer's own roles would become the agent's: each Keycloak token has ``offline_access``.
    names = tuple(roles)
    if settings.OIDC_ROLES_PREFIX or settings.OIDC_ROLES_MAP:
        return names
    known = {*stored, *settings.OIDC_ROLES_ALLOWED}
    if not known.issuperset(names):
        known |= set(Group.objects.filter(name__in=names).values_list("name", flat=True))
    return tuple(name for name in names if name in known)

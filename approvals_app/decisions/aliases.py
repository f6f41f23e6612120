"""The names that a person is known by, beside their present username and address."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db.models import Q, Value
from django.db.models.functions import Upper

from approvals_app.models import PersonAlias


def remember_aliases(user: User, names: Iterable[str]) -> None:
    """Record ``names`` as the person's; a trigger records what a username or address was before."""
    # Capitals are the database's, since its functions compare them.
    rows = [PersonAlias(user=user, name=Upper(Value(name))) for name in names if name]
    PersonAlias.objects.bulk_create(rows, ignore_conflicts=True)


def is_known(name: str) -> bool:
    """Whether ``name`` is or was the username or the address of somebody here."""
    own = Q(username__iexact=name) | Q(email__iexact=name)
    aliases = PersonAlias.objects.filter(name=Upper(Value(name)))
    return User.objects.filter(own).exists() or aliases.exists()

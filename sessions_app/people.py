"""Reviewers: staff users in groups, who can do nothing but review."""

from collections.abc import Sequence

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.crypto import get_random_string

PASSWORD_LENGTH = 24


def make_password() -> str:
    """A first password, to be shown once."""
    return get_random_string(PASSWORD_LENGTH)


def create_reviewer(username: str, *, roles: Sequence[str], password: str, email: str = "") -> User:
    """Create the user and the missing groups, all or nothing.

    Raises ValidationError: the username is taken or malformed, or the password is weak.
    """
    user = User(username=username, email=email, is_staff=True)
    user.clean()  # normalizes the username (NFKC), as the sign-in does
    user.clean_fields(exclude=["password"])
    validate_password(password, user)
    # Before the transaction: hashing takes long, and holds no connection.
    user.set_password(password)
    try:
        with transaction.atomic(durable=True):
            user.save(force_insert=True)
            user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    except IntegrityError as error:
        raise ValidationError({"username": f"User {user.username} already exists."}) from error
    return user

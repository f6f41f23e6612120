"""Passwords: the only way in without single sign-on, the last resort with it."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from orchestrator.accounts.standing import StandingBackend


def are_accepted() -> bool:
    """Whether anyone may log in with a password."""
    return not settings.SINGLE_SIGN_ON or settings.ADMIN_PASSWORD_FALLBACK


def are_accepted_from(user: User) -> bool:
    """Whether ``user`` may log in with a password: with single sign-on only a superuser, and only
    with ADMIN_PASSWORD_FALLBACK."""
    return are_accepted() and (user.is_superuser or not settings.SINGLE_SIGN_ON)


class PasswordBackend(StandingBackend):
    """Django's backend, where passwords are accepted.

    A hash is always computed: neither the answer nor its time tells a wrong password from an
    unknown name or from a right password that is not accepted.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if username is None or password is None:
            return None
        user = User.objects.filter(username=username).first()
        if user is None:
            User().set_password(password)
            return None
        right = user.check_password(password)
        return (
            user if right and self.user_can_authenticate(user) and are_accepted_from(user) else None
        )

    def get_user(self, user_id: int) -> User | None:
        """The session's user; None once their password is not accepted any more."""
        user: Any = super().get_user(user_id)
        return user if user is not None and are_accepted_from(user) else None

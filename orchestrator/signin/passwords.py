"""Passwords: the only proof while no single sign-on is configured, the last resort where it is."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from orchestrator.signin.standing import StandingBackend


def accepted() -> bool:
    """Whether anybody's password opens anything."""
    return not settings.SINGLE_SIGN_ON or settings.ADMIN_PASSWORD_FALLBACK


def accepted_of(user: User) -> bool:
    """With single sign-on, a superuser's alone, and only with ADMIN_PASSWORD_FALLBACK."""
    return accepted() and (user.is_superuser or not settings.SINGLE_SIGN_ON)


class PasswordBackend(StandingBackend):
    """Django's, where passwords are accepted. A right password that is not is like a wrong one:
    the hash is computed first, so that neither the answer nor its time tells."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        user: Any = super().authenticate(request, username, password, **kwargs)
        return user if user is not None and accepted_of(user) else None

    def get_user(self, user_id: int) -> User | None:
        """Sessions that a password began end when passwords do."""
        user: Any = super().get_user(user_id)
        return user if user is not None and accepted_of(user) else None

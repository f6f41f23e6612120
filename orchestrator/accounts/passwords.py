"""Passwords: the only proof while no single sign-on is configured, the last resort where it is."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from audit_app.base.connections import release_connection
from orchestrator.accounts.standing import StandingBackend


def are_accepted() -> bool:
    """Whether anybody's password opens anything."""
    return not settings.SINGLE_SIGN_ON or settings.ADMIN_PASSWORD_FALLBACK


def are_accepted_from(user: User) -> bool:
    """With single sign-on, a superuser's alone, and only with ADMIN_PASSWORD_FALLBACK."""
    return are_accepted() and (user.is_superuser or not settings.SINGLE_SIGN_ON)


class PasswordBackend(StandingBackend):
    """Django's, where passwords are accepted, without a database connection while it hashes.

    A hash is computed whoever asks, so that neither the answer nor its time tells a wrong password
    from a right one that is not accepted, or from the name of nobody.
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
        release_connection()  # agents need it, and anybody may try passwords
        if user is None:
            User().set_password(password)
            return None
        right = user.check_password(password)
        return (
            user if right and self.user_can_authenticate(user) and are_accepted_from(user) else None
        )

    def get_user(self, user_id: int) -> User | None:
        """Sessions that a password began end when passwords do."""
        user: Any = super().get_user(user_id)
        return user if user is not None and are_accepted_from(user) else None

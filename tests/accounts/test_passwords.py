"""Passwords as production keeps them: everywhere else the tests hash them fast."""

from django.conf import global_settings

from orchestrator import settings as production
from tests.factories import ReviewerFactory


def test_a_password_is_kept_and_found_right_as_django_does_by_default(settings, browser):
    settings.PASSWORD_HASHERS = production.PASSWORD_HASHERS
    alice = ReviewerFactory(username="alice", roles=["finance"])
    assert alice.password.startswith("pbkdf2_sha256$")

    window = browser()
    window.log_in("alice", "wrong")
    assert window.person == ""
    window.log_in("alice")
    assert window.person == "alice"
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    assert alice.check_password("alice")

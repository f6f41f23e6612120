"""People of several groups, and a trail that is verified after the test.

Nothing here outlives a test. The processes that evaluate conditions do: they belong to the worker.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.utils import timezone

from approvals_app.models import Approval
from tests.commands.conftest import run  # noqa: F401  # a fixture
from tests.factories import ReviewerFactory, set_columns
from tests.notifications.conftest import chat, mailbox  # noqa: F401  # fixtures


@pytest.fixture
def dave(database: None) -> User:
    """In two groups."""
    return ReviewerFactory(username="dave", email="dave@example.com", roles=["finance", "legal"])


@pytest.fixture
def erin(database: None) -> User:
    return ReviewerFactory(username="erin", email="erin@example.com", roles=["legal"])


@pytest.fixture
def root(database: None) -> User:
    """A superuser in no group."""
    return ReviewerFactory(username="root", is_superuser=True)


@pytest.fixture
def breaker(alice: User) -> User:
    """alice, who may break the glass."""
    alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
    return alice


@pytest.fixture
def say(api: Callable[..., Any]) -> Callable[..., Any]:
    """``say(alice, "approve", approval, notes="…")``: over HTTP, of the payload as it is."""

    def post(person: User, what: str, approval: Approval, **body: Any) -> Any:
        if what not in ("withdraw_vote", "delegate", "recall"):
            body = {"payload_digest": approval.payload_digest} | body
        return api(user=person).post(f"/approvals/{approval.pk}/{what}", body)

    return post


@pytest.fixture
def late() -> Callable[[Approval], None]:
    """``late(approval)``: its deadline passes."""

    def pass_deadline(approval: Approval) -> None:
        set_columns(type(approval), approval, expires_at=timezone.now() - timedelta(seconds=1))

    return pass_deadline


@pytest.fixture
def whole(database: None) -> Iterator[None]:
    """``verify_audit`` finds nothing in the end."""
    yield
    call_command("verify_audit")

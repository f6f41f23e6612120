"""People are told by e-mail what can't wait until they look: after the commit, and never a secret
or a payload, only where to look."""

from collections.abc import Iterable

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.urls import reverse

from approvals_app.models import Approval, Delegation, Override

log = structlog.get_logger("orchestrator.notices")


def of_override(override: Override, roles: list[str]) -> None:
    """Tell everyone of ``roles`` that somebody approved alone."""
    body = (
        f"{override.opened_by.get_username()} approved a task for {override.role} alone, by break "
        f"glass, because: {override.reason}\n\nPlease review it until "
        f"{override.review_due_at:%Y-%m-%d %H:%M UTC}: {_url(reverse('admin:index'))}\n"
    )
    _tell(_members(roles), f"Break glass: a task for {override.role} was approved alone", body)


def of_deadline(approval: Approval) -> None:
    """Remind whoever is asked, and whoever stands in for them."""
    page = reverse("admin:approvals_app_approval_change", args=[approval.pk])
    body = (
        f"A decision for {approval.approver_role} is waited for until "
        f"{approval.expires_at:%Y-%m-%d %H:%M UTC}: {_url(page)}\n"
    )
    _tell(
        _members([approval.approver_role]), f"A decision for {approval.approver_role} is due", body
    )


def _members(roles: Iterable[str]) -> list[str]:
    members = Q(groups__name__in=roles)
    seats = User.objects.filter(members)
    away = Delegation.objects.in_force().filter(delegator__in=seats.values("pk"))
    people = User.objects.filter(members | Q(pk__in=away.values("delegate_id")), is_active=True)
    addresses = people.exclude(email="").values_list("email", flat=True)
    return sorted(set(addresses))


def _tell(people: list[str], subject: str, body: str) -> None:
    if not people or not settings.EMAIL_CONFIGURED:
        return

    def send() -> None:
        message = EmailMessage(" ".join(subject.split()), body, bcc=people)
        try:
            message.send()
        except OSError as error:  # what was decided stands, whoever can be told of it
            log.warning("mail", people=len(people), failure=type(error).__name__)

    transaction.on_commit(send)


def _url(path: str) -> str:
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"

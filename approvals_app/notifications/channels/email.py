"""E-mail, to the address of the person's account."""

from collections.abc import Mapping
from smtplib import SMTPDataError, SMTPRecipientsRefused

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.urls import reverse

from approvals_app.notifications.channels.base import Channel, NotSent, Rejected
from approvals_app.notifications.messages import Digest, build_link, sanitize
from approvals_app.notifications.models import NoticeSettings

LONGEST_REASON = 150
PERMANENT = 500
"""From this code on, a mail server has refused a mail for good (RFC 5321)."""

log = structlog.get_logger("orchestrator.notices")


class EmailChannel(Channel):
    prefix = "email"

    def personal_destinations(
        self, people: Mapping[User, NoticeSettings]
    ) -> Mapping[int, list[str]]:
        return {
            person.pk: [self.destination_of(person)]
            for person, preferences in people.items()
            if preferences.by_email and person.email and settings.EMAIL_CONFIGURED
        }

    def labels(self, person: User) -> Mapping[str, str]:
        return {self.destination_of(person): "e-mail"}

    def send(self, destination: str, person: User | None, digest: Digest) -> bool:
        if person is None or not (person.email and settings.EMAIL_CONFIGURED):
            return False
        if not NoticeSettings.load(person).by_email:
            return False
        preferences = build_link(reverse("pages:notifications"))
        body = f"{digest.render()}\n-- \nWhat you are notified of, and where: {preferences}\n"
        headers = {
            "Auto-Submitted": "auto-generated"
        }  # keeps out-of-office replies away (RFC 3834)
        if settings.PUBLIC_URL:
            # RFC 2369. Not the one click of RFC 8058: only who is signed in may change preferences,
            # and whether DKIM signs these headers is up to the mail server.
            headers["List-Unsubscribe"] = f"<{preferences}>"
        message = EmailMessage(digest.subject, body, to=[person.email], headers=headers)
        try:
            message.send()
        except (OSError, ValueError) as error:
            log.warning("notice", place="email", failure=type(error).__name__)
            if (reason := _find_rejection(error)) is not None:
                raise Rejected(f"The mail server rejected it: {reason}") from None
            raise NotSent("The mail server did not accept it.") from None
        return True

    def destination_of(self, person: User) -> str:
        return f"{self.prefix}:{person.pk}"


def _find_rejection(error: Exception) -> str | None:
    """What the server said if it will never take this mail (5xx); None if it may later."""
    # Not a refused sender or login: those are mended by the operator, and then mails go out.
    said: bytes | str
    if isinstance(error, SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
    elif isinstance(error, SMTPDataError):
        code, said = error.smtp_code, error.smtp_error
    else:
        return None
    return sanitize(f"{code} {_decode(said)}", LONGEST_REASON) if code >= PERMANENT else None


def _decode(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


EMAIL = EmailChannel()
CHANNELS = (EMAIL,)

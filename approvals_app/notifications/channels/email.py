"""E-mail, to the address of the person's account."""

from collections.abc import Mapping

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage

from approvals_app.notifications.channels.base import Channel, NotSent
from approvals_app.notifications.models import NoticeSettings

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

    def send(self, destination: str, person: User | None, *, subject: str, body: str) -> bool:
        if person is None or not (person.email and settings.EMAIL_CONFIGURED):
            return False
        if not NoticeSettings.load(person).by_email:
            return False
        # Keeps out-of-office replies from answering (RFC 3834).
        headers = {"Auto-Submitted": "auto-generated"}
        message = EmailMessage(subject, body, to=[person.email], headers=headers)
        try:
            message.send()
        except (OSError, ValueError) as error:
            log.warning("notice", place="email", failure=type(error).__name__)
            raise NotSent("The mail server did not accept it.") from None
        return True

    def destination_of(self, person: User) -> str:
        return f"{self.prefix}:{person.pk}"


EMAIL = EmailChannel()
CHANNELS = (EMAIL,)

"""Browsers that people allowed to show notifications (Web Push)."""

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from django.contrib.auth.models import User
from django.urls import reverse

from approvals_app.notifications import web_push
from approvals_app.notifications.channels.base import Channel, NotSent, Rejected
from approvals_app.notifications.messages import Digest
from approvals_app.notifications.models import NoticeSettings, PushSubscription
from audit_app.base import encryption
from audit_app.base.http_client import NoAnswer
from audit_app.base.ssrf import DestinationRefused
from audit_app.base.text_safety import shorten

LONGEST_TITLE = 200
LONGEST_BODY = 400
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""The browser unsubscribed, or is no more (RFC 8030, 7.3)."""
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

log = structlog.get_logger("orchestrator.notices")


class PushChannel(Channel):
    prefix = "push"

    def personal_destinations(
        self, people: Mapping[User, NoticeSettings]
    ) -> Mapping[int, list[str]]:
        destinations = defaultdict(list)
        rows = PushSubscription.objects.filter(person__in=people).values_list("pk", "person")
        for pk, person in rows:
            destinations[person].append(f"{self.prefix}:{pk}")
        return destinations

    def labels(self, person: User) -> Mapping[str, str]:
        rows = PushSubscription.objects.filter(person=person).values_list("pk", "device")
        return {f"{self.prefix}:{pk}": device for pk, device in rows}

    def send(self, destination: str, person: User | None, digest: Digest) -> bool:
        pk = destination.partition(":")[2]
        row = PushSubscription.objects.filter(pk=pk, person=person).first()
        if row is None:
            return False
        try:
            subscription = web_push.Subscription.decrypt(row.sealed)
            status = web_push.push(subscription, build_push(digest)).status
        except encryption.DecryptionFailed:
            raise NotSent("SECRET_KEY changed: add this device again.") from None
        except (DestinationRefused, NoAnswer) as error:
            # Only the type is logged: the message may quote the URL.
            log.warning("notice", place=destination, failure=type(error).__name__)
            raise NotSent("The push service could not be reached.") from None
        if status in GONE:
            row.delete()
            return False
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return True
        log.warning("notice", place=destination, failure=status)
        is_final = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        if is_final and status not in PASSING:
            raise Rejected(f"The push service refused it ({status}).")
        raise NotSent(f"The push service did not accept it ({status}).")


def build_push(digest: Digest) -> dict[str, str]:
    """What the browser shows: a title, a line, and the path of the page that a touch opens."""
    first, *others = digest.messages
    line = first.details[0] if first.details else first.sentence
    return {
        "title": shorten(digest.subject, LONGEST_TITLE),
        "body": shorten(line, LONGEST_BODY),
        "path": reverse("admin:index") if others else first.path,
    }


PUSH = PushChannel()
CHANNELS = (PUSH,)

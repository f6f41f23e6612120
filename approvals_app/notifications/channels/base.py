"""What a channel is: where it reaches people, and how it sends a message there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import ClassVar

from django.contrib.auth.models import User

from approvals_app.notifications.messages import Digest
from approvals_app.notifications.models import NoticeSettings


class NotSent(Exception):
    """The destination did not take the message; says why, without secrets, to its owner."""


class Rejected(NotSent):
    """The destination will never take the message, so that it is not tried again."""


class Channel:
    """One way to reach people.

    Its destinations are texts ``prefix:…`` of at most 300 characters without secrets, which the
    table of notices keeps: they must mean the same in the next release.
    """

    prefix: ClassVar[str]

    def personal_destinations(
        self, people: Mapping[User, NoticeSettings]
    ) -> Mapping[int, list[str]]:
        """Where ``people`` want to be notified, by the user's id. In one query at most."""
        return defaultdict(list)

    def role_destinations(self, role: str) -> Iterable[str]:
        """Where the members of ``role`` are notified together."""
        return ()

    def labels(self, person: User) -> Mapping[str, str]:
        """What the person's own page calls each of their destinations."""
        return {}

    def send(self, destination: str, person: User | None, digest: Digest) -> bool:
        """Send ``digest`` as plain text; ``person`` is None at a role's destination.

        Returns False if the destination is gone or not wanted any more: the notices are dropped.
        Raises NotSent: the notices are tried again, unless it is Rejected. Other exceptions end the
        job.
        """
        raise NotImplementedError

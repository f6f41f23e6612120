"""Encrypt stored secrets under the current SECRET_KEY."""

from typing import Any

from django.core.management.base import CommandError

from approvals_app.notifications.channels.apprise import PURPOSE
from approvals_app.notifications.models import NoticeChannel
from audit_app.base import encryption
from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand
from audit_app.models import Webhook
from audit_app.webhooks.reencryption import reencrypt_webhook


class Command(OperatorCommand):
    help = (
        "Encrypt the secrets of webhooks and the addresses of notifications under SECRET_KEY, so "
        "that its former value can be removed from SECRET_KEY_FALLBACKS."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done = {"webhooks": 0, "channels": 0}
        unreadable = []
        by = Actor.system("reencrypt_secrets")
        for webhook in Webhook.objects.order_by("name"):
            try:
                done["webhooks"] += reencrypt_webhook(webhook.pk, by=by)
            except encryption.DecryptionFailed:
                unreadable.append(f"the webhook {webhook.name}")
        for channel in NoticeChannel.objects.select_related("person"):
            try:
                done["channels"] += _reencrypt_channel(channel)
            except encryption.DecryptionFailed:
                unreadable.append(f"the {channel.service} of {channel.person.get_username()}")
        if unreadable:
            raise CommandError(
                f"No key of SECRET_KEY and SECRET_KEY_FALLBACKS decrypts {', '.join(unreadable)}."
            )
        sentence = "Encrypted anew: {webhooks} webhooks, {channels} notification channels."
        self.report(done, sentence.format(**done))


def _reencrypt_channel(channel: NoticeChannel) -> bool:
    encrypted = encryption.reencrypt(channel.sealed, purpose=PURPOSE)
    # Left alone if its owner replaced or removed it meanwhile.
    unchanged = NoticeChannel.objects.filter(pk=channel.pk, sealed=channel.sealed)
    return encrypted != channel.sealed and bool(unchanged.update(sealed=encrypted))

"""Encrypt stored secrets under the current SECRET_KEY."""

from typing import Any

from django.core.management.base import CommandError

from approvals_app.notifications import web_push
from approvals_app.notifications.channels import apprise
from approvals_app.notifications.models import NoticeChannel, PushSubscription
from audit_app.base import encryption
from audit_app.base.actors import Actor
from audit_app.commands import OperatorCommand
from audit_app.models import Webhook
from audit_app.webhooks.reencryption import reencrypt_webhook
from orchestrator.gateway.models import Upstream
from orchestrator.gateway.operations import reencrypt_upstream


class Command(OperatorCommand):
    help = (
        "Encrypt the secrets of webhooks and upstreams and the addresses of notifications under "
        "SECRET_KEY, so that its former value can be removed from SECRET_KEY_FALLBACKS."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done = {"webhooks": 0, "upstreams": 0, "channels": 0, "devices": 0}
        unreadable = []
        by = Actor.system("reencrypt_secrets")
        for webhook in Webhook.objects.order_by("name"):
            try:
                done["webhooks"] += reencrypt_webhook(webhook.pk, by=by)
            except encryption.DecryptionFailed:
                unreadable.append(f"the webhook {webhook.name}")
        for upstream in Upstream.objects.order_by("name"):
            try:
                done["upstreams"] += reencrypt_upstream(upstream.pk, by=by)
            except encryption.DecryptionFailed:
                unreadable.append(f"the upstream {upstream.name}")
        for channel in NoticeChannel.objects.select_related("person"):
            try:
                done["channels"] += _reencrypt(channel, apprise.PURPOSE)
            except encryption.DecryptionFailed:
                unreadable.append(f"the {channel.service} of {channel.person.get_username()}")
        for device in PushSubscription.objects.select_related("person"):
            try:
                done["devices"] += _reencrypt(device, web_push.PURPOSE)
            except encryption.DecryptionFailed:
                unreadable.append(f"the {device.device} of {device.person.get_username()}")
        if unreadable:
            raise CommandError(
                f"No key of SECRET_KEY and SECRET_KEY_FALLBACKS decrypts {', '.join(unreadable)}."
            )
        sentence = (
            "Encrypted anew: {webhooks} webhooks, {upstreams} upstreams, {channels} notification "
            "channels, {devices} devices."
        )
        self.report(done, sentence.format(**done))


def _reencrypt(row: NoticeChannel | PushSubscription, purpose: str) -> bool:
    encrypted = encryption.reencrypt(row.sealed, purpose=purpose)
    # Left alone if its owner replaced or removed it meanwhile.
    unchanged = type(row)._default_manager.filter(pk=row.pk, sealed=row.sealed)
    return encrypted != row.sealed and bool(unchanged.update(sealed=encrypted))

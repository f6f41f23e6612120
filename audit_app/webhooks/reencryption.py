"""Encrypts webhooks' secrets under the current SECRET_KEY, after it was changed."""

from uuid import UUID

from audit_app.base import encryption
from audit_app.base.actors import Actor
from audit_app.models import Webhook
from audit_app.trail.operation import operation
from audit_app.trail.recording import perform
from audit_app.webhooks.planning import PURPOSE


@operation("webhook.reencrypt")
def reencrypt_webhook(webhook_id: UUID, *, by: Actor) -> bool:
    """Encrypt the secrets of a webhook under the current key; False if they are already.

    They stay the same secrets: receivers notice nothing. Raises NotFound, DecryptionFailed.
    """
    webhook = Webhook.objects.lock(webhook_id)
    secret = encryption.reencrypt(webhook.secret, purpose=PURPOSE)
    old_secret = encryption.reencrypt(webhook.old_secret, purpose=PURPOSE)
    if (secret, old_secret) == (webhook.secret, webhook.old_secret):
        return False
    details = {"reencrypted": True}
    perform(webhook.reencrypt, by=by, details=details, secret=secret, old_secret=old_secret)
    return True

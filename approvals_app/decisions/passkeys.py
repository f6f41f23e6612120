"""Operations on passkeys: register, rename, revoke; and the use of one to sign in."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError

from approvals_app.decisions import webauthn
from approvals_app.errors import (
    HumansOnly,
    NotYourPasskey,
    PasskeyInvalid,
    PasskeyKnown,
    SignatureInvalid,
)
from approvals_app.models import LONGEST_LABEL, Passkey, PasskeyUse
from audit_app.base.actors import Actor, may_administer
from audit_app.base.events import EventType
from audit_app.base.prepared import Prepared, prepared_cursor
from audit_app.base.text_safety import UNSEEN, shorten
from audit_app.trail.operation import operation, violated_constraint
from audit_app.trail.recording import create, perform

TRANSPORTS = ("ble", "hybrid", "internal", "nfc", "smart-card", "usb")


@operation("passkey.register")
def register_passkey(
    answer: Mapping[str, Any],
    *,
    by: Actor,
    challenge: bytes,
    label: str,
    transports: Sequence[str] = (),
) -> Passkey:
    """Register the passkey that an authenticator made for ``challenge``, as ``label``.

    Raises HumansOnly, PasskeyInvalid and PasskeyKnown.
    """
    if not by.is_human:
        raise HumansOnly(kind=by.kind)
    try:
        registered = webauthn.verify_creation(answer, challenge)
    except webauthn.NotVerified as error:
        raise PasskeyInvalid(field="passkey", why=str(error)) from None
    passkey = Passkey(
        user_id=int(by.id),
        credential_id=registered.credential_id,
        public_key=registered.public_key,
        transports=[name for name in TRANSPORTS if name in transports],
        label=_clean_label(label),
    )
    try:
        create(passkey, EventType.PASSKEY_REGISTERED, by=by, details=by.assurance.as_details())
    except IntegrityError as error:
        if violated_constraint(error) == "passkeys_credential_once":
            raise PasskeyKnown from error
        raise
    PasskeyUse.objects.create(passkey=passkey, sign_count=registered.sign_count)
    return passkey


@operation("passkey.rename")
def rename_passkey(passkey_id: UUID, *, by: Actor, label: str) -> Passkey:
    """Give one's own passkey another name. Raises NotFound and NotYourPasskey."""
    passkey: Passkey = Passkey.objects.lock_visible(by, passkey_id)
    if not _is_own(passkey, by):
        raise NotYourPasskey(passkey)
    if (label := _clean_label(label)) != passkey.label:
        perform(passkey.rename, by=by, label=label)
    return passkey


@operation("passkey.revoke")
def revoke_passkey(passkey_id: UUID, *, by: Actor) -> Passkey:
    """Revoke one's own passkey, or anybody's as an administrator: it neither signs in nor signs
    votes any more, and sessions that began with it end.

    Raises NotFound, NotYourPasskey and InvalidTransition.
    """
    passkey: Passkey = Passkey.objects.lock(passkey_id)
    if not (_is_own(passkey, by) or may_administer(by, "auth.change_user")):
        raise NotYourPasskey(passkey)
    perform(passkey.revoke, by=by, details={"label": passkey.label, **by.assurance.as_details()})
    return passkey


def list_active(user_id: int) -> list[Passkey]:
    """The passkeys that ``user_id`` can use, oldest first, each with its ``use``."""
    own = Passkey.objects.active().filter(user_id=user_id)
    return list(own.select_related("use").order_by("created_at", "id"))


def has_active(user_id: int) -> bool:
    """Whether ``user_id`` can use a passkey."""
    return Passkey.objects.active().filter(user_id=user_id).exists()


def use_passkey(assertion: Mapping[str, str], challenge: bytes, *, user_id: int) -> Passkey:
    """Verify that a passkey of ``user_id`` signed ``challenge`` just now, and count the use.

    Part of the caller's transaction; of two uses at once, the second waits. Raises
    SignatureInvalid.
    """
    own = _own_use(credential=assertion["credential_id"], user=user_id)
    if not own:
        raise SignatureInvalid(why="The passkey is not one of yours.")
    (use,) = own
    try:
        count = webauthn.verify_assertion(
            assertion,
            challenge,
            use.passkey.public_key,
            sign_count=use.sign_count,
            origins=settings.PASSKEY_ORIGINS,
            domain=settings.PASSKEY_DOMAIN,
        )
    except webauthn.NotVerified as error:
        raise SignatureInvalid(why=str(error)) from None
    with prepared_cursor() as cursor:
        cursor.execute(COUNT_USE, [count, use.pk])
    return use.passkey


_own_use: Prepared[PasskeyUse] = Prepared(
    lambda credential, user: (
        # With the passkey, so that nobody revokes it before the caller's commit.
        PasskeyUse.objects.select_for_update(of=("self", "passkey"), no_key=True)
        .select_related("passkey")
        .filter(
            passkey__credential_id=credential,
            passkey__user_id=user,
            passkey__status=Passkey.Status.ACTIVE.value,
        )
    )
)
COUNT_USE = """
UPDATE passkey_uses SET sign_count = %s, last_used_at = clock_timestamp() WHERE passkey_id = %s
"""


def _is_own(passkey: Passkey, by: Actor) -> bool:
    return by.is_human and passkey.user_id == int(by.id)


def _clean_label(label: str) -> str:
    """``label`` as one short line of visible characters; a name where it is none."""
    line = " ".join(UNSEEN.sub(" ", label).split())
    return shorten(line, LONGEST_LABEL) or "Passkey"

"""The links between people and sessions here and those at the issuer."""

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models.functions import Now


class Identity(models.Model):
    """The person behind an issuer's ``sub``.

    People are linked by (issuer, subject), since an issuer may give a username to somebody else
    one day.
    """

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="identity",
        db_comment="The person; each has one identity at most.",
    )
    issuer = models.TextField(db_comment="The issuer's URL, as its ID tokens name it.")
    subject = models.TextField(db_comment="The issuer's sub: never given to somebody else.")
    linked_at = models.DateTimeField(
        db_default=Now(), db_comment="When the person first signed in by this issuer."
    )

    class Meta:
        db_table = "sign_in_identities"
        db_table_comment = "Who at the OpenID Connect issuer is who here."
        verbose_name_plural = "identities"
        constraints = [
            models.UniqueConstraint(fields=("issuer", "subject"), name="sign_in_identities_once"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class IssuerSession(models.Model):
    """The login at the issuer behind a session here, so that a logout there finds it."""

    session = models.OneToOneField(
        Session,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="+",
        # Operators may empty django_session to sign everybody out.
        db_constraint=False,
        db_comment="The session here.",
    )
    issuer = models.TextField(db_comment="The issuer's URL, as its ID tokens name it.")
    subject = models.TextField(db_comment="The issuer's sub.")
    sid = models.TextField(
        blank=True, db_comment="The issuer's sid, its name for the login; empty if it sends none."
    )

    class Meta:
        db_table = "sign_in_sessions"
        db_table_comment = "Which login at the issuer is behind which session here."
        default_permissions = ()
        indexes = (
            models.Index(fields=["subject"], name="sign_in_sessions_subject"),
            models.Index(fields=["sid"], name="sign_in_sessions_sid"),
        )

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"

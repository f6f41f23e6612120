"""The link between people here and subjects at the issuer."""

from django.conf import settings
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

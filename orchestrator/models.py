"""State that all web processes share."""

from django.db import models


class RateLimit(models.Model):
    """How many requests a caller or an address has made in the current minute, in all processes."""

    caller = models.TextField(
        primary_key=True, db_comment="Who is limited: agent:id, human:id or address:…"
    )
    window = models.BigIntegerField(db_comment="The minute that is counted, since the epoch.")
    used = models.BigIntegerField(db_comment="Requests that were asked for in that minute.")

    class Meta:
        db_table = "rate_limits"
        db_table_comment = "Throttling, shared by all processes; unlogged, since minutes pass."
        default_permissions = ()
        indexes = (models.Index(fields=["window"], name="rate_limits_window"),)

    def __str__(self) -> str:
        return f"{self.caller}: {self.used}"

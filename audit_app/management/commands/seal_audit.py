"""Seal the events that the worker has not sealed yet."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.base.actors import Actor
from audit_app.commands import BatchCommand
from audit_app.proof import keys, sealing


class Command(BatchCommand):
    help = (
        "Append new events to the transparency log and sign a checkpoint. The worker does the same "
        "every few seconds, unless AUDIT_SEAL is off."
    )
    verb = ("seal", "Sealed")
    counted = ("events",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--new-epoch",
            metavar="REASON",
            default="",
            help="begin a log with another origin first: after a disk was restored, which the "
            "database can't notice",
        )

    def due(self, **options: Any) -> dict[str, int]:
        return {"events": sealing.count_not_sealed()}

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[dict[str, int]]:
        new_epoch: str = options["new_epoch"]
        if not keys.signing_keys():
            raise CommandError("AUDIT_SIGNING_KEYS names no key to sign checkpoints with.")
        while sealed := sealing.seal_batch(batch_size, new_epoch=new_epoch):
            yield {"events": sealed}
            new_epoch = ""

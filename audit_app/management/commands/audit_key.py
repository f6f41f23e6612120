"""Make a key that signs checkpoints and receipts, or list those that are configured."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand
from audit_app.proof import keys
from audit_app.proof.keys import SigningKey


class Command(OperatorCommand):
    help = (
        "With --new, make a key in a new file that its owner alone can read; AUDIT_SIGNING_KEYS "
        "names such files, the one that signs first. Without it, print the configured keys as "
        "verifiers of notes take them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--new", metavar="FILE", type=Path, help="where to write the key")

    def handle(self, *args: Any, new: Path | None, **options: Any) -> None:
        try:
            found = [keys.make_key(new)] if new else list(keys.signing_keys())
        except OSError as error:
            raise CommandError(f"{error.strerror}: {new}") from None
        except keys.SigningKeyError as error:
            raise CommandError(str(error)) from None
        if not found:
            raise CommandError("AUDIT_SIGNING_KEYS names no key.")
        facts = {"keys": [_describe(key) for key in found]}
        self.report(facts, "\n".join(each["verifier_key"] for each in facts["keys"]))


def _describe(key: SigningKey) -> dict[str, str]:
    verifier = key.verifier_key(settings.AUDIT_LOG_ORIGIN)
    return {"verifier_key": str(verifier), "thumbprint": key.thumbprint}

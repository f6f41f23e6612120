"""Check whether the trail is whole."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser
from django.db import connection

from audit_app.commands import OperatorCommand, interruptible
from audit_app.live import event_log
from audit_app.proof.bundles import BundleVerification, parse_keys
from audit_app.proof.notes import NoteError, VerifierKey
from audit_app.proof.verification import LogVerification, SignedRoot, read_kept_checkpoint
from audit_app.trail.verification import Verification, check_database, snapshot, verify_lines


class Command(OperatorCommand):
    help = (
        "Check the audit trail against itself and against every row or, without a database, a "
        "file or bundle that export_audit wrote. Status 0: it is whole. Status 1: what was "
        "changed, removed or inserted, and where. A signal ends it with 128 plus its number and no "
        "report."
    )

    def is_scheduled(self, options: Mapping[str, Any]) -> bool:
        return options["bundle"] is None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "bundle",
            metavar="BUNDLE",
            nargs="?",
            help="a bundle, or a file of entries, one a line; - is standard input",
        )
        parser.add_argument(
            "--key",
            metavar="VERIFIER_KEY",
            action="append",
            default=[],
            help="a key that signs or cosigns checkpoints, kept elsewhere; may be repeated",
        )
        parser.add_argument(
            "--keys", metavar="FILE", type=Path, help="a file with such keys, one a line"
        )
        parser.add_argument(
            "--against",
            metavar="CHECKPOINT",
            type=Path,
            action="append",
            default=[],
            help="a file with a checkpoint of the log that was kept elsewhere; may be repeated",
        )

    def handle(
        self,
        *args: Any,
        bundle: str | None,
        against: Sequence[Path],
        key: Sequence[str],
        keys: Path | None,
        **options: Any,
    ) -> None:
        if bundle is not None and against:
            raise CommandError("--against compares the log in the database, not a file.")
        is_bundle = bundle is not None and Path(bundle).is_dir()
        if (key or keys) and not is_bundle:
            raise CommandError("--key and --keys are for a bundle.")
        kept = [_read_checkpoint(path) for path in against]
        verification = Verification()
        log: LogVerification | BundleVerification | None = None
        with interruptible():
            try:
                if bundle is None:
                    log = self._verify_database(verification, kept)
                elif is_bundle:
                    given = _read_keys(key, keys)
                    log = BundleVerification(Path(bundle), verification, given)
                    log.verify(self.progress)
                else:
                    with _open_bundle(bundle) as lines:
                        verify_lines(verification, iter(lines), self.progress)
            finally:
                self.end_progress()
        self._report_result(verification, log)

    def _verify_database(
        self, verification: Verification, kept: Sequence[SignedRoot]
    ) -> LogVerification:
        with connection.cursor() as cursor:
            event_log.epochs.refresh(cursor)  # may begin one, which the snapshot can't
        with snapshot():
            check_database(verification, self.progress)
            log = LogVerification(verification)
            log.verify(self.progress, kept)
        return log

    def _report_result(
        self, verification: Verification, log: LogVerification | BundleVerification | None
    ) -> None:
        facts = {
            "whole": verification.found == 0,
            "events": verification.events,
            "subjects": verification.subjects,
            "found": verification.found,
            "findings": [finding.as_dict() for finding in verification.findings],
        }
        read = f"{verification.events:,} events of {verification.subjects:,} subjects"
        if isinstance(log, BundleVerification):
            facts |= {"sealed": log.sealed, "cosigned": log.cosigned, "own_keys": not log.given}
            read += f", {log.sealed:,} of them sealed"
            read += f" and {log.cosigned:,} cosigned" if log.cosigned else ""
            # Whoever made the bundle made its keys.
            read += "" if log.given else ", by the keys in the bundle"
        elif log:
            facts |= {"sealed": log.size, "not_sealed": log.not_sealed}
            read += f", {log.size:,} of them sealed" if log.size else ""
        if verification.found == 0:
            self.report(facts, f"The trail is whole: {read}.")
            return
        lines = [str(finding) for finding in verification.findings]
        if remaining := verification.found - len(lines):
            lines.append(f"… and {remaining:,} more.")
        self.report(facts, "\n".join(lines))
        raise CommandError(f"The trail is not whole: {verification.found:,} findings in {read}.")


def _read_keys(key: Sequence[str], keys: Path | None) -> list[VerifierKey]:
    try:
        return parse_keys([*key, *([keys.read_text()] if keys else [])])
    except OSError as error:
        raise CommandError(f"{error.strerror}: {keys}") from None
    except NoteError as error:
        raise CommandError(str(error)) from None


def _read_checkpoint(path: Path) -> SignedRoot:
    try:
        return read_kept_checkpoint(path.read_text(), str(path))
    except ValueError as error:
        raise CommandError(str(error)) from None


@contextlib.contextmanager
def _open_bundle(bundle: str) -> Iterator[BinaryIO]:
    if bundle == "-":
        yield sys.stdin.buffer
    else:
        with Path(bundle).open("rb") as file:
            yield file

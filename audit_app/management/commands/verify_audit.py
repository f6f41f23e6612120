"""Check whether the trail is whole."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand, interruptible
from audit_app.trail.verification import Verification, verify_database, verify_lines


class Command(OperatorCommand):
    help = (
        "Check the audit trail against itself and against every row or, without a database, a "
        "file that export_audit wrote. Status 0: it is whole. Status 1: what was changed, removed "
        "or inserted, and where. A signal ends it with 128 plus its number and no report."
    )

    def is_scheduled(self, options: Mapping[str, Any]) -> bool:
        return options["bundle"] is None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "bundle",
            metavar="BUNDLE",
            nargs="?",
            help="a file of entries, one a line; - is standard input",
        )

    def handle(self, *args: Any, bundle: str | None, **options: Any) -> None:
        verification = Verification()
        with interruptible():
            try:
                if bundle is None:
                    verify_database(verification, self.progress)
                else:
                    with _open_bundle(bundle) as lines:
                        verify_lines(verification, iter(lines), self.progress)
            finally:
                self.end_progress()
        self._report_result(verification)

    def _report_result(self, verification: Verification) -> None:
        facts = {
            "whole": verification.found == 0,
            "events": verification.events,
            "subjects": verification.subjects,
            "found": verification.found,
            "findings": [finding.as_dict() for finding in verification.findings],
        }
        read = f"{verification.events:,} events of {verification.subjects:,} subjects"
        if verification.found == 0:
            self.report(facts, f"The trail is whole: {read}.")
            return
        lines = [str(finding) for finding in verification.findings]
        if remaining := verification.found - len(lines):
            lines.append(f"… and {remaining:,} more.")
        self.report(facts, "\n".join(lines))
        raise CommandError(f"The trail is not whole: {verification.found:,} findings in {read}.")


@contextlib.contextmanager
def _open_bundle(bundle: str) -> Iterator[BinaryIO]:
    if bundle == "-":
        yield sys.stdin.buffer
    else:
        with Path(bundle).open("rb") as file:
            yield file

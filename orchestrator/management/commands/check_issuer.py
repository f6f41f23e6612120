"""Check the OpenID Connect issuer and the settings for it."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand
from orchestrator.accounts.issuer_check import Level, check_issuer, check_token


class Command(OperatorCommand):
    help = (
        "Check OIDC_ISSUER_URL and the settings beside it against the issuer, and say what is "
        "wrong. Status 0: nothing is; status 1: something is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--token-stdin",
            action="store_true",
            help="also say whether the access token on standard input is accepted",
        )

    def handle(self, *args: Any, token_stdin: bool, **options: Any) -> None:
        if not settings.OIDC_ISSUER_URL:
            raise CommandError("OIDC_ISSUER_URL is not set.")
        findings = list(check_issuer())
        if token_stdin:
            findings.append(check_token(sys.stdin.read().strip()))
        problems = sum(finding.level is Level.PROBLEM for finding in findings)
        facts = {
            "issuer": settings.OIDC_ISSUER_URL,
            "problems": problems,
            "findings": [finding.as_dict() for finding in findings],
        }
        self.report(facts, "\n".join(map(str, findings)))
        if problems:
            raise CommandError(f"{problems} {'problem' if problems == 1 else 'problems'} found.")

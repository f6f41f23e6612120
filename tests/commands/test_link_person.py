"""Operators link a person to their subject at the issuer."""

import json

import pytest

from orchestrator.accounts.models import Identity
from tests.commands.conftest import expect_failure, run_for_output

ISSUER = "https://id.example"


@pytest.fixture(autouse=True)
def issuer(settings):
    settings.OIDC_ISSUER_URL = ISSUER


def link(username, subject):
    return json.loads(
        run_for_output("link_person", username, "--subject", subject, "--format", "json"),
    )


def test_a_person_is_linked_once(alice):
    assert link("alice", "4711")["created"] is True
    assert link("alice", "4711")["created"] is False

    identity = Identity.objects.get()
    assert (identity.user, identity.issuer, identity.subject) == (alice, ISSUER, "4711")


def test_who_is_linked_already_stays_so(alice, bob):
    link("alice", "4711")

    assert expect_failure("link_person", "alice", "--subject", "12")[1] == (
        f"alice is linked to 4711 at {ISSUER}."
    )
    assert "somebody else" in expect_failure("link_person", "bob", "--subject", "4711")[1]
    assert Identity.objects.get().user == alice


def test_who_is_not_here_and_no_issuer_are_one_sentence(settings):
    assert expect_failure("link_person", "nobody", "--subject", "12")[1] == (
        "There is no user called nobody."
    )
    settings.OIDC_ISSUER_URL = ""
    assert (
        expect_failure("link_person", "nobody", "--subject", "12")[1]
        == "OIDC_ISSUER_URL is not set."
    )

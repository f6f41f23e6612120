"""The mark above the list of events: how far the trail is sealed, and when it was checked."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from audit_app.models import Event
from audit_app.proof import status
from audit_app.proof.status import read_seal_status
from tests.audit.test_sealing import seal_all, write_events
from tests.database import without_guards
from tests.factories import TaskFactory

EVENTS = "/admin/audit_app/event/"


@pytest.fixture
def page(alice):
    alice.user_permissions.add(Permission.objects.get(codename="read_everything"))
    client = Client()
    client.force_login(alice)

    def read(address=EVENTS):
        return client.get(address).content.decode()

    return read


def test_nothing_was_sealed(page):
    write_events(1)
    assert read_seal_status() is None
    assert "o-seal" not in page()


def test_sealed_and_verified(page):
    write_events(3)
    seal_all()
    found = read_seal_status()
    assert (found.size, found.verified_at, found.is_late) == (3, None, False)
    assert "Sealed, not verified yet." in page()
    call_command("verify_audit", verbosity=0)
    found = read_seal_status()
    assert found.is_good
    assert found.since == found.sealed_at
    assert "Sealed and verified." in page()
    write_events(1)
    assert read_seal_status().is_good, "it is sealed in a moment"


def test_a_check_that_found_something(page):
    write_events(3)
    seal_all()
    call_command("verify_audit", verbosity=0)
    with without_guards() as admin:
        admin.execute(
            "DELETE FROM audit_events WHERE position = (SELECT 1 + min(position) FROM audit_events)"
        )
    with pytest.raises(CommandError):
        call_command("verify_audit", verbosity=0)
    found = read_seal_status()
    assert found.has_failed
    assert not found.is_good
    assert "The last check failed." in page()


def test_events_that_wait_for_too_long(page, monkeypatch):
    monkeypatch.setattr(status, "LATE", timedelta(0))
    write_events(3)
    seal_all()
    call_command("verify_audit", verbosity=0)
    assert read_seal_status().is_good
    write_events(1)
    assert read_seal_status().is_late
    assert "New events are not sealed." in page()


def test_the_page_of_an_event_offers_its_proof(page, bot):

    task = TaskFactory(agent=bot)
    event = Event.objects.get(subject_id=task.pk, seq=1)
    address = f"{EVENTS}{event.pk}/change/"
    assert "Not sealed yet" in page(address)
    seal_all()
    assert f'href="/audit/events/{event.pk}/proof"' in page(address)

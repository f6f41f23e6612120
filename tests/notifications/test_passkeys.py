"""Who is told of a new passkey: its owner, who may not have registered it, and administrators."""

import pytest

from approvals_app.decisions.passkeys import rename_passkey, revoke_passkey
from audit_app.base.actors import Actor
from tests.authenticators import register
from tests.factories import ReviewerFactory
from tests.notifications.conftest import text, wishes


@pytest.fixture(autouse=True)
def here(settings):
    settings.PASSKEY_ORIGINS = ["http://localhost:8000"]
    settings.PASSKEY_DOMAIN = "localhost"


@pytest.fixture
def root():
    return ReviewerFactory(username="root", email="root@example.com", is_superuser=True)


@pytest.fixture
def ada():
    return ReviewerFactory(username="ada", email="ada@example.com", roles=["finance"])


def list_told(mails):
    return sorted((mail["To"], text(mail).splitlines()[0]) for mail in mails)


def test_its_owner_and_administrators_are_told_and_nobody_can_switch_it_off(tell, ada, root, bob):
    wishes(ada, without=["passkey"])
    _, passkey = register(ada, label="<b>Laptop</b>")
    assert list_told(tell()) == [
        (
            "ada@example.com",
            'A passkey was registered for you: "·b·Laptop·b·". If that wasn\'t you, remove it and '
            "tell an administrator.",
        ),
        (
            "root@example.com",
            'A passkey was registered for ada: "·b·Laptop·b·". If that is news to you, ask.',
        ),
    ]
    rename_passkey(passkey.pk, by=Actor.human(ada), label="Phone")
    assert tell() == []
    revoke_passkey(passkey.pk, by=Actor.human(root))
    assert [words.partition(":")[0] for _, words in list_told(tell())] == [
        "A passkey was removed for you",
        "A passkey was removed for ada",
    ]

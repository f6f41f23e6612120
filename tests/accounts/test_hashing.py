"""Hashing a password takes long on purpose, and nobody else waits for it."""

import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import connections

from orchestrator.accounts.hashing import AT_A_TIME, PasswordHasher, _running_child, _threads
from tests.accounts import hashers
from tests.accounts.conftest import LOGIN
from tests.factories import ReviewerFactory
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

CHANGE = "/admin/password_change/"
SIGN_INS = 30


@pytest.fixture
def connections_held(settings) -> Iterator[list[bool]]:
    """Whether a connection was held, hash by hash, since the test last cleared it."""
    settings.PASSWORD_HASHERS = ["tests.accounts.hashers.Watched"]
    hashers.watched = connections["default"]
    hashers.held.clear()
    yield hashers.held
    hashers.held.clear()


@pytest.fixture
def window(connections_held, browser):
    """A browser in which alice is logged in."""
    window = browser()
    ReviewerFactory(username="alice", roles=["finance"])
    window.log_in("alice")
    connections_held.clear()
    return window


@pytest.mark.parametrize(
    ("username", "password"), [("alice", "alice"), ("alice", "wrong"), ("nobody", "x")]
)
def test_a_login_holds_no_connection_while_it_hashes(connections_held, browser, username, password):
    ReviewerFactory(username="alice", roles=["finance"])
    connections_held.clear()
    browser().log_in(username, password)

    assert connections_held == [False]


def test_nor_does_proving_who_one_is_once_more(connections_held, window):
    window.post("/admin/reauthenticate/", password="alice")

    assert connections_held == [False]


def test_nor_does_changing_ones_password(connections_held, window):
    new = "a much better password"
    answer = window.post(CHANGE, old_password="alice", new_password1=new, new_password2=new)

    assert answer.status_code == 302
    assert connections_held
    assert not any(connections_held)
    assert User.objects.get().check_password(new)


def test_nor_does_an_administrator_who_sets_somebodys_password(connections_held, browser, root):
    alice = ReviewerFactory(username="alice", roles=["finance"])
    window = browser()
    window.log_in("root")
    connections_held.clear()
    new = "a much better password"
    given = {"usable_password": "true", "password1": new, "password2": new}
    answer = window.post(f"/admin/auth/user/{alice.pk}/password/", **given)

    assert answer.status_code == 302
    assert connections_held == [False]


def test_nor_does_an_administrator_who_adds_somebody(connections_held, browser, root):
    window = browser()
    window.log_in("root")
    connections_held.clear()
    answer = window.post("/admin/auth/user/add/", username="carol", new_group="finance")

    assert answer.status_code == 200, answer.content
    assert connections_held == [False]
    assert User.objects.get(username="carol").check_password(answer.context["key"])


def test_the_hashes_are_djangos_own():
    hasher, djangos = PasswordHasher(), PBKDF2PasswordHasher()
    hashed = hasher.encode("geheim ü", "salt", 1_000)

    assert hashed == djangos.encode("geheim ü", "salt", 1_000)
    assert hasher.verify("geheim ü", hashed)
    assert not hasher.verify("other", hashed)


def test_hashing_goes_on_after_its_process_was_killed():
    hasher = PasswordHasher()
    for _ in range(3):
        hashed = hasher.encode("x", "salt", 1_000)
        child = _threads.submit(_running_child).result()
        child.kill()
        child.wait()

    assert hasher.verify("x", hashed)


def test_thirty_anonymous_sign_ins_stop_no_agent(bot, tmp_path):
    with ExitStack() as stack:
        gate = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=SIGN_INS))
        gate.settimeout(30)
        port = free_port()
        environment = on_the_tests_database(
            port,
            DB_POOL_MAX="2",
            DATA_DIR=str(tmp_path),
            DJANGO_SETTINGS_MODULE="tests.accounts.gated_settings",
            HASHING_GATE=str(gate.getsockname()[1]),
        )
        stack.enter_context(gunicorn(tmp_path / "log", environment))
        agent = stack.enter_context(
            client_of(port, headers={"Authorization": f"Bearer {bot.key}"}, timeout=20)
        )
        assert agent.get("/sessions").status_code == 200
        assert AT_A_TIME == 2
        people = [stack.enter_context(client_of(port, timeout=60)) for _ in range(SIGN_INS)]
        pool = stack.enter_context(ThreadPoolExecutor(SIGN_INS))
        sent = [pool.submit(sign_in, person, f"n{n}") for n, person in enumerate(people)]
        hashing = [gate.accept()[0] for _ in range(AT_A_TIME)]
        try:
            answers = [agent.get("/sessions") for _ in range(5)]
            # Every login thread is busy by now, and still nobody else hashes.
            assert not select.select([gate], [], [], 0)[0]
        finally:
            for gone in hashing:
                gone.close()
            for _ in range(SIGN_INS - AT_A_TIME):
                gate.accept()[0].close()

        assert [answer.status_code for answer in answers] == [200] * 5
        assert [future.result().status_code for future in sent] == [200] * SIGN_INS


def sign_in(person, name):
    person.get(LOGIN)
    token = person.cookies["csrftoken"]
    form = {"username": name, "password": "x", "csrfmiddlewaretoken": token}
    return person.post(LOGIN, data=form)

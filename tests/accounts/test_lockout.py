"""After too many wrong passwords nobody from that address gets in under that name."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from axes.models import AccessAttempt
from django.db import connections
from django.test import RequestFactory

from orchestrator.web.client_ip import client_address
from tests.accounts.conftest import INBOX, LOGIN, Browser, ago, later, text
from tests.commands.conftest import manage  # noqa: F401  # a fixture

LIMIT = 5


def fail(window: Browser, username: str, times: int) -> list[int]:
    return [window.log_in(username, f"wrong {n}").status_code for n in range(times)]


def test_alice_logs_in_with_her_password(browser, alice):
    window = browser()
    answer = window.log_in("alice")

    assert (answer.status_code, answer.headers["Location"]) == (302, INBOX)
    assert window.person == "alice"


def test_the_fifth_wrong_password_locks_and_a_right_one_does_not_open(browser, alice):
    window = browser()

    assert fail(window, "alice", LIMIT) == [200, 200, 200, 200, 429]
    answer = window.log_in("alice")
    assert answer.status_code == 429
    assert 14 * 60 < int(answer.headers["Retry-After"]) <= 15 * 60
    page = text(answer)
    assert "Too many failed sign-ins" in page
    assert "15 minutes" in page
    assert not window.person


def test_it_ends_by_itself_and_trying_meanwhile_does_not_prolong_it(browser, alice):
    window = browser()
    with ago(minutes=14):
        fail(window, "alice", LIMIT)
    answer = window.log_in("alice")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 60

    with later(minutes=2):
        assert window.log_in("alice").status_code == 302


def test_a_clock_that_ran_ahead_and_was_set_back_locks_nobody_out(browser, alice):
    window = browser()
    with later(hours=1):
        fail(window, "alice", LIMIT)

    assert window.log_in("alice").status_code == 302


def test_whoever_guesses_locks_out_themselves_and_not_alice_elsewhere(browser, alice):
    fail(browser("203.0.113.7"), "alice", LIMIT)
    hers = browser("198.51.100.2")
    hers.log_in("alice")

    assert hers.person == "alice"


def test_other_people_at_the_same_address_are_let_in(browser, alice, bob):
    fail(browser(), "alice", LIMIT)
    window = browser()
    window.log_in("bob")

    assert window.person == "bob"


def test_another_browser_at_the_address_does_not_help(browser, alice):
    window = browser()
    fail(window, "alice", LIMIT - 1)
    other = browser()
    other.client.defaults["HTTP_USER_AGENT"] = "another"
    assert fail(other, "alice", 1) == [429]
    assert window.log_in("alice").status_code == 429


def test_an_ipv6_subscriber_has_one_address(browser, alice):
    for n in range(LIMIT):
        fail(browser(f"2001:db8::{n + 1:x}"), "alice", 1)

    assert browser("2001:db8::ffff").log_in("alice").status_code == 429
    assert browser("2001:db8:0:1::1").log_in("alice").status_code == 302


@pytest.mark.parametrize("name", ["nobody", "ended", "visitor"])
def test_unknown_ended_and_other_names_are_all_alike(
    browser, alice, django_user_model, name, settings
):
    django_user_model.objects.create_user("ended", password="ended", is_active=False)
    django_user_model.objects.create_user("visitor", password="visitor")
    known, other = browser("192.0.2.10"), browser("192.0.2.20")

    for n in range(LIMIT + 1):
        first, second = known.log_in("alice", f"wrong {n}"), other.log_in(name, f"wrong {n}")
        assert first.status_code == second.status_code
        assert plain(first, "alice") == plain(second, name)


def plain(answer, name: str) -> str:
    """The page without what was typed, and without its trace."""
    lines = text(answer).replace(f'value="{name}"', "").splitlines()
    return "\n".join(line for line in lines if "Trace" not in line)


def test_a_right_password_forgets_the_wrong_ones(browser, alice):
    window = browser()
    for _ in range(2):
        assert fail(window, "alice", LIMIT - 1) == [200] * (LIMIT - 1)
        assert window.log_in("alice").status_code == 302


def test_guesses_at_once_count_each(browser, alice):
    def guess(n: int) -> int:
        try:
            return browser().log_in("alice", f"wrong {n}").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(guess, range(LIMIT)))

    assert sum(AccessAttempt.objects.values_list("failures_since_start", flat=True)) == LIMIT
    assert 429 in answers
    assert browser().log_in("alice").status_code == 429


def test_the_count_is_every_processes(browser, alice, manage):  # noqa: F811  # the fixture
    fail(browser(), "alice", LIMIT)
    script = (
        "from django.test import Client;"
        "print(Client(REMOTE_ADDR='192.0.2.1', HTTP_HOST='localhost').post('/admin/login/',"
        "{'username': 'alice', 'password': 'alice'}).status_code)"
    )
    out, err = manage("shell", "-v0", "-c", script).communicate(timeout=60)

    assert out.split() == ["429"], err


def test_failures_are_in_the_log_without_the_password(browser, alice, caplog):
    with caplog.at_level(logging.WARNING):
        browser().log_in("alice", "correct horse")

    (record,) = [r for r in caplog.records if "sign-in failed" in str(r.msg)]
    assert record.msg["username"] == "alice"
    assert record.msg["address"] == "192.0.2.1"
    assert "correct horse" not in caplog.text
    assert not AccessAttempt.objects.filter(post_data__contains="correct horse").exists()


def test_the_login_form_is_protected_against_other_sites(browser, alice):
    window = browser()
    window.client.handler.enforce_csrf_checks = True

    assert window.log_in("alice").status_code == 403


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, "192.0.2.1"),
        (0, "203.0.113.7", "192.0.2.1"),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "10.0.0.1, 203.0.113.7", "203.0.113.7"),
        (2, "6.6.6.6, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
        (2, "203.0.113.7", "192.0.2.1"),
        (1, "nonsense", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (1, "203.0.113.7:5000", "203.0.113.7"),
        (1, "[2001:db8::1]:5000", "2001:db8::1"),
        (1, "2001:DB8::1", "2001:db8::1"),
        (1, "::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_whose_address_it_is(settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    request = RequestFactory(REMOTE_ADDR="192.0.2.1", **headers).get(LOGIN)

    assert client_address(request) == address


def test_a_unix_socket_has_no_address(browser, alice):
    assert client_address(RequestFactory(REMOTE_ADDR="").get(LOGIN)) is None
    window = browser("")
    assert fail(window, "alice", LIMIT)[-1] == 429

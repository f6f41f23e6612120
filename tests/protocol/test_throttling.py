"""A caller that asks too much waits; others do not wait for it."""

from datetime import timedelta
from functools import partial
from unittest.mock import ANY

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from orchestrator.models import RateLimit
from orchestrator.web.throttling import Shares, shares
from sessions_app.models import Task
from tests.client import Api
from tests.commands.conftest import run_for_output
from tests.races.together import together

LOGIN = "/admin/login/"
ASKED = {"target": "finance", "task": {"task_type": "notification"}}


@pytest.fixture(autouse=True)
def a_new_minute():
    """No test is cut in two by the end of a minute of the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(second FROM clock_timestamp())::float")
        (second,) = cursor.fetchone()
        if second > 50:
            cursor.execute("SELECT pg_sleep(%s)", [60 - second])
    shares.forget()
    yield
    shares.forget()


def limits(answer):
    """``{"caller": {"q": 3, "w": 60, "r": 1, "t": 60}, …}`` of both headers."""
    found = {}
    for header in ("RateLimit-Policy", "RateLimit"):
        for item in answer.headers[header].split(", "):
            name, *parameters = item.split(";")
            known = found.setdefault(name.strip('"'), {})
            known.update({p[0]: int(p[2:]) for p in parameters})
    return found


def test_too_many_requests_of_one_caller_are_429_and_nothing_is_kept(api, bot, payer, settings):
    settings.RATE_LIMIT_PER_MINUTE = 2
    request = api(bot, **{"Idempotency-Key": "k"})
    assert [api(bot).get("/tasks").status_code for _ in range(2)] == [200, 200]

    answer = request.post("/tasks/route", ASKED)

    assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert not Task.objects.exists()
    assert api(payer).get("/tasks").status_code == 200
    settings.RATE_LIMIT_PER_MINUTE = 0
    assert request.post("/tasks/route", ASKED).status_code == 202


def test_the_next_minute_is_another(api, bot, settings):
    settings.RATE_LIMIT_PER_MINUTE = 1
    assert [api(bot).get("/tasks").status_code for _ in range(2)] == [200, 429]
    RateLimit.objects.update(window=F("window") - 1)
    shares.forget()
    assert api(bot).get("/tasks").status_code == 200


def test_a_batch_counts_for_as_many_requests_as_it_has_tasks(api, bot, settings):
    settings.RATE_LIMIT_PER_MINUTE = 10
    batch = {"tasks": [ASKED | {"idempotency_key": f"k{n}"} for n in range(6)]}

    answers = [api(bot).post("/tasks/route:batch", batch) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert Task.objects.count() == 6
    assert [limits(answer)["caller"]["r"] for answer in answers] == [4, 3]
    # What is left is for smaller ones.
    assert [api(bot).get("/tasks").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_batch_larger_than_the_limit_never_passes_and_takes_nothing(api, bot, settings):
    settings.RATE_LIMIT_PER_MINUTE = 5
    batch = {"tasks": [ASKED | {"idempotency_key": f"k{n}"} for n in range(6)]}
    assert api(bot).post("/tasks/route:batch", batch).status_code == 429
    assert api(bot).get("/tasks").status_code == 200


def test_each_answer_says_how_much_is_left(api, bot, settings):
    settings.RATE_LIMIT_PER_MINUTE, settings.ADDRESS_LIMIT_PER_MINUTE = 3, 100
    answers = [api(bot).get("/tasks") for _ in range(4)]
    assert [limits(answer)["caller"]["r"] for answer in answers] == [2, 1, 0, 0]
    found = limits(answers[0])
    assert all(1 <= limit.pop("t") <= 61 for limit in found.values())
    assert found == {"address": {"q": 100, "w": 60, "r": 99}, "caller": {"q": 3, "w": 60, "r": 2}}


def test_another_process_counts_the_same(bot):
    here, there = Shares(), Shares()
    passed = [not process.count("caller", "agent:x", 40).exceeded for process in [here, there] * 30]
    # One may be refused early while the other holds a share; together they never pass too many.
    assert passed.count(True) <= 40
    assert passed.count(True) >= 38


@pytest.mark.parametrize("quota", [1, 7, 100, 1000])
def test_simultaneous_requests_never_exceed_it(quota):
    processes = [Shares(), Shares(), Shares()]

    def ask(process):
        return sum(
            not process.count("caller", "agent:x", quota).exceeded for _ in range(quota // 2 + 2)
        )

    passed = sum(together([partial(ask, process) for process in processes * 2]))
    assert quota * 0.9 <= passed <= quota


def test_the_database_is_not_asked_each_time(django_assert_max_num_queries):
    process = Shares()
    with django_assert_max_num_queries(1):
        for _ in range(300):
            assert not process.count("caller", "agent:x", 6000).exceeded


def test_who_is_refused_costs_the_database_nothing(django_assert_max_num_queries):
    process = Shares()
    process.count("caller", "agent:x", 1)
    process.count("caller", "agent:x", 1)
    with django_assert_max_num_queries(0):
        for _ in range(50):
            assert process.count("caller", "agent:x", 1).exceeded


def test_an_address_is_limited_before_anybody_is_asked_who_they_are(settings):
    settings.ADDRESS_LIMIT_PER_MINUTE = 2
    guess = Api(Authorization="Bearer ork_guess")
    assert [guess.get("/tasks").status_code for _ in range(3)] == [401, 401, 429]
    answer = guess.get("/tasks")
    assert answer.json()["code"] == "throttled"
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert limits(answer)["address"]["r"] == 0
    assert guess.get("/status").status_code == 200
    assert guess.get("/health").status_code == 200
    page = guess.get("/admin/login/")
    assert page.status_code == 429
    assert b"Too many requests came from this address" in page.content


@pytest.mark.parametrize(
    ("proxies", "forwarded", "same"),
    [
        (0, ["1.1.1.1", "2.2.2.2"], True),  # nobody is believed
        (1, ["1.1.1.1", "2.2.2.2"], False),
        (1, ["9.9.9.9, 1.1.1.1", "8.8.8.8, 1.1.1.1"], True),  # what the caller sent itself
        (2, ["1.1.1.1, 5.5.5.5", "2.2.2.2, 5.5.5.5"], False),
        (1, ["2001:db8::1", "2001:db8::ffff"], True),  # one network of IPv6
        (1, ["2001:db8:0:1::1", "2001:db8:0:2::1"], False),
        (1, ["nonsense", "nothing"], True),
        (3, ["1.1.1.1", "2.2.2.2"], True),  # fewer hops than proxies: not by way of ours
    ],
)
def test_the_address_is_the_one_that_our_own_proxy_saw(settings, proxies, forwarded, same):
    settings.ADDRESS_LIMIT_PER_MINUTE, settings.TRUSTED_PROXIES = 1, proxies
    answers = [Api(**{"X-Forwarded-For": hops}).get("/tasks").status_code for hops in forwarded]
    assert answers == [401, 429 if same else 401]


def test_logins_are_limited_apart_from_an_addresss_other_requests(settings, bot, api):
    settings.LOGIN_LIMIT_PER_MINUTE, settings.ADDRESS_LIMIT_PER_MINUTE = 2, 5
    guess, form = Client(), {"username": "alice", "password": "wrong"}

    assert [guess.post(LOGIN, form).status_code for _ in range(3)] == [200, 200, 429]
    refused = guess.post(LOGIN, form)
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert limits(refused) == {"login": {"q": 2, "w": 60, "r": 0, "t": ANY}}
    assert guess.post("/admin/reauthenticate/", form).status_code == 429
    assert guess.get("/admin/single-sign-on/callback/").status_code == 429
    # The others count as before: the form, and agents at the same address.
    assert guess.get(LOGIN).status_code == 200
    answer = api(bot).get("/tasks")
    assert (answer.status_code, limits(answer)["address"]["r"]) == (200, 3)


def minute_of_the_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT floor(extract(epoch FROM clock_timestamp()) / 60)::bigint")
        return cursor.fetchone()[0]


def test_a_minute_far_ahead_is_left_over_and_not_counted():
    ahead = minute_of_the_database() + 60
    RateLimit.objects.create(caller="agent:x", window=ahead, used=10)

    assert [Shares().count("caller", "agent:x", 2).exceeded for _ in range(3)] == [0, 0, 1]
    assert RateLimit.objects.get().window < ahead


def test_a_minute_that_another_process_has_just_begun_is_counted():
    RateLimit.objects.create(caller="agent:x", window=minute_of_the_database() + 1, used=9)

    assert [Shares().count("caller", "agent:x", 10).exceeded for _ in range(2)] == [False, True]


@pytest.mark.parametrize("wrong", [timedelta(hours=1), timedelta(hours=-1)])
def test_the_clock_of_the_host_does_not_matter(wrong):
    process = Shares()
    with time_machine.travel(timezone.now() + wrong):
        assert not process.count("caller", "agent:x", 1).exceeded
        assert process.count("caller", "agent:x", 1).exceeded
    assert process.count("caller", "agent:x", 1).exceeded
    assert Shares().count("caller", "agent:x", 1).exceeded


def test_minutes_other_than_the_present_are_purged():
    now = minute_of_the_database()
    for minute in (now - 2, now, now + 60):
        RateLimit.objects.create(caller=f"agent:{minute - now}", window=minute, used=1)
    run_for_output("purge")

    assert [row.caller for row in RateLimit.objects.all()] == ["agent:0"]


def test_metrics_are_limited_like_everything_else(settings):
    settings.ADDRESS_LIMIT_PER_MINUTE = 2
    assert [Api().get("/metrics").status_code for _ in range(3)] == [200, 200, 429]
    assert Api().get("/status").status_code == 200

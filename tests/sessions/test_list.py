"""Lists: by page, by key, and searched."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrator.web import pagination
from tests.database import without_guards
from tests.factories import AgentFactory, SessionFactory, session_in


@pytest.fixture
def list_sessions(api, bot):
    return lambda **query: api(bot).get("/sessions", **query)


def ids(answer):
    assert answer.status_code == 200, answer.content
    return [session["session_id"] for session in answer.json()["sessions"]]


def test_the_newest_comes_first(list_sessions, bot):
    made = [str(SessionFactory(agent=bot).pk) for _ in range(5)]
    answer = list_sessions()
    assert ids(answer) == made[::-1]
    assert {n: answer.json()[n] for n in ("total", "page", "page_size")} == {
        "total": 5,
        "page": 1,
        "page_size": 20,
    }


def test_pages_follow_each_other(list_sessions, bot):
    made = [str(SessionFactory(agent=bot).pk) for _ in range(5)][::-1]
    pages = [ids(list_sessions(page=number, page_size=2)) for number in (1, 2, 3, 4)]
    assert pages == [made[:2], made[2:4], made[4:], []]
    assert list_sessions(page=4, page_size=2).json()["total"] == 5


@pytest.mark.parametrize("name", ["page", "page_size"])
@pytest.mark.parametrize("value", ["0", "-1", "abc", "", "1.5", "1e3", "٣", " 1", "9" * 30])
def test_a_number_that_is_none_is_refused_by_name(list_sessions, name, value):
    answer = list_sessions(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == name


def test_more_than_a_hundred_a_page_is_a_hundred(list_sessions):
    assert list_sessions(page_size=1000).json()["page_size"] == 100


def test_by_key_nothing_is_repeated_or_lost_while_rows_are_added(list_sessions, bot):
    made = [str(SessionFactory(agent=bot).pk) for _ in range(45)][::-1]
    seen, cursor = [], ""
    while cursor is not None:
        answer = list_sessions(cursor=cursor, page_size=10)
        seen += ids(answer)
        cursor = answer.json()["next_cursor"]
        SessionFactory(agent=bot)
    assert seen == made


def test_by_key_a_search_stays_a_search(list_sessions, bot):
    active = [str(session_in("active", bot).pk) for _ in range(3)][::-1]
    SessionFactory(agent=bot)
    first = list_sessions(cursor="", page_size=2, state="active")
    rest = list_sessions(cursor=first.json()["next_cursor"], page_size=2, state="active")
    assert ids(first) + ids(rest) == active
    assert rest.json()["next_cursor"] is None


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!",
        "é",
        "bnVsbA",  # null
        "W10",  # []
        "WyJhIiwiYiJd",  # ["a","b"]
        "WzEsMl0",  # [1,2]
        "W251bGwsbnVsbF0",  # [null,null]
        "eyJhIjoxfQ",  # {"a":1}
        "A" * 5000,
    ],
)
def test_a_cursor_of_somebody_elses_making_is_refused(list_sessions, cursor):
    answer = list_sessions(cursor=cursor)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("state", "active", [1]),
        ("state", "failed", []),
        ("agent_role", "billing", [2]),
        ("agent_role", "support-agent", [1, 0]),
        ("task_id", "ticket 7", [0]),
        ("task_id", "ticket 8", []),
    ],
)
def test_a_list_can_be_searched(api, name, value, expected):
    agent = AgentFactory(roles=["support-agent", "billing"])
    made = [
        SessionFactory(agent=agent, task_id="ticket 7"),
        session_in("active", agent),
        SessionFactory(agent=agent, agent_role="billing"),
    ]
    found = ids(api(agent).get("/sessions", **{name: value}))
    assert found == [str(made[index].pk) for index in expected]


def test_a_list_can_be_searched_by_time(list_sessions, bot):
    first, second = SessionFactory(agent=bot), SessionFactory(agent=bot)
    at = second.created_at
    assert ids(list_sessions(created_before=at.isoformat())) == [str(first.pk)]
    assert ids(list_sessions(created_after=first.created_at.isoformat())) == [str(second.pk)]
    assert ids(list_sessions(created_after=at.isoformat())) == []
    both = {"created_after": (first.created_at - timedelta(seconds=1)).isoformat()}
    assert ids(list_sessions(**both, created_before=at.isoformat())) == [str(first.pk)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "done"),
        ("created_after", "yesterday"),
        ("created_before", "2026-13-01T00:00:00Z"),
        ("status", "active"),
        ("limit", "5"),
        ("State", "active"),
        ("agent_role", "a\x00b"),
    ],
)
def test_a_search_for_nonsense_is_refused_by_name(list_sessions, name, value):
    answer = list_sessions(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == name


@pytest.fixture
def few_are_counted(monkeypatch):
    """As if three rows were many: nobody makes ten thousand to see what happens then."""
    monkeypatch.setattr(pagination, "COUNTED", 3)
    pagination._first_page.cache_clear()  # it says so in its SQL
    yield
    pagination._first_page.cache_clear()


def test_a_total_is_exact_while_there_are_few(list_sessions, bot, few_are_counted):
    SessionFactory.create_batch(3, agent=bot)
    answer = list_sessions().json()
    assert (answer["total"], answer["total_is_estimate"]) == (3, False)


def test_a_total_of_many_says_that_it_is_an_estimate(list_sessions, bot, few_are_counted):
    SessionFactory.create_batch(5, agent=bot)
    answer = list_sessions().json()
    assert answer["total_is_estimate"] is True
    assert answer["total"] > 3
    assert len(answer["sessions"]) == 5


def test_an_estimate_is_of_what_is_searched_for(list_sessions, bot, few_are_counted):
    SessionFactory.create_batch(5, agent=bot)
    session_in("active", bot)
    answer = list_sessions(state="active").json()
    assert (answer["total"], answer["total_is_estimate"]) == (1, False)


@pytest.mark.parametrize("size", ["5", "05"])
def test_what_is_too_long_to_be_counted_is_not_counted_again_at_once(
    list_sessions, bot, few_are_counted, size
):
    """By kept SQL and by SQL that is written anew."""
    SessionFactory.create_batch(5, agent=bot)
    first = list_sessions(page_size=size).json()
    with CaptureQueriesContext(connection) as sent:
        again = list_sessions(page_size=size).json()
    assert again == first
    assert not [query for query in sent if "count(" in query["sql"].lower()]
    assert list_sessions(page_size=size, state="active").json()["total"] == 0


def test_a_long_list_that_was_emptied_says_so_at_once(list_sessions, bot, few_are_counted):
    made = SessionFactory.create_batch(5, agent=bot)
    assert list_sessions().json()["total_is_estimate"] is True
    with without_guards() as cursor:
        cursor.execute("DELETE FROM sessions WHERE id <> %s", [made[0].pk])
    answer = list_sessions().json()
    assert (answer["total"], answer["total_is_estimate"]) == (1, False)
    assert ids(list_sessions()) == [str(made[0].pk)]


def test_pages_by_number_end_where_nothing_is_counted_any_more(list_sessions, bot, few_are_counted):
    made = [str(SessionFactory(agent=bot).pk) for _ in range(5)][::-1]
    assert ids(list_sessions(page=3, page_size=1)) == made[2:3]
    refused = list_sessions(page=4, page_size=1)
    assert refused.status_code == 400
    [error] = refused.json()["errors"]
    assert error["field"] == "page"
    assert "cursor" in error["detail"]

"""The database between tests, and the people who are in most of them.

State of a whole run: the PostgreSQL that tests/environment.py starts, its migrated template, and
DATA_DIR. State of each worker, from its first test to its last: one database copied from the
template, its two roles, Django's connection as the application's role, and the notifier's thread.
Every test finds the tables and the cache empty; sequences go on. A module that overrides the
fixture ``database`` keeps its rows until it ends.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection

from approvals_app.policy import conditions, evaluation, evaluator
from audit_app.live.notifier import notifier
from sessions_app.models import Agent
from tests.client import Api
from tests.database import (
    become_the_application,
    become_the_superuser,
    create_database,
    drop_database,
    empty,
)
from tests.factories import AgentFactory, ReviewerFactory

FIRST = (
    "tests/faults/test_killing.py",
    "tests/browser/test_pictures.py",
    "tests/faults/test_database_away.py",
    "tests/hostile/",
    "tests/project/test_run.py",
    "tests/browser/test_accessibility.py",
    "tests/clients/",
    "tests/fuzz/",
    "tests/live/",
    "tests/browser/",
    "tests/commands/",
    "tests/protocol/",
)
"""What takes longest. Much of it waits: there are more workers than cores, so that it does so
beside what computes, and no worker is left with it when the others are done."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((n for n, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: Any
) -> Iterator[None]:
    """A database of the tests' own, one for each worker, whichever DATABASE_URL names.

    pytest-django's fixture would migrate each of them.
    """
    name = connection.creation._get_test_db_name()
    with django_db_blocker.unblock():
        create_database(name)
        become_the_application()
    yield
    with django_db_blocker.unblock():
        notifier.stop()
        become_the_superuser()
        drop_database(name)


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Real transactions, committed: the guard judges at commit. Emptied after each test.

    A test that is marked ``pure`` gets none, and fails where it asks for one.
    """
    if request.node.get_closest_marker("pure"):
        yield
        return
    request.getfixturevalue("django_db_setup")
    with request.getfixturevalue("django_db_blocker").unblock():
        yield
        connection.rollback() if connection.in_atomic_block else None
        empty()
        cache.clear()
        evaluation._latest = []


@pytest.fixture
def superuser() -> Iterator[None]:
    """Django's own connections are a superuser's, who may do what the application's role may not:
    what is refused now, a trigger or a constraint refuses."""
    become_the_superuser()
    yield
    become_the_application()


@pytest.fixture
def alice() -> User:
    """Reviews for finance."""
    return ReviewerFactory(username="alice", roles=["finance"])


@pytest.fixture
def bob() -> User:
    """Reviews for finance too."""
    return ReviewerFactory(username="bob", roles=["finance"])


@pytest.fixture
def charlie() -> User:
    """Reviews for sre, not for finance."""
    return ReviewerFactory(username="charlie", roles=["sre"])


@pytest.fixture
def bot() -> Agent:
    """Asks; nobody owns it."""
    return AgentFactory(name="bot", roles=["support-agent"])


@pytest.fixture
def payer() -> Agent:
    """Executes what is addressed to finance."""
    return AgentFactory(name="payer", roles=["finance"])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes nothing late that isn't hostile."""
    monkeypatch.setattr(evaluator, "TIME_LIMIT", 30.0)
    monkeypatch.setattr(conditions, "TASK_LIMIT", 60.0)


@pytest.fixture
def api() -> Callable[..., Api]:
    """``api(agent)`` or ``api(user=alice)``: the API as that caller sees it."""
    return Api

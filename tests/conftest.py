"""The database between tests, and the people who are in most of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

from audit_app.live.notifier import bell
from sessions_app.models import Agent
from tests.client import Api
from tests.database import (
    become_the_application,
    become_the_superuser,
    empty,
    remove_roles,
)
from tests.factories import AgentFactory, ReviewerFactory


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None,
    django_db_modify_db_settings: None,
    django_db_blocker: Any,
    django_db_keepdb: bool,
) -> Iterator[None]:
    """A database of the tests' own.

    pytest-django's fixture makes one only where a test asks for ``db``; without it, the tests would
    run in, and empty, the database that DATABASE_URL names.
    """
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=django_db_keepdb)
        name = connection.settings_dict["NAME"]
        assert name.startswith("test_")
        become_the_application()
    yield
    with django_db_blocker.unblock():
        become_the_superuser()
        teardown_databases(made, verbosity=0, keepdb=django_db_keepdb)
        if not django_db_keepdb:
            remove_roles(name)


@pytest.fixture(autouse=True)
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Real transactions, committed: the guard judges at commit. Emptied after each test."""
    with django_db_blocker.unblock():
        yield
        connection.rollback() if connection.in_atomic_block else None
        empty()
        cache.clear()


@pytest.fixture(scope="session", autouse=True)
def silence(django_db_setup: None) -> Iterator[None]:
    """The bell's connections would keep the test database from being dropped."""
    yield
    bell.stop()


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
def api() -> Callable[..., Api]:
    """``api(agent)`` or ``api(user=alice)``: the API as that caller sees it."""
    return Api

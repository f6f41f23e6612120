"""/health says whether the database does its work, writes included."""

import pytest
from django.db import connection
from django.test import Client, override_settings

from orchestrator.ops.health import write_check
from tests.client import Api


@pytest.fixture(autouse=True)
def check_each_time():
    write_check.forget()
    yield
    write_check.forget()


@pytest.fixture
def setting():
    """``setting("name = value")`` for this connection, until the test ends."""
    changed = []

    def change(assignment):
        changed.append(assignment.split()[0])
        with connection.cursor() as cursor:
            cursor.execute(f"SET {assignment}")

    yield change
    with connection.cursor() as cursor:
        for name in changed:
            cursor.execute(f"RESET {name}")


def ask_health():
    answer = Api().get("/health")
    return answer.status_code, answer.json()["database"]


def test_a_database_that_writes_is_well():
    assert ask_health() == (200, "ok")


def test_a_database_that_only_reads_is_not(setting):
    setting("default_transaction_read_only = on")
    answer = Api().get("/health")
    assert (answer.status_code, answer.json()["database"]) == (503, "writes fail")
    assert int(answer.headers["Retry-After"]) > 0


def test_nor_is_one_that_can_write_no_file(superuser, setting):
    """As on a full disk, where a row may still find room in a page that is there."""
    setting("temp_file_limit = 0")
    assert ask_health() == (503, "writes fail")


def test_writes_are_checked_once_a_second_and_not_each_time(django_assert_num_queries):
    assert ask_health() == (200, "ok")
    with django_assert_num_queries(1):
        assert ask_health() == (200, "ok")


@pytest.mark.parametrize("path", ["/health", "/status", "/metrics"])
@override_settings(ALLOWED_HOSTS=[".orchestrator.example"], SECURE_SSL_REDIRECT=True)
def test_probes_ask_by_address(path):
    """A kubelet and Prometheus know a process by its address alone, and speak plain HTTP."""
    assert Client().get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200


@override_settings(ALLOWED_HOSTS=[".orchestrator.example"])
def test_nothing_else_is_answered_under_another_host():
    answer = Client().get("/tasks", headers={"host": "10.1.2.3:8000"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_host")

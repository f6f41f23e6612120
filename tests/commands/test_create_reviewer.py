"""Operators create people who review and can do nothing else."""

import io
import re

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User

from tests.commands.conftest import expect_failure, run_for_output
from tests.factories import TaskFactory, the_approval


@pytest.fixture
def type_input(monkeypatch):
    """``type_input("…")``: what stands on standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_the_first_password_is_shown_once_on_a_line_of_its_own():
    out = run_for_output("create_reviewer", "dora", "--role", "finance", "--role", "legal")

    [password] = re.findall(r"^password: (\S{20,})$", out, re.MULTILINE)
    dora = authenticate(username="dora", password=password)
    assert dora == User.objects.get()
    assert sorted(group.name for group in dora.groups.all()) == ["finance", "legal"]


def test_a_reviewer_reviews_and_can_do_nothing_else(bot, api):
    run_for_output("create_reviewer", "dora", "--role", "finance")
    dora = User.objects.get(username="dora")
    approval = the_approval(TaskFactory(agent=bot))

    decided = api(user=dora).post(
        f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    )

    assert decided.status_code == 200
    assert (dora.is_staff, dora.is_superuser) == (True, False)
    assert dora.get_all_permissions() == set()


def test_a_group_that_exists_is_used(alice, run):
    made = run("create_reviewer", "dora", "--role", "finance", "--role", "finance")

    dora = User.objects.get(username="dora")
    assert len(made.pop("password")) >= 20
    assert made == {"user_id": dora.pk, "username": "dora", "roles": ["finance"]}
    assert list(Group.objects.all()) == list(alice.groups.all()) == list(dora.groups.all())


def test_a_password_can_be_read_and_is_not_printed(run, type_input):
    type_input("correct horse battery\n")

    made = run("create_reviewer", "dora", "--role", "finance", "--password-stdin")

    assert "password" not in made
    assert authenticate(username="dora", password="correct horse battery")


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "This password is too short."),
        ("password", "This password is too common."),
        ("dora1dora1", "The password is too similar to the username."),
    ],
)
def test_a_weak_password_is_refused_and_nothing_is_made(type_input, password, why):
    type_input(password + "\n")

    out, sentence = expect_failure(
        "create_reviewer", "dora1dora", "--role", "new", "--password-stdin"
    )

    assert out == ""
    assert why in sentence
    assert not User.objects.exists()
    assert not Group.objects.exists()


def test_an_existing_username_is_refused_and_nothing_changes(alice):
    assert expect_failure("create_reviewer", "alice", "--role", "new") == (
        "",
        "User alice already exists.",
    )
    assert [group.name for group in alice.groups.all()] == ["finance"]
    assert authenticate(username="alice", password="alice") == alice
    assert not Group.objects.filter(name="new").exists()


def test_a_username_has_no_blanks():
    _, sentence = expect_failure("create_reviewer", "dora the reviewer", "--role", "finance")

    assert sentence.startswith("Enter a valid username.")
    assert not User.objects.exists()


def test_a_username_is_kept_in_the_form_that_logging_in_looks_for():
    out = run_for_output("create_reviewer", "\N{LATIN SMALL LIGATURE FI}n", "--role", "finance")

    [password] = re.findall(r"^password: (\S{20,})$", out, re.MULTILINE)
    assert authenticate(username="fin", password=password) == User.objects.get()

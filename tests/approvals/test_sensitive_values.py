"""Sensitive values are masked on every page; whoever lets them be shown is recorded."""

import json

import pytest

from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import TaskFactory, find_approval

SECRET = "hunter2-hunter2-hunter24"
MASK = "••• sensitive, 24 characters"
DATA = {"db": {"password": SECRET, "host": "db-1"}, "command": f"psql -W {SECRET} -c 'SELECT 1'"}
SHOWN = "approval.sensitive_shown"


@pytest.fixture
def approval(bot):
    return find_approval(TaskFactory(agent=bot, data=DATA | {"command": "psql"}), "finance")


@pytest.fixture
def window(client, alice):
    client.force_login(alice)
    return client


def page_of(row, rest="change/"):
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{rest}"


def list_shown():
    return list(Event.objects.filter(event_type=SHOWN).order_by("position"))


def test_no_page_has_the_value(approval, window):
    for path in (
        page_of(approval),
        page_of(approval, "edit/"),
        page_of(approval, "payload/"),
        page_of(approval, "payload/?exact"),
        page_of(approval, "payload/?masked"),
        page_of(approval.task),
        "/admin/",
    ):
        assert SECRET not in window.get(path).content.decode(), path
    assert MASK in window.get(page_of(approval)).content.decode()
    assert list_shown() == []


def test_no_list_repeats_it_in_a_fact(bot, window):
    approval = find_approval(TaskFactory(agent=bot, data=DATA, description=""), "finance")
    for path in ("/admin/", f"/admin/approvals_app/approval/bulk/?approval={approval.pk}"):
        assert SECRET not in window.get(path).content.decode()


def test_a_click_shows_it_and_is_recorded(approval, window, alice):
    page = window.get(page_of(approval)).content.decode()
    assert f'action="{page_of(approval, "payload/")}"' in page
    assert "Show 1 sensitive value<" in page

    shown = window.post(page_of(approval, "payload/"))

    assert json.loads(shown.content)["data"]["db"]["password"] == SECRET
    event = list_shown()[0]
    assert (event.actor, event.trace_id) == ("human:alice", approval.task.trace_id)
    assert event.metadata["paths"] == ["data.db.password"]
    assert event.metadata["approval_id"] == str(approval.pk)
    assert SECRET not in event.entry


def test_the_exact_bytes_are_recorded_too(approval, window):
    assert (
        "Download the exact bytes"
        in window.get(page_of(approval, "payload/?exact")).content.decode()
    )
    exact = window.post(page_of(approval, "payload/?exact"))
    assert exact.content == approval.task.payload_bytes
    assert len(list_shown()) == 1


def test_nobody_gets_it_who_may_not_see_the_approval(approval, charlie, client):
    client.force_login(charlie)
    assert client.post(page_of(approval, "payload/")).status_code == 404
    client.logout()
    assert client.post(page_of(approval, "payload/")).status_code == 302
    assert list_shown() == []


def test_without_sensitive_values_nothing_is_asked_and_nothing_recorded(bot, window):
    approval = find_approval(TaskFactory(agent=bot, data={"a": 1}), "finance")
    assert "sensitive" not in window.get(page_of(approval)).content.decode()
    assert json.loads(window.get(page_of(approval, "payload/")).content)["data"] == {"a": 1}
    assert list_shown() == []


def test_an_editor_who_never_saw_it_keeps_it(approval, window):
    page = window.get(page_of(approval, "edit/"))
    values = page.context["values"]
    form = {
        "description": values["description"],
        "data_json": values["data"].replace("db-1", "db-2"),
        "context_json": values["context"],
        "notes": "The new host.",
        "payload_digest": approval.payload_digest,
    }
    assert window.post(page_of(approval, "edit/"), form).status_code == 302
    task = Task.objects.get(pk=approval.task_id)
    assert task.data["db"] == {"password": SECRET, "host": "db-2"}
    assert list_shown() == []


def test_an_editor_can_not_move_what_they_did_not_see(approval, window):
    values = window.get(page_of(approval, "edit/")).context["values"]
    form = {
        "description": values["description"],
        "data_json": values["data"].replace('"host": "db-1"', f'"host": "{MASK}"'),
        "context_json": values["context"],
        "notes": "",
        "payload_digest": approval.payload_digest,
    }
    answer = window.post(page_of(approval, "edit/"), form)
    assert answer.status_code == 400
    assert "be moved or changed in part" in answer.content.decode()


def test_a_revision_says_that_it_changed_and_not_to_what(approval, window, api, bot):
    data = {**approval.task.data, "db": {"password": "another", "host": "db-1"}}
    answer = api(bot).post(f"/tasks/{approval.task_id}/revise", {"data": data}).json()
    current = next(each for each in answer["approvals"] if each["status"] == "pending")
    address = f"/admin/approvals_app/approval/{current['approval_id']}/change/"
    page = window.get(address).content.decode()
    assert "••• sensitive, 7 characters, changed" in page
    assert SECRET not in page
    assert "another" not in page

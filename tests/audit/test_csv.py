"""Any list as a file: what its filters show, to whoever may see it, and no formula in it."""

import codecs
import csv
import io
import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit_app.base import csv_export
from audit_app.webhooks import operations
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    policy,
)

LISTS = {
    "approvals": "/admin/approvals_app/approval/",
    "tasks": "/admin/sessions_app/task/",
    "sessions": "/admin/sessions_app/agentsession/",
    "agents": "/admin/sessions_app/agent/",
    "events": "/admin/audit_app/event/",
    "people": "/admin/auth/user/",
    "groups": "/admin/auth/group/",
    "webhooks": "/admin/audit_app/webhook/",
    "policies": "/admin/policies/",
}
TABS = {"waiting": "", "decided": "?tab=decided", "asked": "?tab=asked"}


def read(client, name, query=""):
    answer = client.get(f"{LISTS[name]}csv/{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "no-store" in answer.headers["Cache-Control"]
    return parse(answer)


def parse(answer):
    """The rows, as a spreadsheet reads them: UTF-8, by the byte order mark."""
    content = b"".join(answer.streaming_content)
    assert content.startswith(codecs.BOM_UTF8)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


@pytest.fixture
def root(database):
    return ReviewerFactory(username="root", is_superuser=True)


@pytest.fixture
def work(bot):
    SessionFactory(agent=bot)
    told = {"url": "https://hooks.example/", "event_types": [], "roles": []}
    operations.create_webhook("ledger", by=OPS, **told)
    policy("wires", "approve", when={"task_type": "wire_*"})
    return [TaskFactory(agent=bot), TaskFactory(agent=bot, target="sre")]


@pytest.mark.parametrize("name", sorted(LISTS))
def test_every_list_can_be_downloaded_and_says_so(client, root, work, alice, name):
    client.force_login(root)
    rows = read(client, name)
    assert rows
    assert all(row["id"] for row in rows)
    page = client.get(LISTS[name]).content.decode()
    assert 'href="csv/"' in page or f'href="{LISTS[name]}csv/"' in page


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_of_the_inbox_can_be_downloaded(client, alice, charlie, database, tab):
    """What waits for alice, what she said, and what her own agent asked; never anybody else's."""
    approve_task(TaskFactory(description="said"), by=alice)
    TaskFactory(description="waiting")
    TaskFactory(description="asked", agent=AgentFactory(owner=alice), target="sre")
    TaskFactory(description="of others", target="sre")
    client.force_login(alice)

    page = client.get(f"/admin/{TABS[tab]}").content.decode()
    assert f'href="/admin/inbox/csv/{TABS[tab]}"' in page
    answer = client.get(f"/admin/inbox/csv/{TABS[tab]}")
    [row] = parse(answer)
    told = {"waiting": "waiting", "decided": "said", "asked": "asked"}[tab]
    assert told in row.values()
    assert client.post(f"/admin/inbox/csv/{TABS[tab]}").status_code == 403


def test_a_narrowed_inbox_is_downloaded_narrowed(client, alice, database):
    TaskFactory(task_type="wire_approval")
    TaskFactory(task_type="refund_approval")
    client.force_login(alice)
    answer = client.get("/admin/inbox/csv/?type=wire_approval")
    [row] = parse(answer)
    assert row["task_task_type"] == "wire_approval"


def test_filters_and_search_are_kept(client, root, work, charlie):
    client.force_login(root)
    assert [row["Of"] for row in read(client, "tasks", "?role=sre")] == ["sre"]
    assert len(read(client, "tasks", "?q=kettle")) == 2
    assert read(client, "tasks", "?q=elephant") == []
    assert 'href="csv/?q=kettle"' in client.get(f"{LISTS['tasks']}?q=kettle").content.decode()


def test_each_reads_their_own(client, work, charlie, bot):
    client.force_login(charlie)
    assert [row["Of"] for row in read(client, "tasks")] == ["sre"]
    outsider = ReviewerFactory(username="nobody", roles=[])
    client.force_login(outsider)
    assert client.get(f"{LISTS['tasks']}csv/").status_code == 403
    client.logout()
    assert client.get(f"{LISTS['tasks']}csv/").status_code == 302


@pytest.mark.parametrize(
    "first",
    [
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
        "\n=",
        " =",
        '"=',
        "'=",
        ' \n "+',
        "\u200b=",
        "\uff1d",
        "\xa0@",
    ],
)
def test_no_cell_is_a_formula(client, root, bot, first):
    TaskFactory(agent=bot, description=f"{first}HYPERLINK(1)")
    client.force_login(root)
    [row] = read(client, "tasks")
    shown = f"{first}HYPERLINK(1)".strip()  # as on the screen
    assert row["Task"] == (f"'{shown}" if first.strip() else shown)


def test_a_long_list_is_read_batch_by_batch_and_nothing_twice(client, root, work, bot, monkeypatch):
    monkeypatch.setattr(csv_export, "BATCH", 3)
    for _ in range(8):
        TaskFactory(agent=bot)
    client.force_login(root)
    with CaptureQueriesContext(connection) as caught:
        ids = [row["id"] for row in read(client, "tasks")]
    assert len(ids) == len(set(ids)) == 10
    assert sum("LIMIT 3" in query["sql"] for query in caught) == 4


def test_what_a_list_can_not_be_asked_its_file_can_not(client, root):
    client.force_login(root)
    assert client.get(f"{LISTS['tasks']}csv/?q=%00").status_code == 400
    assert client.get(f"{LISTS['tasks']}csv/?q={'x' * 300}").status_code == 400
    assert client.post(f"{LISTS['tasks']}csv/").status_code == 403
    assert client.get(f"{LISTS['tasks']}csv/?nonsense=1").status_code < 500


def test_roles_are_one_cell(client, root):
    AgentFactory(name="many", roles=["a", "b"])
    client.force_login(root)
    assert read(client, "agents")[0]["Roles"] == "a, b"


def test_people_are_an_administrators_and_their_passwords_nobodys(client, root, alice):
    client.force_login(root)
    assert not any("password" in name for name in read(client, "people")[0])
    client.force_login(alice)
    assert client.get(f"{LISTS['people']}csv/").status_code == 403


def headings(page):
    """Those of the columns of a page's table, without what the eye does not see."""
    head = re.search(r"<thead.*?</thead>", page, re.DOTALL)[0]
    cells = re.findall(r"<th[^>]*>(.*?)</th>", head, re.DOTALL)
    # After the first line come the icons of sorting.
    texts = [unescape(re.sub(r"<[^>]+>", "", cell)).strip().partition("\n")[0] for cell in cells]
    return [text for text in texts if text and text not in ("Select", "Select all rows")]


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_file_begins_with_the_columns_of_the_screen(client, root, work, alice, name):
    client.force_login(root)
    shown = headings(client.get(LISTS[name]).content.decode())
    assert shown
    assert list(read(client, name)[0])[: len(shown)] == shown


@pytest.mark.parametrize("tab", TABS)
def test_so_does_each_tab_of_the_inbox(client, alice, database, tab):
    approve_task(TaskFactory(), by=alice)
    TaskFactory()
    TaskFactory(agent=AgentFactory(owner=alice), target="sre")
    client.force_login(alice)
    shown = headings(client.get(f"/admin/{TABS[tab]}").content.decode())
    rows = parse(client.get(f"/admin/inbox/csv/{TABS[tab]}"))
    assert shown
    assert list(rows[0])[: len(shown)] == shown


def test_what_the_inbox_shows_is_in_its_file(client, bot, alice, bob, database):
    policy(asks="2 finance", when={"task_type": "bulk_email"})
    data = {"amount": "1249.90", "currency": "EUR", "recipients": ["a", "b"]}
    task = TaskFactory(agent=bot, task_type="bulk_email", description="Grüße an Jörg", data=data)
    approve_task(task, by=bob)
    client.force_login(alice)
    [row] = parse(client.get("/admin/inbox/csv/"))
    assert row["Request"] == "Grüße an Jörg"
    assert (row["Agent"], row["task_from_role"]) == ("bot", "support-agent")
    assert row["Approvals"] == "finance 1/2"
    assert row["Amount"] == "1249.90 EUR 2 recipients"
    client.force_login(bob)
    [row] = parse(client.get("/admin/inbox/csv/?tab=decided"))
    assert (row["Your vote"], row["Outcome"]) == ("yes", "pending")


def test_what_policies_say_is_in_words(client, root, database):
    policy("wires", asks="2 finance, 1 legal", when={"task_type": "wire_*", "to_role": "bank"})
    client.force_login(root)
    [row] = read(client, "policies")
    assert row["When"] == "wire_* to bank"
    assert row["Then"] == "Asks 2 of finance and 1 of legal, 7 d, then rejects."

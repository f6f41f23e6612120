"""The sidebar, what is marked in it, and the way back."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from tests.factories import ReviewerFactory, TaskFactory, the_approval

LINK = re.compile(
    r'<a href="([^"]*)"( aria-current="page")?>\s*'
    r'<span class="material[^>]*>[^<]*</span>\s*<span>([^<]*)'
)
CRUMB = re.compile(r"<li>(?:<a href=\"([^\"]*)\">)?([^<]*)(?:</a>)?</li>")
ICON = re.compile(r"<span[^>]*material-symbols-outlined[^>]*>")


@pytest.fixture
def root(database):
    return ReviewerFactory(username="root", is_superuser=True)


def read(client, person, address):
    client.force_login(person)
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def entries(page):
    return [title for _, _, title in LINK.findall(page)]


def find_marked(page):
    return [title for _, current, title in LINK.findall(page) if current]


def crumbs(page):
    found = re.search(r'aria-label="Breadcrumbs".*?</nav>', page, re.DOTALL)
    return (
        [(unescape(name), unescape(link)) for link, name in CRUMB.findall(found[0])]
        if found
        else []
    )


def test_a_reviewer_has_four_entries_and_the_rest_is_folded(client, alice):
    page = read(client, alice, "/admin/")
    daily, folded = page.split('<details class="o-nav-group">')
    assert entries(daily) == ["Inbox", "History", "Delegation", "Dashboards"]
    assert "<summary>Administration</summary>" in folded
    assert entries(folded) == ["Policies", "Agents", "Audit events", "Sessions"]


def test_an_administrator_also_has_webhooks_people_and_groups(client, root):
    assert entries(read(client, root, "/admin/"))[4:] == [
        "Policies",
        "Agents",
        "Freezes",
        "MCP upstreams",
        "Webhooks",
        "People",
        "Groups",
        "Audit events",
        "Sessions",
    ]


def test_whoever_may_only_change_agents_is_offered_agents_alone(client, database):
    keeper = ReviewerFactory(username="keeper", roles=[])
    keeper.user_permissions.add(Permission.objects.get(codename="change_agent"))
    assert entries(read(client, keeper, "/admin/")) == ["Inbox", "Agents"]


def test_each_page_marks_its_entry_and_leads_back(client, root, alice, bot):
    task = TaskFactory(agent=bot)
    approval = f"/admin/approvals_app/approval/{the_approval(task).pk}/change/"
    lists = "/admin/approvals_app/approval/"
    inbox = [("Inbox", "/admin/")]
    pages = {
        "/admin/": ("Inbox", []),
        "/admin/?tab=decided": ("History", [*inbox, ("History", lists)]),
        approval: ("Inbox", inbox),
        f"{approval}?inbox=role%3Dfinance": ("Inbox", [("Inbox", "/admin/?role=finance")]),
        f"{approval}?from=history": ("History", [*inbox, ("History", lists)]),
        lists: ("History", inbox),
        "/admin/sessions_app/task/": ("History", [*inbox, ("History", lists)]),
        f"/admin/sessions_app/task/{task.pk}/change/": ("History", [*inbox, ("History", lists)]),
        f"/admin/timeline/task/{task.pk}/": ("History", [*inbox, ("History", lists)]),
        "/admin/away/": ("Delegation", inbox),
        "/admin/dashboards/": ("Dashboards", inbox),
        "/admin/policies/": ("Policies", [("Administration", "")]),
        "/admin/policies/simulate/": (
            "Policies",
            [("Administration", ""), ("Policies", "/admin/policies/")],
        ),
        f"/admin/auth/user/{alice.pk}/change/": (
            "People",
            [("Administration", ""), ("People", "/admin/auth/user/")],
        ),
        "/admin/auth/user/": ("People", [("Administration", "")]),
        "/admin/sessions_app/agent/add/": (
            "Agents",
            [("Administration", ""), ("Agents", "/admin/sessions_app/agent/")],
        ),
        "/admin/audit_app/event/": ("Audit events", [("Administration", "")]),
        "/admin/audit_app/webhook/": ("Webhooks", [("Administration", "")]),
    }
    found = {address: read(client, root, address) for address in pages}
    assert {a: (find_marked(page), crumbs(page)) for a, page in found.items()} == {
        a: ([entry], above) for a, (entry, above) in pages.items()
    }


def test_pages_of_my_account_are_in_the_menu_under_my_name(client, alice):
    page = read(client, alice, "/admin/notifications/")
    assert find_marked(page) == []
    assert crumbs(page) == [("Inbox", "/admin/")]
    menu = re.search(r'<nav class="o-menu".*?</nav>', page, re.DOTALL)[0]
    assert re.findall(r'<a href="[^"]*"[^>]*>([^<]*)', menu)[0] == "Notifications"
    assert reverse("admin:logout") in menu


def test_the_history_is_one_place_with_tabs(client, alice):
    for address, current in (
        ("/admin/approvals_app/approval/", "Approvals"),
        ("/admin/sessions_app/task/", "Tasks"),
    ):
        page = read(client, alice, address)
        tabs = re.search(r'aria-label="History".*?</nav>', page, re.DOTALL)[0]
        assert re.findall(r">([^<>]+)</a>", tabs) == ["Approvals", "Tasks", "My decisions"]
        assert re.search(r'aria-current="page">([^<]*)', tabs)[1] == current


def test_the_history_leads_to_decisions_that_lead_back_to_it(client, alice, bot):
    TaskFactory(agent=bot)
    page = read(client, alice, "/admin/approvals_app/approval/?status__exact=pending")
    links = re.findall(r'href="(/admin/approvals_app/approval/[0-9a-f-]+/change/[^"]*)"', page)
    assert links
    assert all("from=history" in link for link in links)


@pytest.mark.parametrize("address", ["/admin/", "/admin/auth/user/", "/admin/audit_app/event/"])
def test_no_icon_is_read_out_and_every_page_can_be_skipped_to(client, root, address):
    page = read(client, root, address)
    assert [icon for icon in ICON.findall(page) if 'aria-hidden="true"' not in icon] == []
    assert page.index('href="#content"') < page.index('id="nav-sidebar"')

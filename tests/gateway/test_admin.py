"""Upstreams in the admin, and the commands and operations behind it."""

import sys

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser

from audit_app.base.actors import Actor
from audit_app.base.errors import Forbidden, Invalid
from audit_app.models import Event
from orchestrator.gateway import operations
from orchestrator.gateway.errors import UpstreamAdministratorsOnly, UpstreamNameTaken
from orchestrator.gateway.models import Upstream
from tests.factories import OPS, ReviewerFactory
from tests.gateway.conftest import UPSTREAM

LIST = "/admin/gateway/upstream/"
URL = "https://93.184.216.34/mcp"


@pytest.fixture
def admin():
    """May change upstreams, and nothing else."""
    user = ReviewerFactory(username="ada", roles=["ops"])
    user.user_permissions.add(Permission.objects.get(codename="change_upstream"))
    return user


@pytest.fixture
def browser(admin):
    browser = Browser()
    browser.force_login(admin, backend="orchestrator.accounts.passwords.PasswordBackend")
    return browser


def add(browser, **fields):
    given = {"name": "notes", "url": URL, "role": "ops", "agent_roles": "", "credentials": ""}
    return browser.post(f"{LIST}add/", given | fields)


class TestAdding:
    def test_it_is_added_with_headers_that_nobody_sees_again(self, browser):
        answer = add(browser, credentials="Authorization: Bearer hush\nX-Team: ops")
        upstream = Upstream.objects.get()
        page = browser.get(answer.headers["Location"]).content.decode()
        assert "Authorization, X-Team" in page
        assert "hush" not in page
        assert "hush" not in upstream.secrets
        assert operations.read_secrets(upstream) == {
            "Authorization": "Bearer hush",
            "X-Team": "ops",
        }
        event = Event.objects.get(event_type="upstream.created")
        assert event.metadata["secret_names"] == ["Authorization", "X-Team"]
        assert "hush" not in event.entry
        assert event.actor == "human:ada"

    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("name", "No Tes", "Use lowercase letters, digits and hyphens."),
            ("url", "https://10.0.0.1/mcp", "GATEWAY_ALLOWED_NETWORKS can allow it."),
            ("url", "https://user:pw@93.184.216.34/", "credentials"),
            ("url", "file:///etc/passwd", "must begin with"),
            ("role", "nobody", "Select a valid choice"),
            ("credentials", "hush", "Line 1: write"),
            ("credentials", "Mcp-Session-Id: hush", "Line 1: this header can"),
            ("credentials", "X: a\nHost: hush", "Line 2: this header can"),
        ],
    )
    def test_what_is_wrong_is_named(self, browser, field, value, sentence):
        answer = add(browser, **{field: value})
        assert answer.status_code == 400
        assert sentence in answer.content.decode()
        assert not Upstream.objects.exists()

    def test_a_name_is_given_once(self, browser):
        add(browser)
        assert "already exists" in add(browser).content.decode()
        with pytest.raises(UpstreamNameTaken):
            operations.create_upstream("notes", by=OPS, role="ops", agent_roles=[], url=URL)


class TestChanging:
    def test_headers_do_not_follow_to_another_host(self, browser):
        add(browser, credentials="Authorization: Bearer hush")
        upstream = Upstream.objects.get()
        form = {"url": f"{URL}/v2", "role": "ops", "agent_roles": "support, sales"}
        browser.post(f"{LIST}{upstream.pk}/edit", form)
        upstream = Upstream.objects.get()
        assert (upstream.url, upstream.agent_roles) == (f"{URL}/v2", ["support", "sales"])
        assert upstream.secret_names == ["Authorization"]
        browser.post(f"{LIST}{upstream.pk}/edit", form | {"url": "https://93.184.216.35/mcp"})
        assert operations.read_secrets(Upstream.objects.get()) == {}
        event = Event.objects.filter(event_type="upstream.changed").latest("position")
        assert event.metadata["secret_names"] == []

    def test_headers_are_replaced_or_removed(self, browser):
        add(browser, credentials="Authorization: Bearer hush")
        path = f"{LIST}{Upstream.objects.get().pk}/credentials"
        assert browser.post(path, {"credentials": ""}).status_code == 400
        browser.post(path, {"credentials": "X-Key: new"})
        assert operations.read_secrets(Upstream.objects.get()) == {"X-Key": "new"}
        browser.post(path, {"credentials": "", "remove": "on"})
        assert operations.read_secrets(Upstream.objects.get()) == {}

    def test_it_is_disabled_and_enabled(self, browser):
        add(browser)
        path = f"{LIST}{Upstream.objects.get().pk}"
        browser.post(f"{path}/disable", {"reason": "It leaks.", "confirmed": "yes"})
        assert Upstream.objects.get().status == "disabled"
        browser.post(f"{path}/enable")
        assert Upstream.objects.get().status == "enabled"


class TestPrograms:
    def test_nobody_names_a_program_or_its_variables_in_the_admin(self, admin):
        by = Actor.human(admin)
        with pytest.raises(Forbidden):
            operations.create_upstream(
                "notes", by=by, role="ops", agent_roles=[], command=["/bin/sh"]
            )
        upstream = operations.create_upstream(
            "notes", by=OPS, role="ops", agent_roles=[], command=["/bin/true"]
        )
        with pytest.raises(Forbidden):
            operations.replace_secrets(upstream.pk, by=by, secrets={"LD_PRELOAD": "/opt/x.so"})

    def test_its_approvers_can_be_changed_there(self, browser):
        upstream = operations.create_upstream(
            "notes", by=OPS, role="ops", agent_roles=[], command=["/bin/true", "a b"]
        )
        page = browser.get(f"{LIST}{upstream.pk}/change/").content.decode()
        assert "/bin/true &#x27;a b&#x27;" in page
        browser.post(f"{LIST}{upstream.pk}/edit", {"role": "ops", "agent_roles": "support"})
        assert Upstream.objects.get().agent_roles == ["support"]
        assert browser.get(f"{LIST}{upstream.pk}/credentials").status_code == 403

    def test_a_test_lists_its_tools_with_their_task_types(self, browser, tmp_path):
        upstream = operations.create_upstream(
            "notebook",
            by=OPS,
            role="ops",
            agent_roles=[],
            command=UPSTREAM,
            secrets={"DONE": str(tmp_path / "done"), "PYTHONPATH": "."},
        )
        page = browser.post(f"{LIST}{upstream.pk}/test").content.decode()
        assert "mcp.notebook.delete_note" in page
        assert "Delete a note." in page

    def test_a_test_says_why_it_failed(self, browser):
        upstream = operations.create_upstream(
            "notes", by=OPS, role="ops", agent_roles=[], command=[sys.executable, "-c", "exit()"]
        )
        page = browser.post(f"{LIST}{upstream.pk}/test", follow=True).content.decode()
        assert "notes can&#x27;t be reached: " in page


class TestRights:
    def test_reviewers_see_and_change_nothing(self, alice):
        upstream = operations.create_upstream("notes", by=OPS, role="ops", agent_roles=[], url=URL)
        browser = Browser()
        browser.force_login(alice, backend="orchestrator.accounts.passwords.PasswordBackend")
        assert browser.get(LIST).status_code == 403
        assert browser.get(f"{LIST}add/").status_code == 403
        for action in ("edit", "credentials", "enable", "disable", "test"):
            assert browser.post(f"{LIST}{upstream.pk}/{action}").status_code == 403
        with pytest.raises(UpstreamAdministratorsOnly):
            operations.disable(upstream.pk, by=Actor.human(alice))

    def test_a_variable_has_a_name(self):
        with pytest.raises(Invalid):
            operations.create_upstream(
                "notes",
                by=OPS,
                role="ops",
                agent_roles=[],
                command=["/bin/true"],
                secrets={"A=B": "x"},
            )

"""What the issuer says of a person: their address, their name, and what they were called before."""

import pytest
from django.contrib.auth.models import Group, User

from approvals_app.models import Approval, PersonAlias
from audit_app.base.actors import Actor
from tests.factories import TaskFactory, the_approval

GUID = "5f1c0c1e-3f5b-4b0b-9a53-000000000001"


@pytest.fixture(autouse=True)
def finance() -> Group:
    return Group.objects.create(name="finance")


def sign_on(browser, provider, **claims):
    provider.claims |= claims
    window = browser()
    window.sign_on()
    return User.objects.get()


def names_of(user: User) -> set[str]:
    return set(user.aliases.values_list("name", flat=True))


class TestTheAddress:
    @pytest.mark.parametrize("verified", [True, "true", None])
    def test_it_is_taken_at_the_first_sign_in_and_at_every_other(self, provider, browser, verified):
        more = {} if verified is None else {"email_verified": verified}
        alice = sign_on(browser, provider, email="alice@corp.example", **more)
        assert alice.email == "alice@corp.example"

        alice = sign_on(browser, provider, email="alice.married@corp.example", **more)
        assert alice.email == "alice.married@corp.example"
        assert "ALICE@CORP.EXAMPLE" in names_of(alice)

    @pytest.mark.parametrize("verified", [False, "false", "no", 0, None])
    def test_one_that_is_not_verified_gets_no_mail_but_keeps_her_from_deciding(
        self, provider, browser, bot, verified
    ):
        alice = sign_on(browser, provider, email="x@corp.example", email_verified=verified)

        assert alice.email == ""
        TaskFactory(agent=bot, on_behalf_of="X@corp.example")
        assert not Approval.objects.waiting_for(Actor.human(alice)).exists()

    @pytest.mark.parametrize(
        "address",
        [None, "", 7, "alice", "a b@x.example", "a\n@x.example", "x" * 250 + "@x.example"],
    )
    def test_one_that_is_none_changes_nothing(self, provider, browser, address):
        sign_on(browser, provider, email="alice@corp.example")
        alice = sign_on(browser, provider, email=address)

        assert alice.email == "alice@corp.example"
        assert names_of(alice) == set()

    def test_one_that_the_issuer_does_not_send_is_left_alone(self, provider, browser):
        alice = sign_on(browser, provider)
        User.objects.update(email="alice@given.here.example")
        assert sign_on(browser, provider).email == "alice@given.here.example"
        assert names_of(alice) == set()

    def test_it_comes_from_userinfo_where_the_token_lacks_it(self, provider, browser):
        provider.userinfo = {**provider.claims, "email": "alice@corp.example"}
        assert sign_on(browser, provider).email == "alice@corp.example"

    def test_a_userinfo_endpoint_that_fails_costs_no_sign_in(self, provider, browser, caplog):
        provider.discovery["userinfo_endpoint"] = f"{provider.url}/gone"
        assert sign_on(browser, provider).email == ""
        lines = [r.getMessage() for r in caplog.records if "userinfo_endpoint" in r.getMessage()]
        assert len(lines) == 1

    def test_without_its_scope_nobody_is_asked_for_it(self, provider, browser, settings):
        settings.ADMIN_OIDC_SCOPES = "openid profile"
        sign_on(browser, provider)
        assert "/userinfo" not in provider.asked


@pytest.mark.parametrize(
    ("claims", "full_name"),
    [
        ({"given_name": "Alice", "family_name": "Smith", "name": "A. Smith"}, "Alice Smith"),
        ({"name": "Alice Smith"}, "Alice Smith"),
        ({"family_name": "Smith"}, "Smith"),
        ({"given_name": "Alice", "family_name": 7}, "Alice"),
        ({"name": ["Alice"]}, ""),
        ({"name": "x" * 151}, ""),
        ({"given_name": "Al\x00ice"}, ""),
        ({}, ""),
    ],
    ids=str,
)
def test_her_name_is_taken(provider, browser, claims, full_name):
    assert sign_on(browser, provider, **claims).get_full_name() == full_name


class TestSeparationOfDuties:
    @pytest.mark.parametrize(
        "name",
        ["alice", "alice.married", "ALICE@corp.example", "alice.married@corp.example"],
    )
    def test_she_never_decides_on_what_is_asked_for_her_by_any_name(
        self, provider, browser, bot, name
    ):
        sign_on(browser, provider, email="alice@corp.example")
        window = browser()
        provider.knows(
            "subject-of-alice", "alice.married", "finance", email="alice.married@corp.example"
        )
        window.sign_on()
        assert window.person == "alice"
        approval = the_approval(TaskFactory(agent=bot, on_behalf_of=name))

        page = window.read(f"/admin/approvals_app/approval/{approval.pk}/change/")
        assert "the agent asks on their behalf" in page
        assert 'value="approve"' not in page

    def test_a_name_that_two_people_had_keeps_both_from_deciding(self, bot, alice, bob):
        User.objects.filter(pk=alice.pk).update(username="alice.old")
        User.objects.filter(pk=bob.pk).update(username="alice")
        TaskFactory(agent=bot, on_behalf_of="alice")
        for person in User.objects.all():
            assert not Approval.objects.waiting_for(Actor.human(person)).exists()

    def test_what_was_asked_for_her_former_name_is_among_her_requests(self, provider, browser, bot):
        TaskFactory(agent=bot, on_behalf_of="Alice", description="Refund of old Alice")
        window = browser()
        window.sign_on()
        User.objects.update(username="alice.married")
        page = window.read("/admin/?tab=asked")
        assert "Refund of old Alice" in page

    def test_aliases_go_with_the_person(self, provider, browser):
        sign_on(browser, provider, preferred_username="alice")
        sign_on(browser, provider, preferred_username="alice.married")
        assert PersonAlias.objects.get().name == "ALICE.MARRIED"
        User.objects.get().delete()
        assert not PersonAlias.objects.exists()


class TestTheDecisionPage:
    def page(self, browser, bot, name):
        approval = the_approval(TaskFactory(agent=bot, on_behalf_of=name))
        window = browser()
        window.sign_on()
        return window.read(f"/admin/approvals_app/approval/{approval.pk}/change/")

    def test_it_says_on_whose_behalf_and_that_nobody_here_is_called_so(
        self, provider, browser, bot
    ):
        page = self.page(browser, bot, "Mara Lindqvist")
        assert "Mara Lindqvist" in page
        assert "nobody here has this name or address" in page

    def test_somebody_known_is_not_called_unknown(self, provider, browser, bot):
        User.objects.create(username="dora")
        User.objects.update(username="dora.new")
        for name in ("DORA", "dora.new"):
            page = self.page(browser, bot, name)
            assert "On behalf of" in page
            assert "nobody here has this name" not in page

    def test_nothing_is_said_where_nobody_is_named(self, provider, browser, bot):
        assert "On behalf of" not in self.page(browser, bot, "")


class TestClaimsAndGroups:
    def test_claims_may_be_nested(self, provider, browser, settings):
        settings.ADMIN_OIDC_USERNAME_CLAIM = "user.login.name"
        settings.ADMIN_OIDC_GROUPS_CLAIM = "resource_access.my.client.roles"
        provider.claims = {
            "sub": "subject-of-alice",
            "user": {"login.name": "alice"},
            "resource_access": {"my.client": {"roles": ["finance"]}},
        }
        window = browser()
        window.sign_on()
        assert window.person == "alice"
        assert [g.name for g in User.objects.get().groups.all()] == ["finance"]

    def test_guids_are_mapped_to_groups_and_nothing_else_counts(self, provider, browser, settings):
        Group.objects.create(name="sre")
        settings.ADMIN_OIDC_GROUPS_MAP = {GUID: "finance"}
        alice = sign_on(browser, provider, groups=[GUID, "sre"])
        assert [g.name for g in alice.groups.all()] == ["finance"]

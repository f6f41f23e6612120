"""Sign-ins at the issuer that fail: the person is told why, and the log has one line of it."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from tests.accounts import provider as issuers
from tests.accounts.conftest import START, ago, follow_redirect


@pytest.fixture(autouse=True)
def finance() -> Group:
    return Group.objects.create(name="finance")


def lines(caplog: Any, event: str) -> list[dict[str, Any]]:
    return [r.msg for r in caplog.records if isinstance(r.msg, dict) and r.msg["event"] == event]


def expect_refusal(window: Any, caplog: Any, reason: str, **answer: Any) -> str:
    """One line in the log gives ``reason``; nobody is signed in. The page that says so."""
    (line,) = lines(caplog, "sign-in refused")
    assert reason in line["reason"]
    page: str = window.read()
    assert not window.person
    return page


class TestOurClient:
    @pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
    @pytest.mark.parametrize("name", ["ADMIN_OIDC_CLIENT_ID", "ADMIN_OIDC_CLIENT_SECRET"])
    def test_one_that_is_refused_is_in_the_log_by_the_settings_name(
        self, provider, browser, settings, caplog, methods, name
    ):
        provider.discovery["token_endpoint_auth_methods_supported"] = methods
        window = browser()
        where = follow_redirect(window.get(START))
        setattr(settings, name, "wrong")
        window.come_back(where)

        page = expect_refusal(window, caplog, "invalid_client")
        assert name in lines(caplog, "sign-in refused")[0]["reason"]
        assert "does not accept this site" in page

    @pytest.mark.parametrize("secret", ["a:b", "a%3Ab", "a+b c", "ü✓", "~*'()", "&=;"])
    def test_every_secret_arrives(self, provider, browser, settings, monkeypatch, secret):
        monkeypatch.setattr(issuers, "CLIENT_SECRET", secret)
        settings.ADMIN_OIDC_CLIENT_SECRET = secret
        window = browser()
        window.sign_on()
        assert window.person == "alice"

    def test_a_code_that_is_refused_is_no_fault_of_the_client(self, provider, browser, caplog):
        provider.token = lambda sent, authorization: (400, {"error": "invalid_grant"})
        window = browser()
        window.sign_on()
        assert "does not accept this site" not in expect_refusal(window, caplog, "invalid_grant")


class TestTheIssuerOfTheAnswer:
    """RFC 9207: which issuer sent the browser back."""

    def test_ours_is_believed(self, provider, browser):
        provider.response = {"iss": provider.url}
        provider.discovery["authorization_response_iss_parameter_supported"] = True
        window = browser()
        window.sign_on()
        assert window.person == "alice"

    @pytest.mark.parametrize("error", ["", "access_denied"])
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_another_is_not(self, provider, browser, caplog, error, slash):
        provider.response = {"iss": provider.url + "/" if slash else "https://evil.example"}
        provider.error = error
        window = browser()
        window.sign_on()
        assert "could not be verified" in expect_refusal(window, caplog, "another issuer (iss)")
        assert "/token" not in provider.asked

    @pytest.mark.parametrize("error", ["", "access_denied"])
    def test_none_is_refused_where_the_issuer_says_that_it_sends_it(
        self, provider, browser, caplog, error
    ):
        provider.discovery["authorization_response_iss_parameter_supported"] = True
        provider.error = error
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, "lacks the issuer (iss)")


class TestTheLevel:
    def test_it_is_asked_for_and_must_be_met(self, provider, browser, settings, caplog):
        settings.ADMIN_OIDC_ACR_VALUES = ["gold", "silver"]
        provider.claims["acr"] = "bronze"
        window = browser()
        window.sign_on()
        assert provider.authorizations[-1]["acr_values"] == "gold silver"
        assert "in the way that this site requires" in expect_refusal(window, caplog, "bronze")
        assert not User.objects.exists()

        provider.claims["acr"] = "silver"
        window.sign_on()
        assert window.person == "alice"

    @pytest.mark.parametrize("acr", [None, 7, ["gold"], ""])
    def test_one_that_is_none_does_not_meet_it(self, provider, browser, settings, caplog, acr):
        settings.ADMIN_OIDC_ACR_VALUES = ["gold"]
        provider.claims["acr"] = acr
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, "ADMIN_OIDC_ACR_VALUES")

    def test_without_the_setting_nothing_is_asked_for(self, provider, browser):
        browser().sign_on()
        assert "acr_values" not in provider.authorizations[0]


class TestTheLog:
    """Each refused sign-in leaves one line, which says why."""

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"preferred_username": None}, "preferred_username (ADMIN_OIDC_USERNAME_CLAIM)"),
            ({"preferred_username": "a b"}, "not a valid username"),
            ({"groups": ["kitchen"]}, "groups (ADMIN_OIDC_GROUPS_CLAIM)"),
            ({"preferred_username": "root"}, "superuser"),
            ({"preferred_username": "gone"}, "disabled"),
            ({"sub": ""}, "names nobody"),
        ],
        ids=str,
    )
    def test_claims(self, provider, browser, caplog, root, claims, reason):
        User.objects.create(username="gone", is_active=False)
        provider.claims |= claims
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, reason)

    def test_nobody_is_created(self, provider, browser, caplog, settings):
        settings.ADMIN_OIDC_CREATE_USERS = False
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, "ADMIN_OIDC_CREATE_USERS")

    def test_denied(self, provider, browser, caplog):
        provider.error = "access_denied"
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, "access_denied")

    def test_an_old_attempt(self, provider, browser, caplog):
        window = browser()
        with ago(minutes=11):
            where = follow_redirect(window.get(START))
        window.come_back(where)
        expect_refusal(window, caplog, "state")

    def test_somebody_else_at_reauthentication(self, provider, browser, caplog):
        window = browser()
        window.sign_on()
        provider.knows("subject-of-bob", "bob", "finance")
        window.sign_on(again="1")
        (line,) = lines(caplog, "sign-in refused")
        assert "Somebody else" in line["reason"]
        assert line["username"] == "bob"

    def test_an_issuer_that_does_not_say_when(self, provider, browser, caplog):
        window = browser()
        window.sign_on()
        del provider.claims["auth_time"]
        window.sign_on(again="1")
        (line,) = lines(caplog, "sign-in refused")
        assert "auth_time" in line["reason"]

    @pytest.mark.parametrize("endpoint", ["token_endpoint", "userinfo_endpoint"])
    def test_an_endpoint_that_can_not_be_reached(self, provider, browser, caplog, endpoint):
        provider.discovery[endpoint] = "http://127.0.0.1:9/"
        del provider.claims["groups"]
        window = browser()
        window.sign_on()
        expect_refusal(window, caplog, "unavailable")
        (line,) = lines(caplog, "issuer unavailable")
        assert line["endpoint"] == endpoint

    def test_discovery_that_can_not_be_reached(self, provider, browser, caplog):
        provider.up = False
        window = browser()
        window.get(START)
        expect_refusal(window, caplog, "503")
        assert len(lines(caplog, "issuer unavailable")) == 1

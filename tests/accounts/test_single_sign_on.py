"""Signing in by the organisation's own issuer: the authorization code flow, over real HTTP."""

import base64
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, connections

from orchestrator.accounts import sso_users
from orchestrator.accounts.models import Identity
from sessions_app.auth import issuer
from tests.accounts.conftest import INBOX, LOGIN, START, ago, follow_redirect, later, text
from tests.accounts.provider import Keys
from tests.factories import TaskFactory, the_approval

CANT_BE_TRUSTED = "could not be verified"


def groups_of(username: str) -> set[str]:
    return set(User.objects.get(username=username).groups.values_list("name", flat=True))


@pytest.fixture(autouse=True)
def roles() -> None:
    for name in ("finance", "sre"):
        Group.objects.create(name=name)


class TestTheWayThereAndBack:
    def test_alice_comes_for_the_first_time_and_reviews_for_her_groups(self, provider, browser):
        window = browser()

        answer = window.sign_on(next="/admin/approvals_app/approval/")

        assert answer.headers["Location"] == "/admin/approvals_app/approval/"
        assert window.person == "alice"
        alice = User.objects.get()
        assert (alice.is_staff, alice.is_superuser) == (True, False)
        assert groups_of("alice") == {"finance"}
        assert not alice.has_usable_password()

    def test_the_issuer_is_asked_with_state_nonce_and_pkce_new_each_time(self, provider, browser):
        for _ in range(2):
            browser().sign_on()

        first, second = provider.authorizations
        for name in ("state", "nonce", "code_challenge"):
            assert first[name] != second[name]
        assert "max_age" not in first

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "Ed25519"])
    def test_each_algorithm_that_is_accepted(self, provider, browser, algorithm):
        provider.algorithm = algorithm
        window = browser()
        window.sign_on()

        assert window.person == "alice"

    @pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic"], None])
    def test_the_secret_is_given_as_the_issuer_wants_it(self, provider, browser, methods):
        if methods:
            provider.discovery["token_endpoint_auth_methods_supported"] = methods
        window = browser()
        window.sign_on()

        assert window.person == "alice"

    def test_groups_come_from_the_userinfo_endpoint_where_the_token_lacks_them(
        self, provider, browser
    ):
        provider.userinfo = dict(provider.claims)
        del provider.claims["groups"]
        browser().sign_on()

        assert groups_of("alice") == {"finance"}

    def test_another_persons_userinfo_is_not_believed(self, provider, browser):
        provider.userinfo = {**provider.claims, "sub": "subject-of-mallory"}
        del provider.claims["groups"]
        window = browser()
        window.sign_on()

        assert CANT_BE_TRUSTED in window.read()
        assert not window.person

    def test_two_tabs_begun_together_both_arrive_each_at_its_own_page(self, provider, browser):
        window = browser()
        first = follow_redirect(window.get(START, next="/admin/approvals_app/approval/"))
        second = follow_redirect(window.get(START, next="/admin/audit_app/event/"))

        assert window.come_back(second).headers["Location"] == "/admin/audit_app/event/"
        assert window.come_back(first).headers["Location"] == "/admin/approvals_app/approval/"
        assert window.person == "alice"

    def test_an_answer_counts_once(self, provider, browser):
        window = browser()
        where = follow_redirect(window.get(START))
        window.come_back(where)
        window.come_back(where)

        assert "started in another browser" in window.read()
        assert provider.asked.count("/token") == 1

    def test_an_answer_that_another_browser_asked_for_signs_nobody_in(self, provider, browser):
        mallory, alice = browser(), browser()
        where = follow_redirect(mallory.get(START))
        alice.come_back(where)

        assert "started in another browser" in alice.read()
        assert not alice.person

    def test_an_answer_after_a_long_break_is_refused(self, provider, browser):
        window = browser()
        with ago(minutes=11):
            where = follow_redirect(window.get(START))
        window.come_back(where)

        assert not window.person

    def test_the_sessions_key_changes(self, provider, browser):
        window = browser()
        where = follow_redirect(window.get(START))
        before = window.client.session.session_key
        window.come_back(where)

        assert window.client.session.session_key != before

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example/",
            "javascript:alert(1)",
            "http:evil",
        ],
    )
    def test_next_never_leads_elsewhere(self, provider, browser, alice, elsewhere, settings):
        assert browser().sign_on(next=elsewhere).headers["Location"] == INBOX
        settings.SINGLE_SIGN_ON = False
        window = browser()
        assert window.log_in("alice", next=elsewhere).headers["Location"] == INBOX
        assert window.get(LOGIN, next=elsewhere).headers["Location"] == INBOX

    def test_what_the_issuer_refuses_is_said_and_nobody_signed_out(self, provider, browser):
        window = browser()
        window.sign_on()
        provider.error = "access_denied"
        window.sign_on()

        assert "denied access" in window.read()
        assert window.person == "alice"

    def test_logging_out_works_and_offers_to_log_out_at_the_issuer(self, provider, browser):
        window = browser()
        window.sign_on()
        answer = window.post("/admin/logout/")
        page = window.read(answer.headers["Location"])

        assert not window.person
        assert f"{provider.url}/logout?client_id=orchestrator" in page
        assert window.get("/admin/logout/").status_code == 405


def change_claims(**claims):
    return lambda provider: setattr(provider, "amend", lambda token: token.update(claims))


def without(name):
    return lambda provider: setattr(provider, "amend", lambda token: token.pop(name))


def by_hmac_with_the_public_key(provider):
    secret = json.dumps(provider.keys.public()[0]).encode()

    def sign(claims):
        head = encode_part({"alg": "HS256", "typ": "JWT", "kid": "RS256"})
        signed = f"{head}.{encode_part(claims)}"
        mac = hmac.digest(secret, signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    provider.sign = sign


def remove_signature(provider):
    head = encode_part({"alg": "none", "kid": "RS256"})
    provider.sign = lambda claims: f"{head}.{encode_part(claims)}."


def encode_part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


FORGERIES = {
    "another nonce": change_claims(nonce="of another sign-in"),
    "no nonce": without("nonce"),
    "another audience": change_claims(aud="another-client"),
    "several audiences, issued to nobody": change_claims(aud=["orchestrator", "another-client"]),
    "issued to another client": change_claims(azp="another-client"),
    "another issuer": change_claims(iss="https://evil.example"),
    "expired": change_claims(exp=1_700_000_000),
    "no expiry": without("exp"),
    "about nobody": change_claims(sub=""),
    "another's key": lambda provider: setattr(provider, "signed_by", Keys()),
    "a logout token": lambda provider: setattr(provider, "typ", "logout+jwt"),
    "an access token": lambda provider: setattr(provider, "typ", "at+jwt"),
    "HS256 with the public key as its secret": by_hmac_with_the_public_key,
    "unsigned": remove_signature,
    "no token at all": lambda provider: setattr(provider, "sign", lambda claims: None),
    "no token but a number": lambda provider: setattr(provider, "sign", lambda claims: 7),
    "a code that the issuer does not know": lambda provider: setattr(
        provider, "token", lambda sent, authorization: (400, {"error": "invalid_grant"})
    ),
}


@pytest.mark.parametrize("forged", FORGERIES)
def test_what_is_not_believed_signs_nobody_in_and_writes_nothing(provider, browser, forged):
    FORGERIES[forged](provider)
    window = browser()
    answer = window.sign_on()

    assert answer.headers["Location"].startswith(LOGIN)
    assert CANT_BE_TRUSTED in window.read()
    assert not window.person
    assert not Identity.objects.exists()
    assert not User.objects.exists()


def test_a_key_that_does_not_exist_is_refused_once_the_keys_are_new(provider, browser, monkeypatch):
    provider.kid = "made up"
    window = browser()
    window.sign_on()
    assert "Single sign-on is unavailable" in window.read()
    monkeypatch.setattr(issuer, "FETCH_EVERY_SECONDS", 0)
    window.sign_on()

    assert CANT_BE_TRUSTED in window.read()
    assert not User.objects.exists()


def test_the_verifier_of_another_sign_in_is_refused_by_the_issuer(provider, browser):
    window = browser()
    where = follow_redirect(window.get(START))
    session = window.client.session
    (state,) = session["oidc_states"]
    session["oidc_states"][state]["code_verifier"] = "x" * 64
    session.save()
    window.come_back(where)

    assert CANT_BE_TRUSTED in window.read()
    assert not window.person


class TestWhoIsAdmitted:
    def test_a_local_user_of_that_name_is_linked_and_keeps_what_they_decided(
        self, provider, browser, alice
    ):
        browser().sign_on()

        assert Identity.objects.get().user == alice
        assert User.objects.count() == 1

    def test_a_superuser_is_never_taken_over_by_a_name(self, provider, browser, root):
        provider.knows("subject-of-mallory", "root", "finance")
        window = browser()
        window.sign_on()

        assert "belongs to somebody else" in window.read()
        assert not Identity.objects.exists()

    def test_a_name_that_the_issuer_gave_to_somebody_else_is_not_the_same_person(
        self, provider, browser
    ):
        browser().sign_on()
        provider.knows("subject-of-another-alice", "alice", "finance")
        window = browser()
        window.sign_on()

        assert "belongs to somebody else" in window.read()
        assert Identity.objects.get().subject == "subject-of-alice"

    def test_alice_stays_alice_when_the_issuer_renames_her(self, provider, browser):
        browser().sign_on()
        provider.knows("subject-of-alice", "alice.married", "finance")
        window = browser()
        window.sign_on()

        assert window.person == "alice"

    def test_the_same_subject_of_another_issuer_is_somebody_else(self, provider, browser, alice):
        Identity.objects.create(
            user=alice, issuer="https://old.example", subject="subject-of-alice"
        )
        window = browser()
        window.sign_on()

        assert "belongs to somebody else" in window.read()

    def test_an_inactive_user_is_refused(self, provider, browser, alice):
        browser().sign_on()
        User.objects.update(is_active=False)
        window = browser()
        window.sign_on()

        assert "account is disabled" in window.read()
        assert not window.person

    def test_groups_follow_the_issuer_at_every_sign_in(self, provider, browser):
        browser().sign_on()
        provider.knows("subject-of-alice", "alice", "sre", "unknown here")
        browser().sign_on()

        assert groups_of("alice") == {"sre"}
        assert set(Group.objects.values_list("name", flat=True)) == {"finance", "sre"}

    def test_only_groups_with_our_prefix_count_and_it_is_cut_off(self, provider, browser, settings):
        settings.ADMIN_OIDC_GROUPS_PREFIX = "orchestrator-"
        provider.knows("subject-of-alice", "alice", "orchestrator-sre", "finance")
        browser().sign_on()

        assert groups_of("alice") == {"sre"}

    @pytest.mark.parametrize("groups", [[], ["elsewhere"], None, "finance", [1, None]])
    def test_whoever_lost_every_role_loses_staff_rights_and_their_open_window(
        self, provider, browser, groups
    ):
        window = browser()
        window.sign_on()
        provider.claims["groups"] = groups
        again = browser()
        again.sign_on()

        assert "none of your groups gives you a role" in again.read()
        assert not User.objects.get().is_staff
        assert not window.person

    def test_a_stranger_without_a_role_is_not_even_created(self, provider, browser):
        provider.knows("subject-of-dave", "dave", "kitchen")
        window = browser()
        window.sign_on()

        assert "none of your groups gives you a role" in window.read()
        assert not User.objects.exists()

    def test_a_claim_makes_nobody_an_administrator(self, provider, browser):
        office = Group.objects.create(name="administrators")
        office.permissions.add(Permission.objects.get(codename="change_user"))
        provider.knows("subject-of-alice", "alice", "finance", "administrators", is_superuser=True)
        browser().sign_on()

        assert groups_of("alice") == {"finance"}
        assert not User.objects.get().is_superuser

    def test_an_office_that_was_given_here_is_not_taken_by_a_claim(self, provider, browser, alice):
        alice.user_permissions.add(Permission.objects.get(codename="read_everything"))
        provider.knows("subject-of-alice", "alice")
        window = browser()
        window.sign_on()

        assert window.person == "alice"
        assert groups_of("alice") == set()

    def test_nobody_is_created_where_that_is_switched_off(self, provider, browser, settings):
        settings.ADMIN_OIDC_CREATE_USERS = False
        window = browser()
        window.sign_on()

        assert "User alice does not exist" in window.read()
        assert not User.objects.exists()

    @pytest.mark.parametrize("name", [None, "", 7, "<script>", "a b", "x" * 151, "a\x00b"])
    def test_a_username_that_is_none_is_said(self, provider, browser, name):
        provider.claims["preferred_username"] = name
        window = browser()
        window.sign_on()

        page = window.read()
        assert "send your username" in page or "not allowed here" in page
        assert not User.objects.exists()

    def test_two_first_sign_ins_at_once_make_one_person(self, provider):
        claims = dict(provider.claims)

        def come(_: int) -> int:
            try:
                return sso_users.admit(provider.url, claims).pk
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as pool:
            people = set(pool.map(come, range(6)))

        assert people == {User.objects.get().pk}


class TestPasswordsBesideIt:
    def test_passwords_are_refused_and_not_even_asked_for(self, provider, browser, alice, root):
        window = browser()

        page = window.read()
        assert "Sign in with single sign-on" in page
        assert 'name="password"' not in page
        for name in ("alice", "root"):
            assert "Passwords are not accepted" in text(window.log_in(name))
        assert not window.person

    def test_a_session_that_a_password_began_ends_when_single_sign_on_begins(
        self, browser, alice, settings
    ):
        window = browser()
        window.log_in("alice")
        assert window.person == "alice"
        settings.SINGLE_SIGN_ON = True

        assert not window.person

    def test_a_session_of_single_sign_on_ends_when_it_is_switched_off(
        self, provider, browser, settings
    ):
        window = browser()
        window.sign_on()
        settings.SINGLE_SIGN_ON = False

        assert not window.person
        assert window.get(START).status_code == 404

    def test_the_last_resort_is_for_superusers_alone(
        self, provider, browser, alice, root, settings
    ):
        settings.ADMIN_PASSWORD_FALLBACK = True
        provider.up = False
        window = browser()

        page = window.read()
        assert "Single sign-on is unavailable" in page
        assert 'name="password"' in page
        right, wrong = window.log_in("alice"), window.log_in("alice", "wrong")
        assert (right.status_code, text(right)) == (wrong.status_code, text(wrong))
        assert not window.person
        window.log_in("root")
        assert window.person == "root"


class TestAnIssuerThatIsAway:
    def test_the_login_page_says_so_and_comes_back_by_itself(self, provider, browser, monkeypatch):
        provider.up = False
        window = browser()

        assert "Single sign-on is unavailable" in window.read()
        answer = window.get(START)
        assert answer.headers["Location"].startswith(LOGIN)
        provider.up = True
        monkeypatch.setattr(issuer, "RETRY_SECONDS", 0)
        window.sign_on()
        assert window.person == "alice"

    def test_it_is_not_asked_again_and_again(self, provider, browser):
        provider.up = False
        for _ in range(5):
            browser().get(LOGIN)

        assert len(provider.asked) == 1

    def test_away_between_going_and_coming_back(self, provider, browser):
        window = browser()
        where = follow_redirect(window.get(START))
        provider.up = False
        window.come_back(where)

        assert "Single sign-on is unavailable" in window.read()
        assert not window.person

    @pytest.mark.parametrize(
        "said",
        [
            {"issuer": "https://evil.example"},
            {"token_endpoint": "http://evil.example/token"},
            {"jwks_uri": "file:///etc/passwd"},
            {"authorization_endpoint": None},
        ],
    )
    def test_a_discovery_document_that_is_not_its_own(self, provider, browser, said, settings):
        settings.TRIAL = False
        provider.discovery = said

        assert "Single sign-on is unavailable" in browser().read()

    def test_a_wrong_setting_has_a_sentence_of_its_own(self, provider, browser, settings):
        settings.OIDC_ISSUER_URL = f"{provider.url}/"
        window = browser()

        assert "this site names the wrong issuer" in window.read()
        window.get(START)
        assert "this site names the wrong issuer" in window.read()

    def test_discovery_and_keys_are_kept(self, provider, browser):
        for _ in range(3):
            browser().sign_on()

        assert provider.asked.count("/.well-known/openid-configuration") == 1
        assert provider.asked.count("/jwks") == 1

    def test_who_begins_after_a_fetch_that_failed_does_not_wait_for_the_next(
        self, provider, browser, monkeypatch
    ):
        browser().sign_on()
        monkeypatch.setattr(issuer, "FETCH_EVERY_SECONDS", 0)
        provider.up = False
        provider.kid = "made up"
        with pytest.raises(issuer.IssuerUnavailable):
            issuer.get_issuer(provider.url).verify(
                provider.sign({"sub": "x"}), audience="orchestrator", types=("jwt",)
            )
        provider.up, provider.kid = True, ""
        window = browser()
        window.sign_on()

        assert window.person == "alice"

    def test_no_connection_is_held_while_the_code_is_exchanged(self, provider, browser):
        browser().sign_on()
        window = browser()
        where = follow_redirect(window.get(START))
        connection.ensure_connection()
        mine, closed, exchange = connection.connection, [], provider.token

        def token(*sent):
            closed.append(mine.closed)
            return exchange(*sent)

        provider.token = token
        window.come_back(where)

        assert closed == [True]
        assert window.person == "alice"

    def test_a_new_key_is_fetched_when_a_token_names_it(self, provider, browser, monkeypatch):
        browser().sign_on()
        monkeypatch.setattr(issuer, "FETCH_EVERY_SECONDS", 0)
        provider.keys = provider.signed_by = Keys("new-")
        provider.kid = "new-RS256"
        window = browser()
        window.sign_on()

        assert window.person == "alice"


class TestTheTrail:
    def test_a_decision_tells_how_its_person_was_known(self, provider, browser, bot, api):
        provider.claims |= {"auth_time": 1_700_000_000, "amr": ["pwd", "otp"]}
        approval = the_approval(TaskFactory(agent=bot))
        window = browser()
        window.sign_on()
        window.post(
            f"/admin/approvals_app/approval/{approval.pk}/change/",
            decision="approve",
            payload_digest=approval.payload_digest,
        )

        metadata = (
            api(bot)
            .get("/audit/events", event_type="approval.approved")
            .json()["events"][0]["metadata"]
        )
        assert metadata["authenticated_by"] == "oidc"
        assert metadata["authenticated_at"] == "2023-11-14T22:13:20+00:00"
        assert metadata["second_factor"] is True


def test_a_session_ends_by_its_age_however_busy_it_was(browser, alice):
    window = browser()
    with ago(hours=11, minutes=30):
        window.log_in("alice")
    assert window.person == "alice"
    session = window.client.session
    session["busy"] = True
    session.save()

    with later(minutes=31):
        assert not window.person


def test_the_redirect_uri_is_this_sites(provider, browser):
    asked = parse_qs(urlsplit(browser().get(START).headers["Location"]).query)

    assert asked["redirect_uri"] == ["http://testserver/admin/single-sign-on/callback/"]

"""Bearer JWTs of a real, small issuer, which is a process of its own."""

import base64
import json
import queue
import threading
import time
from datetime import timedelta
from functools import partial

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.contrib.auth.models import Group, User
from django.db import connection, connections

from approvals_app.models import Approval
from audit_app.base.errors import NotFound
from audit_app.models import Event
from orchestrator.accounts.models import Identity
from sessions_app import agents
from sessions_app.auth import issuer as client
from sessions_app.auth import tokens as oidc
from sessions_app.errors import AdministratorsOnly
from sessions_app.models import Agent, AgentKey
from tests.client import Api, schema
from tests.factories import OPS, AgentFactory, TaskFactory, the_approval
from tests.issuer import MAKERS, Issuer
from tests.races.together import together

KINDS = ["RS256", "ES256", "EdDSA"]
CHALLENGE = 'Bearer realm="orchestrator"'
FIRST_FETCH = ["/.well-known/openid-configuration", "/jwks"]


@pytest.fixture(scope="module")
def process():
    schema()  # made by one thread, before many want it
    running = Issuer()
    yield running
    running.close()


@pytest.fixture
def issuer(process, settings):
    settings.OIDC_ISSUER_URL, settings.OIDC_AUDIENCE = process.url, process.audience
    process.reset()
    client.get_issuer.cache_clear()
    yield process
    process.behave()
    the_fetch_ends()
    client.get_issuer.cache_clear()


@pytest.fixture
def clock(monkeypatch):
    """The clock that keys age by, to be put forward."""
    ahead = Clock()
    monkeypatch.setattr(client, "monotonic", ahead)
    return ahead


class Clock:
    """Stands still, however slow the machine, but for what a test adds."""

    seconds = 0

    def __init__(self):
        self._began = time.monotonic()

    def __call__(self):
        return self._began + self.seconds


@pytest.fixture
def robot():
    """An agent that authenticates by OIDC."""
    return AgentFactory(name="robot", roles=["finance"], subject="svc-robot")


@pytest.fixture
def patient(monkeypatch):
    """Requests wait for the issuer as long as the test lets it be silent."""
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 60)


@pytest.fixture
def linked_alice(issuer, alice):
    """alice, who signed in by the issuer before."""
    Identity.objects.create(user=alice, issuer=issuer.url, subject="subject-of-alice")
    return alice


def bearing(token):
    return Api(Authorization=f"Bearer {token}")


def asks(token):
    return bearing(token).get("/sessions")


def expect_success(token):
    answer = asks(token)
    assert answer.status_code == 200, answer.content
    return answer


def expect_refusal(token, code="invalid_token"):
    answer = asks(token)
    assert answer.status_code == 401, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'
    assert answer.json()["code"] == code
    assert len(token) < 10 or token not in answer.content.decode()
    assert "http://127" not in answer.content.decode()
    return answer.json()["detail"]


def unavailable(token):
    answer = asks(token)
    assert answer.status_code == 503, answer.content
    assert answer.json()["code"] == "issuer_unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert "http://127" not in answer.content.decode()
    return answer


def the_fetch_ends():
    for thread in threading.enumerate():
        if thread.name == "oidc-keys":
            thread.join(10)
            assert not thread.is_alive()


def encode_part(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


# Who it is


def test_an_agent_is_known_by_its_subject(issuer, robot):
    answer = bearing(issuer.token("svc-robot")).post("/sessions", {"agent_role": "finance"})
    assert answer.status_code == 201
    assert expect_success(issuer.token("svc-robot")).json()["total"] == 1


def decision(token, approval):
    return bearing(token).post(
        f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    )


def test_a_person_is_known_by_their_linked_subject_and_decides(issuer, linked_alice, bot):
    answer = decision(issuer.token("subject-of-alice"), the_approval(TaskFactory(agent=bot)))
    assert answer.status_code == 200
    assert answer.json()["decided_by"] == "alice"


def test_a_client_called_as_an_unlinked_person_is_nobody(issuer, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    for claims in ({}, {"client_id": "alice"}, {"preferred_username": "alice"}):
        answer = decision(issuer.token("alice", **claims), approval)
        assert (answer.status_code, answer.json()["code"]) == (401, "unknown_subject")
    assert Approval.objects.get().status == "pending"


def test_nor_is_one_called_as_a_linked_person(issuer, linked_alice):
    expect_refusal(issuer.token("alice"), "unknown_subject")


def test_a_subject_of_another_issuer_is_nobody(issuer, linked_alice):
    linked_alice.identity.issuer = "https://elsewhere.example"
    linked_alice.identity.save()
    expect_refusal(issuer.token("subject-of-alice"), "unknown_subject")


@pytest.mark.parametrize(
    "marks",
    [
        {"client_id": "subject-of-alice"},
        {"azp": "subject-of-alice"},
        {"cid": "subject-of-alice"},
        {"gty": "client-credentials"},
        {"idtyp": "app"},
    ],
    ids=str,
)
def test_a_clients_own_token_is_never_a_persons(issuer, linked_alice, marks):
    expect_refusal(issuer.token("subject-of-alice", **marks), "unknown_subject")


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "secevent+jwt", "application/secevent+jwt", "dpop+jwt", "JWE", 7], ids=str
)
@pytest.mark.parametrize("subject", ["svc-robot", "subject-of-alice"])
def test_a_token_of_another_type_is_no_bearer(issuer, robot, linked_alice, subject, typ):
    expect_refusal(issuer.token(subject, headers={"typ": typ}))
    assert len(issuer.list_requests()) <= 2


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", ""])
def test_the_types_of_access_tokens(issuer, linked_alice, typ):
    expect_success(issuer.token("subject-of-alice", headers={"typ": typ}))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "n"}, "no access token"),
        ({"at_hash": "h"}, "no access token"),
        ({"typ": "ID"}, "no access token"),
        ({"typ": "Refresh"}, "no access token"),
        ({"typ": ["Bearer"]}, "no access token"),
        ({"token_use": "id"}, "no access token"),
        ({"typ": "Bearer", "token_use": "id"}, "no access token"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "an event"),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "bound to a key"),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, "bound to a key"),
        ({"cnf": None}, "bound to a key"),
    ],
    ids=str,
)
@pytest.mark.parametrize("subject", ["svc-robot", "subject-of-alice"])
def test_a_token_for_another_use_is_no_bearer(issuer, robot, linked_alice, subject, claims, said):
    token = jwt.encode(
        issuer.claims(subject) | claims, issuer.keys["RS256"], "RS256", {"kid": "first-RS256"}
    )
    assert said in expect_refusal(token)


def test_an_access_token_may_carry_a_nonce_where_it_says_what_it_is(issuer, linked_alice):
    expect_success(issuer.token("subject-of-alice", typ="Bearer", nonce="n"))
    expect_success(issuer.token("subject-of-alice", token_use="access", nonce="n"))
    expect_success(issuer.token("subject-of-alice", headers={"typ": "at+jwt"}, nonce="n"))


def test_a_person_is_found_by_sub_whatever_claim_names_agents(issuer, settings, linked_alice, bot):
    settings.OIDC_SUBJECT_CLAIM = "azp"
    approval = the_approval(TaskFactory(agent=bot))
    posing = issuer.token("svc-7", azp="subject-of-alice")
    assert decision(posing, approval).status_code == 401
    assert decision(issuer.token("subject-of-alice", azp="portal"), approval).status_code == 200


def test_how_a_person_proved_who_they_are_is_recorded_with_their_decision(
    issuer, linked_alice, bot
):
    approval = the_approval(TaskFactory(agent=bot))
    token = issuer.token("subject-of-alice", auth_time=1_700_000_000, amr=["pwd", "otp"])
    path = f"/approvals/{approval.pk}/approve"
    assert bearing(token).post(path, {"payload_digest": approval.payload_digest}).status_code == 200

    told = Event.objects.get(event_type="approval.approved").metadata
    assert (told["authenticated_by"], told["second_factor"]) == ("oidc", True)
    assert told["authenticated_at"] == "2023-11-14T22:13:20+00:00"


def test_a_person_has_the_roles_of_their_groups_whatever_the_token_says(
    issuer, settings, linked_alice, bot
):
    settings.OIDC_ROLES_CLAIM = "roles"
    ours = TaskFactory(agent=bot)
    TaskFactory(agent=bot, target="sre")
    seen = bearing(issuer.token("subject-of-alice", roles=["sre"])).get("/tasks").json()["tasks"]
    assert [task["task_id"] for task in seen] == [str(ours.pk)]


def test_an_agents_token_never_decides_even_if_it_is_called_as_a_person(issuer, linked_alice, bot):
    AgentFactory(name="posing", roles=["finance"], subject="subject-of-alice")
    answer = decision(issuer.token("subject-of-alice"), the_approval(TaskFactory(agent=bot)))
    assert (answer.status_code, answer.json()["code"]) == (403, "humans_only")


def test_a_revoked_agents_token_is_not_taken_for_a_persons(issuer, linked_alice):
    posing = AgentFactory(name="posing", subject="subject-of-alice")
    agents.revoke_agent(posing.pk, by=OPS)
    assert "revoked" in expect_refusal(issuer.token("subject-of-alice"), "unknown_subject")


def test_who_nobody_knows_is_nobody_and_nothing_is_written(issuer):
    expect_refusal(issuer.token("stranger"), "unknown_subject")
    assert not Agent.objects.exists()
    assert not Event.objects.exists()


def test_an_inactive_person_is_nobody(issuer, linked_alice):
    linked_alice.is_active = False
    linked_alice.save()
    expect_refusal(issuer.token("subject-of-alice"), "unknown_subject")


def test_the_subject_can_be_another_claim(issuer, settings, robot):
    settings.OIDC_SUBJECT_CLAIM = "client.id"
    expect_success(issuer.token("4711", client={"id": "svc-robot"}))
    expect_success(issuer.token(None, **{"client.id": "svc-robot"}))
    assert "subject" in expect_refusal(issuer.token("svc-robot"))


# What a token must be


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_each_kind_of_key_is_accepted(issuer, robot, kind):
    expect_success(issuer.token("svc-robot", kind))


@pytest.mark.parametrize("audience", ["orchestrator", ["another", "orchestrator"]], ids=str)
def test_an_audience_is_one_or_several(issuer, robot, audience):
    expect_success(issuer.token("svc-robot", aud=audience))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"aud": "another"}, "another audience"),
        ({"aud": ["another", "one"]}, "another audience"),
        ({"aud": [["orchestrator"]]}, "another audience"),
        ({"aud": {"orchestrator": 1}}, "another audience"),
        ({"aud": []}, "lacks the claim aud"),
        ({"aud": None}, "lacks the claim aud"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "lacks the claim iss"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "tomorrow"}, "not valid"),
        ({"exp": 1e400}, "not valid"),
        ({"sub": None}, "subject is not a name"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"iat": 9_999_999_999}, "not valid yet"),
    ],
    ids=str,
)
def test_claims_that_do_not_fit_are_refused_and_it_says_which(issuer, robot, changed, said):
    assert said in expect_refusal(issuer.token("svc-robot", **changed))


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_clocks_may_differ_by_30_seconds_and_no_more(issuer, robot, claim):
    now = int(time.time())
    beyond = -1 if claim == "exp" else 1
    # RFC 7519: not on or after exp, and not before nbf.
    last = 29 if claim == "exp" else 30
    with time_machine.travel(now, tick=False):
        expect_success(issuer.token("svc-robot", **{claim: now + beyond * last}))
        expect_refusal(issuer.token("svc-robot", **{claim: now + beyond * (last + 1)}))


def test_how_far_clocks_may_differ_is_a_setting(issuer, robot, settings):
    token = issuer.token("svc-robot", exp=int(time.time()) - 60)
    expect_refusal(token)
    settings.OIDC_CLOCK_SKEW = timedelta(minutes=2)
    expect_success(token)


@pytest.mark.parametrize("sub", [7, ["svc-robot"], {"a": 1}, "", "a\x00b", "x" * 256, "\ud800"])
def test_a_subject_that_is_no_name_is_refused(issuer, robot, sub):
    claims = issuer.claims("x") | {"sub": sub}
    header = {"kid": issuer.kids["RS256"], "alg": "RS256", "typ": "JWT"}
    payload = json.dumps(claims).encode()
    token = jwt.api_jws.encode(payload, issuer.keys["RS256"], "RS256", headers=header)
    assert "subject is not a name" in expect_refusal(token)


def test_a_token_that_nobody_signed_is_refused(issuer, robot):
    token = jwt.encode(issuer.claims("svc-robot"), "", "none", headers={"kid": "first-RS256"})
    assert "RS256" in expect_refusal(token)
    expect_refusal(f"{encode_part({'alg': 'RS256', 'kid': 'first-RS256'})}.{token.split('.')[1]}.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_signed_by_another_key_is_refused(issuer, robot, kind):
    assert "signature" in expect_refusal(issuer.token("svc-robot", kind, key=MAKERS[kind]()))


def test_a_public_key_is_no_shared_secret(issuer, robot):
    public = issuer.keys["RS256"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": issuer.kids["RS256"]}
    signed = f"{encode_part(header)}.{encode_part(issuer.claims('svc-robot'))}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    mark = base64.urlsafe_b64encode(hmac.sign(signed.encode(), pem)).rstrip(b"=").decode()
    expect_refusal(f"{signed}.{mark}")


def test_a_shared_secret_among_the_published_keys_signs_nothing(issuer, robot):
    secret = b"a secret that everybody can read"
    known = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    for algorithm in ("HS256", "RS256"):
        issuer.publish([{"kty": "oct", "k": known, "kid": "shared", "alg": algorithm}])
        client.get_issuer.cache_clear()
        header = {"alg": "HS256", "kid": "shared"}
        expect_refusal(jwt.encode(issuer.claims("svc-robot"), secret, "HS256", headers=header))


def test_an_algorithm_that_is_not_its_keys_is_refused(issuer, robot):
    posing = {"kid": issuer.kids["RS256"], "key": issuer.keys["ES256"]}
    assert "not one that its key" in expect_refusal(issuer.token("svc-robot", "ES256", **posing))


RSA_ALGORITHMS = ["RS384", "RS512", "PS256", "PS384", "PS512"]
CURVES = {"ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def names_algorithms(*names):
    return {"id_token_signing_alg_values_supported": list(names)}


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
def test_an_algorithm_that_the_issuers_metadata_names_is_accepted(issuer, robot, algorithm):
    issuer.publish([issuer.jwk("RS256", alg=None)])
    token = issuer.token("svc-robot", algorithm=algorithm)
    assert "not one that its key" in expect_refusal(token)
    client.get_issuer.cache_clear()
    issuer.behave(discovery=names_algorithms("RS256", algorithm))
    expect_success(token)
    expect_success(issuer.token("svc-robot"))


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
def test_a_key_that_names_its_algorithm_is_used_with_no_other(issuer, robot, algorithm):
    issuer.behave(discovery=names_algorithms("RS256", *RSA_ALGORITHMS))
    issuer.publish([issuer.jwk("RS256", alg=algorithm)])
    expect_success(issuer.token("svc-robot", algorithm=algorithm))
    expect_refusal(issuer.token("svc-robot"))


@pytest.mark.parametrize("algorithm", CURVES)
@pytest.mark.parametrize("named", [True, False])
def test_longer_curves_are_accepted_where_they_are_named(issuer, robot, algorithm, named):
    key = ec.generate_private_key(CURVES[algorithm]())
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    issuer.publish([{**public, "kid": "long"}])
    issuer.behave(discovery=names_algorithms(algorithm) if named else {})
    token = issuer.token("svc-robot", key=key, kid="long", algorithm=algorithm)
    expect_success(token) if named else expect_refusal(token)


@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
def test_ed25519_goes_by_two_names(issuer, robot, published, algorithm):
    issuer.publish([issuer.jwk("EdDSA", alg=published)])
    expect_success(issuer.token("svc-robot", "EdDSA", algorithm=algorithm))


@pytest.mark.parametrize("names", [None, 7, "PS256", [7, ["PS256"]]], ids=str)
def test_metadata_that_names_no_algorithms(issuer, robot, names):
    issuer.publish([issuer.jwk("RS256", alg=None)])
    issuer.behave(discovery={"id_token_signing_alg_values_supported": names})
    expect_refusal(issuer.token("svc-robot", algorithm="PS256"))
    expect_success(issuer.token("svc-robot"))


@pytest.mark.parametrize("algorithm", ["PS256", "RS512"])
def test_other_algorithms_of_a_published_key_are_refused(issuer, robot, algorithm):
    expect_refusal(issuer.token("svc-robot", algorithm=algorithm))
    issuer.publish([issuer.jwk("RS256", alg=algorithm)])
    client.get_issuer.cache_clear()
    expect_refusal(issuer.token("svc-robot"))


@pytest.mark.parametrize("changed", [{"use": "enc"}, {"key_ops": ["encrypt"]}], ids=str)
def test_a_key_that_is_not_for_signatures_signs_nothing(issuer, robot, changed):
    issuer.publish([issuer.jwk("RS256", **changed), issuer.jwk("ES256", use=None, alg=None)])
    assert "does not publish" in expect_refusal(issuer.token("svc-robot"))
    expect_success(issuer.token("svc-robot", "ES256"))


def test_a_key_that_is_too_short_signs_nothing(issuer, robot):
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # on purpose
    issuer.keys["RS256"] = short
    issuer.publish([issuer.jwk("RS256")])
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = issuer.token("svc-robot")
    assert "size" in expect_refusal(token)


def test_a_key_that_is_published_under_another_algorithm_signs_nothing(issuer, robot):
    longer = ec.generate_private_key(ec.SECP384R1())
    public = jwt.get_algorithm_by_name("ES384").to_jwk(longer.public_key(), as_dict=True)
    issuer.publish([{**public, "kid": "first-ES256", "alg": "ES256"}])
    assert "not one that its key" in expect_refusal(issuer.token("svc-robot", "ES256"))
    with pytest.raises(jwt.InvalidKeyError):
        issuer.token("svc-robot", "ES256", key=longer)


@pytest.mark.parametrize("kid", ["first-RS256", None])
def test_a_key_that_the_token_itself_brings_along_is_not_heeded(issuer, robot, kid):
    forged = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(forged.public_key(), as_dict=True)
    headers = {"jwk": public, "jku": f"{issuer.url}/forged", "x5u": f"{issuer.url}/forged"}
    expect_refusal(issuer.token("svc-robot", key=forged, kid=kid, headers=headers))
    assert issuer.list_requests() == FIRST_FETCH


@pytest.mark.parametrize("crit", [["exp"], ["b64"], ["kid"], [], "exp", None], ids=str)
def test_an_extension_that_must_be_understood_is_refused(issuer, robot, crit):
    header = {"alg": "RS256", "kid": issuer.kids["RS256"], "crit": crit, "exp": 1, "b64": True}
    signed = f"{encode_part(header)}.{encode_part(issuer.claims('svc-robot'))}"
    mark = jwt.get_algorithm_by_name("RS256").sign(signed.encode(), issuer.keys["RS256"])
    expect_refusal(f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}")


def test_a_token_without_kid_is_of_the_only_key_of_its_kind(issuer, robot):
    expect_success(issuer.token("svc-robot", kid=None))
    issuer.rotate(keep=True)
    client.get_issuer.cache_clear()
    assert "does not say which" in expect_refusal(issuer.token("svc-robot", kid=None))


def test_a_changed_token_is_refused(issuer, robot):
    head, _, mark = issuer.token("someone").split(".")
    expect_refusal(f"{head}.{encode_part(issuer.claims('svc-robot'))}.{mark}")


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "....", "eyJhbGciOiJSUzI1NiJ9.e30.x", "é.é.é", f"{encode_part([1])}.e30.e30"]
    + [f"{encode_part({'alg': 'RS256', 'kid': kid})}.e30.e30" for kid in (7, ["a"], {"a": 1})]
    + [f"{encode_part({'alg': alg})}.e30.e30" for alg in (None, 7, ["RS256"], "rs256")],
)
def test_what_is_no_token_is_refused_and_nobody_is_asked(issuer, token):
    expect_refusal(token)
    assert issuer.list_requests() == []


def test_a_very_long_token_is_refused_before_any_work(issuer, robot):
    token = issuer.token("svc-robot", padding="x" * client.MAX_TOKEN_LENGTH)
    assert "longer" in expect_refusal(token)
    assert issuer.list_requests() == []
    expect_refusal("ork_" + "x" * client.MAX_TOKEN_LENGTH, "invalid_key")


def test_who_sends_no_token_is_not_told_that_it_is_invalid(issuer):
    answer = Api().get("/sessions")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


def test_without_an_issuer_a_token_is_refused_and_keys_work(issuer, settings, bot):
    settings.OIDC_ISSUER_URL = ""
    assert "no issuer is configured" in expect_refusal(issuer.token("svc-robot"))
    assert Api(bot).get("/sessions").status_code == 200


# The issuer's keys


def test_keys_are_fetched_once_for_many_requests(issuer, robot):
    for kind in KINDS * 3:
        expect_success(issuer.token("svc-robot", kind))
    assert issuer.list_requests() == FIRST_FETCH


def test_many_first_requests_at_once_fetch_once(issuer, robot):
    answers = together([partial(asks, issuer.token("svc-robot")) for _ in range(8)])
    assert [answer.status_code for answer in answers] == [200] * 8
    assert issuer.list_requests() == FIRST_FETCH


def test_a_new_key_is_fetched_at_once(issuer, robot, clock):
    expect_success(issuer.token("svc-robot"))
    clock.seconds += client.FETCH_EVERY_SECONDS
    issuer.rotate(keep=True)
    expect_success(issuer.token("svc-robot"))
    assert issuer.list_requests() == [*FIRST_FETCH, "/jwks"]


def test_a_second_new_key_within_seconds_waits_for_its_turn(issuer, robot, clock):
    expect_success(issuer.token("svc-robot"))
    issuer.rotate(keep=True)
    clock.seconds += client.FETCH_EVERY_SECONDS - 3
    answer = unavailable(issuer.token("svc-robot"))
    assert 3 <= int(answer.headers["Retry-After"]) <= 4
    clock.seconds += 3
    expect_success(issuer.token("svc-robot"))


def test_a_flood_of_invented_keys_does_not_become_one_at_the_issuer(issuer, robot, clock):
    expect_success(issuer.token("svc-robot"))
    clock.seconds += client.FETCH_EVERY_SECONDS
    tokens = [issuer.token("svc-robot", "EdDSA", kid=f"invented-{n}") for n in range(200)]

    def send(some):
        return [asks(token).status_code for token in some]

    outcomes = together([partial(send, tokens[n::8]) for n in range(8)])
    statuses = [status for some in outcomes for status in some]
    # Whoever waited for the fetch knows; everyone else may ask again after the pause.
    assert set(statuses) <= {401, 503}
    assert 1 <= statuses.count(401) <= 1 + client.MAX_WAITING
    assert issuer.list_requests() == [*FIRST_FETCH, "/jwks"]
    expect_success(issuer.token("svc-robot"))


def test_a_flood_at_the_start_asks_no_more_than_anybody(issuer, robot, clock):
    expect_refusal(issuer.token("svc-robot", "EdDSA", kid="invented"))
    for n in range(200):
        unavailable(issuer.token("svc-robot", "EdDSA", kid=f"invented-{n}"))
    assert issuer.list_requests() == FIRST_FETCH


def test_a_withdrawn_key_is_refused_when_its_lifespan_is_over(issuer, robot, clock):
    token = issuer.token("svc-robot")
    expect_success(token)
    issuer.rotate()
    clock.seconds += client.LIFESPAN_SECONDS + 1
    assert "does not publish" in expect_refusal(token)
    expect_success(issuer.token("svc-robot"))


def test_when_every_key_is_withdrawn_none_is_accepted(issuer, robot, clock):
    expect_success(issuer.token("svc-robot"))
    issuer.publish([])
    clock.seconds += client.LIFESPAN_SECONDS + 1
    assert "does not publish" in expect_refusal(issuer.token("svc-robot"))


def test_a_key_that_nobody_can_read_spoils_no_other(issuer, robot):
    odd = [7, {}, {"kty": "martian"}, {"kty": "RSA", "alg": ["x"]}, {"kty": "EC", "crv": "P-256"}]
    odd += [{"kty": "RSA", "alg": "RS256", "n": "AQ", "e": 3}, {"kty": "OKP", "crv": "X25519"}]
    issuer.publish([*odd, issuer.jwk("RS256")])
    expect_success(issuer.token("svc-robot"))


def test_keys_are_renewed_before_they_are_too_old_and_nobody_waits(issuer, robot, clock, patient):
    expect_success(issuer.token("svc-robot"))
    issuer.behave("silent")
    clock.seconds += client.REFRESH_SECONDS + 1
    expect_success(issuer.token("svc-robot"))
    assert len(issuer.await_asked(3)) == 3
    issuer.behave()
    the_fetch_ends()
    clock.seconds += client.REFRESH_SECONDS - 60
    expect_success(issuer.token("svc-robot"))
    assert issuer.list_requests() == FIRST_FETCH * 2


# An issuer in trouble


def test_while_the_issuer_is_away_a_token_can_be_sent_again_and_keys_work(issuer, robot, bot):
    token = issuer.token("svc-robot")
    with issuer.away():
        unavailable(token)
        assert Api(bot).get("/sessions").status_code == 200


def test_cached_keys_outlive_an_issuer_that_is_away_by_an_hour(issuer, robot, clock):
    expect_success(issuer.token("svc-robot"))
    with issuer.away():
        clock.seconds += client.LIFESPAN_SECONDS + 1
        expect_success(issuer.token("svc-robot"))
        unavailable(issuer.token("svc-robot", kid="new"))
        clock.seconds += client.OUTAGE_SECONDS - client.LIFESPAN_SECONDS - 60
        expect_success(issuer.token("svc-robot"))
        clock.seconds += 60
        unavailable(issuer.token("svc-robot"))
    clock.seconds += client.RETRY_SECONDS
    expect_success(issuer.token("svc-robot"))


def test_an_issuer_that_fails_is_asked_once_in_some_seconds(issuer, robot, clock):
    issuer.behave("error")
    for n in range(20):
        unavailable(issuer.token("svc-robot", kid=f"kid-{n}"))
    assert len(issuer.list_requests()) == 1
    clock.seconds += client.RETRY_SECONDS
    together([partial(unavailable, issuer.token("svc-robot")) for _ in range(8)])
    assert len(issuer.list_requests()) == 2


def test_an_issuer_that_comes_back_is_believed_after_some_seconds(issuer, robot, clock):
    issuer.behave("error")
    unavailable(issuer.token("svc-robot"))
    issuer.behave()
    unavailable(issuer.token("svc-robot"))
    clock.seconds += client.RETRY_SECONDS
    expect_success(issuer.token("svc-robot"))


def test_an_issuer_that_never_answers_is_asked_once_and_all_are_told(issuer, robot):
    issuer.behave("silent")
    answers = together([partial(asks, issuer.token("svc-robot")) for _ in range(8)])
    assert {(a.status_code, a.json()["code"]) for a in answers} == {(503, "issuer_unavailable")}
    assert issuer.list_requests() == FIRST_FETCH[:1]


def test_api_keys_do_not_wait_for_an_issuer_that_does_not_answer(issuer, robot, bot, patient):
    issuer.behave("silent")
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.extend(together([partial(asks, issuer.token("svc-robot"))]))
    )
    waiting.start()
    assert issuer.await_asked(1) == FIRST_FETCH[:1]
    assert Api(bot).get("/sessions").status_code == 200
    assert answers == []
    issuer.behave()
    waiting.join()
    assert [answer.status_code for answer in answers] == [200]


def in_the_background(tokens):
    """What becomes of each of ``tokens``, as soon as it does."""
    outcomes = queue.SimpleQueue()

    def send(token):
        answer = asks(token)
        connections.close_all()
        outcomes.put((answer.status_code, answer.json().get("code")))

    for token in tokens:
        threading.Thread(target=send, args=(token,)).start()
    return outcomes


def test_invented_keys_hold_few_threads_however_slow_the_issuer_is(issuer, robot, clock, patient):
    expect_success(issuer.token("svc-robot"))
    clock.seconds += client.FETCH_EVERY_SECONDS
    issuer.behave("silent")
    invented = [issuer.token("svc-robot", kid=f"invented-{n}") for n in range(20)]
    outcomes = in_the_background(invented)
    at_once = [outcomes.get(timeout=30) for _ in range(20 - client.MAX_WAITING)]
    assert at_once == [(503, "issuer_unavailable")] * len(at_once)
    expect_success(issuer.token("svc-robot"))
    issuer.behave()
    later = [outcomes.get(timeout=30) for _ in range(client.MAX_WAITING)]
    assert later == [(401, "invalid_token")] * client.MAX_WAITING


def test_a_crowd_does_not_get_a_withdrawn_key_through(issuer, robot, clock, patient):
    token = issuer.token("svc-robot")
    expect_success(token)
    issuer.rotate()
    issuer.behave("silent")
    clock.seconds += client.LIFESPAN_SECONDS + 1
    outcomes = in_the_background([token] * 20)
    at_once = [outcomes.get(timeout=30) for _ in range(20 - client.MAX_WAITING)]
    assert at_once == [(503, "issuer_unavailable")] * len(at_once)
    issuer.behave()
    later = [outcomes.get(timeout=30) for _ in range(client.MAX_WAITING)]
    assert later == [(401, "invalid_token")] * client.MAX_WAITING


def test_while_the_issuer_fails_nobody_waits_but_who_asks_it_again(issuer, robot, clock, patient):
    issuer.behave("error")
    unavailable(issuer.token("svc-robot"))
    issuer.behave("silent")
    clock.seconds += client.RETRY_SECONDS
    outcomes = in_the_background([issuer.token("svc-robot")] * 5)
    told = [outcomes.get(timeout=30) for _ in range(4)]
    assert told == [(503, "issuer_unavailable")] * 4
    issuer.behave()
    assert outcomes.get(timeout=30)[0] == 200


def test_who_waits_for_the_issuer_holds_no_database_connection(issuer, robot, patient):
    issuer.behave("silent")
    connection.ensure_connection()
    mine = connection.connection
    closed = []

    def look():
        issuer.await_asked(1)
        deadline = time.monotonic() + 20
        while not mine.closed and time.monotonic() < deadline:
            time.sleep(0.01)  # another thread asks the issuer than the one that closes
        closed.append(mine.closed)
        issuer.behave()

    looking = threading.Thread(target=look)
    looking.start()
    expect_success(issuer.token("svc-robot"))
    looking.join()
    assert closed == [True]


def test_an_answer_that_drips_holds_no_thread(issuer, robot):
    issuer.behave(drip=0.2)
    unavailable(issuer.token("svc-robot"))
    the_fetch_ends()


@pytest.mark.parametrize("answer", ["large", "text", "redirect"])
def test_an_answer_that_is_none_is_not_believed(issuer, robot, answer):
    issuer.behave(answer)
    unavailable(issuer.token("svc-robot"))
    assert issuer.list_requests() == FIRST_FETCH[:1]


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://elsewhere.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/jwks"},
        {"jwks_uri": "http://[::1"},
        {"jwks_uri": "http://127.0.0.1:0/ a\r\nb"},
    ],
    ids=str,
)
def test_an_issuer_that_says_odd_things_of_itself_is_not_believed(issuer, robot, said):
    issuer.behave(discovery=said)
    unavailable(issuer.token("svc-robot"))
    assert issuer.list_requests() == FIRST_FETCH[:1]


@pytest.mark.parametrize("wrong", ["/realm", "/"])
def test_a_wrong_setting_has_a_sentence_of_its_own(issuer, robot, settings, wrong, caplog):
    settings.OIDC_ISSUER_URL = issuer.url + wrong
    for _ in range(2):
        detail = unavailable(issuer.token("svc-robot")).json()["detail"]
        assert "OIDC_ISSUER_URL is wrong" in detail
        assert "check_issuer" in detail
    (line,) = [r.getMessage() for r in caplog.records if "issuer misconfigured" in r.getMessage()]
    assert issuer.url + wrong in line


def test_keys_that_are_no_set_are_not_believed(issuer, robot):
    issuer.publish("none")
    unavailable(issuer.token("svc-robot"))


def test_outside_of_a_trial_keys_are_fetched_over_https_or_on_loopback(issuer, robot, settings):
    settings.TRIAL = settings.DEBUG = False
    issuer.behave(discovery={"jwks_uri": "http://192.0.2.1/jwks"})
    unavailable(issuer.token("svc-robot"))
    issuer.behave()
    client.get_issuer.cache_clear()
    expect_success(issuer.token("svc-robot"))


@pytest.mark.parametrize(
    ("url", "issuer_url", "allowed"),
    [
        ("https://keys.example/jwks", "https://id.example", True),
        ("http://id.example/jwks", "https://id.example", False),
        ("http://id.example/jwks", "http://id.example", False),
        ("http://127.0.0.1/jwks", "https://id.example", False),
        ("http://127.0.0.1/jwks", "http://localhost:8080", True),
        ("http://id.example/jwks", "http://localhost:8080", False),
        ("file:///etc/passwd", "https://id.example", False),
    ],
)
def test_where_keys_may_come_from(settings, url, issuer_url, allowed):
    settings.TRIAL = settings.DEBUG = False
    assert client.is_allowed_url(url, issuer_url) is allowed
    settings.TRIAL = True
    assert client.is_allowed_url(url, issuer_url) is (not url.startswith("file"))


# Roles


@pytest.fixture
def roles_claim(settings):
    settings.OIDC_ROLES_CLAIM = "realm_access.roles"
    settings.OIDC_ROLES_ALLOWED = ["sre", "support", "site reliability"]


def works_as(token, role):
    return bearing(token).post("/sessions", {"agent_role": role}).status_code


def test_without_a_claim_for_roles_an_agent_has_those_kept_here(issuer, robot):
    token = issuer.token("svc-robot", realm_access={"roles": ["sre"]}, roles=["sre"])
    assert works_as(token, "finance") == 201
    assert works_as(token, "sre") == 403


def test_with_one_an_agent_has_the_roles_of_its_token_and_no_others(issuer, robot, roles_claim):
    token = issuer.token("svc-robot", realm_access={"roles": ["sre", "support"]})
    assert works_as(token, "sre") == 201
    assert works_as(token, "support") == 201
    assert works_as(token, "finance") == 403


@pytest.mark.parametrize(
    "claims",
    [{}, {"realm_access": {}}, {"realm_access": {"roles": []}}, {"realm_access": ["roles"]}]
    + [{"realm_access": {"roles": odd}} for odd in (None, 7, {"finance": True}, "")],
    ids=str,
)
def test_a_token_without_roles_gives_none(issuer, robot, roles_claim, claims):
    assert works_as(issuer.token("svc-robot", **claims), "finance") == 403
    expect_success(issuer.token("svc-robot", **claims))


def test_an_agent_without_roles_sees_no_tasks_of_the_role_it_had(issuer, robot, roles_claim, bot):
    TaskFactory(agent=bot)
    with_role = issuer.token("svc-robot", realm_access={"roles": ["finance"]})
    assert bearing(with_role).get("/tasks").json()["total"] == 1
    assert bearing(issuer.token("svc-robot")).get("/tasks").json()["total"] == 0


def route_task(token, headers=None):
    return bearing(token).post(
        "/tasks/route",
        {"target": "finance", "task": {"task_type": "refund_approval"}},
        headers={"Idempotency-Key": "one", **(headers or {})},
    )


def test_an_agent_without_roles_routes_nothing(issuer, robot, roles_claim):
    answer = route_task(issuer.token("svc-robot"))
    assert (answer.status_code, answer.json()["code"]) == (403, "role_not_held")


def test_an_agent_speaks_no_more_for_a_role_that_its_token_lost(issuer, robot, roles_claim):
    token = issuer.token("svc-robot", realm_access={"roles": ["sre"]})
    session = bearing(token).post("/sessions", {"agent_role": "sre"}).json()["session_id"]
    later = issuer.token("svc-robot", realm_access={"roles": ["support"]})
    answer = route_task(later, {"X-Session-Id": session})
    assert (answer.status_code, answer.json()["code"]) == (403, "role_not_held")


def test_an_agent_speaks_as_the_first_role_of_its_token(issuer, robot, roles_claim):
    token = issuer.token("svc-robot", realm_access={"roles": ["sre", "finance"]})
    task = route_task(token).json()["task_id"]
    assert bearing(token).get(f"/tasks/{task}").json()["from_role"] == "sre"


def test_roles_can_be_words_of_a_text_and_only_those_with_our_prefix(issuer, robot, settings):
    settings.OIDC_ROLES_CLAIM, settings.OIDC_ROLES_PREFIX = "scope", "orchestrator:"
    token = issuer.token("svc-robot", scope="openid finance orchestrator:sre xorchestrator:ops")
    assert works_as(token, "sre") == 201
    for role in ("openid", "finance", "ops", "orchestrator:sre"):
        assert works_as(token, role) == 403


def test_a_claim_whose_name_has_dots_is_found_as_it_stands(issuer, robot, settings):
    settings.OIDC_ROLES_CLAIM = "https://id.example/roles"
    settings.OIDC_ROLES_ALLOWED = ["sre"]
    assert (
        works_as(issuer.token("svc-robot", **{"https://id.example/roles": ["sre"]}), "sre") == 201
    )


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("resource_access.my.client.roles", {"resource_access": {"my.client": {"roles": ["sre"]}}}),
        ("a.b.c.roles", {"a": {"b": 7}, "a.b": {"x": 1}, "a.b.c": {"roles": ["sre"]}}),
        ("https://id.example/x.roles", {"https://id.example/x": {"roles": ["sre"]}}),
    ],
)
def test_names_on_the_way_to_a_claim_may_have_dots(issuer, robot, settings, path, claims):
    settings.OIDC_ROLES_CLAIM, settings.OIDC_ROLES_ALLOWED = path, ["sre"]
    assert works_as(issuer.token("svc-robot", **claims), "sre") == 201


STOCK = ["offline_access", "default-roles-main", "uma_authorization"]
"""The roles that Keycloak gives everybody."""


def test_an_agent_speaks_as_no_role_that_does_not_exist_here(issuer, robot, settings, roles_claim):
    settings.OIDC_ROLES_ALLOWED = ["support"]
    Group.objects.create(name="sre")
    token = issuer.token("svc-robot", realm_access={"roles": [*STOCK, "sre", "support", "finance"]})
    task = route_task(token).json()["task_id"]
    assert bearing(token).get(f"/tasks/{task}").json()["from_role"] == "sre"
    assert [works_as(token, role) for role in ("sre", "support", "finance")] == [201] * 3
    assert [works_as(token, role) for role in STOCK] == [403] * 3


def test_stock_roles_create_no_agent(issuer, provisioning):
    expect_refusal(newcomer(issuer, roles=STOCK), "unknown_subject")
    nobody_came()
    expect_success(newcomer(issuer, roles=[*STOCK, "finance"]))
    assert Agent.objects.get().roles == ["finance"]


def test_roles_with_our_prefix_need_not_exist(issuer, provisioning, settings):
    settings.OIDC_ROLES_PREFIX = "orchestrator:"
    expect_success(newcomer(issuer, roles=["finance", "orchestrator:new here"]))
    assert Agent.objects.get().roles == ["new here"]


def test_guids_are_mapped_to_roles_and_nothing_else_counts(issuer, robot, settings, roles_claim):
    guid = "0b7f6a4e-6a1e-4c53-8a55-d6f1e8a1a001"
    settings.OIDC_ROLES_MAP = {guid: "sre"}
    token = issuer.token("svc-robot", realm_access={"roles": [guid, "finance", "support"]})
    assert works_as(token, "sre") == 201
    for role in (guid, "finance", "support"):
        assert works_as(token, role) == 403


def test_values_that_are_no_role_are_ignored(issuer, robot, roles_claim):
    odd = [7, None, ["sre"], "", " ", " sre", "s  re", "s\u200bre", "s\x00re", "x" * 151, "\ud800"]
    token = issuer.token(
        "svc-robot", realm_access={"roles": [*odd, "sre", "sre", "site reliability"]}
    )
    assert oidc.verify_bearer(token).roles == ("sre", "site reliability")
    assert works_as(token, "site reliability") == 201


# Agents that nobody created here


@pytest.fixture
def provisioning(settings):
    settings.OIDC_PROVISION_AGENTS, settings.OIDC_ROLES_CLAIM = True, "roles"
    settings.OIDC_ROLES_ALLOWED = ["finance"]


def newcomer(issuer, subject="svc-new", **claims):
    return issuer.token(subject, **({"roles": ["finance"]} | claims))


def nobody_came():
    assert not Agent.objects.exclude(name="bot").exists()


def test_an_unknown_agent_is_created_at_its_first_token_and_works(issuer, provisioning):
    assert works_as(newcomer(issuer, client_id="refund bot"), "finance") == 201

    agent = Agent.objects.get()
    assert (agent.name, agent.subject, agent.roles) == ("refund bot", "svc-new", ["finance"])
    assert not AgentKey.objects.exists()
    event = Event.objects.get(event_type="identity.created")
    assert (event.actor, event.subject_id) == ("system:oidc", agent.pk)
    assert event.metadata["reason"] == "The first token of an unknown OIDC subject."
    expect_success(newcomer(issuer))
    assert Agent.objects.count() == 1


def test_ten_first_requests_at_once_create_one_agent(issuer, provisioning):
    AgentFactory(name="svc")
    for n in range(5):
        token = newcomer(issuer, f"svc-{n}", client_id="svc")
        answers = together([partial(asks, token) for _ in range(10)])
        assert [answer.status_code for answer in answers] == [200] * 10
    created = Event.objects.filter(event_type="identity.created", actor="system:oidc")
    assert sorted(e.metadata["subject"] for e in created) == [f"svc-{n}" for n in range(5)]
    assert Agent.objects.count() == 6


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"client_id": "refunds", "azp": "other"}, "refunds"),
        ({"client_id": "", "azp": "other"}, "other"),
        ({"client_id": "re\u200bfunds", "azp": 7}, "svc-new"),
        ({"client_id": "x" * 151}, "svc-new"),
        ({}, "svc-new"),
    ],
    ids=str,
)
def test_a_new_agent_is_called_as_its_client(issuer, provisioning, claims, name):
    expect_success(newcomer(issuer, **claims))
    assert Agent.objects.get().name == name


def test_a_new_agent_can_be_called_by_another_claim(issuer, provisioning, settings):
    settings.OIDC_NAME_CLAIM = "app.name"
    expect_success(newcomer(issuer, app={"name": "refunds"}))
    assert Agent.objects.get().name == "refunds"


def test_a_subject_too_long_for_a_name_gets_one_all_the_same(issuer, provisioning):
    expect_success(newcomer(issuer, "x" * 255))
    expect_success(newcomer(issuer, "y" * 255))
    assert Agent.objects.get(subject="x" * 255).name == "agent"
    assert Agent.objects.get(subject="y" * 255).name.startswith("agent-")


def test_where_a_name_is_taken_the_next_agent_gets_another(issuer, provisioning):
    first = AgentFactory(name="r" * 150)
    for subject in ("one", "two"):
        expect_success(newcomer(issuer, subject, client_id=first.name))
    names = {agent.subject: agent.name for agent in Agent.objects.all()}
    assert len(set(names.values())) == 3
    assert all(names[one].startswith("r" * 141 + "-") for one in ("one", "two"))


def test_a_person_is_never_made_an_agent(issuer, provisioning, linked_alice, bot):
    token = newcomer(issuer, "subject-of-alice")
    assert bearing(token).get("/approvals").status_code == 200
    refusal = bearing(token).post("/sessions", {"agent_role": "finance"})
    assert (refusal.status_code, refusal.json()["code"]) == (403, "agents_only")
    nobody_came()


def test_a_client_called_as_a_person_is_never_made_an_agent(issuer, provisioning, alice):
    expect_refusal(newcomer(issuer, "alice"), "unknown_subject")
    nobody_came()


def test_an_inactive_person_does_not_come_back_as_an_agent(issuer, provisioning, linked_alice):
    User.objects.update(is_active=False)
    expect_refusal(newcomer(issuer, "subject-of-alice"), "unknown_subject")
    nobody_came()


def test_whoever_asks_for_it_a_person_is_never_made_an_agent(alice):
    with pytest.raises(NotFound):
        agents.provision_agent("alice", by=OPS, name="new", roles=["finance"], owner="")
    nobody_came()


def test_no_agent_makes_agents(bot):
    with pytest.raises(AdministratorsOnly):
        agents.provision_agent(
            "svc-new", by=bot.as_actor(), name="new", roles=["finance"], owner=""
        )


def test_a_person_whom_the_token_names_beside_its_subject_is_made_no_agent(
    issuer, provisioning, alice
):
    expect_refusal(newcomer(issuer, "0b7f", preferred_username="alice"), "unknown_subject")
    nobody_came()
    expect_success(newcomer(issuer, "0b7f", preferred_username="service-account-refunds"))


def test_a_new_agent_has_no_persons_rights(issuer, provisioning, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    answer = bearing(newcomer(issuer, client_id="alice")).post(
        f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "humans_only")


def test_a_revoked_agent_is_not_created_anew(issuer, provisioning):
    expect_success(newcomer(issuer))
    agents.revoke_agent(Agent.objects.get().pk, by=OPS)
    assert "revoked" in expect_refusal(newcomer(issuer), "unknown_subject")
    assert Agent.objects.count() == 1


@pytest.mark.parametrize("roles", [None, [], [7], "", {"finance": 1}], ids=str)
def test_whose_token_gives_no_role_is_not_created(issuer, provisioning, roles):
    assert "roles" in expect_refusal(newcomer(issuer, roles=roles), "unknown_subject")
    nobody_came()


def test_without_a_claim_for_roles_nobody_is_created(issuer, provisioning, settings):
    settings.OIDC_ROLES_CLAIM = ""
    expect_refusal(newcomer(issuer), "unknown_subject")
    nobody_came()


def test_unless_it_is_switched_on_nobody_is_created(issuer, provisioning, settings):
    settings.OIDC_PROVISION_AGENTS = False
    expect_refusal(newcomer(issuer), "unknown_subject")
    assert not Event.objects.exists()


def test_the_owner_of_a_new_agent_decides_on_none_of_its_tasks(
    issuer, provisioning, settings, linked_alice
):
    settings.OIDC_OWNER_CLAIM = "owner"
    assert route_task(newcomer(issuer, owner="alice")).status_code == 202
    assert Agent.objects.get().owner == linked_alice

    answer = decision(
        issuer.token("subject-of-alice"), the_approval(Agent.objects.get().tasks.get())
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "separation_of_duties")


@pytest.mark.parametrize("owner", [None, "", 7, "nobody here", "a\x00b"])
def test_an_agent_whose_owner_is_nobody_here_is_not_created(
    issuer, provisioning, settings, alice, owner
):
    settings.OIDC_OWNER_CLAIM = "owner"
    assert "owner" in expect_refusal(newcomer(issuer, owner=owner), "unknown_subject")
    nobody_came()

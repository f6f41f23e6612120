"""Bearer JWTs of a real, small issuer."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sessions_app import identities, oidc
from tests.client import Api
from tests.factories import OPS, AgentFactory, TaskFactory, the_approval

AUDIENCE = "orchestrator"


class Issuer:
    """An OpenID Connect issuer on a port of loopback, with one RS256 key."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.named = self.url
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def jwks(self):
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}

    def _handler(self):
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                pages = {
                    "/.well-known/openid-configuration": {
                        "issuer": issuer.named,
                        "jwks_uri": f"{issuer.url}/jwks",
                    },
                    "/jwks": issuer.jwks(),
                }
                body = json.dumps(pages[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Quietly."""

        return Handler

    def claims(self, subject, **changed):
        now = int(time.time())
        given = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 60}
        return {name: v for name, v in (given | changed).items() if v is not None}

    def token(self, subject, *, key=None, kid="one", algorithm="RS256", **changed):
        claims = self.claims(subject, **changed)
        return jwt.encode(claims, key or self.key, algorithm, headers={"kid": kid})


@pytest.fixture
def issuer(settings):
    running = Issuer()
    settings.OIDC_ISSUER_URL, settings.OIDC_AUDIENCE = running.url, AUDIENCE
    oidc._keys.cache_clear()
    yield running
    oidc._keys.cache_clear()
    running.stop()


@pytest.fixture
def robot():
    """An agent that authenticates by OIDC."""
    return AgentFactory(name="robot", roles=["finance"], subject="svc-robot")


def bearing(token):
    return Api(Authorization=f"Bearer {token}")


def refused(token, code="invalid_token"):
    answer = bearing(token).get("/sessions")
    assert answer.status_code == 401, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == code
    return answer.json()["detail"]


def test_an_agent_is_known_by_its_subject(issuer, robot):
    answer = bearing(issuer.token("svc-robot")).post("/sessions", {"agent_role": "finance"})
    assert answer.status_code == 201
    seen = bearing(issuer.token("svc-robot")).get("/sessions").json()
    assert seen["total"] == 1


def test_a_person_is_known_by_their_username_and_decides(issuer, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    answer = bearing(issuer.token("alice")).post(
        f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    )
    assert answer.status_code == 200
    assert answer.json()["decided_by"] == "alice"


def test_an_agents_token_never_decides_even_if_it_is_called_as_a_person(issuer, alice, bot):
    AgentFactory(name="posing", roles=["finance"], subject="alice")
    approval = the_approval(TaskFactory(agent=bot))
    answer = bearing(issuer.token("alice")).post(
        f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "humans_only")


def test_a_revoked_agents_token_is_not_taken_for_a_persons(issuer, alice):

    posing = AgentFactory(name="posing", subject="alice")
    identities.revoke_agent(posing.pk, by=OPS)
    refused(issuer.token("alice"), "unknown_subject")


def test_who_nobody_knows_is_nobody(issuer):
    refused(issuer.token("stranger"), "unknown_subject")


def test_an_inactive_person_is_nobody(issuer, alice):
    alice.is_active = False
    alice.save()
    refused(issuer.token("alice"), "unknown_subject")


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 9_999_999_999},
    ],
    ids=str,
)
def test_claims_that_do_not_fit_are_refused(issuer, robot, changed):
    refused(issuer.token("svc-robot", **changed))


@pytest.mark.parametrize("sub", [7, ["svc-robot"], {"a": 1}, "", "a\x00b"])
def test_a_subject_that_is_no_name_is_refused(issuer, robot, sub):
    claims = issuer.claims("x") | {"sub": sub}
    header = {"kid": "one", "alg": "RS256", "typ": "JWT"}
    token = jwt.api_jws.encode(json.dumps(claims).encode(), issuer.key, "RS256", headers=header)
    answer = bearing(token).get("/sessions")
    assert answer.status_code == 401


def test_a_token_that_nobody_signed_is_refused(issuer, robot):
    refused(jwt.encode(issuer.claims("svc-robot"), "", "none", headers={"kid": "one"}))


def test_a_token_signed_by_another_key_is_refused(issuer, robot):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused(issuer.token("svc-robot", key=other))


def test_a_public_key_is_no_shared_secret(issuer, robot):
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": "one"}
    parts = [json.dumps(part).encode() for part in (header, issuer.claims("svc-robot"))]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    mark = base64.urlsafe_b64encode(signature.sign(signed, public)).rstrip(b"=")
    refused((signed + b"." + mark).decode())


def test_a_key_that_the_issuer_does_not_publish_is_refused(issuer, robot):
    refused(issuer.token("svc-robot", kid="two"))


def test_a_changed_token_is_refused(issuer, robot):
    head, _, mark = issuer.token("someone").split(".")
    forged = base64.urlsafe_b64encode(json.dumps(issuer.claims("svc-robot")).encode())
    refused(f"{head}.{forged.decode().rstrip('=')}.{mark}")


@pytest.mark.parametrize("token", ["x", "a.b.c", "....", "eyJhbGciOiJSUzI1NiJ9.e30.x", "é.é.é"])
def test_what_is_no_token_is_refused(issuer, token):
    refused(token)


def test_while_the_issuer_is_away_a_token_is_refused_and_nothing_breaks(issuer, robot, bot):
    token = issuer.token("svc-robot")
    issuer.server.shutdown()
    issuer.server.server_close()
    refused(token)
    assert Api(bot).get("/sessions").status_code == 200


def test_an_issuer_that_calls_itself_otherwise_is_not_trusted(issuer, robot):
    issuer.named = "https://elsewhere.example"
    assert "another issuer" in refused(issuer.token("svc-robot"))


def test_without_an_issuer_a_token_is_refused(settings):
    settings.OIDC_ISSUER_URL = ""
    assert "no issuer is configured" in refused("a.b.c")

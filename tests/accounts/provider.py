"""An OpenID Connect issuer of the tests' own: the authorization code flow over real HTTP.

``Provider()`` serves discovery, ``/authorize``, ``/token``, ``/jwks``, ``/userinfo`` and
``/logout`` at ``url`` from threads of this process. Whoever is sent to it comes back at once as
the person in ``claims``. It is as strict as the specification: a code works once, for the client,
the redirect_uri and the PKCE verifier that it was made for. What a test makes wrong on purpose:

- ``claims``, ``userinfo``: what it says of the person; ``amend``: called with the ID token's claims
- ``algorithm``, ``kid``, ``typ``, ``signed_by``: how ID tokens are signed, and with whose keys
- ``sign``, ``token``: replaced by what does it wrong
- ``response``: more parameters of the redirect back
- ``error``: it sends people back with this instead of a code
- ``up``: while it is False, every answer is 503
- ``asked``: the paths that were asked for, and ``authorizations``: the parameters of each sign-in
"""

import base64
import functools
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CLIENT_ID = "orchestrator"
CLIENT_SECRET = "not a secret: of +anybody%20\N{SNOWMAN}"
KINDS = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class Keys:
    """One key of each kind."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.private = {name: make() for name, make in KINDS.items()}

    def public(self) -> list[dict[str, Any]]:
        return [
            {
                **jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True),
                "kid": self.prefix + name,
                "use": "sig",
                "alg": name,
            }
            for name, key in self.private.items()
        ]


@functools.cache
def usual_keys() -> Keys:
    """Made once, since RSA keys take a while."""
    return Keys()


class Provider:
    def __init__(self) -> None:
        self.keys = self.signed_by = usual_keys()
        self.algorithm, self.kid, self.typ = "RS256", "", "JWT"
        self.up = True
        self.error = ""
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.amend: Callable[[dict[str, Any]], Any] = lambda claims: None
        self.discovery: dict[str, Any] = {}
        self.response: dict[str, str] = {}
        self.asked: list[str] = []
        self.authorizations: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def knows(self, subject: str, username: str, *groups: str, **claims: Any) -> None:
        """Whoever is sent here from now on is this person."""
        self.claims = {
            "sub": subject,
            "preferred_username": username,
            "groups": list(groups),
            "auth_time": int(time.time()),
            **claims,
        }

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/logout",
            **self.discovery,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the person is sent back to."""
        self.authorizations.append(asked)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["nonce"]) >= 32
        back = {"state": asked["state"], **self.response}
        if self.error:
            back["error"] = self.error
        else:
            back["code"] = secrets.token_urlsafe(24)
            self._codes[back["code"]] = asked
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def token(self, sent: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        known = (sent.get("client_id"), sent.get("client_secret"))
        if authorization.startswith("Basic "):
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            known = tuple(unquote_plus(part) for part in pair.split(":", 1))
        if known != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(sent.get("code", ""), None)
        if asked is None or sent.get("redirect_uri") != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "access",
            "token_type": "Bearer",
            "id_token": self.sign(self._claims(asked["nonce"])),
        }

    def _claims(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": nonce}
        claims |= self.claims
        self.amend(claims)
        return claims

    def sign(self, claims: dict[str, Any]) -> str:
        kind = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        headers = {"kid": self.kid or kind, "typ": self.typ}
        return jwt.encode(claims, self.signed_by.private[kind], self.algorithm, headers)

    def _handler(provider) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # the handler has a self
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if not self._may_answer(parts.path):
                    return
                if parts.path == "/authorize":
                    where = provider.authorize(dict(parse_qsl(parts.query)))
                    self.send_response(302)
                    self.send_header("Location", where)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                answers = {
                    "/.well-known/openid-configuration": provider.configuration,
                    "/jwks": lambda: {"keys": provider.keys.public()},
                    "/userinfo": lambda: provider.userinfo or provider.claims,
                    "/logout": lambda: {"logged": "out"},
                }
                answer = answers.get(parts.path)
                self._answer(200 if answer else 404, answer() if answer else {})

            def do_POST(self) -> None:
                if not self._may_answer(self.path):
                    return
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                said = provider.token(dict(parse_qsl(body)), self.headers["Authorization"] or "")
                self._answer(*said)

            def _may_answer(self, path: str) -> bool:
                provider.asked.append(path)
                if not provider.up:
                    self._answer(503, {})
                return provider.up

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Nothing: the tests' output is their own."""

        return Handler

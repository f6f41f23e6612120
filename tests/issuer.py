"""An OpenID Connect issuer of the tests' own: a process that serves discovery and keys over HTTP.

The process (``python -m tests.issuer``) knows no secret: it serves what it is told to. The keys and
the tokens are made by ``Issuer`` in the test's process, which starts the other and tells it:

- ``url``, ``audience``: what OIDC_ISSUER_URL and OIDC_AUDIENCE are to be
- ``token(subject, kind="RS256", **claims)``: a token that is valid for a minute; a claim that is
  None is left out, and ``headers``, ``key``, ``kid`` and ``algorithm`` can be told otherwise
- ``claims(subject, **changed)``: what is in such a token
- ``rotate(kind, keep=False)``: a new key of that kind; ``keep=True`` publishes the old one as well
- ``publish(keys)``: exactly these JWKs; ``jwk(kind, **changed)`` is one of ours
- ``behave(...)``: until told otherwise, ``answer="silent"`` (accepts, and answers later),
  ``"error"`` (500), ``"redirect"``, ``"large"``, ``"text"``; ``drip=0.05`` sends each byte of an
  answer so many seconds after the other; ``discovery={...}`` replaces members of that document
- ``asked()``: the paths that were asked for, in order; ``await_asked(n)`` returns when there were n
- ``away()``: a context in which the process is gone and its port refuses; it comes back at the same
- ``reset()``: as if just made, keys aside; ``close()``

Importing this starts nothing.
"""

import argparse
import contextlib
import functools
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ROOT = Path(__file__).parent.parent
LONGEST_WAIT = 30
MAKERS = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@functools.cache
def usual_keys() -> dict[str, Any]:
    """One key of each kind, made once, since RSA keys take a while."""
    return {kind: make() for kind, make in MAKERS.items()}


class Issuer:
    def __init__(self, audience: str = "orchestrator") -> None:
        self.audience = audience
        self.keys: dict[str, Any] = {}
        self.kids: dict[str, str] = {}
        self._published: list[dict[str, Any]] = []
        self._process = self._start_process(0)
        self.reset()

    def reset(self) -> None:
        self.keys = dict(usual_keys())
        self.kids = {kind: f"first-{kind}" for kind in self.keys}
        self.behave()
        self.publish([self.jwk(kind) for kind in self.keys])
        self._tell(forget=True)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.close()
        try:
            yield
        finally:
            self._process = self._start_process(int(self.url.rpartition(":")[2]))
            self.publish(self._published)

    def jwk(self, kind: str, **changed: Any) -> dict[str, Any]:
        public = self.keys[kind].public_key()
        known = jwt.get_algorithm_by_name(kind).to_jwk(public, as_dict=True)
        known |= {"kid": self.kids[kind], "use": "sig", "alg": kind, **changed}
        return {name: value for name, value in known.items() if value is not None}

    def publish(self, keys: list[Any]) -> None:
        self._published = keys
        self._tell(jwks={"keys": keys})

    def rotate(self, kind: str = "RS256", *, keep: bool = False) -> None:
        before = self.jwk(kind)
        self.keys[kind] = MAKERS[kind]()
        self.kids[kind] = f"another-{kind}-{time.monotonic_ns()}"
        others = [key for key in self._published if keep or key.get("kid") != before["kid"]]
        self.publish([*others, self.jwk(kind)])

    def behave(
        self, answer: str = "ok", *, drip: float = 0, discovery: dict[str, Any] | None = None
    ) -> None:
        self._tell(answer=answer, drip=drip, discovery=discovery or {})

    def list_requests(self) -> list[str]:
        return self._control("GET", "/control?asked=0")

    def await_asked(self, count: int) -> list[str]:
        return self._control("GET", f"/control?asked={count}")

    def claims(self, subject: str, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        given = {"iss": self.url, "aud": self.audience, "sub": subject, "iat": now, "exp": now + 60}
        return {name: value for name, value in (given | changed).items() if value is not None}

    def token(
        self,
        subject: str,
        kind: str = "RS256",
        *,
        key: Any = None,
        kid: Any = "",
        algorithm: str = "",
        headers: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        named = self.kids[kind] if kid == "" else kid
        return jwt.encode(
            self.claims(subject, **changed),
            key or self.keys[kind],
            algorithm or kind,
            headers={**({} if named is None else {"kid": named}), **(headers or {})},
        )

    def _start_process(self, port: int) -> "subprocess.Popen[str]":
        started = subprocess.Popen(
            [sys.executable, "-m", "tests.issuer", "--port", str(port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert started.stdout is not None
        self.url = started.stdout.readline().strip()
        assert self.url, "The issuer did not start."
        return started

    def _tell(self, **told: Any) -> None:
        self._control("POST", "/control", json.dumps(told).encode())

    def _control(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=LONGEST_WAIT) as answer:  # noqa: S310
            return json.load(answer)


class Server(ThreadingHTTPServer):
    """The process: what it was told, and what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.told: dict[str, Any] = {"answer": "ok", "drip": 0, "discovery": {}, "jwks": {}}
        self.asked: list[str] = []
        self.changed = threading.Condition()

    def tell(self, told: dict[str, Any]) -> None:
        with self.changed:
            if told.pop("forget", False):
                self.asked = []
            self.told |= told
            self.changed.notify_all()

    def page(self, path: str) -> Any:
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.told["discovery"]}
        return {"/.well-known/openid-configuration": discovery, "/jwks": self.told["jwks"]}.get(
            path
        )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/control":
            count = int(query.partition("=")[2])
            with self.server.changed:
                self.server.changed.wait_for(lambda: len(self.server.asked) >= count, LONGEST_WAIT)
                asked = list(self.server.asked)
            self._send(200, asked)
            return
        with self.server.changed:
            self.server.asked.append(path)
            self.server.changed.notify_all()
            self.server.changed.wait_for(lambda: self.server.told["answer"] != "silent", 60)
            answer, drip = self.server.told["answer"], self.server.told["drip"]
        page = self.server.page(path)
        match answer:
            case "error":
                self._send(500, {"error": "it broke: a stack trace of the issuer's"})
            case "redirect":
                self._send(302, page, headers={"Location": f"{self.server.url}/moved{path}"})
            case "large":
                self._send(200, page, padding=300_000)
            case "text":
                self._send(200, "not an object")
            case _:
                self._send(200 if page else 404, page, drip=drip)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tell(json.loads(body))
        self._send(200, {})

    def _send(
        self,
        status: int,
        body: Any,
        *,
        drip: float = 0,
        padding: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        text = json.dumps(body).encode() + b" " * padding
        lines = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        head = [
            f"HTTP/1.1 {status} It",
            *(f"{k}: {v}" for k, v in {**lines, **(headers or {})}.items()),
        ]
        whole = "\r\n".join([*head, "Connection: close", "", ""]).encode() + text
        self.close_connection = True
        with contextlib.suppress(OSError):
            if not drip:
                self.wfile.write(whole)
                return
            for byte in whole:
                self.wfile.write(bytes([byte]))
                time.sleep(drip)

    def log_message(self, *_: Any) -> None:
        """Quietly."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve discovery and keys on loopback.")
    parser.add_argument("--port", type=int, default=0)
    server = Server(parser.parse_args().port)
    print(server.url, flush=True)  # noqa: T201  # how the one who started us learns of it
    server.serve_forever()


if __name__ == "__main__":
    main()

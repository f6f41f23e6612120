"""A small gateway in front of a tool: it runs what people approved, exactly and once.

    python examples/gateway.py --keys keys.json --log-keys log-keys.txt --used used.db --port 8090

``keys.json`` is the orchestrator's /.well-known/jwks.json and ``log-keys.txt`` its /audit/log/keys,
kept here: the gateway never asks the orchestrator. A caller sends the receipt and the payload:

    POST /tools/refund   {"receipt": "eyJ…", "payload": {"task_type": "refund", "data": …, …}}

The answer is 200 with the tool's result, or 403 with the reason.
"""

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchestrator_client.receipts import ReceiptError, verify_receipt

MAX_BODY = 10_000_000


def refund(arguments: dict[str, Any]) -> dict[str, Any]:
    """The tool that is guarded; a real one would call a bank."""
    return {"refunded": arguments}


TOOLS: dict[str, Callable[[dict[str, Any]], Any]] = {"refund": refund}


class Gateway:
    """The keys that it trusts, and the receipts that it has seen."""

    def __init__(self, keys: Path, log_keys: Path | None, used: Path) -> None:
        self.keys = json.loads(keys.read_text())
        self.log_keys = log_keys.read_text().splitlines() if log_keys else []
        self.used = used
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS used (jti TEXT PRIMARY KEY)")

    def run(self, tool: str, receipt: str, payload: dict[str, Any]) -> Any:
        """Run ``tool`` with the payload's data. Raises ReceiptError."""
        if payload.get("task_type") != tool or tool not in TOOLS:
            raise ReceiptError("payload", f"The payload is not for the tool {tool}.")
        verify_receipt(
            receipt,
            payload,
            self.keys,
            log_keys=self.log_keys,
            require_log=bool(self.log_keys),
            use_once=self._use_once,
        )
        return TOOLS[tool](payload["data"])

    def _use_once(self, jti: str) -> bool:
        # Kept before the tool runs: if it fails half-way, a person has to look, not a retry.
        with self._open() as database:
            inserted = database.execute("INSERT OR IGNORE INTO used VALUES (?)", [jti])
        return inserted.rowcount == 1

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # Several calls at once wait for each other.
        with closing(sqlite3.connect(self.used, timeout=60)) as database, database:
            yield database


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default drops the sixth of several calls at once


class Handler(BaseHTTPRequestHandler):
    def __init__(self, gateway: Gateway, *args: Any) -> None:
        self.gateway = gateway
        super().__init__(*args)

    def do_POST(self) -> None:
        """Run a tool, or say why not."""
        try:
            length = min(int(self.headers.get("Content-Length", 0)), MAX_BODY)
            body = json.loads(self.rfile.read(length))
            tool = self.path.removeprefix("/tools/")
            result = self.gateway.run(tool, body["receipt"], body["payload"])
        except ReceiptError as error:
            self._answer(403, {"code": error.code, "detail": str(error)})
        except (ValueError, KeyError, TypeError, AttributeError):
            self._answer(400, {"code": "malformed", "detail": "Send a receipt and a payload."})
        else:
            self._answer(200, result)

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--log-keys", type=Path)
    parser.add_argument("--used", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8090)
    options = parser.parse_args()
    gateway = Gateway(options.keys, options.log_keys, options.used)
    server = Server(("127.0.0.1", options.port), partial(Handler, gateway))
    print(f"The gateway listens on port {server.server_port}.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()

"""A model for Claude Code that wants to run one command, and then is done."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@contextmanager
def serving(command: str) -> Iterator["Model"]:
    """The model, listening on ``url``."""
    model = Model(command)
    server = ThreadingHTTPServer(("127.0.0.1", 0), model.build_handler())
    model.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Model:
    def __init__(self, command: str) -> None:
        self.command = command
        self.url = ""
        self.told: list[str] = []
        """What Claude Code reports of the command."""

    def build_handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content, kind = model.answer(given)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def answer(self, given: Json) -> tuple[bytes, str]:
        """The command, or a word once its result is there; as a stream where that is asked for."""
        blocks = [
            b for m in given["messages"] if isinstance(m["content"], list) for b in m["content"]
        ]
        results = [json.dumps(b["content"]) for b in blocks if b["type"] == "tool_result"]
        self.told = results or self.told
        wants = bool(given.get("tools")) and not results
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": given["model"]}
        message |= {"content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = {"input_tokens": 1, "output_tokens": 1}
        if not given.get("stream"):
            said = [{"type": "text", "text": "Done."}]
            whole = message | {"content": said, "stop_reason": "end_turn"}
            return json.dumps(whole).encode(), "application/json"
        text = "".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            for event in self._stream(message, wants)
        )
        return text.encode(), "text/event-stream"

    def _stream(self, message: Json, wants: bool) -> list[Json]:
        block: Json = {"type": "text", "text": ""}
        delta: Json = {"type": "text_delta", "text": "Done."}
        if wants:
            block = {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {}}
            text = json.dumps({"command": self.command, "description": "Make it"})
            delta = {"type": "input_json_delta", "partial_json": text}
        stop = {"stop_reason": "tool_use" if wants else "end_turn", "stop_sequence": None}
        return [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]

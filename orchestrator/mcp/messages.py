"""Strict reading of JSON-RPC messages, as strict as that of the REST API's bodies.

The SDK's reader keeps the last of two members with the same name and rounds numbers that a double
can't hold. A call with such arguments goes on without them and with the reason, which the tool
answers: a model can correct an error that it sees.
"""

import json
from typing import Any

import orjson

from orchestrator.web.parsing import BadJSON, parse

REFUSED = "orchestrator/refused"
"""The member of ``_meta`` that says why the arguments were removed."""
ARGUMENTS = "params.arguments"


def check_message(text: bytes) -> bytes:
    """Return ``text``, or a call without its bad arguments. Raises BadJSON for other messages."""
    try:
        parse(text)
    except BadJSON as error:
        if not error.field.startswith(ARGUMENTS):
            raise
        return _without_arguments(text, error)
    return text


def _without_arguments(text: bytes, error: BadJSON) -> bytes:
    message = json.loads(text)
    params = message["params"]
    field = error.field.removeprefix(ARGUMENTS).lstrip(".") or "arguments"
    code = str(getattr(error.detail, "code", error.default_code))
    reason = {"field": field, "detail": str(error.detail), "code": code}
    meta = params.get("_meta")
    params["arguments"] = {}
    params["_meta"] = {**(meta if isinstance(meta, dict) else {}), REFUSED: reason}
    return orjson.dumps(message)


def get_refusal(params: Any) -> BadJSON | None:
    """Why the arguments of this call were removed; None if they were not."""
    meta = (params or {}).get("_meta")
    reason = meta.get(REFUSED) if isinstance(meta, dict) else None
    if not isinstance(reason, dict):
        return None
    error = BadJSON(str(reason.get("detail")), str(reason.get("code")))
    error.field = str(reason.get("field"))
    return error

"""Messages of JSON-RPC, read as strictly as the bodies of the REST API.

The protocol's own reader would keep the last of two members of one name, and round what a double
can't hold. A call whose arguments are refused here goes on without them, and with the reason, so
that its tool answers with it: a model can mend what it is told.
"""

import json
from typing import Any

import orjson

from orchestrator.web.parsing import BadJSON, parse

REFUSED = "orchestrator/refused"
"""The member of ``_meta`` that holds why the arguments were left out."""
ARGUMENTS = "params.arguments"


def check_message(text: bytes) -> bytes:
    """``text``, or the same call without its arguments. Raises BadJSON for any other message."""
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
    """Why the arguments of this call were left out."""
    meta = (params or {}).get("_meta")
    reason = meta.get(REFUSED) if isinstance(meta, dict) else None
    if not isinstance(reason, dict):
        return None
    error = BadJSON(str(reason.get("detail")), str(reason.get("code")))
    error.field = str(reason.get("field"))
    return error

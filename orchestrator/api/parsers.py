"""JSON bodies, refused at the door where a later reader would see something else than the caller
wrote (RFC 7493, I-JSON): duplicate names, NaN, numbers that a double can't hold, lone surrogates,
NUL, and nesting deeper than 32."""

import json
from decimal import Decimal
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 32
EXACT = 2**53 - 1
"""RFC 7493: the largest integer that every reader of JSON holds exactly."""


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "body_too_large"


class BadJSON(ParseError):
    """``detail`` is a sentence, ``field`` where in the body, when that is known."""

    def __init__(self, detail: str, code: str, field: str | None = None) -> None:
        super().__init__(detail, code)
        self.field = field


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(settings.MAX_BODY_BYTES + 1)
        if len(body) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.")
        return parse(body)


def parse(body: bytes) -> Any:
    """The JSON value of ``body``. Raises BadJSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJSON("The body is not valid UTF-8.", "invalid_utf8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadJSON(f"The body is not JSON: {error.msg} at {where}.", "malformed_json") from None
    except RecursionError:
        raise BadJSON(f"The body is nested deeper than {MAX_DEPTH}.", "too_deep") from None
    if not isinstance(value, dict):
        raise BadJSON("The body must be a JSON object.", "malformed_json")
    _walk(value, "", 1)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadJSON("This name is given twice in one object.", "duplicate_name", _shown(twice))
    return found


def _integer(text: str) -> int:
    # Longer than any exact number: refused before int() has work to do.
    if len(text) > 17 or abs(int(text)) > EXACT:
        raise BadJSON(
            f"The number {text[:32]} is beyond 2^53 - 1, where readers round; send it as a string.",
            "inexact_number",
        )
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if abs(value) > EXACT or len(text) > 64 or Decimal(text) != Decimal(repr(value)):
        raise BadJSON(
            f"The number {text[:32]} can't be held exactly by a double; send it as a string.",
            "inexact_number",
        )
    return value


def _constant(text: str) -> float:
    raise BadJSON(f"{text} is not JSON.", "malformed_json")


def _walk(value: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH and isinstance(value, dict | list):
        raise BadJSON(f"The body is nested deeper than {MAX_DEPTH}.", "too_deep", path[:200])
    if isinstance(value, dict):
        for name, inner in value.items():
            _text(name, path)
            _walk(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        _text(value, path)


def _text(text: str, path: str) -> None:
    if "\x00" in text:
        raise BadJSON("A text can't hold the character NUL.", "nul_character", _shown(path))
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadJSON("A text can't hold half a surrogate pair.", "lone_surrogate", _shown(path))


def _shown(path: str) -> str:
    return path[:200].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")

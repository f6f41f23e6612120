"""Strict JSON bodies: refused where a later reader would see something else than the caller wrote
(RFC 7493, I-JSON): duplicate names, NaN, numbers that a double can't hold, lone surrogates,
NUL, nesting deeper than 32, and more than 10,000 values."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser

MAX_DEPTH = 32
MAX_ITEMS = 10_000
"""Members of objects and elements of arrays in one body, counted together: processing one costs
more than sending it."""
EXACT = 2**53 - 1
"""RFC 7493: the largest integer that every reader of JSON holds exactly."""
SHOWN = 200
"""Characters of a field's path in an answer."""
# The closing quote is optional: an unterminated text is not retried from each of its quotes.
TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)

Path = tuple[str | int, ...]


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "body_too_large"


class BadJSON(ParseError):
    """``detail`` is a sentence, ``field`` where in the body."""

    def __init__(self, detail: str, code: str, path: Path = ()) -> None:
        super().__init__(detail, code)
        self.field = _format_path(path)


@dataclass(frozen=True, slots=True)
class Refused:
    """Marks a refused value in a parsed body until its path is known.

    ``within`` is the name of the member that is refused, where it is not all of it.
    """

    detail: str
    code: str
    within: Path = ()


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if "*" in (media_type or ""):
            raise UnsupportedMediaType(media_type or "")
        announced = int(parser_context["request"].META["CONTENT_LENGTH"])
        if announced > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.")
        body = stream.read(announced)
        if len(body) < announced:
            # What arrived may be valid JSON, but not what was sent.
            raise BadJSON("It is shorter than Content-Length says.", "incomplete_body")
        return parse(body)


def parse(body: bytes) -> Any:
    """The JSON value of ``body``. Raises BadJSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJSON("It is not valid UTF-8.", "invalid_utf8") from None
    # Checked before parsing: a body has at least one value more than commas outside of texts.
    if text.count(",") >= MAX_ITEMS and TEXT.sub("", text).count(",") >= MAX_ITEMS:
        raise _too_many()
    try:
        value = json.loads(
            text,
            object_pairs_hook=_build_object,
            parse_int=_parse_integer,
            parse_float=_parse_number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadJSON(f"It is not JSON: {error.msg} at {where}.", "malformed_json") from None
    except RecursionError:
        raise BadJSON(f"It is nested deeper than {MAX_DEPTH}.", "too_deep") from None
    _check(value)
    if not isinstance(value, dict):
        raise BadJSON("It must be a JSON object.", "malformed_json")
    return value


def _too_many() -> BadJSON:
    return BadJSON(f"It holds more than {MAX_ITEMS} values.", "too_many_values")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Refused:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return Refused("This name is given twice in one object.", "duplicate_name", (twice,))


def _parse_integer(text: str) -> int | Refused:
    # Longer than any exact integer: refused before int() has much to do.
    if len(text) > 17 or abs(int(text)) > EXACT:
        return Refused(
            f"The number {text[:32]} is beyond 2^53 - 1, where readers round; send it as a string.",
            "inexact_number",
        )
    return int(text)


def _parse_number(text: str) -> float | Refused:
    value = float(text)
    if abs(value) > EXACT or len(text) > 64 or not _is_exact(value, text):
        return Refused(
            f"The number {text[:32]} can't be held exactly by a double; send it as a string.",
            "inexact_number",
        )
    return value


def _is_exact(value: float, text: str) -> bool:
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent beyond what even Decimal holds
        return False


def _refuse_constant(text: str) -> Refused:
    return Refused(f"{text} is not JSON.", "malformed_json")


def _check(body: Any) -> None:
    """Raise BadJSON for what is refused within ``body``.

    A path becomes a text only where it is shown: a name may be as long as the body.
    """
    total = 0
    waiting: list[tuple[Any, Path, int]] = [(body, (), 1)]
    while waiting:
        value, path, depth = waiting.pop()
        match value:
            case Refused():
                raise BadJSON(value.detail, value.code, (*path, *value.within))
            case str() if not value.isascii() or "\x00" in value:
                _check_text(value, path)
            case dict() | list() if depth > MAX_DEPTH:
                raise BadJSON(f"It is nested deeper than {MAX_DEPTH}.", "too_deep", path)
            case dict():
                for name in value:
                    if not name.isascii() or "\x00" in name:
                        _check_text(name, (*path, name))
                inner = [(each, (*path, name), depth + 1) for name, each in value.items()]
                waiting += reversed(inner)  # what comes first is named first
                total += len(inner)
            case list():
                inner = [(each, (*path, place), depth + 1) for place, each in enumerate(value)]
                waiting += reversed(inner)
                total += len(inner)
    if total > MAX_ITEMS:
        raise _too_many()


def _check_text(text: str, path: Path) -> None:
    if "\x00" in text:
        raise BadJSON("A text can't hold the character NUL.", "nul_character", path)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadJSON("A text can't hold half a surrogate pair.", "lone_surrogate", path)


def _format_path(path: Path) -> str:
    """``a.b[0]``, cut to what can be read, every character of it fit for JSON."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:SHOWN]}" for part in path)
    shown = "".join(parts).removeprefix(".")[:SHOWN] or "body"
    return shown.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")

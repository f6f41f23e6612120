"""Questions that an agent asks a human: a form in, an answer out.

A task is a question if its type is ``question`` or ends in ``_question``. ``data.question`` is the
text; the optional ``data.schema`` is the JSON Schema of the answer: an object of plain fields, as
in MCP elicitation, so that any form can show it. Without a schema, the answer is a text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from approvals_app.errors import AnswerInvalid, AnswerRequired, QuestionInvalid
from sessions_app.models import Task

QUESTION = "question"
SUFFIX = "_question"
MAX_FIELDS = 50
LONGEST_ANSWER = 20_000
TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": LONGEST_ANSWER}
_ABOUT = {"title": {"type": "string"}, "description": {"type": "string"}}
_LENGTH = {"type": "integer", "minimum": 0, "maximum": LONGEST_ANSWER}


def _field(kind: str, **keywords: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": kind}, **_ABOUT, **keywords},
        "additionalProperties": False,
    }


FORM = {
    "type": "object",
    "required": ["type", "properties"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "object"},
        **_ABOUT,
        "required": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "properties": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_FIELDS,
            "propertyNames": {"minLength": 1, "maxLength": 100},
            "additionalProperties": {
                "anyOf": [
                    _field(
                        "string",
                        minLength=_LENGTH,
                        maxLength=_LENGTH,
                        default={"type": "string"},
                        enum={
                            "type": "array",
                            "items": {"type": "string"},
                            "minItems": 1,
                            "maxItems": 200,
                            "uniqueItems": True,
                        },
                    ),
                    _field(
                        "number",
                        minimum={"type": "number"},
                        maximum={"type": "number"},
                        default={"type": "number"},
                    ),
                    _field(
                        "integer",
                        minimum={"type": "integer"},
                        maximum={"type": "integer"},
                        default={"type": "integer"},
                    ),
                    _field("boolean", default={"type": "boolean"}),
                ]
            },
        },
    },
}
"""The JSON Schema (draft 2020-12) of the schemas that agents may send: no pattern, reference or
nesting, so that validating an answer is cheap and every field can be shown."""

_forms = jsonschema.Draft202012Validator(FORM)


def is_question(task_type: str) -> bool:
    return task_type == QUESTION or task_type.endswith(SUFFIX)


def check_question(task: Task) -> None:
    """Raise QuestionInvalid if the question ``task`` can't be shown as a form."""
    data = task.data if isinstance(task.data, dict) else {}
    if not isinstance(data.get("question"), str) or not data["question"].strip():
        raise QuestionInvalid(field="task.data.question", reason="it has no text.")
    if "schema" not in data:
        return
    for error in _forms.iter_errors(data["schema"]):
        path = ".".join(["task.data.schema", *(str(part) for part in error.absolute_path)])
        reason = "it is not an object of plain fields (string, number, integer, boolean)."
        raise QuestionInvalid(field=path[:200], reason=reason)
    unknown = set(data["schema"].get("required", ())) - set(data["schema"]["properties"])
    if unknown:
        reason = f"it requires {sorted(unknown)[0]!r}, which is no field of it."
        raise QuestionInvalid(field="task.data.schema.required", reason=reason)


def form_of(task: Task) -> dict[str, Any] | None:
    """The JSON Schema of the answer; None if ``task`` is not a question."""
    if not is_question(task.task_type):
        return None
    schema: dict[str, Any] = task.data.get("schema", TEXT)
    return schema


def validate_answer(task: Task, answer: Any) -> Any:
    """Return ``answer`` if it answers ``task``; None if ``task`` is not a question.

    Raises AnswerRequired, AnswerInvalid.
    """
    form = form_of(task)
    if form is None:
        if answer is not None:
            raise AnswerInvalid(field="answer", reason="this task asks no question.")
        return None
    if answer is None:
        raise AnswerRequired(field="answer")
    # The form itself does not forbid other members, but nobody would see them.
    closed = {"additionalProperties": False} if form["type"] == "object" else {}
    for error in jsonschema.Draft202012Validator(form | closed).iter_errors(answer):
        path = ".".join(["answer", *(str(part) for part in error.absolute_path)])
        raise AnswerInvalid(field=path[:200], reason=_describe_error(error))
    return answer


def _describe_error(error: jsonschema.ValidationError) -> str:
    # Not error.message, which quotes the whole answer.
    expected = str(error.validator_value)[:200]
    return f"it does not satisfy {error.validator}: {expected}."


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a question's form, as a page shows it."""

    name: str
    kind: str
    label: str
    help: str
    required: bool
    options: tuple[str, ...]
    value: str

    @property
    def input(self) -> str:
        return f"answer.{self.name}"


def build_fields(task: Task, given: Mapping[str, str]) -> list[Field]:
    """The fields of the form of ``task``, filled from ``given`` (names of inputs to their texts).

    Empty if ``task`` is not a question.
    """
    form = form_of(task)
    if form is None:
        return []
    if form["type"] != "object":
        return [Field("", "text", "Your answer", "", True, (), given.get("answer.", ""))]
    required = form.get("required", ())
    return [
        Field(
            name,
            "choice" if "enum" in about else about["type"],
            about.get("title", name),
            about.get("description", ""),
            name in required,
            tuple(about.get("enum", ())),
            given.get(f"answer.{name}", _default(about)),
        )
        for name, about in _order_fields(form)
    ]


def _order_fields(form: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Required fields first, in the order of ``required``; then the others by name."""
    # jsonb keeps the order of an array, but not that of an object's members.
    required = list(form.get("required", ()))
    names = [*required, *sorted(form["properties"].keys() - set(required))]
    return [(name, form["properties"][name]) for name in names]


def parse_answer(task: Task, given: Mapping[str, str]) -> Any:
    """The answer in a submitted form; None if ``task`` is not a question. Raises AnswerInvalid."""
    form = form_of(task)
    if form is None:
        return None
    if form["type"] != "object":
        return given.get("answer.", "").replace("\r\n", "\n") or None
    answer: dict[str, Any] = {}
    for name, about in form["properties"].items():
        text = given.get(f"answer.{name}", "").replace("\r\n", "\n")
        if about["type"] == "boolean":
            answer[name] = text == "true"
        elif text:
            answer[name] = _parse_number(text, name) if about["type"] in NUMBERS else text
    return answer


NUMBERS = ("number", "integer")


def _parse_number(text: str, name: str) -> int | float:
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", text):
        return float(text)
    raise AnswerInvalid(field=f"answer.{name}", reason="it is no number.")


def _default(about: Mapping[str, Any]) -> str:
    value = about.get("default", "")
    return {True: "true", False: ""}[value] if isinstance(value, bool) else str(value)

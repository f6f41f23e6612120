"""Questions that an agent asks of a human: a form in, an answer out.

A task whose type is ``question`` or ends in ``_question`` is one. ``data.question`` is its text and
``data.schema``, where it is given, the JSON Schema of the answer: an object of plain fields, as in
MCP's elicitation, so that any form can show it. Without a schema the answer is a text.
"""

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
"""What a form may be: no pattern, reference or nesting, so that judging an answer is cheap and
nobody is asked for what can't be shown. The validator is jsonschema's, for draft 2020-12."""

_forms = jsonschema.Draft202012Validator(FORM)


def is_question(task_type: str) -> bool:
    return task_type == QUESTION or task_type.endswith(SUFFIX)


def must_be_askable(task: Task) -> None:
    """Raises QuestionInvalid where ``task`` is a question that no form can ask."""
    if not is_question(task.task_type):
        return
    data = task.data if isinstance(task.data, dict) else {}
    if not isinstance(data.get("question"), str) or not data["question"].strip():
        raise QuestionInvalid(field="task.data.question", reason="it has no text.")
    if "schema" not in data:
        return
    for error in _forms.iter_errors(data["schema"]):
        place = ".".join(["task.data.schema", *(str(part) for part in error.absolute_path)])
        reason = "it is not an object of plain fields (string, number, integer, boolean)."
        raise QuestionInvalid(field=place[:200], reason=reason)
    unknown = set(data["schema"].get("required", ())) - set(data["schema"]["properties"])
    if unknown:
        reason = f"it requires {sorted(unknown)[0]!r}, which is no field of it."
        raise QuestionInvalid(field="task.data.schema.required", reason=reason)


def form_of(task: Task) -> dict[str, Any] | None:
    """The JSON Schema of the answer that ``task`` asks for; None: it is no question."""
    if not is_question(task.task_type):
        return None
    schema: dict[str, Any] = task.data.get("schema", TEXT)
    return schema


def answered(task: Task, answer: Any) -> Any:
    """``answer`` as it is kept. Raises AnswerRequired, AnswerInvalid."""
    form = form_of(task)
    if form is None:
        if answer is not None:
            raise AnswerInvalid(field="answer", reason="this task asks no question.")
        return None
    if answer is None:
        raise AnswerRequired(field="answer")
    closed = {"additionalProperties": False} if form["type"] == "object" else {}
    for error in jsonschema.Draft202012Validator(form | closed).iter_errors(answer):
        place = ".".join(["answer", *(str(part) for part in error.absolute_path)])
        raise AnswerInvalid(field=place[:200], reason=_plainly(error))
    return answer


def _plainly(error: jsonschema.ValidationError) -> str:
    """The library quotes the whole answer, which may be long."""
    wanted = str(error.validator_value)[:200]
    return f"it does not satisfy {error.validator}: {wanted}."

"""An e-mail as its readers will get it."""

from dataclasses import dataclass
from typing import Any

from approvals_app.payload.emphasis import Emphasis
from approvals_app.payload.facts import Data
from approvals_app.payload.renderers._parts import MOST_SHOWN, list_texts, without

ADDRESSES = ("from", "reply_to", "to", "cc", "bcc", "recipients")
BODIES = ("text", "body")
FEW = 10
"""Addresses of one kind that are never folded."""


@dataclass(frozen=True, slots=True)
class People:
    """The addresses of one member."""

    name: str
    addresses: list[str]
    is_open: bool


def render(data: Data, emphasis: Emphasis) -> tuple[dict[str, Any], Any] | None:
    """An e-mail: ``subject``, an address, and ``text``, ``body`` or ``html``."""
    if not isinstance(data.get("subject"), str) or not any(name in data for name in ADDRESSES):
        return None
    body = next((name for name in BODIES if isinstance(data.get(name), str)), None)
    if body is None and not isinstance(data.get("html"), str):
        return None
    people = {name: list_texts(data[name]) for name in ADDRESSES if list_texts(data.get(name))}
    more = {name: texts[MOST_SHOWN:] for name, texts in people.items() if texts[MOST_SHOWN:]}
    rendered = {*people, "subject", *filter(None, [body])}
    context = {
        "people": [
            People(
                name=name.replace("_", " "),
                addresses=texts[:MOST_SHOWN],
                is_open=len(texts) <= FEW or emphasis.warns_within((name,)),
            )
            for name, texts in people.items()
        ],
        "subject": data["subject"],
        "text": data[body] if body else "",
    }
    if isinstance(data.get("html"), str):
        context["html"] = data["html"]
        context["is_html_open"] = body is None or emphasis.warns_within(("html",))
        rendered.add("html")
    names = data.get("attachments")
    if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
        context["attachments"] = names
        rendered.add("attachments")
    return context, without(data, *rendered) | more

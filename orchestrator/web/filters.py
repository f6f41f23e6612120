"""Queries, judged before anything reads them: what no filter knows, what is empty and what comes
twice is refused by name, since a typo must not widen a list."""

from typing import Any
from urllib.parse import unquote_to_bytes

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import UnsupportedMediaType, ValidationError
from rest_framework.request import Request

PAGING = {"page_size", "cursor"}
MAX_PARAMETERS = 100


class StrictFilterBackend(DjangoFilterBackend):  # type: ignore[misc]  # untyped library
    """A view calls ``judge`` for each request, whether or not there is a list to filter."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        """A form is made of the filters only where one is asked for."""
        if request.query_params.keys().isdisjoint(view.filterset_class.base_filters):
            return queryset
        return super().filter_queryset(request, queryset, view)

    def judge(self, request: Request, view: Any) -> None:
        """Refuse what this view would read otherwise than it was meant, or not at all.

        Raises ValidationError, and UnsupportedMediaType for a charset: Django would read the query
        in it, too.
        """
        if view.action is None:
            return  # this method is not allowed here, and that is said next
        charset = request._request.content_params.get("charset", "utf-8")  # type: ignore[union-attr]
        if charset.lower() not in ("utf-8", "us-ascii"):
            raise UnsupportedMediaType(request.content_type or "")
        _refuse_a_body_that_nobody_reads(request)
        known = self._known(view)
        seen = set()
        for name, value in _parameters(request.META.get("QUERY_STRING", "")):
            if name not in known:
                raise ValidationError({name[:100]: "There is no such parameter."})
            if name in seen:
                raise ValidationError({name: "It is given more than once."})
            if "\x00" in value:
                raise ValidationError({name: "A text can't hold the character NUL."})
            if not value.strip() and name != "cursor":
                raise ValidationError({name: "A value is needed."})
            seen.add(name)

    def _known(self, view: Any) -> set[str]:
        if view.action != "list":
            return set()
        filters = set(view.filterset_class.base_filters)
        if view.pagination_class is None:
            return filters
        return PAGING | filters | (set() if view.cursor_only else {"page"})


def _parameters(query: str) -> list[tuple[str, str]]:
    """Names and values as Django reads them, but nothing replaced: what is not UTF-8 is refused."""
    if not query:
        return []
    pairs = [pair.partition("=") for pair in query.split("&", MAX_PARAMETERS)]
    if len(pairs) > MAX_PARAMETERS:
        raise ValidationError({"query": f"It has more than {MAX_PARAMETERS} parameters."})
    return [
        (_decoded(name, name), _decoded(value, name)) for name, _, value in pairs if name or value
    ]


def _decoded(text: str, name: str) -> str:
    # WSGI hands over bytes as the characters of Latin-1.
    raw = unquote_to_bytes(text.replace("+", " ").encode("latin-1"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        shown = unquote_to_bytes(name.encode("latin-1"))[:100].decode(errors="backslashreplace")
        raise ValidationError({shown: "It is not valid UTF-8."}) from None


def _refuse_a_body_that_nobody_reads(request: Request) -> None:
    if "Transfer-Encoding" in request.headers:
        raise ValidationError({"Transfer-Encoding": "A body needs a Content-Length instead."})
    if request.method in ("GET", "HEAD") and request.META.get("CONTENT_LENGTH") not in (
        None,
        "",
        "0",
    ):
        raise ValidationError({"body": f"A {request.method} request has none."})

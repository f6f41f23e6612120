"""Strict query strings: unknown, empty and repeated parameters are refused by name, since a typo
must not widen a list."""

from typing import Any
from urllib.parse import unquote_to_bytes

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import UnsupportedMediaType, ValidationError
from rest_framework.request import Request

PAGING = {"page_size", "cursor"}
MAX_PARAMETERS = 100


class StrictFilterBackend(DjangoFilterBackend):  # type: ignore[misc]  # untyped library
    """OperationViewSet calls ``check_request`` for each request, whether it lists or not."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        """Filter ``queryset``; the form is only built where a filter is used."""
        if request.query_params.keys().isdisjoint(view.filterset_class.base_filters):
            return queryset
        return super().filter_queryset(request, queryset, view)

    def check_request(self, request: Request, view: Any) -> None:
        """Refuse what this view would misread or ignore.

        Raises ValidationError, and UnsupportedMediaType for a charset: Django would read the query
        in it, too.
        """
        if view.action is None:
            return  # the method is not allowed here; DRF refuses it next
        charset = request._request.content_params.get("charset", "utf-8")  # type: ignore[union-attr]
        if charset.lower() not in ("utf-8", "us-ascii"):
            raise UnsupportedMediaType(request.content_type or "")
        if "Transfer-Encoding" in request.headers:
            raise ValidationError({"Transfer-Encoding": "A body needs a Content-Length instead."})
        length = request.META.get("CONTENT_LENGTH")
        if request.method in ("GET", "HEAD") and length not in (None, "", "0"):
            raise ValidationError({"body": f"A {request.method} request has none."})
        query = request.META.get("QUERY_STRING", "")
        if not query:
            return
        known = self._list_parameters(view) if view.action == "list" else set()
        seen = set()
        for name, value in _parse_query(query):
            if name not in known:
                raise ValidationError({name[:100]: "There is no such parameter."})
            if name in seen:
                raise ValidationError({name: "It is given more than once."})
            if "\x00" in value:
                raise ValidationError({name: "A text can't hold the character NUL."})
            if not value.strip() and name != "cursor":
                raise ValidationError({name: "A value is needed."})
            seen.add(name)

    def _list_parameters(self, view: Any) -> set[str]:
        filters = set(view.filterset_class.base_filters)
        if view.pagination_class is None:
            return filters
        return PAGING | filters | (set() if view.cursor_only else {"page"})


def _parse_query(query: str) -> list[tuple[str, str]]:
    """Names and values as Django reads them, but invalid UTF-8 is refused instead of replaced."""
    pairs = [pair.partition("=") for pair in query.split("&", MAX_PARAMETERS)]
    if len(pairs) > MAX_PARAMETERS:
        raise ValidationError({"query": f"It has more than {MAX_PARAMETERS} parameters."})
    return [
        (_decode(name, name), _decode(value, name)) for name, _, value in pairs if name or value
    ]


def _decode(text: str, name: str) -> str:
    # WSGI hands over bytes as the characters of Latin-1.
    raw = unquote_to_bytes(text.replace("+", " ").encode("latin-1"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        shown = unquote_to_bytes(name.encode("latin-1"))[:100].decode(errors="backslashreplace")
        raise ValidationError({shown: "It is not valid UTF-8."}) from None

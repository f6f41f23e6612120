"""Filters of lists. What no filter knows, and what is empty, is refused: a typo must not widen a
list."""

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

PAGING = {"page_size", "cursor"}


class StrictFilterBackend(DjangoFilterBackend):  # type: ignore[misc]  # untyped library
    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        filterset = self.get_filterset_class(view, queryset)
        known = PAGING | set(filterset.base_filters if filterset else ())
        if not view.cursor_only:
            known.add("page")
        for name in request.query_params:
            if name not in known:
                raise ValidationError({name[:100]: "There is no such parameter."})
        for name, values in request.query_params.lists():
            if len(values) > 1:
                raise ValidationError({name: "It is given more than once."})
            if "\x00" in values[0]:
                raise ValidationError({name: "A text can't hold the character NUL."})
            if not values[0] and name != "cursor":
                raise ValidationError({name: "A value is needed."})
        return super().filter_queryset(request, queryset, view)

"""Where a person goes on to: a page of this site, whatever ``next`` says."""

from urllib.parse import urlencode

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def get_destination(request: HttpRequest) -> str:
    """The path that ``next`` names, where that is one of ours; else the inbox."""
    given = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    safe = given.startswith("/") and url_has_allowed_host_and_scheme(given, allowed_hosts=None)
    return given if safe else reverse("admin:index")


def url_with_next(name: str, path: str) -> str:
    """The address of the page ``name``, which goes on to ``path``."""
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: path})}"

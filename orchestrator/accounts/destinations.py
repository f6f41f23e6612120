"""Redirects after login, to pages of this site only."""

from urllib.parse import urlencode

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def get_destination(request: HttpRequest) -> str:
    """The path in ``next`` if it is on this site, else the inbox."""
    path = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    is_safe = path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return path if is_safe else reverse("admin:index")


def url_with_next(name: str, path: str) -> str:
    """The URL of the page ``name``, which then redirects to ``path``."""
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: path})}"

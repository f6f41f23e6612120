"""Redirects after login, to pages of this site only."""

from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def get_destination(request: HttpRequest) -> str:
    """The path in ``next`` if it is on this site, else the inbox."""
    return _choose(
        request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    )


def find_local_page(request: HttpRequest) -> str:
    """This page at localhost, if it was asked for at 127.0.0.1, where no passkey works; else ""."""
    host, _, port = request.get_host().partition(":")
    origin = f"http://localhost:{port}"
    there = host == "127.0.0.1" and origin in settings.PASSKEY_ORIGINS
    return origin + request.get_full_path() if there else ""


def get_page_behind(path: str) -> str:
    """The page from which somebody was sent to prove who they are; the inbox if there is none.

    ``path`` is where the proof leads, which may ask for another one first.
    """
    path = _choose(path)
    while (parts := urlsplit(path)).path == reverse("signin:prove"):
        path = _choose(QueryDict(parts.query).get(REDIRECT_FIELD_NAME, ""))
    return path


def _choose(path: str) -> str:
    """``path`` if it is on this site, else the inbox."""
    # Django refuses more than 2,048 characters, and a choice of many approvals is longer; the query
    # says nothing about the site.
    before_query = path.partition("?")[0]
    is_safe = path.startswith("/") and url_has_allowed_host_and_scheme(before_query, None)
    return path if is_safe else reverse("admin:index")


def url_with_next(name: str, path: str) -> str:
    """The URL of the page ``name``, which then redirects to ``path``."""
    return f"{reverse(name)}?{urlencode({REDIRECT_FIELD_NAME: path})}"

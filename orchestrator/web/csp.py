"""The Content-Security-Policy of our answers (CSP Level 3): nothing inline, no frames."""

import base64
import hashlib
import re
from functools import cache

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.template.loader import render_to_string
from django.test import RequestFactory

OF_DATA = "default-src 'none'; frame-ancestors 'none'"

HTMX = "'sha256-bsV5JivYxvGywDAZ22EZJKBFip65Ng9xoJVLbBg7bdo='"
"""The style of its progress indicator, which htmx writes into the page itself."""

SIDEBAR = "'unsafe-hashes' 'sha256-AJYt8hoGhIrHBAsndIxxJYqDB0S6WQjnKpdTEfVF0x0='"
"""``width: 288px``: the style attribute that a newer frame sets by a script; it stays that wide."""


@cache
def of_pages() -> str:
    """'unsafe-eval' is for the Alpine.js of the admin's frame, which reads its expressions from
    attributes of templates; what agents write never becomes one."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'unsafe-eval'",
            " ".join(["style-src 'self'", *_styles_of_the_frame(), HTMX, SIDEBAR]),
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def _styles_of_the_frame() -> list[str]:
    """The hashes of what the admin's own skeleton writes inline: its colours, from the settings."""
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    page = render_to_string("unfold/layouts/skeleton.html", admin.site.each_context(request))
    styles = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    digests = (hashlib.sha256(style.encode()).digest() for style in styles)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]

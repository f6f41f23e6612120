"""The published keys: ``/.well-known/jwks.json`` and, for checkpoints, ``/audit/log/keys``."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import condition, require_safe

from audit_app.models import LogEpoch
from audit_app.proof import keys

MAX_AGE = "public, max-age=300"
"""A new key is published as an old one's successor before it signs: see docs/operating.md."""


def _etag(request: HttpRequest) -> str:
    return f'"{"-".join(key.thumbprint for key in keys.verifying_keys())}"'


@require_safe
@condition(etag_func=_etag)
def jwks(request: HttpRequest) -> HttpResponse:
    """The public keys that receipts are signed with, as a JWK Set (RFC 7517)."""
    return JsonResponse(keys.publish_keys(), headers={"Cache-Control": MAX_AGE})


@require_safe
def verifier_keys(request: HttpRequest) -> HttpResponse:
    """The verifier keys of every epoch of the log (c2sp.org/signed-note), the newest first."""
    origins = LogEpoch.objects.order_by("-number").values_list("origin", flat=True)
    lines = [f"{key.verifier_key(name)}\n" for name in origins for key in keys.verifying_keys()]
    return HttpResponse(
        "".join(lines),
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": MAX_AGE},
    )

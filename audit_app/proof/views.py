"""The log over HTTP, as C2SP's tlog-tiles says, and proofs of single events as tlog-proof files."""

from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from audit_app.base.errors import NotFound, NotSealedYet
from audit_app.http.viewsets import OperationViewSet
from audit_app.models import Event, LogLeaves
from audit_app.proof import proofs
from audit_app.proof.merkle import HASH_SIZE
from audit_app.proof.tiles import TILE_WIDTH, read_tile
from audit_app.proof.witnesses import cosigned_note

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
FOREVER = "max-age=31536000, immutable"
MAX_ENTRY = 65_535
"""Bytes of an entry that the format's two bytes of length can announce."""


class Place(NamedTuple):
    """A tile's number in its level, and how many of its hashes are asked for."""

    number: int
    width: int


class LevelConverter:
    """A tile's level in a path."""

    regex = "[0-9]|[1-5][0-9]|6[0-3]"
    to_python, to_url = int, str


class PlaceConverter:
    """A tile's number in groups of three digits, and its width where it is partial: 1234067 is
    ``x001/x234/067``, its first five hashes are ``x001/x234/067.p/5``."""

    regex = r"(?:x[0-9]{3}/){0,5}[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?"

    def to_python(self, text: str) -> Place:
        """Raises ValueError for what ``to_url`` does not write."""
        digits, _, width = text.partition(".p/")
        place = Place(int(digits.replace("x", "").replace("/", "")), int(width or TILE_WIDTH))
        if self.to_url(place) != text:
            raise ValueError(text)
        return place

    def to_url(self, place: Place) -> str:
        digits = str(place.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[begin : begin + 3] for begin in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return path if place.width == TILE_WIDTH else f"{path}.p/{place.width}"


class LogReaders(BasePermission):
    """Those whom AUDIT_LOG_READERS names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if settings.AUDIT_LOG_READERS == "everyone":
            return True
        actor: Any = request.user
        return bool(actor) and (settings.AUDIT_LOG_READERS == "token" or actor.auditor)


class Auditors(IsAuthenticated):
    """Those who may read every event."""

    def has_permission(self, request: Request, view: Any) -> bool:
        actor: Any = request.user
        return super().has_permission(request, view) and actor.auditor


class AsItIs(BaseRenderer):
    """Takes any Accept header: there is one representation."""

    media_type = "*/*"
    format = "tlog"

    def render(self, data: Any, *_: Any) -> bytes:
        return data if isinstance(data, bytes) else b""


class LogViewSet(OperationViewSet):
    """What static files of the same names would be."""

    queryset = Event.objects.none()
    pagination_class = None
    renderer_classes = (AsItIs,)
    permission_classes = (LogReaders,)

    @extend_schema(operation_id="log_checkpoint", responses={(200, "text/plain"): str})
    def checkpoint(self, request: Request) -> HttpResponse:
        """The newest checkpoint of the transparency log, as a C2SP signed note."""
        checkpoint = proofs.newest_checkpoint()
        if checkpoint is None:
            raise NotFound(what="checkpoint")
        return _respond(cosigned_note(checkpoint).encode(), TEXT, "no-cache")

    @extend_schema(exclude=True)
    def tile(self, request: Request, level: int, place: Place) -> HttpResponse:
        """Hashes of one level of the tree."""
        hashes = read_tile(level, place.number)[: place.width * HASH_SIZE]
        if len(hashes) < place.width * HASH_SIZE:
            raise NotFound(what="tile")
        return _respond(hashes, BYTES, _cache_forever())


class LogEntriesViewSet(OperationViewSet):
    """The events themselves: for auditors, whoever else may read the hashes."""

    queryset = Event.objects.none()
    pagination_class = None
    renderer_classes = (AsItIs,)
    permission_classes = (Auditors,)

    @extend_schema(exclude=True)
    def entries(self, request: Request, place: Place) -> HttpResponse:
        """The entries behind one tile of level 0, each behind its length in two bytes.

        Raises NotFound also where one is longer than that, or no longer kept.
        """
        leaves = LogLeaves.objects.filter(number=place.number).first()
        positions = leaves.positions[: place.width] if leaves else []
        rows = Event.objects.filter(position__in=positions).values_list("position", "entry")
        entries = {position: entry.encode() for position, entry in rows}
        if len(entries) < place.width or max(map(len, entries.values())) > MAX_ENTRY:
            raise NotFound(what="bundle of entries")
        bundle = (entries[position] for position in positions)
        return _respond(
            b"".join(len(entry).to_bytes(2, "big") + entry for entry in bundle),
            BYTES,
            f"private, {FOREVER}",
        )


class ProofViewSet(OperationViewSet):
    queryset = Event.objects.all()
    renderer_classes = (AsItIs,)

    @extend_schema(operation_id="event_proof", responses={(200, "text/plain"): str})
    def proof(self, request: Request, pk: UUID) -> HttpResponse:
        """Proof that the event is in the transparency log: a c2sp.org/tlog-proof@v1 file.

        For whoever may see the event. An event that is not sealed yet is 409 with Retry-After.
        """
        if not self.visible().filter(pk=pk).exists():
            raise NotFound(what="event")
        proof = proofs.prove(pk)
        if proof is None:
            raise NotSealedYet
        response = _respond(
            proof.as_text(cosigned_note(proof.checkpoint)).encode(), TEXT, "no-cache"
        )
        response.headers["Content-Disposition"] = f'attachment; filename="{pk}.tlog-proof"'
        return response


def _cache_forever() -> str:
    """Shared caches keep only what everyone may read."""
    shared = "public" if settings.AUDIT_LOG_READERS == "everyone" else "private"
    return f"{shared}, {FOREVER}"


def _respond(body: bytes, content_type: str, cache: str) -> HttpResponse:
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": cache})

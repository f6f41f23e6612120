"""A verifier of C2SP logs that others wrote reads ours over HTTP and agrees."""

import pytest
from django.contrib.auth.models import Permission

from audit_app.models import Checkpoint, Event
from audit_app.proof import keys
from audit_app.proof.merkle import consistency_proof
from audit_app.proof.proofs import prove
from audit_app.proof.tiles import tile_reader
from tests.audit.test_sealing import seal_all, write_events
from tests.client import Api
from tests.factories import ReviewerFactory

aics_tlog = pytest.importorskip("aics_tlog", reason="aics-tlog needs Python 3.12")


class Served:
    """Its TileReader, over our API."""

    def __init__(self) -> None:
        auditor = ReviewerFactory(username="olga")
        auditor.user_permissions.add(Permission.objects.get(codename="read_everything"))
        self.api = Api(user=auditor)

    def read(self, path):
        answer = self.api.get(f"/audit/log/{path}")
        return answer.content if answer.status_code == 200 else None

    def read_tile(self, level, index, width):
        return self.read(aics_tlog.tiles.tile_path(level, index, width))

    def read_entry_bundle(self, index, width):
        return self.read(aics_tlog.tiles.entry_bundle_path(index, width))


@pytest.fixture
def log():
    """A log of 600 events under three checkpoints, as it is served, and its verified head."""
    for count in (100, 157, 343):
        write_events(count)
        seal_all()
    served = Served()
    note = aics_tlog.parse_note(served.read("checkpoint").decode())
    origin = Checkpoint.objects.last().epoch.origin
    key = aics_tlog.vkey_from_ed25519(origin, keys.signing_keys()[0].public_bytes)
    head = aics_tlog.verify_checkpoint(note, key, expected_origin=origin)
    assert head.ok, head.error
    assert (head.size, head.origin) == (600, origin)
    return served, head


def test_every_tile_and_entry(log):
    served, head = log
    reader = aics_tlog.VerifiedTileReader(served, head.size, head.root)
    entries = Event.objects.order_by("position").values_list("entry", flat=True)
    for index, entry in [*enumerate(entries)][::50]:
        assert aics_tlog.read_entry(reader, index, head.size) == entry.encode()


def test_proofs_of_inclusion(log):
    served, head = log
    for event in Event.objects.order_by("position")[::37]:
        proof = prove(event.pk)
        entry = event.entry.encode()
        assert aics_tlog.verify_leaf_inclusion(
            entry, proof.index, head.size, list(proof.hashes), head.root
        )
        theirs = aics_tlog.inclusion_proof_from_tiles(served, proof.index, head.size)
        assert theirs == list(proof.hashes)


def test_proofs_of_consistency(log):
    served, head = log
    for old in Checkpoint.objects.filter(size__lt=600):
        proof = consistency_proof(old.size, head.size, tile_reader())
        roots = bytes(old.root), head.root
        assert aics_tlog.verify_consistency(old.size, head.size, *roots, proof)
        assert aics_tlog.consistency_proof_from_tiles(served, old.size, head.size) == proof

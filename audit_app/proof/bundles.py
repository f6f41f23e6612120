"""Bundles: the trail with its proof in a folder, to be checked without us and without a database.

``entries.jsonl`` has what was sealed, an entry a line in the log's order, and ``not_sealed.jsonl``
what was not sealed yet; ``leaves`` the leaves' hashes, 32 bytes each; ``checkpoints.jsonl`` the
signed notes with their cosignatures; ``keys`` the verifier keys as they are published; and
``manifest.json`` the SHA-256 of each. Two exports of one trail are equal byte for byte.

The keys in a bundle are of whoever made it: that proves nothing against them. Keys that the reader
kept elsewhere do.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from django.db import connection

from audit_app.base.canonical import canonical
from audit_app.models import Checkpoint, LogEpoch
from audit_app.proof import keys, notes
from audit_app.proof.merkle import HASH_SIZE, Frontier, leaf_hash
from audit_app.trail.verification import Progress, Verification

FORMAT: Final = "orchestrator-audit-bundle/1"
MANIFEST: Final = "manifest.json"
ENTRIES: Final = "entries.jsonl"
NOT_SEALED: Final = "not_sealed.jsonl"
LEAVES: Final = "leaves"
CHECKPOINTS: Final = "checkpoints.jsonl"
KEYS: Final = "keys"
FILES: Final = (ENTRIES, NOT_SEALED, LEAVES, CHECKPOINTS, KEYS)
STEP: Final = 10_000
COSIGNED: Final = notes.COSIGNATURE_V1

SEALED_ENTRIES = """
SELECT entry FROM audit_log_leaves, unnest(positions) WITH ORDINALITY AS leaf (position, place)
JOIN audit_events USING (position) ORDER BY number, place
"""
UNSEALED_ENTRIES = """
SELECT entry FROM audit_events AS event WHERE NOT EXISTS (
    SELECT FROM (SELECT unnest(positions) AS position FROM audit_log_leaves) AS leaf
    WHERE leaf.position = event.position) ORDER BY position
"""


def write_bundle(folder: Path, progress: Progress) -> dict[str, Any]:
    """Write the trail, as the caller's transaction sees it, to the empty ``folder``; return the
    manifest. Raises OSError."""
    counts = {"events": 0, "sealed": 0, "checkpoints": 0}
    with (folder / ENTRIES).open("wb") as entries, (folder / LEAVES).open("wb") as leaves:
        for entry in _read_entries(SEALED_ENTRIES):
            _write_line(entries, entry)
            leaves.write(leaf_hash(entry.encode()))
            counts["sealed"] += 1
            if counts["sealed"] % STEP == 0:
                progress(f"Wrote {counts['sealed']:,} sealed events")
    counts["events"] = counts["sealed"]
    with (folder / NOT_SEALED).open("wb") as entries:
        for entry in _read_entries(UNSEALED_ENTRIES):
            _write_line(entries, entry)
            counts["events"] += 1
    with (folder / CHECKPOINTS).open("wb") as checkpoints:
        for number, note in Checkpoint.objects.order_by("number").values_list("number", "note"):
            _write_line(checkpoints, canonical({"number": number, "note": note}))
            counts["checkpoints"] += 1
    origins = LogEpoch.objects.order_by("number").values_list("origin", flat=True)
    verifiers = [key.verifier_key(origin) for origin in origins for key in keys.verifying_keys()]
    (folder / KEYS).write_text("".join(f"{key}\n" for key in verifiers))
    files = {name: _describe(folder / name) for name in FILES}
    manifest = {"format": FORMAT, "files": files, **counts}
    (folder / MANIFEST).write_text(canonical(manifest) + "\n")
    return manifest


def parse_keys(texts: Iterable[str]) -> list[notes.VerifierKey]:
    """The verifier keys in ``texts``, one a line; lines that begin with # are skipped.

    Raises NoteError.
    """
    lines = (line.strip() for text in texts for line in text.splitlines())
    return [notes.VerifierKey.parse(line) for line in lines if line and not line.startswith("#")]


@dataclass(slots=True)
class BundleVerification:
    """One pass over a bundle's entries, beside which its leaves and checkpoints are read.

    ``given`` are keys that the reader kept elsewhere; without any, the bundle's own count.
    """

    folder: Path
    verification: Verification
    given: Sequence[notes.VerifierKey] = ()
    sealed: int = 0
    cosigned: int = 0
    """The size of the largest tree that a witness whose key was given has cosigned."""
    _signers: list[notes.VerifierKey] = field(init=False, default_factory=list)
    _tree: Frontier = field(default_factory=Frontier)
    _confirmed: int = 0
    _contradicted: bool = False

    def verify(self, progress: Progress) -> None:
        """Find what was changed, removed or inserted, and where."""
        self._check_manifest()
        self._signers = list(self.given) or self._read_own_keys()
        checkpoints = self._read_checkpoints()
        following = next(checkpoints, None)
        leaves = _Leaves(self)
        for number, line in enumerate(self._read_lines(ENTRIES), 1):
            self._read_entry(line, f"{ENTRIES}, line {number}")
            leaf = leaf_hash(line)
            leaves.compare(number, leaf)
            self._tree.append(leaf)
            self.sealed = number
            while following and following[1] <= number:
                self._compare(*following)
                following = next(checkpoints, None)
            if number % STEP == 0:
                progress(f"Read {number:,} sealed events")
        leaves.finish()
        self._check_end(following)
        for _ in checkpoints:  # each is held against itself when it is read
            pass
        for number, line in enumerate(self._read_lines(NOT_SEALED), 1):
            self._read_entry(line, f"{NOT_SEALED}, line {number}")

    def find(self, what: Any, reason: str, place: str) -> None:
        self.verification.find(what, reason, place=place)

    def _read_entry(self, line: bytes, place: str) -> None:
        self.verification.read(line.decode(errors="surrogateescape"), place)

    def _check_manifest(self) -> None:
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text())
            files = dict(manifest["files"])
        except (OSError, ValueError, KeyError, TypeError):
            self.find("changed", "it can not be read", MANIFEST)
            return
        if manifest.get("format") != FORMAT:
            self.find("changed", f"it is not of the format {FORMAT}", MANIFEST)
        for name in FILES:
            path = self.folder / name
            if not path.is_file():
                self.find("removed", "the file is missing", name)
            elif files.get(name) != _describe(path):
                self.find("changed", "the file is not what the manifest says", name)
        for path in sorted(self.folder.iterdir()):
            if path.name not in (*FILES, MANIFEST):
                self.find("inserted", "the file is none of a bundle's", path.name)

    def _read_own_keys(self) -> list[notes.VerifierKey]:
        with suppress(OSError, ValueError):
            return parse_keys([(self.folder / KEYS).read_text()])
        self.find("changed", "it has not the keys of a log", KEYS)
        return []

    def _read_lines(self, name: str) -> Iterator[bytes]:
        path = self.folder / name
        if path.is_file():
            with path.open("rb") as file:
                for line in file:
                    yield line.removesuffix(b"\n")

    def _read_checkpoints(self) -> Iterator[tuple[str, int, bytes]]:
        """The place, size and root of each checkpoint, held against itself and the one before."""
        before = size = 0
        for line_number, line in enumerate(self._read_lines(CHECKPOINTS), 1):
            place = f"{CHECKPOINTS}, line {line_number}"
            try:
                row = json.loads(line)
                number, note = int(row["number"]), notes.parse_note(row["note"])
                origin, size_text, root = note.text.rstrip("\n").split("\n")
                signed = (place, int(size_text), b64decode(root, validate=True))
            except (ValueError, KeyError, TypeError):
                self.find("changed", "it is no checkpoint", place)
                continue
            if missing := number - before - 1:
                reason = f"{missing} before it are missing" if missing > 0 else "it is out of order"
                self.find("removed" if missing > 0 else "inserted", reason, place)
            if signed[1] < size:
                self.find("changed", "it signed fewer leaves than the one before", place)
            before, size = number, max(size, signed[1])
            self._check_signatures(row["note"], note, origin, signed[1], place)
            yield signed

    def _check_signatures(
        self, text: str, note: notes.Note, origin: str, size: int, place: str
    ) -> None:
        signers = [k for k in self._signers if k.name == origin and k.kind != COSIGNED]
        if not notes.verify_note(text, origin, signers):
            self.find("changed", f"none of the keys of {origin} signed it", place)
        witnesses = {(k.name, k.key_id): k for k in self.given if k.kind == COSIGNED}
        for each in note.signatures:
            witness = witnesses.get((each.name, each.key_id))
            if witness is None:  # nobody who reads this knows it
                continue
            if notes.verify_cosignature(note, witness) is None:
                self.find("changed", f"{each.name} did not cosign it", place)
            else:
                self.cosigned = max(self.cosigned, size)

    def _compare(self, place: str, size: int, root: bytes) -> None:
        """Hold a root against that of the entries; after the first contradiction all contradict."""
        if root == self._tree.root:
            self._confirmed = size
        elif not self._contradicted:
            self._contradicted = True
            lines = f"lines {self._confirmed + 1:,} to {size:,}"
            self.find("changed", f"{ENTRIES} is not what it signed, in {lines}", place)

    def _check_end(self, following: tuple[str, int, bytes] | None) -> None:
        if following is not None:
            place, size, _ = following
            reason = f"it signed {size:,} entries, of which {self.sealed:,} are here"
            self.find("removed", reason, place)
        elif self._confirmed < self.sealed and not self._contradicted:
            lines = f"lines {self._confirmed + 1:,} to {self.sealed:,}"
            self.find("inserted", "no checkpoint signed them", f"{ENTRIES}, {lines}")


class _Leaves:
    """Holds entries against the hashes of the leaves: which were changed, removed or inserted."""

    def __init__(self, bundle: BundleVerification) -> None:
        path = bundle.folder / LEAVES
        self._bundle = bundle
        self._hashes = path.read_bytes() if path.is_file() else b""
        self._places: dict[bytes, int] = {}
        self._next = 0
        self._unknown: list[int] = []
        """The numbers of lines that are none of the leaves that follow."""

    def compare(self, line: int, leaf: bytes) -> None:
        if leaf == self._at(self._next):
            self._explain(self._next)
            self._next += 1
            return
        found = self._find(leaf)
        if found < self._next:
            self._unknown.append(line)
            return
        self._explain(found)
        self._next = found + 1

    def finish(self) -> None:
        self._explain(len(self._hashes) // HASH_SIZE)

    def _at(self, index: int) -> bytes:
        return self._hashes[index * HASH_SIZE : (index + 1) * HASH_SIZE]

    def _find(self, leaf: bytes) -> int:
        if not self._places:  # as long as nothing differs, it is not needed
            count = len(self._hashes) // HASH_SIZE
            self._places = {self._at(index): index for index in range(count)}
        return self._places.get(leaf, -1)

    def _explain(self, until: int) -> None:
        """Name the lines that stand where the leaves from the next one to ``until`` should."""
        missing = list(range(self._next, until))
        for line, _ in zip(self._unknown, missing, strict=False):
            self._tell("changed", "it is not what was sealed", f"line {line}")
        for line in self._unknown[len(missing) :]:
            self._tell("inserted", "it was never sealed", f"line {line}")
        for leaf in missing[len(self._unknown) :]:
            self._tell("removed", "the entry is missing", f"leaf {leaf}")
        self._unknown = []

    def _tell(self, what: Any, reason: str, where: str) -> None:
        self._bundle.find(what, reason, f"{ENTRIES}, {where}")


def _read_entries(query: str) -> Iterator[str]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(STEP):
            for (entry,) in rows:
                yield entry


def _write_line(file: BinaryIO, text: str) -> None:
    file.write(text.encode() + b"\n")


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": path.stat().st_size,
        }

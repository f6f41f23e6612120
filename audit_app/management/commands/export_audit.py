"""Export the trail."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand, interruptible
from audit_app.proof.bundles import MANIFEST, write_bundle
from audit_app.trail.verification import entries, snapshot

Write = Callable[[bytes], object]


class Command(OperatorCommand):
    help = (
        "Write all events in order, one per line, to standard output or to a file that appears "
        "when it is complete and that only its owner can read. The count and the SHA-256 of the "
        "output are written to stderr. With --bundle, write a folder with the log's proof, which "
        "verify_audit checks without a database. A signal ends it with 128 plus its number and no "
        "file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--to", metavar="FILE", type=Path, help="instead of standard output")
        parser.add_argument(
            "--bundle", metavar="FOLDER", type=Path, help="a new folder, with the log's proof"
        )

    def handle(self, *args: Any, to: Path | None, bundle: Path | None, **options: Any) -> None:
        if to and bundle:
            raise CommandError("Give --to or --bundle, not both.")
        if bundle:
            self._export_bundle(bundle)
            return
        count, hashed = 0, hashlib.sha256()
        with interruptible():
            try:
                with self._destination(to) as write, snapshot():
                    for _, entry in entries():
                        line = entry.encode() + b"\n"
                        hashed.update(line)
                        write(line)
                        count += 1
                        if to and count % 10_000 == 0:
                            self.progress(f"Wrote {count:,} events")
            finally:
                self.end_progress()
        facts = {"events": count, "sha256": hashed.hexdigest(), "file": str(to) if to else None}
        sentence = f"Wrote {count:,} events; SHA-256 {hashed.hexdigest()}"
        self.stderr.write(self.format_result(facts, sentence), style_func=str)

    def _export_bundle(self, folder: Path) -> None:
        if folder.exists():
            raise CommandError(f"{folder} is already there; a bundle needs a new folder.")
        with interruptible():
            try:
                with _make_folder(folder) as unfinished, snapshot():
                    manifest = write_bundle(unfinished, self.progress)
                    digest = hashlib.sha256((unfinished / MANIFEST).read_bytes()).hexdigest()
            finally:
                self.end_progress()
        counts = {name: manifest[name] for name in ("events", "sealed", "checkpoints")}
        sentence = (
            f"Wrote {counts['events']:,} events, {counts['sealed']:,} of them sealed, and "
            f"{counts['checkpoints']:,} checkpoints; SHA-256 of {MANIFEST} {digest}"
        )
        facts = {**counts, "sha256": digest, "folder": str(folder)}
        self.stderr.write(self.format_result(facts, sentence), style_func=str)

    @contextlib.contextmanager
    def _destination(self, to: Path | None) -> Iterator[Write]:
        if to is not None:
            with _write_atomically(to) as write:
                yield write
            return
        raw = getattr(self.stdout, "buffer", None)  # bytes, independent of the terminal's encoding
        if raw is None:
            yield lambda line: self.stdout.write(line.decode(), ending="")
        else:
            yield raw.write
            raw.flush()


@contextlib.contextmanager
def _make_folder(folder: Path) -> Iterator[Path]:
    """A folder that only its owner can read, and that has its name once it is complete."""
    parent = folder.parent.resolve(strict=True)
    unfinished = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}."))
    try:
        yield unfinished
        for path in unfinished.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def _write_atomically(path: Path) -> Iterator[Write]:
    """Write a temporary file and rename it: readers see the old file or the whole new one."""
    folder = path.parent.resolve(strict=True)  # or the error would name the temporary file
    number, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            yield file.write
            file.flush()
            # Before the rename, or a crash could leave the new name with an empty file.
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

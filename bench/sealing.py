"""What the seal costs: ``python -m bench.sealing [--rows 1000000]``.

A trail of so many events is sealed. Then come, in pairs whose order alternates: verifying the log
beside a bare loop that reads the same entries and takes their SHA-256, and writers with a sealer
beside them and without one. The storage of the tree and the time of a proof are measured alone; the
time holds PostgreSQL's and so is more than the server's CPU.
"""

import argparse
import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from bench.measuring import run_server, use_database

PAIRS = 5
PROOFS = 500
WRITERS = 2
NOTE = """
INSERT INTO audit_events (entry) SELECT audit_entry(event_type => 'agent.noted',
    actor => 'agent:bot', actor_id => '00000000-0000-4000-8000-000000000001',
    subject_type => 'note', subject_id => gen_random_uuid(), seq => 1, from_state => NULL,
    to_state => NULL, role => 'support', trace_id => gen_random_uuid(),
    metadata => '{{"of":"a refund of some amount to somebody for an order","step":' || n || '}}')
FROM generate_series(1, {count}) AS n
"""
SIZE = """
SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY['audit_log_tiles',
    'audit_log_leaves', 'audit_log_epochs', 'audit_checkpoints']) AS name
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seconds", type=float, default=10.0, help="a run of the writers")
    parser.add_argument("--place", type=Path, help="a folder that keeps the database")
    options = parser.parse_args()
    with run_server(options.place, {"shared_buffers": "1GB", "max_wal_size": "8GB"}) as url:
        name = f"sealing_{options.rows}"
        database = use_database(
            url, name, lambda builder: _fill(builder, options.rows), filled="audit_events"
        )
        _seal(options.rows)
        _report_storage(database)
        _report_proofs()
        _report_ratio("verifying, beside read + SHA-256", options, _read_bare, _verify)
        alone, beside = _writers(database, options.seconds)
        _report_ratio("writers with a sealer, beside without", options, alone, beside)


def _fill(builder: "psycopg.Connection[Any]", rows: int) -> None:
    for begin in range(0, rows, 10_000):
        builder.execute(NOTE.format(count=min(10_000, rows - begin)).encode())
        builder.commit()


def _seal(rows: int) -> None:
    from audit_app.proof import sealing

    start = time.perf_counter()
    sealed = 0
    while step := sealing.seal_batch():
        sealed += step
    if sealed:
        print(f"Sealed {sealed / (time.perf_counter() - start):,.0f} events/s.", flush=True)


def _report_storage(url: str) -> None:
    from audit_app.proof.sealing import find_log_end

    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("VACUUM audit_log_tiles, audit_log_leaves")
        size = (admin.execute(SIZE).fetchone() or (0,))[0]
    print(f"The tree takes {float(size) / find_log_end().size:.1f} bytes an event.", flush=True)


def _report_proofs() -> None:
    from audit_app.models import Event
    from audit_app.proof.proofs import prove

    ids = list(Event.objects.order_by("position").values_list("pk", flat=True))
    walls, cpus = [], []
    for event_id in random.Random(1).sample(ids, PROOFS):  # noqa: S311  # to be repeated
        wall, cpu = time.perf_counter(), time.process_time()
        assert prove(event_id)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu = (1000 * statistics.median(times) for times in (walls, cpus))
    print(f"A proof among {len(ids):,}: {wall:.2f} ms, {cpu:.2f} ms of them Python's CPU.")


def _report_ratio(
    what: str, options: argparse.Namespace, bare: Callable[[], float], ours: Callable[[], float]
) -> None:
    """Print the median ratio of the rates, ours over the bare one's."""
    ratios = []
    for pair in range(options.pairs):
        if pair % 2:
            rate = ours()
            ratios.append(rate / bare())
        else:
            rate = bare()
            ratios.append(ours() / rate)
    spread = (max(ratios) - min(ratios)) / statistics.median(ratios)
    print(f"{what}: {statistics.median(ratios):.2f} (spread {spread:.0%})", flush=True)


def _read_bare() -> float:
    """Entries a second."""
    from django.db import transaction

    from audit_app.trail.verification import entries

    start, count = time.perf_counter(), 0
    with transaction.atomic():
        for _, entry in entries():
            sha256(b"\x00" + entry.encode()).digest()
            count += 1
    return count / (time.perf_counter() - start)


def _verify() -> float:
    """Leaves a second."""
    from audit_app.proof.verification import LogVerification
    from audit_app.trail.verification import Verification, snapshot

    verification = Verification()
    log = LogVerification(verification)
    start = time.perf_counter()
    with snapshot():
        log.verify(lambda _: None)
    if verification.found:
        raise SystemExit(str(verification.findings[0]))
    return log.size / (time.perf_counter() - start)


def _writers(url: str, seconds: float) -> tuple[Callable[[], float], Callable[[], float]]:
    """Two ways to measure events a second of several writers: alone, and beside a sealer."""

    def run() -> float:
        with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
            return sum(pool.starmap(_write, [(url, seconds)] * WRITERS)) / seconds

    def run_beside_sealer() -> float:
        with _sealer():
            return run()

    return run, run_beside_sealer


def _write(url: str, seconds: float) -> int:
    """Commit events one by one; return how many."""
    count, statement = 0, NOTE.format(count=1).encode()
    with psycopg.connect(url, autocommit=True) as connection:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.execute(statement)
            count += 1
    return count


@contextmanager
def _sealer() -> Any:
    """Seal as the worker does, until the block ends."""
    from django.db import connection

    from audit_app.management.commands.worker import SEAL_EVERY
    from audit_app.proof import sealing

    stopping = threading.Event()

    def seal() -> None:
        while not stopping.wait(SEAL_EVERY):
            while sealing.seal_batch():
                pass
        connection.close()

    thread = threading.Thread(target=seal)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


if __name__ == "__main__":
    main()

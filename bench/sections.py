"""Compares our operations with their limit, and with a peer's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import limit, ours, serving, wire
from bench.clients import Wrk
from bench.errors import BenchError
from bench.harness import Comparison, Contender, Harness, Measurement, reserve_numbers
from bench.limit import Samples
from bench.machine import measure_memory
from bench.ours import Operation, World
from bench.peers import Case, Peer, create_database
from bench.serving import RunningServer
from orchestrator.ops.embedded_postgres import Server


@dataclass(frozen=True, slots=True)
class CountedOperation:
    """One of our operations, with the statements that it sends to PostgreSQL."""

    operation: Operation
    samples: Samples

    def new_measurement(self) -> Measurement:
        counts = self.samples
        return Measurement("ours", statements=counts.statements, round_trips=counts.round_trips)


def count_statements(
    world: World, server: Server, environment: dict[str, str], log: Path, *, only: str
) -> list[CountedOperation]:
    """Sample our operations whose names contain ``only`` through a wire."""
    with (
        wire.open_wire(server.application_url) as tap,
        serving.run_gunicorn(log, environment | {"DATABASE_URL": tap.url}) as web,
    ):
        world.log_in(web)
        return [
            CountedOperation(one, limit.take_samples(tap, web.url, one.request, one.prepare))
            for one in ours.list_operations(world)
            if only in one.name
        ]


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares our running server's operations with others'."""

    operations: list[CountedOperation]
    web: RunningServer
    server: Server
    world: World
    seconds: float
    pairs: int
    connections: int

    def compare_with_limit(self) -> Iterator[Comparison | str]:
        """Compare each operation with its limit, or yield the reason why not.

        Raises BenchError without pgbench.
        """
        program = limit.find_pgbench(self.server.pid)
        harness = self._make_harness()
        for one in self.operations:
            try:
                yield self._compare_one_with_limit(harness, program, one)
            except BenchError as error:
                yield f"{one.operation.name}: {error}"

    def _compare_one_with_limit(
        self, harness: Harness, program: Path, one: CountedOperation
    ) -> Comparison:
        script = limit.write_script(one.samples.equal, self.connections)
        url = self.server.application_url
        bare = limit.Pgbench(program, url, script, self.connections)
        self._check_same_effect(bare, one.operation)
        sent = len(one.samples.equal[-1].statements)
        measured = Measurement("limit", statements=sent, round_trips=sent)
        return self._compare(harness, one, (measured, bare, one.operation.prepare))

    def compare_with_peer(
        self, peer: Peer, folder: Path, memory: dict[str, dict[str, float]]
    ) -> Iterator[Comparison | str]:
        """Compare each of the peer's cases with ours, or yield the reason why not.

        Raises BenchError where the peer can't be installed or started.
        """
        peer.install()
        operations = {one.operation.name: one for one in self.operations}
        counts = self._count_statements(peer, folder) if peer.on_postgres else {}
        name = _peer_slug(peer)
        url = create_database(self.server, name)
        with (
            peer.serve(folder, url, folder / f"{name}.log") as server,
            psycopg.connect(url, autocommit=True) as admin,
        ):
            harness = self._make_harness(**{peer.name: server.pid}, **server.processes)
            for case in peer.cases(server, admin):
                if case.ours not in operations:
                    continue
                try:
                    yield self._compare_one_with_peer(
                        harness, operations[case.ours], case, server.url, counts.get(case.ours)
                    )
                except BenchError as error:
                    yield f"{case.ours}: {error}"
            memory[peer.name] = measure_memory(server.pid)

    def _compare_one_with_peer(
        self, harness: Harness, one: CountedOperation, case: Case, url: str, samples: Samples | None
    ) -> Comparison:
        measured = Measurement("peer")
        if samples is not None:
            measured.statements = samples.statements
            measured.round_trips = samples.round_trips
        side = (measured, Wrk(url, case.request, self.connections), case.prepare)
        comparison = self._compare(harness, one, side)
        comparison.note = f"{case.request.method} {case.request.path}: {case.note}"
        return comparison

    def _count_statements(self, peer: Peer, folder: Path) -> dict[str, Samples]:
        """Count each case's statements, in a database that is used for nothing else."""
        name = f"{_peer_slug(peer)}_counted"
        url = create_database(self.server, name)
        with (
            wire.open_wire(url) as tap,
            peer.serve(folder, tap.url, folder / f"{name}.log") as server,
            psycopg.connect(url, autocommit=True) as admin,
        ):
            return {
                case.ours: limit.take_samples(tap, server.url, case.request, case.prepare)
                for case in peer.cases(server, admin)
                if case.ours in {one.operation.name for one in self.operations}
            }

    def _make_harness(self, **further: int) -> Harness:
        processes = {"web": self.web.pid, "database": self.server.pid, **further}
        return Harness(self.seconds, self.pairs, processes)

    def _compare(self, harness: Harness, one: CountedOperation, other: Contender) -> Comparison:
        # So that no checkpoint or autovacuum that is due anyway falls into either side's time.
        for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
            self.world.admin.execute(statement)
        operation = one.operation
        mine = Wrk(self.web.url, operation.request, self.connections)
        return harness.compare(
            operation.name, (one.new_measurement(), mine, operation.prepare), other
        )

    def _check_same_effect(self, bare: limit.Pgbench, operation: Operation) -> None:
        """Raises BenchError unless the limit inserts as many rows per table as the request."""
        inserted = []
        for act in (lambda n: operation.request.send(self.web.url, n), bare.once):
            first = reserve_numbers()
            if operation.prepare is not None:
                operation.prepare(first, 2 * self.connections)
            before = ours.count_rows(self.world.admin)
            act(first)
            after = ours.count_rows(self.world.admin)
            inserted.append(
                {name: n - before[name] for name, n in after.items() if n != before[name]}
            )
        if inserted[0] != inserted[1]:
            raise BenchError(
                f"{operation.name} leaves {inserted[0]}, but its limit leaves {inserted[1]}."
            )


def _peer_slug(peer: Peer) -> str:
    return peer.name.lower().replace(" ", "_")

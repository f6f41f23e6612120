"""Us beside the limit, and us beside one peer."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import limit, ours, serving, wire
from bench.clients import Wrk
from bench.errors import BenchError
from bench.harness import Comparison, Contender, Harness, Measured, next_first
from bench.limit import Samples
from bench.machine import memory_of
from bench.ours import Operation, World
from bench.peers import Case, Peer, database
from bench.serving import Served
from orchestrator.ops.embedded_postgres import Server


@dataclass(frozen=True, slots=True)
class Ours:
    """One of our operations, and what it asks of PostgreSQL."""

    operation: Operation
    samples: Samples

    def measured(self) -> Measured:
        counts = self.samples
        return Measured("ours", statements=counts.statements, round_trips=counts.round_trips)


def counted(
    world: World, server: Server, told: dict[str, str], log: Path, *, only: str
) -> list[Ours]:
    """Our operations whose name holds ``only``, asked for a few times through a wire."""
    with (
        wire.tapped(server.application_url) as tap,
        serving.gunicorn(log, told | {"DATABASE_URL": tap.url}) as served,
    ):
        world.log_in(served)
        return [
            Ours(one, limit.samples(tap, served.url, one.request, one.prepare))
            for one in ours.operations(world)
            if only in one.name
        ]


@dataclass(frozen=True, slots=True)
class Beside:
    """Our server, running, and what is measured of it."""

    us: list[Ours]
    served: Served
    server: Server
    world: World
    seconds: float
    pairs: int
    connections: int

    def the_limit(self) -> Iterator[Comparison | str]:
        """Each operation beside its limit, or why not. Raises BenchError without pgbench."""
        program = limit.pgbench(self.server.pid)
        harness = self._harness()
        for one in self.us:
            try:
                yield self._beside_its_limit(harness, program, one)
            except BenchError as error:
                yield f"{one.operation.name}: {error}"

    def _beside_its_limit(self, harness: Harness, program: Path, one: Ours) -> Comparison:
        script = limit.script(one.samples.alike, self.connections)
        url = self.server.application_url
        bare = limit.Pgbench(program, url, script, self.connections)
        self._leaves_the_same(bare, one.operation)
        sent = len(one.samples.alike[-1].statements)
        measured = Measured("limit", statements=sent, round_trips=sent)
        return self._compared(harness, one, (measured, bare, one.operation.prepare))

    def a_peer(
        self, peer: Peer, place: Path, memory: dict[str, dict[str, float]]
    ) -> Iterator[Comparison | str]:
        """Each of the peer's cases beside ours, or why not. Raises BenchError where it can't be
        had at all."""
        peer.install()
        known = {one.operation.name: one for one in self.us}
        counts = self._counts(peer, place) if peer.on_postgres else {}
        name = _slug(peer)
        url = database(self.server, name)
        with (
            peer.served(place, url, place / f"{name}.log") as served,
            psycopg.connect(url, autocommit=True) as admin,
        ):
            harness = self._harness(**{peer.name: served.pid}, **served.beside)
            for case in peer.cases(served, admin):
                if case.ours not in known:
                    continue
                try:
                    yield self._beside_its_like(
                        harness, known[case.ours], case, served.url, counts.get(case.ours)
                    )
                except BenchError as error:
                    yield f"{case.ours}: {error}"
            memory[peer.name] = memory_of(served.pid)

    def _beside_its_like(
        self, harness: Harness, one: Ours, case: Case, url: str, samples: Samples | None
    ) -> Comparison:
        measured = Measured("peer")
        if samples is not None:
            measured.statements = samples.statements
            measured.round_trips = samples.round_trips
        side = (measured, Wrk(url, case.request, self.connections), case.prepare)
        comparison = self._compared(harness, one, side)
        comparison.note = f"{case.request.method} {case.request.path}: {case.note}"
        return comparison

    def _counts(self, peer: Peer, place: Path) -> dict[str, Samples]:
        """What each case asks of PostgreSQL, in a database that is used for nothing else."""
        name = f"{_slug(peer)}_counted"
        url = database(self.server, name)
        with (
            wire.tapped(url) as tap,
            peer.served(place, tap.url, place / f"{name}.log") as served,
            psycopg.connect(url, autocommit=True) as admin,
        ):
            return {
                case.ours: limit.samples(tap, served.url, case.request, case.prepare)
                for case in peer.cases(served, admin)
                if case.ours in {one.operation.name for one in self.us}
            }

    def _harness(self, **further: int) -> Harness:
        watched = {"web": self.served.pid, "database": self.server.pid, **further}
        return Harness(self.seconds, self.pairs, watched)

    def _compared(self, harness: Harness, one: Ours, other: Contender) -> Comparison:
        # No checkpoint and no vacuum that is due anyway falls into either side's time.
        for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
            self.world.admin.execute(statement)
        operation = one.operation
        mine = Wrk(self.served.url, operation.request, self.connections)
        return harness.compare(operation.name, (one.measured(), mine, operation.prepare), other)

    def _leaves_the_same(self, bare: limit.Pgbench, operation: Operation) -> None:
        """Raises BenchError unless the limit inserts what the request inserts, row for row."""
        left = []
        for act in (lambda n: operation.request.send(self.served.url, n), bare.once):
            first = next_first()
            if operation.prepare is not None:
                operation.prepare(first, 2 * self.connections)
            before = ours.rows(self.world.admin)
            act(first)
            after = ours.rows(self.world.admin)
            left.append({name: n - before[name] for name, n in after.items() if n != before[name]})
        if left[0] != left[1]:
            raise BenchError(f"{operation.name} leaves {left[0]}, but its limit leaves {left[1]}.")


def _slug(peer: Peer) -> str:
    return peer.name.lower().replace(" ", "_")

"""The results: a table for people and JSON for programs."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness import Comparison, Measurement
from bench.serving import ROOT

RESULTS = Path(os.environ.get("BENCH_RESULTS", ROOT / "bench" / "results"))
HEADINGS = (
    "operation",
    "ours/s",
    "{other}/s",
    "ratio",
    "spread",
    "p50/p99 ms, ours",
    "{other}",
    "CPU ms, ours",
    "{other}",
    "statements (round trips), ours",
    "{other}",
)


def comparison_table(other: str, comparisons: Sequence[Comparison]) -> str:
    """A Markdown table; a comparison that was too noisy shows the reason instead of its times."""
    head = " | ".join(HEADINGS).replace("{other}", other)
    lines = [f"| {head} |", "| --- " * len(HEADINGS) + "|"]
    for one in comparisons:
        cells = [
            f"`{one.operation}`",
            *_format_times(one),
            *map(_format_statements, (one.ours, one.other)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\n`{one.operation}`: {one.note}" for one in comparisons if one.note]
    return "\n".join(lines)


def _format_times(one: Comparison) -> list[str]:
    if one.noise:
        return ["–", "–", one.noise, *["–"] * 5]
    sides = (one.ours, one.other)
    return [
        *(f"{side.per_second:.0f}" for side in sides),
        f"{one.ratio:.3f}" if one.ratio < 1 else f"{one.ratio:.2f}",
        f"{one.spread:.0%}",
        *(f"{side.p50_ms:.1f}/{side.p99_ms:.1f}" for side in sides),
        *(_format_cpu(side) for side in sides),
    ]


def _format_cpu(side: Measurement) -> str:
    """Milliseconds of CPU by process, those that used any."""
    counted = {name: ms for name, ms in side.cpu_ms.items() if ms >= 0.01}
    return ", ".join(f"{name} {ms:.2f}" for name, ms in counted.items())


def _format_statements(side: Measurement) -> str:
    return "–" if side.statements is None else f"{side.statements} ({side.round_trips})"


def memory_table(measured: dict[str, dict[str, float]]) -> str:
    lines = ["| memory after the runs | RSS MB | PSS MB |", "| --- | --- | --- |"]
    lines += [f"| {name} | {mb['rss']:.0f} | {mb['pss']:.0f} |" for name, mb in measured.items()]
    return "\n".join(lines)


def write_results(results: dict[str, Any]) -> Path:
    """Write a file of results named after the present time; return its path."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{at.replace(':', '').removesuffix('+0000')}.json"
    path.write_text(json.dumps({"at": at, **results}, indent=2) + "\n")
    return path

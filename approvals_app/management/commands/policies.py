"""Keep policies in a file: export, plan and apply them; check and simulate them."""

import difflib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from approvals_app.policy import evaluation, operations
from approvals_app.policy.checking import check_policies, find_warnings
from approvals_app.policy.files import FileInvalid, dump, dump_file, parse_file
from approvals_app.policy.language import Policy
from approvals_app.policy.simulation import ChangedTask, Report, simulate
from audit_app.base.actors import Actor
from audit_app.base.text_safety import UNSEEN
from audit_app.commands import OperatorCommand, whole_number

VERBS = {"create": "Create", "change": "Change", "retire": "Retire", "restore": "Restore"}
DONE = {"create": "Created", "change": "Changed", "retire": "Retired", "restore": "Restored"}
BAR = 30
MOST_LINES = 10


class Command(OperatorCommand):
    help = "Keep the approval policies in a file: export, plan, apply; check and simulate them."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        descriptions = {
            "export": "write the policies in force to FILE",
            "plan": "show what applying FILE would change; change nothing",
            "apply": "make the policies in force exactly those of FILE, all or none",
            "check": "list conditions of the policies in force that fail, or decide past tasks "
            "otherwise than they were decided",
            "simulate": "evaluate FILE, or the policies in force, on past tasks; change nothing",
        }
        for action, text in descriptions.items():
            sub = actions.add_parser(action, help=text, description=text)
            super().add_arguments(sub)
            file_help = "a YAML file; - for the pipe"
            if action in ("export", "plan", "apply"):
                sub.add_argument("file", metavar="FILE", help=file_help)
            else:
                if action == "simulate":
                    sub.add_argument("file", metavar="FILE", nargs="?", help=file_help)
                sub.add_argument(
                    "--days", type=whole_number, default=30, help="how far back; 30 by default"
                )

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(**options)

    def _export(self, file: str, **options: Any) -> None:
        text = dump_file(evaluation.load_policies())
        count = len(evaluation.load_policies())
        if file == "-":
            if self.as_json:
                self.report({"policies": count, "text": text}, "")
            else:
                self.stdout.write(text, ending="")
            return
        _write_file(Path(file), text)
        self.report(
            {"policies": count, "file": file}, f"Exported {_count_policies(count)} to {file}."
        )

    def _plan(self, file: str, **options: Any) -> None:
        policies = _read_file(file)
        changes = operations.plan_changes(policies)
        facts = {
            "changes": [_describe_change(change) for change in changes],
            "warnings": self._warn(changes),
        }
        if not changes:
            text = f"Nothing would change: {_count_policies(len(policies))} in force as written."
            self.report(facts, text)
            return
        text = "\n".join(self._format_diff(change) for change in changes)
        self.report(facts, f"{text}\n{_summarize(changes)}; nothing is changed yet.")

    def _apply(self, file: str, **options: Any) -> None:
        policies = _read_file(file)
        changes = operations.apply_policies(policies, by=Actor.system("policies"))
        facts = {
            "changes": [_describe_change(change) for change in changes],
            "warnings": self._warn(changes),
        }
        if not changes:
            self.report(facts, "Nothing changed: the policies in force are those of the file.")
            return
        lines = "\n".join(f"{DONE[change.what]} {change.name}" for change in changes)
        self.report(facts, f"{lines}\nIn force now: {_count_policies(len(policies))}.")

    def _check(self, days: int, **options: Any) -> None:
        policies = evaluation.load_policies()
        findings = check_policies(policies, days=days, progress=self.progress)
        self.end_progress()
        facts = {
            "policies": len(policies),
            "findings": [
                {
                    "policy": finding.policy,
                    "problem": finding.problem,
                    "tasks": [str(task) for task in finding.tasks],
                }
                for finding in findings
            ],
        }
        if not findings:
            self.report(facts, f"Nothing found: {_count_policies(len(policies))} in force.")
            return
        self.report(facts, "\n".join(map(str, findings)))
        raise CommandError(f"Findings: {len(findings):,}.")

    def _warn(self, changes: list[operations.Change]) -> list[str]:
        """Say what the conditions of new and changed policies fail on; return it."""
        changed = [change.after for change in changes if change.after]
        warnings = [warning for policy in changed for warning in find_warnings(policy)]
        for warning in warnings:
            self.stderr.write(self.style.WARNING(f"Warning: {warning}"))
        return warnings

    def _simulate(self, file: str | None, days: int, **options: Any) -> None:
        policies = _read_file(file) if file else evaluation.load_policies()
        report = simulate(policies, days=days, progress=self.progress)
        self.end_progress()
        self.report(report.as_dict(), _format_report(report))

    def _format_diff(self, change: operations.Change) -> str:
        before = dump(change.before).splitlines() if change.before else []
        after = dump(change.after).splitlines() if change.after else []
        lines = [self.style.MIGRATE_HEADING(f"{VERBS[change.what]} {change.name}")]
        for line in difflib.ndiff(before, after):
            if line.startswith("+ "):
                lines.append(self.style.SUCCESS(f"  {line}"))
            elif line.startswith("- "):
                lines.append(self.style.ERROR(f"  {line}"))
            elif line.startswith("  "):
                lines.append(f"  {line}")
        return "\n".join(line.rstrip() for line in lines)


def _read_file(file: str) -> list[Policy]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{error.strerror}: {file}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not UTF-8.") from None
    try:
        return parse_file(text)
    except FileInvalid as error:
        raise CommandError(f"{file}: {error}") from None


def _write_file(path: Path, text: str) -> None:
    # Written beside the file and renamed: nobody ever reads half of it.
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise CommandError(f"{error.strerror}: {path}") from None


def _describe_change(change: operations.Change) -> dict[str, Any]:
    return {
        "what": change.what,
        "name": change.name,
        "before": change.before and change.before.as_document(),
        "after": change.after and change.after.as_document(),
    }


def _summarize(changes: list[operations.Change]) -> str:
    counts = [
        f"{sum(change.what == what for change in changes)} to {what}"
        for what in VERBS
        if any(change.what == what for change in changes)
    ]
    return ", ".join(counts)


def _count_policies(count: int) -> str:
    return f"{count} {'policy' if count == 1 else 'policies'}"


def _format_report(report: Report) -> str:
    lines = [f"{report.headline}."]
    for (before, after), count in report.by_outcome():
        mark = " " if before == after else "*"
        lines.append(f"{mark} {before:>8} -> {after:<8} {count:>9,}")
    lines += _format_moves(report)
    lines += _format_bars("Approvals needed, by role", report.by_role())
    hours = {f"{hour:02}h": count for hour, count in enumerate(report.by_hour()) if count}
    lines += _format_bars("Approvals needed, by hour (UTC)", hours)
    lines += _format_bars("Tasks by policy", dict(report.policies.most_common()))
    lines += _format_bars("No policy matches", dict(report.unmatched.most_common(MOST_LINES)))
    lines += report.gaps
    if report.failed:
        lines.append(f"{report.failed:,} conditions could not be evaluated, so a human is asked.")
    lines += _format_tasks("Outcomes that change", report.changed, report.changes)
    lines += _format_tasks("Tasks with other approvers", report.reassigned, report.other_approvers)
    return "\n".join(lines)


def _format_moves(report: Report) -> list[str]:
    moves = report.list_moves()
    lines = [f"  {before} -> {after} {count:>9,}" for before, after, count in moves[:MOST_LINES]]
    more = [f"  and {len(moves) - MOST_LINES:,} further pairs"] if moves[MOST_LINES:] else []
    return ["Before -> after:", *lines, *more] if moves else []


def _format_tasks(title: str, tasks: list[ChangedTask], count: int) -> list[str]:
    if not tasks:
        return []
    lines = [f"{title}, the latest {min(MOST_LINES, len(tasks))} of {count:,}:"]
    for task in tasks[:MOST_LINES]:
        lines.append(f"{task.task_id} {_clean(task.task_type)}: {task.before} -> {task.after}")
        lines.append(f"    {_clean(task.title)}")
    return lines


def _clean(text: str) -> str:
    """An agent's text on one line of a terminal, without what a terminal would obey."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _format_bars(title: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return []
    most, width = max(counts.values()), max(len(name) for name in counts)
    rows = [
        f"  {name:<{width}} {'█' * max(1, round(BAR * count / most)):<{BAR}} {count:>9,}"
        for name, count in counts.items()
    ]
    return [f"{title}:", *rows]

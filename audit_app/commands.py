"""The base of operators' commands: two output formats, one sentence per failure, a clean stop."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import FrameType
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError
from psycopg import errors

from audit_app import command_runs
from audit_app.base.actors import Actor
from audit_app.base.durations import parse_duration
from audit_app.base.errors import OrchestratorError
from audit_app.live.notifier import notifier
from audit_app.trail.operation import connection_lost

SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAME_LENGTH = 150


class Interrupted(KeyboardInterrupt):
    """A signal arrived during work that is worth nothing until it is finished."""

    # A KeyboardInterrupt, because psycopg then cancels the statement that it waits for.

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def length_of_time(text: str) -> timedelta:
    """Parse an argument such as ``7d``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def whole_number(text: str) -> int:
    """Parse an argument that counts something: 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0.")
    return int(text)


def name(text: str) -> str:
    """Parse an argument that names an agent, a person or a role."""
    if not text.strip() or len(text) > NAME_LENGTH or not text.isprintable():
        raise ArgumentTypeError(f"A name has 1 to {NAME_LENGTH} printable characters.")
    return text.strip()


def add_roles(parser: CommandParser, *, help: str) -> None:
    """Add ``--role ROLE``, to be given once or more, as ``roles``."""
    parser.add_argument(
        "--role",
        dest="roles",
        metavar="ROLE",
        type=name,
        action="append",
        required=True,
        help=help,
    )


class OperatorCommand(BaseCommand):
    """A command for people and scripts alike.

    It reports in one sentence, or as one JSON object with ``--format json``. A refusal or an
    unreachable database ends it with one sentence on stderr and a non-zero status. It stops on
    SIGTERM and SIGINT where that is safe: see ``stoppable`` and ``interruptible``.
    """

    requires_system_checks = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done: Counter[str] = Counter()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="a sentence for people (the default) or one JSON object for programs",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.as_json: bool = options["format"] == "json"
        with self._record_run(options):
            return self._execute(*args, **options)

    def is_scheduled(self, options: Mapping[str, Any]) -> bool:
        """Whether this run is a scheduled one, whose time is kept for monitoring."""
        return False

    @contextlib.contextmanager
    def _record_run(self, options: Mapping[str, Any]) -> Iterator[None]:
        if not self.is_scheduled(options):
            yield
            return
        began, ok = time.monotonic(), False
        try:
            yield
            ok = True
        finally:
            # Losing this note must not hide how the run itself ended.
            with contextlib.suppress(DatabaseError, InterfaceError):
                took = time.monotonic() - began
                command_runs.record(_name_of(self), ok=ok, seconds=took, done=+self.done)

    def _execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OrchestratorError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(describe_error(error)) from error
        except BrokenPipeError as error:
            # Python flushes stdout at exit, and would complain about the closed pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise CommandError("Whoever read the output stopped reading.") from error
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
            raise CommandError(
                f"Stopped by {signal.Signals(number).name} before the end.",
                returncode=128 + number,
            ) from stop

    def report(self, facts: Mapping[str, Any], sentence: str) -> None:
        """Write what was done to stdout, in the chosen format."""
        self.stdout.write(self.format_result(facts, sentence))

    def format_result(self, facts: Mapping[str, Any], sentence: str) -> str:
        """``facts`` as JSON, or ``sentence`` for people."""
        return json.dumps(facts) if self.as_json else sentence

    def progress(self, sentence: str) -> None:
        """Overwrite one line of the terminal; write nothing if there is none."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{sentence} …", style_func=str, ending="")
            self.stderr.flush()

    def end_progress(self) -> None:
        """Clear the line that ``progress`` wrote."""
        if self.stderr.isatty():
            self.stderr.write("\r\x1b[K", style_func=str, ending="")


class BatchCommand(OperatorCommand):
    """A command that works through everything due, in one short transaction per batch.

    Several may run at once, and any may be stopped: each batch skips locked rows and commits its
    rows with their events. On a signal it finishes the current batch, reports and exits with 0.
    """

    stealth_options = ("should_stop",)
    """``should_stop``, of callers in code, says after each batch whether to stop, as a signal does:
    a thread gets no signals."""

    verb: ClassVar[tuple[str, str]]
    """The verb before and after the work: ``("expire", "Expired")``."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--batch-size", type=whole_number, default=1000, help="rows a transaction (1000)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="count what is due, and change nothing"
        )

    def is_scheduled(self, options: Mapping[str, Any]) -> bool:
        return not options["dry_run"]

    def due(self, **options: Any) -> Mapping[str, int]:
        """Count what is due now, by plural name."""
        raise NotImplementedError

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[Mapping[str, int]]:
        """Do the work; after each committed batch, yield its counts by plural name."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        do, did = self.verb
        if options["dry_run"]:
            due = self.due(**options)
            self.report(
                {**due, "dry_run": True}, f"Would {do} {format_counts(due)}; changed nothing."
            )
            return
        self.done.update(dict.fromkeys(self.counted, 0))
        stopped = self._work_through(options)
        remark = " Stopped before the end: the rest is left for the next run." if stopped else ""
        facts = {**self.done, "dry_run": False, "stopped": stopped}
        self.report(facts, f"{did} {format_counts(self.done)}.{remark}")

    counted: ClassVar[tuple[str, ...]]
    """The plural names of what is counted: ``("sessions",)``."""

    def _work_through(self, options: Any) -> bool:
        """Run the batches and count in ``done``; return whether they were stopped."""
        _, did = self.verb
        by = Actor.system(_name_of(self))
        should_stop: Callable[[], bool] = options.pop("should_stop", lambda: False)
        with stoppable() as stopping:
            try:
                for batch in self.batches(by=by, **options):
                    self.done.update(batch)
                    notifier.publish()
                    self.progress(f"{did} {format_counts(self.done)}")
                    if stopping.is_set() or should_stop():
                        break
            except DatabaseError as error:
                before = format_counts(self.done)
                raise CommandError(f"{describe_error(error)} {did} {before} before.") from error
            finally:
                self.end_progress()
        return stopping.is_set() or should_stop()


def _name_of(command: BaseCommand) -> str:
    return type(command).__module__.rpartition(".")[2]


def format_counts(counts: Mapping[str, int]) -> str:
    """``2 tasks, 3 approvals and 1 session``, from counts by plural name."""
    parts = [f"{n:,} {plural if n != 1 else plural[:-1]}" for plural, n in counts.items()]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def describe_error(error: DatabaseError) -> str:
    """Why the database failed, as one sentence."""
    cause = error.__cause__
    message = (str(error).strip().splitlines() or ["it gave no reason"])[0].rstrip(".")
    if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction):
        return "The database is not up to date: run `python manage.py migrate` first."
    if isinstance(cause, errors.LockNotAvailable):
        return "Somebody else holds what is needed for too long; run it again later."
    if isinstance(error, OperationalError) and getattr(cause, "sqlstate", None) is None:
        return f"PostgreSQL can't be reached: {message}."
    if connection_lost(error):
        return "PostgreSQL can't be reached: the connection was lost."
    return f"PostgreSQL refused: {message}."


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """For work in steps: a signal sets the event, which the caller checks between steps."""
    stopping = threading.Event()
    with _on_signals(lambda number, frame: stopping.set()):
        yield stopping


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """For work that is worth nothing until it is finished: a signal raises Interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _on_signals(interrupt):
        yield


@contextlib.contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python allows no handlers there
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

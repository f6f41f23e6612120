"""What the operators' commands have in common: two formats, one sentence for what went wrong, and a
clean stop."""

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

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError
from psycopg import errors

from audit_app import command_runs
from audit_app.base.actors import Actor
from audit_app.base.durations import parse_duration
from audit_app.base.errors import OrchestratorError
from audit_app.live.notifier import notifier
from audit_app.trail.operation import broke_off

SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAME_LENGTH = 150


class Interrupted(KeyboardInterrupt):
    """A signal ends work that means nothing until it is finished.

    A KeyboardInterrupt, since that makes psycopg cancel the statement that it waits for.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def length_of_time(text: str) -> timedelta:
    """An argument such as ``7d``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def whole_number(text: str) -> int:
    """An argument that counts something: 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0.")
    return int(text)


def name(text: str) -> str:
    """An argument that names an agent, a person or a role."""
    if not text.strip() or len(text) > NAME_LENGTH or not text.isprintable():
        raise ArgumentTypeError(f"A name has 1 to {NAME_LENGTH} printable characters.")
    return text.strip()


def add_roles(parser: CommandParser, *, help: str) -> None:
    """``--role ROLE``, once or more, as ``roles``."""
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

    It says what it did in a sentence, or as one JSON object with ``--format json``. What we refuse,
    and a database that can't be reached, end it with one sentence on stderr and a status other than
    0. SIGTERM and SIGINT are heeded where it is safe: see ``stoppable`` and ``interruptible``.
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
        """Whether this run is one of many, of which somebody watches when the last one was."""
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
            # That it ran is worth less than what it said: a failure to keep it is not told.
            with contextlib.suppress(DatabaseError, InterfaceError):
                took = time.monotonic() - began
                command_runs.record(_name_of(self), ok=ok, seconds=took, done=+self.done)

    def _execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except OrchestratorError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(describe_error(error)) from error
        except BrokenPipeError as error:
            # Nobody reads any more: Python's own flush at exit would complain once again.
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
        """Say what was done, in the format that was asked for."""
        self.stdout.write(self.format_result(facts, sentence))

    def format_result(self, facts: Mapping[str, Any], sentence: str) -> str:
        return json.dumps(facts) if self.as_json else sentence

    def progress(self, sentence: str) -> None:
        """Overwrite one line of the terminal; write nothing where there is none."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{sentence} …", style_func=str, ending="")
            self.stderr.flush()

    def end_progress(self) -> None:
        if self.stderr.isatty():
            self.stderr.write("\r\x1b[K", style_func=str, ending="")


class BatchCommand(OperatorCommand):
    """A command that works through whatever is due, one short transaction a batch.

    Two of them at once, or one that was stopped, do no harm: each batch takes rows that nobody
    holds, commits them with their events, and leaves the rest. A signal is heeded after the batch
    in hand, and the status is 0 then: what was done is done, and said.
    """

    verb: ClassVar[tuple[str, str]]
    """What is done and what was done: ``("expire", "Expired")``."""

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
        """How many of each are due now."""
        raise NotImplementedError

    def batches(self, *, by: Actor, batch_size: int, **options: Any) -> Iterator[Mapping[str, int]]:
        """Do the work; yield how many of each a batch did, once it is committed."""
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
        rest = " Stopped before the end: the rest is left for the next run." if stopped else ""
        facts = {**self.done, "dry_run": False, "stopped": stopped}
        self.report(facts, f"{did} {format_counts(self.done)}.{rest}")

    counted: ClassVar[tuple[str, ...]]
    """The names of what is counted: ``("sessions",)``."""

    def _work_through(self, options: Any) -> bool:
        """Count in ``done`` what each batch did; whether a signal stopped it."""
        _, did = self.verb
        by = Actor.system(_name_of(self))
        with stoppable() as stopping:
            try:
                for batch in self.batches(by=by, **options):
                    self.done.update(batch)
                    notifier.publish()
                    self.progress(f"{did} {format_counts(self.done)}")
                    if stopping.is_set():
                        break
            except DatabaseError as error:
                before = format_counts(self.done)
                raise CommandError(f"{describe_error(error)} {did} {before} before.") from error
            finally:
                self.end_progress()
        return stopping.is_set()


def _name_of(command: BaseCommand) -> str:
    return type(command).__module__.rpartition(".")[2]


def format_counts(counts: Mapping[str, int]) -> str:
    """``2 tasks, 3 approvals and 1 session``, from plural names."""
    parts = [f"{n:,} {plural if n != 1 else plural[:-1]}" for plural, n in counts.items()]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def describe_error(error: DatabaseError) -> str:
    """Why the database did not do it, as one sentence."""
    cause = error.__cause__
    said = (str(error).strip().splitlines() or ["it gave no reason"])[0].rstrip(".")
    if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction):
        return "The database is not up to date: run `python manage.py migrate` first."
    if isinstance(cause, errors.LockNotAvailable):
        return "Somebody else holds what is needed for too long; run it again later."
    if isinstance(error, OperationalError) and getattr(cause, "sqlstate", None) is None:
        return f"PostgreSQL can't be reached: {said}."
    if broke_off(error):
        return "PostgreSQL can't be reached: the connection was lost."
    return f"PostgreSQL refused: {said}."


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Work in steps, each worth something: a signal sets the event, to be asked between steps."""
    wanted = threading.Event()
    with _on_signals(lambda number, frame: wanted.set()):
        yield wanted


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Work that is worth nothing until it is finished: a signal raises Interrupted in it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _on_signals(interrupt):
        yield


@contextlib.contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python would refuse
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

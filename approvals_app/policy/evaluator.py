"""Evaluates expressions that may take long in processes beside the server.

Payloads come from agents. Time and memory of an evaluation are not bounded by the library, and it
holds the interpreter meanwhile, so a process of its own is killed when it is late.
"""

import atexit
import base64
import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from approvals_app.policy import runtime
from approvals_app.policy.runtime import ConditionFailed

TIME_LIMIT: Final = 0.25
"""Seconds for one evaluation."""
START_LIMIT: Final = 5.0
"""Seconds for a process to start."""
PATIENCE: Final = 0.02
"""Seconds after which an evaluation must leave the processor to everybody else."""
MOST_PROCESSES: Final = 4
MOST_IDLE: Final = 2
LOWEST_PRIORITY: Final = 19
MOST_KEPT: Final = 4_096
"""Answers that are kept until they are asked for."""


class Worker:
    """One process. It is ``usable`` until an evaluation is late or breaks off."""

    def __init__(self) -> None:
        self.usable = True
        self._facts: str | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(runtime.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)
        self._has_started = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def evaluate(self, serialized: bytes, facts: str, limit: float) -> bool:
        """Whether the expression is true of ``facts``, a JSON object. Raises ConditionFailed."""
        if not self._has_started:
            # The first answer waits until the process has started, which is no fault of the task's.
            first = f"{json.dumps([encode(ALWAYS), {}])}\n"
            self._request(first.encode(), START_LIMIT, START_LIMIT)
            self._has_started = True
        program = encode(serialized)
        is_known = facts is self._facts
        line = f'["{program}"]\n' if is_known else f'["{program}",{facts}]\n'
        answer = self._request(line.encode(), limit, PATIENCE)
        self._facts = facts
        if isinstance(answer, bool):
            return answer
        raise ConditionFailed(answer)

    def stop(self) -> None:
        """End the process."""
        self.usable = False
        self._process.kill()
        self._close_pipes()
        self._process.wait()

    def forget(self) -> None:
        """Let go of the process in a forked server process: it belongs to the parent."""
        self.usable = False
        self._process.returncode = 0  # or Popen would try to wait for another process's child
        self._close_pipes()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def _request(self, line: bytes, limit: float, patience: float) -> bool | str:
        try:
            answer: bool | str = json.loads(self._exchange(line, limit, patience))
        except TimeoutError:
            self.stop()
            raise ConditionFailed(f"it took longer than {limit:.2f} s.") from None
        except (OSError, ValueError):
            self.stop()
            raise ConditionFailed("its evaluation broke off.") from None
        except BaseException:
            self.stop()  # or the next caller would read this answer
            raise
        return answer

    def _exchange(self, request: bytes, limit: float, patience: float) -> bytes:
        assert self._process.stdin
        assert self._process.stdout
        started = time.monotonic()
        into, out = self._process.stdin.fileno(), self._process.stdout.fileno()
        sent, received = 0, b""
        pipes = select.poll()  # select() fails for descriptors above 1,023
        pipes.register(out, select.POLLIN)
        pipes.register(into, select.POLLOUT)
        while not received.endswith(b"\n"):
            spent = time.monotonic() - started
            if spent >= limit:
                raise TimeoutError
            if spent >= patience:
                self._yield_processor()
                patience = limit
            ready = dict(pipes.poll((min(limit, patience) - spent) * 1_000))
            if into in ready:
                sent += os.write(into, request[sent : sent + 65_536])
                if sent == len(request):
                    pipes.unregister(into)
            if out in ready:
                piece = os.read(out, 65_536)
                if not piece:
                    raise BrokenPipeError
                received += piece
        return received

    def _yield_processor(self) -> None:
        # It can't be raised again without privileges, so this process serves nobody after this.
        self.usable = False
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, LOWEST_PRIORITY)

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class Evaluator:
    """The processes of this server process, started when they are needed.

    A slow evaluation keeps one process busy, and it is lost after that. Others are evaluated by
    another meanwhile: one more than is needed is always there.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._idle: list[Worker] = []
        self._kept: dict[bytes, tuple[bool | str, int]] = {}
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_PROCESSES)

    def holds(self, serialized: bytes, facts: str, limit: float | None = None) -> bool:
        """Whether the expression is true of ``facts``, a JSON object, in at most ``limit`` seconds.

        Raises ConditionFailed if it errs, is late, or is neither true nor false.
        """
        answer: bool | str | None = None
        limit = TIME_LIMIT if limit is None else limit
        if _keeping.get():
            answer = self._keep(_make_key(serialized, facts), serialized, facts, limit)
        elif self._kept:
            answer = self._take_kept(_make_key(serialized, facts))
        if answer is None:
            answer = self._ask(serialized, facts, limit)
        if isinstance(answer, bool):
            return answer
        raise ConditionFailed(answer)

    def _ask(self, serialized: bytes, facts: str, limit: float) -> bool | str:
        """The answer, or the reason for which there is none."""
        with self._places:
            worker = self._take()
            try:
                return worker.evaluate(serialized, facts, limit)
            except ConditionFailed as failure:
                return str(failure)
            finally:
                self._give_back(worker)

    def _keep(self, key: bytes, serialized: bytes, facts: str, limit: float) -> bool | str:
        """The answer, kept for one more call."""
        answer, times = self._kept.get(key) or (self._ask(serialized, facts, limit), 0)
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()  # of requests that failed before they asked again
        self._kept[key] = answer, times + 1
        return answer

    def _take_kept(self, key: bytes) -> bool | str | None:
        """A kept answer, for one of the calls that it was kept for; None: there is none."""
        # Whoever loses a race for an answer evaluates.
        answer, times = self._kept.pop(key, (None, 0))
        if answer is not None and times > 1:
            self._kept[key] = answer, times - 1
        return answer

    def stop(self) -> None:
        """End all idle processes."""
        # Without the lock: at exit, a thread that holds it may be gone.
        idle, self._idle = self._idle, []
        for worker in idle:
            worker.stop()

    def forget(self) -> None:
        """Let go of all processes in a forked server process."""
        idle = self._idle
        # The lock may be held by a thread that does not exist here and would never release it.
        self._reset()
        for worker in idle:
            worker.forget()

    @property
    def pids(self) -> list[int]:
        """The idle processes, the one that is taken next last."""
        return [worker.pid for worker in self._idle]

    def _take(self) -> Worker:
        with self._lock:
            ended = [worker for worker in self._idle if worker.has_ended()]
            self._idle = [worker for worker in self._idle if worker not in ended]
            worker = self._idle.pop() if self._idle else Worker()
            if not self._idle:
                self._idle.append(Worker())
        for each in ended:
            each.stop()
        return worker

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.usable and len(self._idle) < MOST_IDLE:
                self._idle.append(worker)
                return
        worker.stop()


@contextlib.contextmanager
def keep_answers() -> Iterator[None]:
    """Keep the answers until each is asked for once more.

    An expression has one answer for the same facts. Whoever evaluates before the transaction begins
    holds neither a lock nor a connection meanwhile, and inside it nobody waits.
    """
    token = _keeping.set(True)
    try:
        yield
    finally:
        _keeping.reset(token)


_keeping: ContextVar[bool] = ContextVar("keeping", default=False)


def _make_key(serialized: bytes, facts: str) -> bytes:
    return hashlib.sha256(serialized + facts.encode()).digest()


def encode(serialized: bytes) -> str:
    """A serialized expression as the processes read it."""
    return base64.b64encode(serialized).decode()


ALWAYS: Final = runtime.compile("true").serialize()
EVALUATOR: Final = Evaluator()
atexit.register(EVALUATOR.stop)
os.register_at_fork(after_in_child=EVALUATOR.forget)

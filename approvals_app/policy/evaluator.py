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
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from approvals_app.policy import runtime
from approvals_app.policy.runtime import ConditionFailed

CPU_LIMIT: Final = 0.1
"""Seconds of CPU for one evaluation: far more than 10,000 steps take."""
LEAST_CPU_LIMIT: Final = 0.01
"""The same for an agent that has used up its allowance: enough for loops over thousands of
elements, not for regular expressions on each of them."""
SHARE: Final = 0.02
"""Seconds of CPU that an agent's slow evaluations may take each second, in each process."""
MOST_DEBT: Final = 0.2
"""Seconds of CPU that are held against an agent at most, so that it is over in ten seconds."""
TIME_LIMIT: Final = 1.0
"""Seconds for one evaluation, however busy the machine is."""
START_LIMIT: Final = 5.0
"""Seconds for the process that forks workers to start."""
PATIENCE: Final = 0.005
"""Seconds of CPU after which an evaluation leaves the processor to everybody else."""
MOST_PROCESSES: Final = 4
MOST_IDLE: Final = 2
LOWEST_PRIORITY: Final = 19
IS_LINUX: Final = sys.platform == "linux"
MOST_KEPT: Final = 4_096
"""Answers that are kept until they are asked for."""


class Nursery:
    """The process that forks workers. Raises ConditionFailed where it can't be started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(runtime.__file__))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control.settimeout(START_LIMIT)

    def fork(self) -> "Worker":
        """A new worker. Raises OSError where the process has ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                return Worker(self, ours, self._read_pid())
        except BaseException:
            ours.close()
            raise

    def kill(self, pid: int) -> None:
        """End a worker. Raises OSError where the process has ended, and its workers with it."""
        with self._lock:
            self._control.sendall(b"k%d" % pid)
            self._read_pid()

    def stop(self) -> None:
        """End the process and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()

    def forget(self) -> None:
        """Let go of it in a forked server process: it belongs to the parent."""
        self._process.returncode = 0  # or Popen would try to wait for another process's child
        self._control.close()

    def _read_pid(self) -> int:
        received = b""
        while not received.endswith(b"\n"):
            piece = self._control.recv(32)
            if not piece:
                raise BrokenPipeError
            received += piece
        return int(received)


class Allowance:
    """How much CPU an evaluation may use, by how much the same agent's slow ones used lately.

    An agent that sends hostile payloads would else keep a core busy. Its other payloads, which take
    microseconds, do not notice.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._debts: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def get_limit(self, payer: str) -> float:
        """Seconds of CPU for the next evaluation; ``payer`` is the agent, "" for nobody."""
        with self._lock:
            return max(LEAST_CPU_LIMIT, CPU_LIMIT - self._get_debt(payer))

    def charge(self, payer: str, used: float) -> None:
        """Hold ``used`` seconds of CPU against ``payer``, unless an evaluation may use as much."""
        if not payer or used < PATIENCE:
            return
        with self._lock:
            if len(self._debts) >= MOST_KEPT:
                self._debts = {
                    each: debt for each, debt in self._debts.items() if self._get_debt(each)
                }
            self._debts[payer] = min(MOST_DEBT, self._get_debt(payer) + used), self._clock()

    def _get_debt(self, payer: str) -> float:
        debt, since = self._debts.get(payer, (0.0, 0.0))
        return max(0.0, debt - SHARE * (self._clock() - since)) if debt else 0.0


class Worker:
    """One process that evaluates. It is ``usable`` until an evaluation is late or breaks off.

    ``used``: seconds of CPU that the last evaluation used, as far as it was watched.
    """

    def __init__(self, nursery: Nursery, connection: socket.socket, pid: int) -> None:
        self.pid, self.usable, self.used = pid, True, 0.0
        self._nursery, self._connection = nursery, connection
        self._connection.setblocking(False)
        self._facts: str | None = None

    def evaluate(self, serialized: bytes, facts: str, limit: float, cpu_limit: float) -> bool:
        """Whether the expression is true of ``facts``, a JSON object. Raises ConditionFailed.

        ``limit`` is in seconds, ``cpu_limit`` in seconds of CPU.
        """
        program = encode(serialized)
        is_known = facts is self._facts
        line = f'["{program}"]\n' if is_known else f'["{program}",{facts}]\n'
        answer = self._request(line.encode(), limit, cpu_limit)
        self._facts = facts
        if isinstance(answer, bool):
            return answer
        raise ConditionFailed(answer)

    def stop(self) -> None:
        """End the process, once."""
        self.usable = False
        if self._connection.fileno() < 0:
            return
        self._connection.close()
        with contextlib.suppress(OSError):
            self._nursery.kill(self.pid)

    def forget(self) -> None:
        """Let go of the process, which ends by that unless another holds its connection."""
        self.usable = False
        self._connection.close()

    def has_ended(self) -> bool:
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _request(self, line: bytes, limit: float, cpu_limit: float) -> bool | str:
        try:
            answer: bool | str = json.loads(self._exchange(line, limit, cpu_limit))
        except TimeoutError:
            self.stop()
            raise ConditionFailed("it took too long.") from None
        except (OSError, ValueError):
            self.stop()
            raise ConditionFailed("its evaluation broke off.") from None
        except BaseException:
            self.stop()  # or the next caller would read this answer
            raise
        return answer

    def _exchange(self, request: bytes, limit: float, cpu_limit: float) -> bytes:
        started, used_before, self.used = time.monotonic(), self._get_cpu(), 0.0
        sent, received = 0, b""
        ready = select.poll()  # select() fails for descriptors above 1,023
        ready.register(self._connection, select.POLLIN | select.POLLOUT)
        while not received.endswith(b"\n"):
            # By its own CPU time: on a busy machine nobody else's work makes it late.
            self.used = self._get_cpu() - used_before
            if self.used >= cpu_limit or time.monotonic() - started >= limit:
                raise TimeoutError
            if self.used >= PATIENCE and self.usable:
                self._yield_processor()
            [(_, events)] = ready.poll(PATIENCE * 1_000) or [(0, 0)]
            if events & select.POLLOUT and sent < len(request):
                sent += self._connection.send(request[sent : sent + 65_536])
                if sent == len(request):
                    ready.modify(self._connection, select.POLLIN)
            if events & (select.POLLIN | select.POLLHUP):
                piece = self._connection.recv(65_536)
                if not piece:
                    raise BrokenPipeError
                received += piece
        return received

    def _get_cpu(self) -> float:
        """Seconds of CPU that the process has used; elsewhere than on Linux, of any clock."""
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self.pid << 3) | 2) if IS_LINUX else time.monotonic()

    def _yield_processor(self) -> None:
        # It can't be raised again without privileges, so this process serves nobody after this.
        self.usable = False
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, LOWEST_PRIORITY)
            if hasattr(os, "SCHED_IDLE"):  # Linux: a core that runs it counts as idle
                os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))


class Evaluator:
    """The processes of this server process, started when they are needed.

    A slow evaluation keeps one process busy, and it is lost after that. Others are evaluated by
    another meanwhile.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._nursery: Nursery | None = None
        self._idle: list[Worker] = []
        self._kept: dict[bytes, tuple[bool | str, int]] = {}
        self._lock, self._forking = threading.Lock(), threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_PROCESSES)
        self._allowance = Allowance()

    def holds(self, serialized: bytes, facts: str, payer: str = "") -> bool:
        """Whether the expression is true of ``facts``, a JSON object, in at most TIME_LIMIT.

        ``payer`` is the agent against whose allowance a slow evaluation counts, "" for nobody's.
        Raises ConditionFailed if it errs, is late, or is neither true nor false.
        """
        answer: bool | str | None = None
        if _keeping.get():
            answer = self._keep(_make_key(serialized, facts), serialized, facts, payer)
        elif self._kept:
            answer = self._take_kept(_make_key(serialized, facts))
        if answer is None:
            answer = self._ask(serialized, facts, payer)
        if isinstance(answer, bool):
            return answer
        raise ConditionFailed(answer)

    def _ask(self, serialized: bytes, facts: str, payer: str) -> bool | str:
        """The answer, or the reason for which there is none."""
        with self._places:
            try:
                worker = self._take()
            except ConditionFailed as failure:
                return str(failure)
            try:
                cpu_limit = self._allowance.get_limit(payer)
                return worker.evaluate(serialized, facts, TIME_LIMIT, cpu_limit)
            except ConditionFailed as failure:
                return str(failure)
            finally:
                self._allowance.charge(payer, worker.used)
                self._give_back(worker)

    def _keep(self, key: bytes, serialized: bytes, facts: str, payer: str) -> bool | str:
        """The answer, kept for one more call."""
        answer, times = self._kept.get(key) or (self._ask(serialized, facts, payer), 0)
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

    def get_share(self, payer: str) -> float:
        """How much of the usual time the agent ``payer`` has for an evaluation now, at most 1."""
        return self._allowance.get_limit(payer) / CPU_LIMIT

    def stop(self) -> None:
        """End all processes."""
        # Without the lock: at exit, a thread that holds it may be gone.
        nursery, idle = self._nursery, self._idle
        self._nursery, self._idle = None, []
        for worker in idle:
            worker.forget()
        if nursery:
            nursery.stop()

    def forget(self) -> None:
        """Let go of all processes in a forked server process."""
        nursery, idle = self._nursery, self._idle
        # The lock may be held by a thread that does not exist here and would never release it.
        self._reset()
        for worker in idle:
            worker.forget()
        if nursery:
            nursery.forget()

    @property
    def pids(self) -> list[int]:
        """The idle processes, the one that is taken next last."""
        return [worker.pid for worker in self._idle]

    def _take(self) -> Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if not worker.has_ended():
                    return worker
                worker.stop()
            self._idle.append(self._fork())  # for who comes while this evaluation takes long
            return self._fork()

    def _fork(self) -> Worker:
        with self._forking:
            for _ in range(2):
                self._nursery = self._nursery or Nursery()
                try:
                    return self._nursery.fork()
                except OSError:  # it was killed, or is late: another is started
                    self._nursery.stop()
                    self._nursery = None
        raise ConditionFailed("no process for its evaluation could be started.")

    def _give_back(self, worker: Worker) -> None:
        if not worker.usable:
            worker.stop()
            try:
                worker = self._fork()  # at the cost of whoever made it slow, not of the next
            except ConditionFailed:
                return
        with self._lock:
            if len(self._idle) < MOST_IDLE:
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


EVALUATOR: Final = Evaluator()
atexit.register(EVALUATOR.stop)
os.register_at_fork(after_in_child=EVALUATOR.forget)

"""How the web processes share who comes: each connection goes to one that holds the fewest.

They listen on one socket, and whoever wakes first would take all that wait there. A connection is
kept open, so that an agent's handful of them would stay with one process, while others idle. Here
each process takes one at a time, and leaves the next to those that hold fewer, for a moment.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Any

from orchestrator.sockets import something_came

PATIENCE = 0.02
"""Seconds that connections are left to the processes that hold fewer, which may be busy."""

GLANCE = 0.001
"""Seconds between two looks at whether they still are left."""

PROCESSES = 256
"""Numbers of processes that are told apart, those among them that end while others start."""

SLACK = 8
"""Among many connections an eighth more is still few."""

NOWHERE = -1
PAUSE = 1.0
"""Seconds until another try where the system has no file left for a connection."""

Factory = Callable[[], asyncio.Protocol]


class Load:
    """How many connections each process holds, in memory that all of them share: it is made
    before they are forked. Whoever accepts none counts as nowhere."""

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, PROCESSES * 8)).cast("q")
        for process in range(PROCESSES):
            self.leave(process)

    def tell(self, process: int, connections: int) -> None:
        self._counts[process % PROCESSES] = connections

    def leave(self, process: int) -> None:
        self.tell(process, NOWHERE)

    def is_light(self, process: int) -> bool:
        """Whether it holds hardly more than those that hold the fewest."""
        counts = self._counts.tolist()
        least = min(count for count in counts if count != NOWHERE)
        return counts[process % PROCESSES] - least <= least // SLACK


class Acceptor:
    """What ``asyncio.Server`` is, for one listening socket of process number ``process``.

    ``held`` says how many connections the process has; whoever ends one calls ``tell``.
    """

    def __init__(
        self,
        sock: socket.socket,
        factory: Factory,
        *,
        load: Load,
        process: int,
        held: Callable[[], int],
        **options: Any,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, self._factory, self._options = sock, factory, options
        self._load, self._process, self._held = load, process, held
        self._opening: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._open = True
        self.tell()
        self._listen()

    def tell(self, _: object = None) -> None:
        """Let the other processes know how many connections this one holds now."""
        if self._open:
            self._load.tell(self._process, self._held() + len(self._opening))

    def close(self) -> None:
        """Accept no more. What was accepted goes on."""
        self._open = False
        self._load.leave(self._process)
        self._loop.remove_reader(self._socket)
        if self._pause:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """It is closed at once."""

    def _listen(self) -> None:
        self._loop.add_reader(self._socket, self._somebody_came)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, then)

    def _somebody_came(self) -> None:
        if self._load.is_light(self._process):
            self._accept()
        else:
            self._leave_it(self._loop.time() + PATIENCE)

    def _leave_it(self, until: float) -> None:
        """To those that hold fewer, while they still do and somebody is there for them."""
        if self._load.is_light(self._process) or not something_came(self._socket.fileno()):
            self._listen()
        elif self._loop.time() < until:
            self._rest(GLANCE, lambda: self._leave_it(until))
        else:
            self._listen()
            while self._accept():
                pass

    def _accept(self) -> bool:
        """Whether somebody was there."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was quicker, or whoever came is gone
        except OSError as error:
            self._loop.call_exception_handler({"message": "accept() failed", "exception": error})
            self._rest(PAUSE, self._listen)
            return False
        connection.setblocking(False)
        opening = self._loop.create_task(
            self._loop.connect_accepted_socket(self._factory, connection, **self._options)
        )
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        opening.add_done_callback(self.tell)
        self.tell()
        return True

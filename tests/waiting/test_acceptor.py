"""A connection is left to the process that holds fewer, if it takes it."""

import asyncio
import errno
import resource
import socket
from contextlib import ExitStack, asynccontextmanager

import pytest

from orchestrator import acceptor
from orchestrator.acceptor import Acceptor, Load

OURS, THEIRS = 7, 8
TURNS = 100
"""Of the loop, in the first of which it looks at what came."""


class Kept(asyncio.Protocol):
    """A connection that is only held, until all are let go."""

    held: set = set()

    def connection_made(self, transport):
        self.transport = transport
        self.held.add(self)

    def connection_lost(self, error):
        self.held.discard(self)

    @classmethod
    async def let_go(cls):
        for one in cls.held:
            one.transport.close()
        await until(lambda: not cls.held)


@pytest.fixture
def door():
    """A listening socket that processes share."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        yield door


@pytest.fixture
def come(door):
    """``come(number)``: as many callers, who stay."""
    with ExitStack() as callers:

        def come(number=1):
            for _ in range(number):
                callers.enter_context(socket.create_connection(door.getsockname()))

        yield come


@asynccontextmanager
async def accepting(door, load):
    mine = Acceptor(door, Kept, load=load, process=OURS, held=lambda: len(Kept.held))
    try:
        yield mine
    finally:
        mine.close()
        await Kept.let_go()


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def theirs_takes(door):
    """Another process takes whom we had every chance to take."""
    held = len(Kept.held)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert len(Kept.held) == held
    taken, _ = await asyncio.get_running_loop().sock_accept(door)
    taken.close()


def beside(*told):
    """A load of which another process told this: how many it holds, or None when it left."""
    load = Load()
    for connections in told:
        if connections is None:
            load.leave(THEIRS)
        else:
            load.tell(THEIRS, connections)
    return load


@pytest.mark.parametrize(
    ("theirs", "seconds"),
    [
        pytest.param([], 3600, id="nobody else is there"),
        pytest.param([0], 0, id="the other does not take them in time"),
        pytest.param([0, None], 3600, id="the other has left"),
    ],
)
def test_everybody_is_taken_where(door, come, monkeypatch, theirs, seconds):
    monkeypatch.setattr(acceptor, "PATIENCE", seconds)

    async def taking():
        async with accepting(door, beside(*theirs)):
            come(20)
            await until(lambda: len(Kept.held) == 20)

    asyncio.run(taking())


def test_who_holds_more_leaves_it_to_others(door, come, monkeypatch):
    monkeypatch.setattr(acceptor, "PATIENCE", 3600)

    async def leaving():
        async with accepting(door, beside(0)):
            come()
            await until(lambda: len(Kept.held) == 1)
            come()
            await theirs_takes(door)
            assert len(Kept.held) == 1

    asyncio.run(leaving())


def test_once_closed_it_takes_nobody_and_counts_for_nothing(door, come, monkeypatch):
    monkeypatch.setattr(acceptor, "PATIENCE", 0)

    async def ending():
        load = beside(5)
        async with accepting(door, load) as mine:
            assert not load.is_light(THEIRS)
            mine.close()
            assert load.is_light(THEIRS)
            come()
            await theirs_takes(door)
            assert not Kept.held

    asyncio.run(ending())


def test_where_no_file_is_left_it_tries_again(door, come, monkeypatch):
    monkeypatch.setattr(acceptor, "PAUSE", 0)
    told = []

    async def without_files():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with accepting(door, beside()):
            come()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await until(lambda: len(told) > 1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: len(Kept.held) == 1)

    asyncio.run(without_files())
    assert {context["exception"].errno for context in told} == {errno.EMFILE}


def test_among_many_an_eighth_more_is_as_good():
    load = beside(80)
    load.tell(OURS, 90)
    assert load.is_light(OURS)
    load.tell(OURS, 91)
    assert not load.is_light(OURS)

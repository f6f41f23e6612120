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
    taken, _ = await asyncio.get_running_loop().sock_accept(door)
    taken.close()


def leave_it_for(monkeypatch, seconds):
    monkeypatch.setattr(acceptor, "PATIENCE", seconds)


def test_one_alone_takes_everybody(door, come, monkeypatch):
    leave_it_for(monkeypatch, 3600)

    async def alone():
        async with accepting(door, Load()):
            come(20)
            await until(lambda: len(Kept.held) == 20)

    asyncio.run(alone())


def test_who_holds_more_leaves_it_to_others(door, come, monkeypatch):
    leave_it_for(monkeypatch, 3600)

    async def beside_another():
        load = Load()
        load.tell(THEIRS, 0)
        async with accepting(door, load):
            come()
            await until(lambda: len(Kept.held) == 1)
            come()
            await theirs_takes(door)
            assert len(Kept.held) == 1

    asyncio.run(beside_another())


def test_what_nobody_takes_is_taken(door, come, monkeypatch):
    leave_it_for(monkeypatch, 0)

    async def beside_a_sleeper():
        load = Load()
        load.tell(THEIRS, 0)
        async with accepting(door, load):
            come(20)
            await until(lambda: len(Kept.held) == 20)

    asyncio.run(beside_a_sleeper())


def test_one_that_left_is_not_waited_for(door, come, monkeypatch):
    leave_it_for(monkeypatch, 3600)

    async def beside_one_that_ends():
        load = Load()
        load.tell(THEIRS, 0)
        load.leave(THEIRS)
        async with accepting(door, load):
            come(3)
            await until(lambda: len(Kept.held) == 3)

    asyncio.run(beside_one_that_ends())


def test_once_closed_it_takes_nobody_and_counts_for_nothing(door, come, monkeypatch):
    leave_it_for(monkeypatch, 0)

    async def ending():
        load = Load()
        load.tell(THEIRS, 5)
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
        async with accepting(door, Load()):
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
    load = Load()
    load.tell(OURS, 90)
    load.tell(THEIRS, 80)
    assert load.is_light(OURS)
    load.tell(OURS, 91)
    assert not load.is_light(OURS)

"""Agents route, wait and are decided on while every process is killed at random: nobody misses a
decision, and every event is told. ``make chaos`` is ten minutes of it, with 200 agents."""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import count
from uuid import UUID

import httpx
import psycopg
from orchestrator_client import AsyncClient, StillWaiting

from tests.faults.killing import system
from tests.serving import log_in
from tests.webhooks.conftest import Receiver

SECONDS = float(os.environ.get("CHAOS_SECONDS", "40"))
AGENTS = 200 if SECONDS >= 300 else 30
THINKS = (1, 60) if AGENTS == 200 else (0, 4)
"""Seconds of a round in which an agent asks for nothing."""
BETWEEN = (3, 12)
"""Seconds from one killing to the next."""
DRAIN = 120
"""Seconds in which everything must have been told: a killed worker's deliveries are taken up after
30, one that fails is tried again after 5."""


def verdict(task_id):
    """What alice says of a task, whoever asks."""
    return "reject" if UUID(task_id).int % 3 == 0 else "approve"


class Agent:
    """Asks, waits, and executes what was approved, again and again."""

    def __init__(self, number, url, key):
        self.learnt = {}
        self._number, self._url, self._key = number, url, key

    async def run(self, ended):
        async with AsyncClient(self._url, self._key) as client:
            while not ended.is_set():
                routed = await client.route_task(
                    "finance", "refund_approval", "A kettle.", data={"agent": self._number}
                )
                task = await self._wait_for_decision(client, routed["task_id"])
                self.learnt[task["task_id"]] = task["status"]
                if task["status"] == "approved":
                    await client.claim(task["task_id"])
                    await client.complete(task["task_id"], {"paid": True})
                await _pause(ended, random.uniform(*THINKS))

    async def _wait_for_decision(self, client, task_id):
        """Every second agent listens to a stream, the others to requests that are held."""
        timeout = None if self._number % 2 else 50
        while True:
            with suppress(StillWaiting):
                return await client.wait_for_decision(task_id, timeout=timeout)


async def _pause(ended, seconds):
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)


class Alice:
    """Decides on whatever waits, over HTTP, until nobody asks any more."""

    def __init__(self, browser):
        self._browser = browser
        self.headers = {"X-CSRFToken": browser.cookies["csrftoken"]}
        self.answers = Counter()

    async def run(self, ended):
        async with httpx.AsyncClient(
            base_url=self._browser.base_url,
            cookies=self._browser.cookies,
            headers=self.headers,
            timeout=30,
        ) as http:
            while not ended.is_set():
                try:
                    page = await http.get("/approvals", params={"status": "pending"})
                    waiting = page.json()["approvals"] if page.is_success else []
                    for approval in waiting:
                        await self._decide(http, approval)
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                    waiting = []
                if not waiting:
                    await _pause(ended, 0.2)

    async def _decide(self, http, approval):
        answer = await http.post(
            f"/approvals/{approval['approval_id']}/{verdict(approval['task_id'])}",
            json={"payload_digest": approval["payload_digest"]},
        )
        self.answers[answer.status_code] += 1


def kill_at_random(world, receiver, ended, killed):
    ways = [
        world.kill_the_web_server,
        world.kill_its_process,
        world.kill_the_worker,
        world.kill_a_connection,
        world.kill_postgresql,
    ]
    for turn in count():
        if ended.wait(random.uniform(*BETWEEN)) and turn >= len(ways):
            return
        receiver.answers.append(500)
        way = ways[turn] if turn < len(ways) else random.choice(ways)
        way(random.uniform(0, 3))
        killed[way.__name__] += 1


async def lived_through(world, browser, receiver):
    url, stop, killed = str(browser.base_url), threading.Event(), Counter()
    ended, decided = asyncio.Event(), asyncio.Event()
    alice = Alice(browser)
    agents = [Agent(number, url, key) for number, key in enumerate(world.keys)]
    deciding = asyncio.create_task(alice.run(decided))
    asking = [asyncio.create_task(agent.run(ended)) for agent in agents]
    killing = asyncio.create_task(asyncio.to_thread(kill_at_random, world, receiver, stop, killed))
    await asyncio.wait([killing, deciding, *asking], timeout=SECONDS, return_when="FIRST_EXCEPTION")
    stop.set()
    await killing
    ended.set()
    await asyncio.wait_for(asyncio.gather(*asking), 180)
    decided.set()
    await deciding
    return agents, alice, killed


def collect_arrivals(receiver):
    """The ids of the events that arrived, by subject, in the order in which each came first."""
    orders = defaultdict(dict)
    for got in list(receiver.got):
        subject = json.loads(got.body)["data"]["subject_id"]
        orders[subject][got.headers["webhook-id"]] = None
    return {subject: list(order) for subject, order in orders.items()}


def read_trail(database):
    """The ids of the trail's events since the webhook's own, by subject, in commit order."""
    orders = defaultdict(list)
    with psycopg.connect(database.url) as admin:
        for subject, event in admin.execute(
            "SELECT subject_id::text, id::text FROM audit_events WHERE position >"
            " (SELECT position FROM audit_events WHERE event_type = 'webhook.created')"
            " ORDER BY xid, position"
        ):
            orders[subject].append(event)
    return dict(orders)


def time_passes(database):
    """What was refused several times is tried again now, and not in hours."""
    with psycopg.connect(database.url) as admin:
        admin.execute(
            "UPDATE webhook_deliveries SET next_attempt_at = now()"
            " WHERE status = 'waiting' AND next_attempt_at > now() + interval '10 seconds'"
        )


def test_every_decision_is_learnt_and_every_event_is_delivered(tmp_path):
    with Receiver() as receiver:
        serving = threading.Thread(target=receiver.serve_forever)
        serving.start()
        try:
            with system(tmp_path, receiver.url, AGENTS) as world:
                lives(world, receiver)
        finally:
            receiver.shutdown()
            serving.join()


def lives(world, receiver):
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(
        base_url=f"http://localhost:{world.port}",
        transport=transport,
        follow_redirects=True,
        timeout=60,
    ) as browser:
        log_in(browser, "alice", "alice")
        agents, alice, killed = asyncio.run(lived_through(world, browser, receiver))

    assert len(killed) == 5
    assert set(alice.answers) & {500} == set()
    learnt = {task: status for agent in agents for task, status in agent.learnt.items()}
    assert learnt
    assert learnt == {
        task: {"approve": "approved", "reject": "rejected"}[verdict(task)] for task in learnt
    }
    with psycopg.connect(world.database.url) as admin:
        kept = dict(admin.execute("SELECT id::text, status FROM tasks").fetchall())
    assert kept.keys() == learnt.keys()
    assert {kept[t] for t, s in learnt.items() if s == "approved"} <= {"completed"}

    deadline = time.monotonic() + DRAIN
    while collect_arrivals(receiver) != read_trail(world.database) and time.monotonic() < deadline:
        time_passes(world.database)
        time.sleep(0.5)
    world.end()
    assert collect_arrivals(receiver) == read_trail(world.database)
    assert "." in world.undoing.read_text()
    assert "agent.undone" not in {body["data"]["event_type"] for body in receiver.read_bodies()}
    assert "whole" in world.manage("verify_audit")
    events = sum(map(len, collect_arrivals(receiver).values()))
    sys.stdout.write(  # pytest -s shows it
        f"\n{len(learnt)} decisions learnt by {len(agents)} agents,"
        f" {len(receiver.got)} deliveries of {events} events,"
        f" killed: {dict(killed)}\n"
    )

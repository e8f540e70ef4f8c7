"""Load for tests: pools in every partition, and commands as adapters and agents send them, some of them wrong.

Each of a pool's queues has two agents. Adapters do not wait for answers: both agents accept what only one of them is
offered, some decline, some callers hang up, some commands come twice. So most of what can be refused is refused too.
"""

import asyncio
import functools
import itertools
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaProducer

from engine.agents.connection import Connection
from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times
from engine.streams.codec import envelope_of, write_command
from engine.streams.topics import COMMANDS, Shape, partition_of

QUEUES = 12


def pools(shape: Shape, each: int = 1) -> list[str]:
    """Names of pools, `each` in every partition, in the order of the partitions."""
    found: dict[int, list[str]] = {number: [] for number in range(shape.partitions)}
    for number in itertools.count():
        name = f"pool-{number}"
        there = found[partition_of(name, shape.partitions)]
        if len(there) < each:
            there.append(name)
        if all(len(names) == each for names in found.values()):
            return [name for names in found.values() for name in names]
    raise AssertionError


def rules_of(pool: str) -> Rules:
    """Short deadlines, so that ticks have something to do within a test."""
    queues = tuple(Queue(f"queue-{number}") for number in range(QUEUES))
    return Rules(pool, queues, times=Times(offer=2, wrap_up=2, decline=1))


class People:
    """What the people of one pool ask, without end."""

    def __init__(self, pool: str, seed: int = 1) -> None:
        self.pool = pool
        self.seed = seed
        self.random = random.Random(f"{pool}/{seed}")
        self.number = itertools.count()

    def first(self) -> Iterator[bytes]:
        yield self._of(m.PublishRules(rules_of(self.pool)))
        for number in range(QUEUES):
            for team in "ab":
                yield self._of(m.SignInAgent(f"{team}{number}", True, (f"queue-{number}",)))

    def commands(self) -> Iterator[bytes]:
        r = self.random
        for number in itertools.count():
            queue, contact = r.randrange(QUEUES), f"contact-{self.seed}-{number}"
            agents = [f"a{queue}", f"b{queue}"]
            yield self._of(m.RouteContact(contact, "call", f"queue-{queue}", vip=r.random() < 0.1))
            what = r.random()
            if what < 0.1:
                yield self._of(m.DeclineOffer(contact, r.choice(agents)))
            elif what < 0.2:
                yield self._of(m.EndContact(contact, "customer"))
            for agent in agents:
                command = self._of(m.AcceptOffer(contact, agent))
                yield command
                if what > 0.97:
                    yield command  # a retry
            yield self._of(m.EndContact(contact, "agent"))
            for agent in agents:
                yield self._of(m.CompleteWrapUp(contact, agent))
                if what > 0.9:
                    yield self._of(m.SetAgentReady(agent))

    def _of(self, command: m.Command) -> bytes:
        return write_command(envelope_of(command, f"{next(self.number):x}", "people", self.pool))


async def send(connection: Connection, shape: Shape, commands: Iterator[tuple[str, bytes]], per_s: float = 0) -> int:
    """(pool, command) to the topic, as fast as it goes or `per_s`; how many, all acknowledged."""
    topic = shape.named(COMMANDS)
    async with AIOKafkaProducer(**connection.for_client(), acks="all", enable_idempotence=True) as producer:
        began, count, sent = time.monotonic(), 0, []
        for pool, body in commands:
            sent.append(await producer.send(topic, body, key=pool.encode()))
            count += 1
            if per_s and (ahead := count / per_s - (time.monotonic() - began)) > 0.005:
                await asyncio.sleep(ahead)
        await asyncio.gather(*sent)
    return count


class Load:
    """Commands at a steady rate for as long as it is open. acknowledged: (partition, offset) -> hash of the command:
    what the broker has said it holds."""

    def __init__(self, connection: Connection, shape: Shape, names: list[str], per_s: float, seed: int = 2) -> None:
        self.connection, self.topic, self.per_s = connection, shape.named(COMMANDS), per_s
        self.commands = go_on(names, sys.maxsize, seed)
        self.acknowledged: dict[tuple[int, int], int] = {}
        self._unacknowledged: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> "Load":
        self._producer = AIOKafkaProducer(**self.connection.for_client(), acks="all", enable_idempotence=True)
        await self._producer.start()
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._task.cancel()
        try:
            if kind is None:
                async with asyncio.timeout(60):
                    while self._unacknowledged:
                        await asyncio.wait(self._unacknowledged)
                if not self._task.cancelled() and self._task.done():
                    self._task.result()
        finally:
            await self._producer.stop()

    async def _send(self) -> None:
        began = time.monotonic()
        for count, (pool, body) in enumerate(self.commands, 1):
            sent = await self._producer.send(self.topic, body, key=pool.encode())
            self._unacknowledged.add(sent)
            sent.add_done_callback(functools.partial(self._sent, hash(body)))
            if (ahead := count / self.per_s - (time.monotonic() - began)) > 0.005:
                await asyncio.sleep(ahead)

    def _sent(self, said: int, sent: "asyncio.Future[Any]") -> None:
        self._unacknowledged.discard(sent)
        if not sent.cancelled() and not sent.exception():
            self.acknowledged[sent.result().partition, sent.result().offset] = said


def begin(names: list[str]) -> Iterator[tuple[str, bytes]]:
    return ((pool, body) for pool in names for body in People(pool).first())


def go_on(names: list[str], count: int, seed: int = 2) -> Iterator[tuple[str, bytes]]:
    """`count` commands, the pools taking turns. Another seed has other ids: give each call its own."""
    streams = [(pool, People(f"{pool}", seed)) for pool in names]
    for _, people in streams:
        people.number = itertools.count(seed << 32)
    each = itertools.cycle([(pool, people.commands()) for pool, people in streams])
    return ((pool, next(commands)) for pool, commands in itertools.islice(each, count))

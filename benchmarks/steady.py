"""2,000 commands/s to a log on Kafka at fixed moments, whatever became of those before, and when each is seen.

Contacts are routed, accepted, ended and wrapped up. Each needs a skill that one of the 500 agents has: so it is known
beforehand whom they are offered to, and no command is refused.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from engine.core import messages as m
from engine.core.rules import Queue, Rules
from engine.streams.codec import envelope_of, write_command
from engine.streams.journal import read_turn
from engine.streams.topics import COMMANDS, JOURNAL, STATUS, Shape

POOL = "bench"
RATE, SECONDS, WARM_S, AGENTS, QUEUES = 2_000, 10, 2, 500, 10
APART = 20  # contacts between two commands of one contact: 40 ms
START_S = 30

Command = tuple[str, m.Command]  # with its id


class Watch:
    """A topic in which commands are seen. name_of: what a record is of; wanted: what a command is to be seen as.
    delays: in ms, from the moment at which a command should have been sent."""

    def __init__(
        self, topic: str, name_of: Callable[[ConsumerRecord], str], wanted: Callable[[Command], str | None]
    ) -> None:
        self.partition = TopicPartition(topic, 0)
        self.name_of, self.wanted = name_of, wanted
        self.due: dict[str, float] = {}
        self.delays: list[float] = []

    async def read(self, reader: AIOKafkaConsumer) -> None:
        reader.assign([self.partition])
        await reader.seek_to_beginning(self.partition)
        while True:
            found = (await reader.getmany(self.partition, timeout_ms=1000)).get(self.partition, [])
            now = time.monotonic()
            for record in found:
                due = self.due.pop(self.name_of(record), None)
                if due is not None:
                    self.delays.append((now - due) * 1000)


def turns(shape: Shape) -> Watch:
    """Of every command."""

    def name_of(record: ConsumerRecord) -> str:
        value = record.value or b""
        assert b'"command-refused"' not in value, "no command is refused"
        return "" if value.startswith(b'{"marker"') else read_turn(value).command.id

    return Watch(shape.named(JOURNAL), name_of, lambda command: command[0])


def statuses(shape: Shape) -> Watch:
    """Of every new contact."""

    def wanted(command: Command) -> str | None:
        return command[1].contact_id if isinstance(command[1], m.RouteContact) else None

    return Watch(shape.named(STATUS), lambda record: record.key.decode().removeprefix(f"contact/{POOL}/"), wanted)


def begin() -> Iterator[m.Command]:
    yield m.PublishRules(Rules(POOL, tuple(Queue(f"queue-{number}") for number in range(QUEUES))))
    for number in range(AGENTS):
        yield m.SignInAgent(f"agent-{number}", True, (f"queue-{number % QUEUES}",), {f"skill-{number}": 1})
    yield from of_contact(0)


def of_contact(number: int) -> tuple[m.Command, ...]:
    contact, one = f"contact-{number}", number % AGENTS
    agent = f"agent-{one}"
    return (
        m.RouteContact(contact, "call", f"queue-{one % QUEUES}", skills={f"skill-{one}": 1}),
        m.AcceptOffer(contact, agent),
        m.EndContact(contact, "customer"),
        m.CompleteWrapUp(contact, agent),
    )


def go_on() -> Iterator[m.Command]:
    for number in itertools.count(1):
        for step in range(4):
            if number > step * APART:
                yield of_contact(number - step * APART)[step]


async def drive(address: str, shape: Shape, *watches: Watch) -> None:
    """Of a log that workers have been started for. The first contact is waited for."""
    topic, key = shape.named(COMMANDS), POOL.encode()
    readers = [AIOKafkaConsumer(bootstrap_servers=address) for _ in watches]
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", linger_ms=0)
    tasks: list[asyncio.Task[None]] = []

    async def send(command: m.Command, id: str, due: float | None) -> None:
        for watch in watches:
            if due is not None and (name := watch.wanted((id, command))) is not None:
                watch.due[name] = due
        await producer.send(topic, write_command(envelope_of(command, id, "bench", POOL)), key=key)

    async def seen(within_s: float) -> None:
        until = time.monotonic() + within_s
        while missing := sum(len(watch.due) for watch in watches):
            assert time.monotonic() < until, f"{missing} commands are not seen in {within_s} s"
            assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
            await asyncio.sleep(0.05)

    try:
        for client in (producer, *readers):
            await client.start()
        tasks += [asyncio.create_task(watch.read(reader)) for watch, reader in zip(watches, readers, strict=True)]
        for number, command in enumerate(begin()):
            await send(command, f"begin-{number}", time.monotonic() if isinstance(command, m.RouteContact) else None)
        await seen(START_S)
        await asyncio.sleep(1)
        for watch in watches:
            watch.delays.clear()
        began = time.monotonic()
        for number, command in enumerate(itertools.islice(go_on(), RATE * SECONDS)):
            due = began + number / RATE
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            await send(command, f"{number}", due if due > began + WARM_S else None)
        await seen(START_S)
    finally:
        for task in tasks:
            task.cancel()
        for client in (producer, *readers):
            await client.stop()

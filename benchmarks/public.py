"""Through a real broker: command to the topic `status`, by a worker and the projections, at 2,000 commands/s.

Bar: p99 80 ms. Commands come at fixed moments, whatever became of those before (open loop); the delay counts from the
moment a command should have been sent until its contact's status is read. Beside it, in the same run: until its turn
is. Broker, worker, projections, load and readers share this machine.
"""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine.agents.broker import Broker, BrokerProblem, fetch_jars, find_java
from engine.agents.connection import Connection
from engine.core import messages as m
from engine.core.rules import Queue, Rules
from engine.streams.codec import envelope_of, write_command
from engine.streams.journal import read_turn
from engine.streams.topics import COMMANDS, JOURNAL, STATUS, TOPICS, Shape

from .latency import quantile

POOL = "bench"
SHAPE = Shape("bench.", 1, 1, 1)
RATE, SECONDS, WARM_S, AGENTS = 2_000, 12, 3, 500
START_S, END_S = 8, 2

Due = dict[str, float]


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    try:
        find_java()
        fetch_jars()
    except BrokerProblem as problem:
        say(f"NOT RUN: {problem}")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        address = broker.up(0).address
        try:
            turns, statuses = asyncio.run(_measure(address))
        finally:
            broker.down()
    found = {
        f"{name}_{share}_ms": round(quantile(delays, at), 1)
        for name, delays in (("turn", turns), ("status", statuses))
        for share, at in (("p50", 0.5), ("p99", 0.99))
    }
    say(f"command to status: p50 {found['status_p50_ms']} ms, p99 {found['status_p99_ms']} ms (bar 80)")
    say(f"command to accepted turn in the same run: p50 {found['turn_p50_ms']} ms, p99 {found['turn_p99_ms']} ms")
    return dict(found)


async def _measure(address: str) -> tuple[list[float], list[float]]:
    await make_topics(address)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(address,)) for work in (worker, projections)]
    for process in processes:
        process.start()
    try:
        return await _steady(address)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def worker(address: str) -> None:
    """As `waitline worker` runs it."""
    from engine.agents.app import RoutingWorker

    asyncio.run(RoutingWorker(Connection(address), SHAPE, name="bench").run())


def projections(address: str) -> None:
    """As `waitline projections` runs it."""
    from engine.agents.projections import Projections

    asyncio.run(Projections(Connection(address), SHAPE).run())


async def make_topics(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics(
        [NewTopic(SHAPE.named(topic), 1, 1, topic_configs=SHAPE.settings(topic)) for topic in TOPICS]
    )
    await admin.close()
    await asyncio.sleep(1)


async def _steady(address: str) -> tuple[list[float], list[float]]:
    """Delays in ms: until the turn of each command is read, and until the status of each contact is."""
    topic = SHAPE.named(COMMANDS)
    turn_due, status_due = Due(), Due()
    turns: list[float] = []
    statuses: list[float] = []
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", linger_ms=0)
    journal, status = (AIOKafkaConsumer(bootstrap_servers=address) for _ in range(2))
    async with producer, journal, status:
        readers = [
            asyncio.create_task(_read(journal, SHAPE.named(JOURNAL), _command_of, turn_due, turns)),
            asyncio.create_task(_read(status, SHAPE.named(STATUS), _contact_of, status_due, statuses)),
        ]
        begin: list[m.Command] = [m.PublishRules(Rules(POOL, (Queue("sales"),)))]
        begin += [m.SignInAgent(f"a{number}", True, ("sales",)) for number in range(AGENTS)]
        for number, first in enumerate(begin):
            await producer.send(topic, _body(first, f"in-{number}"), key=POOL.encode())
        await asyncio.sleep(START_S)
        began = time.monotonic()
        for number in range(RATE * SECONDS):
            due = began + number / RATE
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            contact = f"c{number // 2}"
            if due > began + WARM_S:
                turn_due[f"{number}"] = due
                if number % 2 == 0:
                    status_due[contact] = due
            command: m.Command = m.RouteContact(contact, "sms", "sales")
            if number % 2:
                command = m.EndContact(contact, "customer")
            await producer.send(topic, _body(command, f"{number}"), key=POOL.encode())
        await asyncio.sleep(END_S)
        for reader in readers:
            reader.cancel()
    assert not turn_due and not status_due, f"{len(turn_due)} commands without a turn, {len(status_due)} without status"
    return turns, statuses


async def _read(
    reader: AIOKafkaConsumer, topic: str, name_of: Callable[[bytes, bytes], str], due: Due, delays: list[float]
) -> None:
    partition = TopicPartition(topic, 0)
    reader.assign([partition])
    await reader.seek_to_beginning(partition)
    while True:
        found = (await reader.getmany(partition, timeout_ms=1000)).get(partition, [])
        now = time.monotonic()
        for record in found:
            should = due.pop(name_of(record.key or b"", record.value or b""), None)
            if should is not None:
                delays.append((now - should) * 1000)


def _command_of(_: bytes, value: bytes) -> str:
    return "" if value.startswith(b'{"marker"') else read_turn(value).command.id


def _contact_of(key: bytes, _: bytes) -> str:
    return key.decode().removeprefix(f"contact/{POOL}/")


def _body(command: m.Command, id: str) -> bytes:
    return write_command(envelope_of(command, id, "bench", POOL))

"""Through a real broker: commands topic to accepted turns, by a worker with the real core; how fast, and how soon.

Bars: 40,000 commands/s a worker, 0.8 of a bare aiokafka loop with the same step and appends, 12 times a plain Faust
agent with a table write and a send per command; at 2,000 commands/s p50 10 ms and p99 40 ms. Broker, worker and load
share this machine. The three are measured in turn, several times, and the ratios taken pairwise; beside the clock's
figures those by the process's own seconds of processor, which other programs disturb less.

The broker keeps the commands' own times here, so that what people answer in the world's time is in time for the core:
the same commands as of the durable benchmark.
"""

import asyncio
import gc
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine.agents.broker import Broker, BrokerProblem, fetch_jars, find_java
from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog, entries
from engine.agents.routing import producer_of
from engine.core import messages as m
from engine.core.rules import Queue, Rules
from engine.streams.codec import envelope_of, write_command
from engine.streams.journal import read_turn
from engine.streams.partition import Partition
from engine.streams.topics import COMMANDS, JOURNAL, TOPICS, Shape

from .latency import quantile
from .world import POOL, START, Traffic, World

WAITING, COUNT, PLAIN = 10_000, 60_000, 4_000
ROUNDS = 2
AHEAD_MS = 86_400_000  # the world lives tomorrow: no deadline of it has passed by the worker's clock
RATE, SECONDS, WARM_S, AGENTS = 2_000, 12, 2, 500
JAVA_LONG = str((1 << 63) - 1)


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
            return asyncio.run(_measure(address, say))
        finally:
            broker.down()


async def _measure(address: str, say: Callable[[str], None]) -> dict[str, float | int | str]:
    traffic = Traffic(World())
    fill = list(traffic.fill(WAITING))
    log = [*fill, *traffic.go_on(COUNT)]
    found: dict[str, list[Rate]] = {"worker": [], "bare_loop": [], "plain_agent": []}
    for _ in range(ROUNDS):
        for work, most, skip in (
            (worker, len(log), len(fill)),
            (bare_loop, len(log), len(fill)),
            (plain_agent, PLAIN, PLAIN // 4),
        ):
            shape = await topics(address, f"bench-{time.time_ns()}.", simulated=True)
            await load(address, shape, log[:most])
            found[work.__name__].append(await bulk(address, shape, work, skip))
        last = {name: rates[-1] for name, rates in found.items()}
        say("; ".join(f"{name} {rate.wall:,.0f}/s, {rate.cpu:,.0f} per CPU second" for name, rate in last.items()))
    delays, bare_delays = await steady(address, worker), await steady(address, bare_loop)
    figures: dict[str, float | int | str] = {
        "per_s": round(statistics.median(rate.wall for rate in found["worker"])),
        "per_cpu_s": round(statistics.median(rate.cpu for rate in found["worker"])),
        "of_bare": ratio(found, "bare_loop", "wall"),
        "of_bare_cpu": ratio(found, "bare_loop", "cpu"),
        "times_plain": ratio(found, "plain_agent", "wall"),
        "times_plain_cpu": ratio(found, "plain_agent", "cpu"),
        "p50_ms": round(quantile(delays, 0.5), 1),
        "p99_ms": round(quantile(delays, 0.99), 1),
        "bare_p50_ms": round(quantile(bare_delays, 0.5), 1),
        "bare_p99_ms": round(quantile(bare_delays, 0.99), 1),
    }
    say(f"{figures['per_s']:,} commands/s (bar 40,000), {figures['per_cpu_s']:,} per CPU second")
    say(f"{figures['of_bare']} of the bare loop (bar 0.8); by processor {figures['of_bare_cpu']}")
    say(f"{figures['times_plain']} times a plain Faust agent (bar 12); by processor {figures['times_plain_cpu']}")
    say(f"to the accepted turn at {RATE:,}/s: p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms (bars 10, 40)")
    say(f"the bare loop: p50 {figures['bare_p50_ms']} ms, p99 {figures['bare_p99_ms']} ms")
    return figures


class Rate(NamedTuple):
    """Commands a second, by the clock and by the process's own processor time."""

    wall: float
    cpu: float


def ratio(found: dict[str, list[Rate]], other: str, by: str) -> float:
    pairs = zip(found["worker"], found[other], strict=True)
    return round(statistics.median(getattr(ours, by) / getattr(theirs, by) for ours, theirs in pairs), 2)


# ---- the log and its load


async def topics(address: str, prefix: str, *, simulated: bool) -> Shape:
    shape = Shape(prefix, 1, 1, 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    made = []
    for topic in TOPICS:
        settings = shape.settings(topic)
        if simulated and topic is COMMANDS:
            settings |= {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": JAVA_LONG}
        made.append(NewTopic(shape.named(topic), 1, 1, topic_configs=settings))
    await admin.create_topics(made)
    await admin.close()
    await asyncio.sleep(1)
    return shape


async def load(address: str, shape: Shape, log: Iterable[tuple[int, bytes]]) -> None:
    ahead = int(time.time() * 1000) - START + AHEAD_MS
    topic = shape.named(COMMANDS)
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all", max_batch_size=1 << 19, linger_ms=5) as producer:
        for at, body in log:
            sent = await producer.send(topic, body, key=POOL.encode(), timestamp_ms=at + ahead)
        await sent


async def bulk(address: str, shape: Shape, work: Callable[[str, str], None], skip: int) -> Rate:
    """Of a process that finds all commands in the topic, after the first `skip`."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(address, shape.prefix))
    process.start()
    assert process.pid is not None
    try:
        async with PartitionLog(Connection(address), shape, 0) as log:
            return await _rate(log, skip, await log.end(COMMANDS), process.pid)
    finally:
        process.terminate()
        process.join()


async def _rate(log: PartitionLog, skip: int, last: int, pid: int) -> Rate:
    """From when the turn of command `skip` can be read to when nearly all can: some ticks have none."""
    while (began_at := await log.end(JOURNAL)) <= skip:
        await asyncio.sleep(0.01)
    began, began_cpu = time.perf_counter(), cpu_s(pid)
    while (end := await log.end(JOURNAL)) < last * 0.99:
        await asyncio.sleep(0.01)
    return Rate((end - began_at) / (time.perf_counter() - began), (end - began_at) / (cpu_s(pid) - began_cpu))


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- the three


def worker(address: str, prefix: str) -> None:
    """The product's worker, as `waitline worker` runs it."""
    from engine.agents.app import RoutingWorker

    asyncio.run(RoutingWorker(Connection(address), Shape(prefix, 1, 1, 1), name="bench").run())


def bare_loop(address: str, prefix: str) -> None:
    """What is left without Faust, ownership, clock and rejections: read, step, append, three batches in flight."""

    async def run() -> None:
        shape = Shape(prefix, 1, 1, 1)
        commands, journal = TopicPartition(shape.named(COMMANDS), 0), shape.named(JOURNAL)
        partition = Partition()
        gc.set_threshold(20_000, 50, 50)  # as the worker does
        flight: list[asyncio.Future[object]] = []
        async with AIOKafkaConsumer(bootstrap_servers=address, max_poll_records=1000) as consumer:
            producer = producer_of(Connection(address))
            await producer.start()
            consumer.assign([commands])
            await consumer.seek_to_beginning(commands)
            while True:
                batch = producer.create_batch()
                for entry in entries((await consumer.getmany(commands, timeout_ms=1000)).get(commands, []), 0):
                    record = partition.decide_entry(entry).record
                    if record is None:
                        continue
                    if batch.append(key=None, value=record, timestamp=None) is None:
                        flight.append(await producer.send_batch(batch, journal, partition=0))
                        batch = producer.create_batch()
                        batch.append(key=None, value=record, timestamp=None)
                if batch.record_count():
                    flight.append(await producer.send_batch(batch, journal, partition=0))
                while len(flight) > 3:
                    await flight.pop(0)

    asyncio.run(run())


def plain_agent(address: str, prefix: str) -> None:
    """What a Faust tutorial would write: per event one table write and one send."""
    import faust

    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            f"{prefix}plain",
            broker=f"kafka://{address}",
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            topic_partitions=1,
        )
        commands = app.topic(f"{prefix}commands", key_serializer="raw", value_serializer="raw")
        journal = app.topic(f"{prefix}journal", key_serializer="raw", value_serializer="raw")
        counts = app.Table("counts", default=int, partitions=1)

        @app.agent(commands)
        async def count(stream):  # type: ignore[no-untyped-def]
            async for event in stream.events():
                counts[event.key] += 1
                await journal.send(value=event.value)

        faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()


# ---- how soon


async def steady(address: str, work: Callable[[str, str], None]) -> list[float]:
    """Delays in ms from the moment at which a command should have been sent until its turn is read; open loop. Contacts
    are routed, accepted, ended and wrapped up."""
    shape = await topics(address, f"bench-steady-{time.time_ns()}.", simulated=False)
    topic = shape.named(COMMANDS)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(address, shape.prefix))
    process.start()
    should: dict[str, float] = {}
    delays: list[float] = []
    try:
        producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", linger_ms=0)
        reader = AIOKafkaConsumer(bootstrap_servers=address, fetch_max_wait_ms=500)
        async with producer, reader:
            journal = TopicPartition(shape.named(JOURNAL), 0)
            reader.assign([journal])
            await reader.seek_to_beginning(journal)
            reading = asyncio.create_task(_read(reader, journal, should, delays))
            begin = [m.PublishRules(Rules(POOL, (Queue("sales"),)))]
            for number, command in enumerate(
                [*begin, *(m.SignInAgent(f"a{i}", True, ("sales",)) for i in range(AGENTS))]
            ):
                await producer.send(topic, _body(command, f"in-{number}"), key=POOL.encode())
            await asyncio.sleep(6)
            began = time.monotonic()
            for number in range(RATE * SECONDS):
                due = began + number / RATE
                if (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                command = m.RouteContact(f"c{number // 2}", "sms", "sales")
                if number % 2:
                    command = m.EndContact(f"c{number // 2}", "customer")
                if due > began + WARM_S:
                    should[f"{number}"] = due
                await producer.send(topic, _body(command, f"{number}"), key=POOL.encode())
            await asyncio.sleep(2)
            reading.cancel()
    finally:
        process.terminate()
        process.join()
    assert not should, f"{len(should)} commands without a turn"
    return delays


async def _read(
    reader: AIOKafkaConsumer, journal: TopicPartition, should: dict[str, float], delays: list[float]
) -> None:
    while True:
        found = (await reader.getmany(journal, timeout_ms=1000)).get(journal, [])
        now = time.monotonic()
        for record in found:
            if not record.value.startswith(b'{"marker"'):
                due = should.pop(read_turn(record.value).command.id, None)
                if due is not None:
                    delays.append((now - due) * 1000)


def _body(command: m.Command, id: str) -> bytes:
    return write_command(envelope_of(command, id, "bench", POOL))

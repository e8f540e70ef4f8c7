"""Through a real broker: commands topic to accepted turns, by a worker with the real core; how fast, and how soon.

Bars: 40,000 commands/s a worker, 0.8 of a bare aiokafka loop with the same step and appends, 12 times a plain Faust
agent with a table write and a send per command; at 2,000 commands/s p50 10 ms and p99 40 ms. Broker, worker and load
share this machine. The three are measured in turn, several times, and the ratios taken pairwise; beside the clock's
figures those by the process's own seconds of processor, which other programs disturb less.

The broker keeps the commands' own times here, so that what people answer in the world's time is in time for the core:
the same commands as of the durable benchmark.
"""

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine import service
from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog, entries
from engine.agents.routing import producer_of
from engine.streams.journal import Reader
from engine.streams.partition import Partition
from engine.streams.topics import COMMANDS, JOURNAL, TOPICS, Shape, partition_of

from .brokers import broker_for
from .latency import quantile
from .steady import RATE, drive, turns
from .world import POOL, START, Timed, Traffic, World

WAITING, COUNT, PLAIN = 10_000, 40_000, 4_000
ROUNDS = 2
SHARED_WAITING, SHARED_AGENTS, SHARED_COUNT = 2_000, 2_000, 20_000  # of each of two partitions
# The world lives tomorrow: no deadline of it has passed by the worker's clock.
AHEAD_MS = int(time.time() * 1000) - START + 86_400_000
POOLS = sorted((f"pool-{number}" for number in range(2)), key=lambda pool: partition_of(pool, 2))
JAVA_LONG = str((1 << 63) - 1)


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    with broker_for(say) as address:
        if not address:
            return {}
        return asyncio.run(_measure(address, say))


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
    logs = [list(log_of(pool)) for pool in POOLS]
    filled = 1 + SHARED_WAITING + SHARED_AGENTS
    one, two = [await shared(address, workers, logs, filled) for workers in (1, 2)]
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
        "two_workers": round(two / one, 2),
        "cores": os.cpu_count() or 0,
    }
    say(f"{figures['per_s']:,} commands/s (bar 40,000), {figures['per_cpu_s']:,} per CPU second")
    say(f"{figures['of_bare']} of the bare loop (bar 0.8); by processor {figures['of_bare_cpu']}")
    say(f"{figures['times_plain']} times a plain Faust agent (bar 12); by processor {figures['times_plain_cpu']}")
    say(f"to the accepted turn at {RATE:,}/s: p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms (bars 10, 40)")
    say(f"the bare loop: p50 {figures['bare_p50_ms']} ms, p99 {figures['bare_p99_ms']} ms")
    say(
        f"two workers {figures['two_workers']} times one ({two:,.0f} and {one:,.0f}/s; bar 1.6 where cores allow: "
        f"these {figures['cores']} are shared with the broker)"
    )
    return figures


Work = Callable[[str, str, int], None]  # broker, prefix, partitions


class Rate(NamedTuple):
    """Commands a second, by the clock and by the process's own processor time."""

    wall: float
    cpu: float


def ratio(found: dict[str, list[Rate]], other: str, by: str) -> float:
    pairs = zip(found["worker"], found[other], strict=True)
    return round(statistics.median(getattr(ours, by) / getattr(theirs, by) for ours, theirs in pairs), 2)


# ---- the log and its load


async def topics(address: str, prefix: str, *, simulated: bool, partitions: int = 1) -> Shape:
    shape = Shape(prefix, partitions, 1, 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    made = []
    for topic in TOPICS:
        settings = shape.settings(topic)
        if simulated and topic is COMMANDS:
            settings |= {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": JAVA_LONG}
        made.append(NewTopic(shape.named(topic), partitions, 1, topic_configs=settings))
    await admin.create_topics(made)
    await admin.close()
    await asyncio.sleep(1)
    return shape


async def load(address: str, shape: Shape, log: Iterable[Timed], partition: int = 0) -> None:
    topic = shape.named(COMMANDS)
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all", max_batch_size=1 << 19, linger_ms=5) as producer:
        for at, body in log:
            sent = await producer.send(topic, body, key=POOL.encode(), partition=partition, timestamp_ms=at + AHEAD_MS)
        await sent


async def bulk(address: str, shape: Shape, work: Work, skip: int) -> Rate:
    """Of a process that finds all commands in the topic, after the first `skip`."""
    with running(work, address, shape) as pid:
        async with PartitionLog(Connection(address), shape, 0) as log:
            return await _rate(log, skip, await log.end(COMMANDS), pid)


@contextmanager
def running(work: Work, address: str, shape: Shape) -> Iterator[int]:
    """A process of it; its id."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(address, shape.prefix, shape.partitions))
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join()


def log_of(pool: str) -> Iterator[Timed]:
    traffic = Traffic(World(agents=SHARED_AGENTS, pool=pool))
    yield from traffic.fill(SHARED_WAITING)
    yield from traffic.go_on(SHARED_COUNT)


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


def worker(address: str, prefix: str, partitions: int) -> None:
    """The product's worker, as `waitline worker` runs it."""
    from engine.agents.app import RoutingWorker

    service.run(RoutingWorker(Connection(address), Shape(prefix, partitions, 1, 1), name=f"bench-{os.getpid()}").run())


def bare_loop(address: str, prefix: str, _: int) -> None:
    """What is left without Faust, ownership, clock and rejections: read, step, append, three batches in flight."""

    async def loop() -> None:
        shape = Shape(prefix, 1, 1, 1)
        commands, journal = TopicPartition(shape.named(COMMANDS), 0), shape.named(JOURNAL)
        partition = Partition()
        service.spare_the_collector()  # as the worker does
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

    service.run(loop())


def plain_agent(address: str, prefix: str, _: int) -> None:
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


async def steady(address: str, work: Work) -> list[float]:
    """Delays in ms until the turns of commands are read."""
    shape = await topics(address, f"bench-steady-{time.time_ns()}.", simulated=False)
    watch = turns(shape)
    with running(work, address, shape):
        await drive(address, shape, watch)
    return watch.delays


# ---- two workers


async def shared(address: str, workers: int, logs: Sequence[Sequence[Timed]], filled: int) -> float:
    """Commands a second of two partitions, each with one of the logs, shared by so many workers. The first `filled` of
    each are decided before the clock runs; the others come at once, in batches that have been made before."""
    shape = await topics(address, f"bench-shared-{time.time_ns()}.", simulated=True, partitions=len(logs))
    topic = shape.named(COMMANDS)
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", max_batch_size=1 << 19)
        await stack.enter_async_context(producer)
        partitions = [
            await stack.enter_async_context(PartitionLog(Connection(address), shape, number))
            for number in range(len(logs))
        ]
        for number, log in enumerate(logs):
            await load(address, shape, log[:filled], number)
        for _ in range(workers):
            stack.enter_context(running(worker, address, shape))
        while len({await owner(each, filled) for each in partitions} - {""}) < workers:
            await asyncio.sleep(0.2)
        ready = [(number, batch) for number, log in enumerate(logs) for batch in batches(producer, log[filled:])]
        most = 0.99 * sum(map(len, logs))
        began_at, began = sum([await each.end(JOURNAL) for each in partitions]), time.perf_counter()
        for number, batch in ready:
            await producer.send_batch(batch, topic, partition=number)
        while (end := sum([await each.end(JOURNAL) for each in partitions])) < most:
            await asyncio.sleep(0.01)
        return (end - began_at) / (time.perf_counter() - began)


async def owner(log: PartitionLog, filled: int) -> str:
    """The worker that has the partition, once that many turns stand there."""
    end, reader = await log.end(JOURNAL), Reader()
    if end > filled:
        async for records in log.journal(0, end):
            for record in records:
                reader.read(record)
    return reader.marker.worker if reader.marker else ""


def batches(producer: AIOKafkaProducer, log: Sequence[Timed]) -> Iterator[Any]:
    batch = producer.create_batch()
    for at, body in log:
        while batch.append(key=None, value=body, timestamp=at + AHEAD_MS) is None:
            yield batch
            batch = producer.create_batch()
    yield batch

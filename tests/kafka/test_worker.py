"""Workers on a real broker: what they leave in the journal is what an undisturbed replay decides, whatever befalls
them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.core import messages as m
from engine.streams.codec import envelope_of, write_command
from engine.streams.topics import SNAPSHOTS
from tests.kafka.load import begin, go_on, pools, send
from tests.kafka.oracle import check
from tests.kafka.workers import WorkerProcess


@pytest.fixture
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers: `worker(shape, "name")`, `at=address` of another broker than the shared one. They end with the
    test."""
    started: list[WorkerProcess] = []

    def start(shape, name, at="", **said):
        one = WorkerProcess(tmp_path, at or request.getfixturevalue("broker"), shape, name, **said)
        started.append(one)
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.thaw()
            one.kill()


async def test_what_a_worker_writes_is_what_a_replay_decides(broker, topics, worker):
    shape = topics(partitions=2)
    names = pools(shape, each=2)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one = worker(shape, "one")
    sent = await send(connection, shape, go_on(names, 4_000), per_s=2_000)
    checked = await check(broker, shape.prefix)
    assert checked.commands > sent
    assert checked.accepted_offers > 200
    assert (checked.markers, checked.void, checked.alarms) == (2, 0, 0)
    assert one.stop() == 0
    assert len(one.said("snapshot-kept")) == 2

    two = worker(shape, "two")
    for line in two.wait("partition-taken", 2):
        assert line["from_snapshot"] and line["folded"] <= 3, "a clean stop leaves nothing to fold"
    await send(connection, shape, go_on(names, 400, seed=3))
    checked = await check(broker, shape.prefix)
    assert (checked.markers, checked.void, checked.alarms) == (4, 0, 0)
    assert two.stop() == 0


async def test_workers_join_and_leave_under_load(broker, topics, worker):
    shape = topics(partitions=4)
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one = worker(shape, "one")
    one.wait("partition-taken", 4)
    load = asyncio.create_task(send(connection, shape, go_on(names, 24_000), per_s=1_500))
    two = worker(shape, "two")
    await asyncio.to_thread(two.wait, "partition-taken", 2)
    three = worker(shape, "three")
    await asyncio.to_thread(three.wait, "partition-taken", 1)
    assert await asyncio.to_thread(one.stop) == 0
    await asyncio.to_thread(two.wait, "partition-taken", 4)  # two anew, and one of those that `one` had
    await load
    checked = await check(broker, shape.prefix)
    assert checked.commands > 24_000
    assert checked.alarms == 0


async def test_a_worker_that_is_killed_is_followed_by_another(broker, topics, worker):
    shape = topics(partitions=2)
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one, two = worker(shape, "one"), worker(shape, "two")
    one.wait("partition-taken")
    two.wait("partition-taken")
    load = asyncio.create_task(send(connection, shape, go_on(names, 30_000), per_s=2_000))
    await asyncio.sleep(2)
    one.kill()
    taken = two.said("partition-taken")
    await asyncio.to_thread(two.wait, "partition-taken", len(taken) + 2)
    await load
    checked = await check(broker, shape.prefix)
    assert checked.commands > 30_000
    assert checked.alarms == 0


async def test_the_records_of_a_worker_that_slept_too_long_are_void_and_it_takes_part_again(broker, topics, worker):
    shape = topics(partitions=2)
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one, two = worker(shape, "one"), worker(shape, "two")
    one.wait("partition-taken")
    two.wait("partition-taken")
    load = asyncio.create_task(send(connection, shape, go_on(names, 40_000), per_s=2_000))
    await asyncio.sleep(2)
    before = len(one.said("partition-taken"))
    one.freeze()
    taken = two.said("partition-taken")
    await asyncio.to_thread(two.wait, "partition-taken", len(taken) + 2)
    await asyncio.sleep(2)
    one.thaw()
    await asyncio.to_thread(one.wait, "partition-taken", before + 1)
    await load
    checked = await check(broker, shape.prefix)
    assert checked.commands > 40_000
    assert checked.alarms == 0
    assert one.stop() == 0
    assert two.stop() == 0


async def test_what_is_no_command_is_rejected_and_the_rest_goes_on(broker, topics, worker):
    shape = topics(partitions=2)
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    worker(shape, "one")
    nonsense = [b"", b"{", b"\xff\xfe", b"x" * 300_000, b'{"id":"1","source":"a","pool":"nobody","type":"tick"}']
    astray = [(names[0], body) for _, body in go_on(names[1:], 20, seed=5)]  # a known pool, in another's partition
    await send(connection, shape, iter([(pool, body) for pool in names for body in nonsense] + astray))
    await send(connection, shape, go_on(names, 200))
    checked = await check(broker, shape.prefix)
    assert checked.rejected == 2 * len(nonsense) + len(astray)
    assert checked.accepted_offers > 10


async def test_a_command_that_the_engine_cannot_decide_is_set_aside_and_the_rest_goes_on(broker, topics, worker):
    shape = topics(partitions=2)
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one = worker(shape, "one", program=["-m", "tests.kafka.poisoned"])
    poison = envelope_of(m.EndContact("poison", "customer"), "p1", "people", names[0])
    await send(connection, shape, go_on(names, 300))
    await send(connection, shape, iter([(names[0], write_command(poison))]))
    await send(connection, shape, go_on(names, 300, seed=3))
    checked = await check(broker, shape.prefix)
    assert (checked.failed, checked.alarms) == (1, 0)
    assert len(one.said("command-failed")) == 1
    assert one.stop() == 0

    two = worker(shape, "two")  # whose engine can decide it: what is written stays written
    two.wait("partition-taken", 2)
    await send(connection, shape, go_on(names, 100, seed=4))
    assert (await check(broker, shape.prefix)).failed == 1


async def test_without_its_snapshots_a_worker_comes_to_the_same_rows(broker, topics, worker):
    shape = topics()
    names = pools(shape)
    connection = Connection(broker)
    await send(connection, shape, begin(names))
    one = worker(shape, "one")
    await send(connection, shape, go_on(names, 1_000))
    await check(broker, shape.prefix)
    assert one.stop() == 0
    async with PartitionLog(connection, shape, 0) as log, AIOKafkaProducer(**connection.for_client()) as producer:
        (kept,) = await log.snapshots("pools")
        await producer.send_and_wait(shape.named(SNAPSHOTS), b"torn", key=f"pools/{kept.generation}/1".encode())
        assert await log.snapshots("pools") == []

    two = worker(shape, "two")
    (line,) = two.wait("partition-taken")
    assert not line["from_snapshot"]
    assert line["folded"] > 500
    assert two.said("snapshot-ignored")
    await send(connection, shape, go_on(names, 1_000, seed=3))
    assert (await check(broker, shape.prefix)).alarms == 0
    assert two.stop() == 0


async def test_a_killed_broker_is_waited_for_and_nothing_is_lost(brokers, topics, worker, tmp_path):
    broker = brokers(settings={"broker.session.timeout.ms": "3000"})
    address = broker.address
    shape = topics(partitions=2, at=address)
    names = pools(shape)
    connection = Connection(address)
    await send(connection, shape, begin(names))
    one = worker(shape, "one", at=address)
    one.wait("partition-taken", 2)
    load = asyncio.create_task(send(connection, shape, go_on(names, 10_000), per_s=1_000))
    await asyncio.sleep(2)
    broker.kill()
    await asyncio.sleep(1)
    await asyncio.to_thread(broker.up)
    await load
    checked = await check(address, shape.prefix, within_s=60)
    assert checked.commands > 10_000
    assert checked.alarms == 0
    assert one.stop() == 0

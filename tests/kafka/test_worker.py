"""A worker on a real broker: what it leaves in the journal is what an undisturbed replay decides. What it leaves when
something befalls it is told by test_storms.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.streams.topics import SNAPSHOTS
from tests.kafka.load import begin, go_on, pools, send
from tests.kafka.oracle import check
from tests.kafka.workers import WorkerProcess


@pytest.fixture
def worker(broker: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers: `worker(shape, "name")`. They end with the test."""
    started: list[WorkerProcess] = []

    def start(shape, name):
        started.append(WorkerProcess(tmp_path, broker, shape, name))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
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

"""Outside development: three brokers, three copies, of which two must have a record before it counts as written."""

import asyncio
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine.agents.admin import admin_of, check_topics, look
from engine.agents.connection import Connection
from engine.streams.topics import JOURNAL, TOPICS, Shape
from tests.kafka.brokers import Breakable

pytestmark = [pytest.mark.broker, pytest.mark.slow]


class Member(Breakable):
    """A second or third broker of the cluster whose controller is another's."""

    def __init__(self, data, number, first):
        super().__init__(data)
        said = dict(line.split("=", 1) for line in first.properties.read_text().splitlines())
        meta = (first.data / "log" / "meta.properties").read_text().splitlines()
        self.cluster_id = dict(line.split("=", 1) for line in meta if "=" in line)["cluster.id"]
        self.settings = {
            "node.id": str(number),
            "process.roles": "broker",
            "controller.quorum.voters": said["controller.quorum.voters"],
        }

    def _configure(self, port):
        super()._configure(port)
        with self.properties.open("a") as properties:  # the last of two lines counts; it has no controller
            properties.write(f"listeners=PLAINTEXT://127.0.0.1:{port}\n")


@pytest.fixture
def three(tmp_path):
    first = Breakable(tmp_path / "1")
    started = [first]
    try:
        first.up(0)
        for number in (2, 3):
            started.append(Member(tmp_path / str(number), number, first))
            started[-1].up(0)
        yield started
    finally:
        for one in started:
            if one.running():
                one.kill()


def topics(verb, broker):
    return subprocess.run(
        [sys.executable, "-m", "engine", "topics", verb, "--broker", broker, "--partitions", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_what_is_acknowledged_survives_a_broker_and_nothing_is_acknowledged_by_one_copy_alone(three):
    first, second, third = three
    applied = topics("apply", first.address)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert topics("plan", second.address).returncode == 0

    shape = Shape(partitions=2)
    connection = Connection(",".join(one.address for one in three))
    async with admin_of(connection) as admin:
        cluster = await look(admin, shape)
    assert {topic.replication for topic in cluster.topics.values()} == {3}
    assert len(cluster.topics) == len(TOPICS)
    assert await check_topics(connection, shape) == []

    name = shape.named(JOURNAL)
    async with AIOKafkaProducer(**connection.for_client(), enable_idempotence=True) as producer:
        for number in range(50):
            await producer.send_and_wait(name, b"%d" % number, partition=0)
        third.kill()
        for number in range(50, 100):
            await producer.send_and_wait(name, b"%d" % number, partition=0)
        second.kill()
        last = await producer.send(name, b"100", partition=0)
        done, _ = await asyncio.wait([last], timeout=8)
        assert not done, "acknowledged by one copy alone"
        await asyncio.to_thread(second.up)
        await asyncio.wait_for(last, 60)
    async with AIOKafkaConsumer(**connection.for_client(), group_id=None) as consumer:
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        found = []
        async with asyncio.timeout(60):
            while len(found) < 101:
                records = await consumer.getmany(partition, timeout_ms=500)
                found += [record.value for record in records.get(partition, [])]
    assert found == [b"%d" % number for number in range(101)]

"""The projections' tables are thrown away by hand: not while they run, not without being asked, and nothing else."""

import json
import subprocess
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

from engine.agents.connection import Connection
from engine.agents.partition_log import GENERATIONS, PartitionLog, write_snapshot
from engine.streams.topics import EVENTS, JOURNAL, SNAPSHOTS
from tests.kafka import public
from tests.kafka.test_doctor import admin
from tests.kafka.test_projections import tables_are_as_the_board_has_them


def rebuild(broker, shape, *more, answer=""):
    arguments = ["kafka", "rebuild-tables", "--broker", broker, "--prefix", shape.prefix, *more]
    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments],
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def changelog(broker, shape, name):
    topic = f"{shape.prefix}projections-{name}-changelog"
    async with admin(broker) as client:
        await client.create_topics([NewTopic(topic, 2, 1, topic_configs={"cleanup.policy": "compact"})])
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        await producer.send_and_wait(topic, b"{}", key=b"desk/sales", partition=1)
    return topic


async def end(broker, topic):
    async with AIOKafkaConsumer(topic, bootstrap_servers=broker) as consumer:
        return sum((await consumer.end_offsets(sorted(consumer.assignment()))).values())


async def test_changelogs_are_empty_and_the_views_snapshots_gone_and_all_else_is_as_it_was(broker, topics):
    shape = topics(2)
    names = [await changelog(broker, shape, "queue_view"), await changelog(broker, shape, "agent_view")]
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        await producer.send_and_wait(shape.named(JOURNAL), b"a turn", partition=1)
        for kind in ("views", "pools"):
            for generation in GENERATIONS:
                await write_snapshot(producer, shape, 1, kind, generation, [kind.encode()])
    done = rebuild(broker, shape, answer="n\n")
    assert done.returncode == 1 and "Go on?" in done.stderr and names[0] in done.stderr
    assert [await end(broker, name) for name in names] == [1, 1], "nothing was done"

    done = rebuild(broker, shape, "--yes", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["changelogs"] == sorted(names), done.stderr
    assert [await end(broker, name) for name in names] == [0, 0]
    assert await end(broker, shape.named(JOURNAL)) == 1
    async with PartitionLog(Connection(broker), shape, 1) as log:
        assert await log.snapshots("views") == []
        assert len(await log.snapshots("pools")) == 2


async def test_projections_make_their_tables_again_and_publish_nothing_twice(house):
    house = house(2)
    worker = await house.worker()
    first = await house.projections("first", 2)
    await house.goes_on(1500, 1000)
    await public.check(house.broker, house.shape)
    await house.says(first, "snapshot-kept", 2)
    refused = rebuild(house.broker, house.shape, "--yes")
    assert refused.returncode == 1 and "The projections run" in refused.stderr
    assert first.stop() == 0
    assert rebuild(house.broker, house.shape, "--yes").returncode == 0
    second = await house.projections("second", 2)
    assert all(said["folded"] >= said["offset"] for said in second.said("publishing")), "from the journal's start"
    await house.goes_on(100, 1000)
    assert worker.stop() == 0
    seen = await public.check(house.broker, house.shape)
    assert await end(house.broker, house.shape.named(EVENTS)) == seen.events
    await tables_are_as_the_board_has_them(house)


async def test_while_projections_run_it_is_refused_unless_forced(broker, topics):
    shape = topics(1)
    group = f"{shape.prefix}projections"
    async with AIOKafkaConsumer(shape.named(SNAPSHOTS), bootstrap_servers=broker, group_id=group) as consumer:
        await consumer.getmany(timeout_ms=500)
        done = rebuild(broker, shape, "--yes")
        assert done.returncode == 1 and "Stop them first" in done.stderr
        assert rebuild(broker, shape, "--yes", "--force").returncode == 0
    assert rebuild(broker, shape, "--json").returncode == 2, "nobody can be asked"

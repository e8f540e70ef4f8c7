"""The tables of the projections thrown away, so that they are made again from the journal.

A Faust table is as good as its changelog, which can be ahead of what was committed, or shrink behind the offset that a
recovery waits for. The truth is the journal: without changelogs and without snapshots of the views, the projections
fold it from the start and write every row that differs. Where they stand in publishing stays: nothing is told twice.
"""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from msgspec import Struct

from engine.streams.topics import SNAPSHOTS, Shape

from .connection import Connection
from .groups import group_of
from .partition_log import GENERATIONS

VIEWS = "views"  # the kind of the projections' snapshots
CHANGELOG = "-changelog"
WAIT_S = 30.0  # for a topic to be gone


class Plan(Struct, frozen=True):
    """changelogs: name -> (partitions, copies of each); members: of the projections' group, which must not run."""

    group: str
    changelogs: dict[str, tuple[int, int]]
    members: int
    partitions: int


async def plan(admin: AIOKafkaAdminClient, group: str, partitions: int) -> Plan:
    topics = {
        each["topic"]: (len(each["partitions"]), min(len(one["replicas"]) for one in each["partitions"]))
        for each in await admin.describe_topics()
        if each["topic"].startswith(f"{group}-") and each["topic"].endswith(CHANGELOG)
    }
    return Plan(group, dict(sorted(topics.items())), (await group_of(admin, group)).members, partitions)


async def rebuild(connection: Connection, admin: AIOKafkaAdminClient, shape: Shape, plan: Plan) -> None:
    """KafkaError, TimeoutError: a part may be done; it can be repeated."""
    async with AIOKafkaProducer(**connection.for_client(), acks="all") as producer:
        for number in range(plan.partitions):
            for generation in GENERATIONS:
                key = f"{VIEWS}/{generation}/manifest".encode()
                await producer.send_and_wait(shape.named(SNAPSHOTS), None, key=key, partition=number)
    if not plan.changelogs:
        return
    await admin.delete_topics(list(plan.changelogs))
    async with asyncio.timeout(WAIT_S):
        while plan.changelogs.keys() & set(await admin.list_topics()):
            await asyncio.sleep(0.1)
        settings = {"cleanup.policy": "compact", "min.insync.replicas": str(shape.min_insync)}
        for name, (partitions, copies) in plan.changelogs.items():
            while True:  # a topic's name is free a moment after it has gone from the list
                made = await admin.create_topics([NewTopic(name, partitions, copies, topic_configs=settings)])
                code = made.to_object()["topic_errors"][0]["error_code"]
                if code != ALREADY_EXISTS:
                    break
                await asyncio.sleep(0.2)
            if code:
                raise for_code(code)(name)


ALREADY_EXISTS = 36

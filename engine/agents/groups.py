"""A Kafka group as it is: its members, what they have been assigned, what has been committed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
from msgspec import Struct

PATIENCE_S = 15.0  # a new cluster makes the topic of its groups when it is first asked for one

Answer = TypeVar("Answer")


class Group(Struct, frozen=True):
    """state: Kafka's word, such as Stable or Empty; assigned: partition -> member and host."""

    name: str
    state: str
    members: int
    assigned: dict[TopicPartition, str]


async def group_of(admin: AIOKafkaAdminClient, name: str) -> Group:
    """One that there is not has no members. KafkaError."""
    state, members, assigned = "", 0, dict[TopicPartition, str]()
    for answer in await _patiently(lambda: admin.describe_consumer_groups([name])):
        for group in answer.to_object()["groups"]:
            state, members = group["state"], len(group["members"])
            for member in group["members"]:
                if member["member_assignment"]:
                    said = ConsumerProtocolMemberAssignment.decode(member["member_assignment"])
                    who = f"{member['member_id']} at {member['client_host']}"
                    assigned |= dict.fromkeys(said.partitions(), who)
    return Group(name, state, members, assigned)


async def committed_by(admin: AIOKafkaAdminClient, name: str, topic: str) -> dict[int, int]:
    """Partition of the topic -> the offset that comes next, where one was committed. KafkaError."""
    found = await _patiently(lambda: admin.list_consumer_group_offsets(name))
    return {partition.partition: said.offset for partition, said in found.items() if partition.topic == topic}


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                await asyncio.sleep(0.2)

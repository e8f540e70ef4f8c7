"""An owner of a partition on a real broker, made of the rules alone: one step after another, under the test's hand."""

import time
from contextlib import AsyncExitStack
from typing import Self

from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.streams.journal import Marker, Reader
from engine.streams.ownership import Batch, Ownership
from engine.streams.partition import Partition
from engine.streams.topics import COMMANDS, JOURNAL, Shape


class Owner:
    """`async with Owner(…) as owner` takes the partition; `decide` goes on to the end of the commands."""

    def __init__(self, broker: str, shape: Shape, number: int = 0, worker: str = "w1", **said: object) -> None:
        self.shape, self.number = shape, number
        connection = Connection(broker)
        self.log = PartitionLog(connection, shape, number)
        self.producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
        marker = {
            "worker": worker,
            "log": "log-k",
            "time": "real",
            "at": time.time_ns() // 1_000_000,
            "partition": number,
        }
        self.marker = Marker(**marker | {"partitions": shape.partitions} | said)
        self.open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.open.enter_async_context(self.log)
        await self.open.enter_async_context(self.producer)
        self.partition = Partition("json", self.number, self.shape.partitions)
        self.own = Ownership(self.partition, Reader(), whole=True)
        await self.fold()
        journal_id, commands_id = await self.log.ids()
        ours = replace(self.marker, journal_id=journal_id, commands_id=commands_id)
        self.own.marked(await self.append(self.own.marker(ours)))
        await self.fold()
        assert self.own.taken
        self.offset = self.own.seek((await self.log.ends(COMMANDS)).begins)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.open.aclose()

    async def fold(self) -> None:
        async for found in self.log.journal(self.own.reads_from, (await self.log.ends(JOURNAL)).ends):
            for record in found:
                self.own.fold(record)

    async def append(self, body: bytes) -> int:
        sent = await self.producer.send_and_wait(self.shape.named(JOURNAL), body, partition=self.number)
        return sent.offset

    async def decide(self) -> int:
        """How many commands. Lost: somebody else owns the partition; what was appended is void."""
        decided, base = 0, self.own.base
        async for entries in self.log.commands(self.offset, (await self.log.ends(COMMANDS)).ends, base):
            end = entries[-1].position + 1
            batch = Batch(self.own.generation, base + self.offset, end, entries)
            for made in self.own.decide(batch):
                if made.record is not None:
                    self.own.appended(await self.append(made.record))
            self.offset = end - base
            decided += len(entries)
        return decided


async def send(broker: str, shape: Shape, bodies: list[bytes], number: int = 0) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        for body in bodies:
            await producer.send(shape.named(COMMANDS), body, partition=number)

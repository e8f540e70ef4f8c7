"""Taking a partition: restore, fold the journal to its end, append our marker, fold up to it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import chain

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import OffsetOutOfRangeError
from msgspec import Struct

from engine.streams.journal import JournalBroken, Marker, Reader, Void
from engine.streams.log import LogMoved
from engine.streams.ownership import CannotTake, FoldAgain, Ownership
from engine.streams.partition import Partition
from engine.streams.topics import JOURNAL

from .clock import Clock
from .partition_log import GENERATIONS, KeptSnapshot, PartitionLog, turn_of, write_snapshot

POOLS = "pools"  # the kind of our snapshots
Rows = Callable[[bytes], tuple[bytes, Iterator[bytes]]]  # what Partition.snapshot has taken

log_ = structlog.get_logger("waitline.worker")


class Taken(Struct):
    """A partition that is ours. generation: where its next snapshot goes; folded: journal records that were read."""

    ownership: Ownership
    partition: Partition
    clock: Clock
    generation: str
    folded: int = 0
    snapshot: bool = False


async def take(log: PartitionLog, producer: AIOKafkaProducer, worker: str, failed: dict[int, str]) -> Taken:
    """From the newest snapshot that belongs to this journal, else from the start. CannotTake, Lost, KafkaError."""
    kept = await log.snapshots(POOLS)
    generation = turn_of(kept[0].generation) if kept else GENERATIONS[0]
    for snapshot in kept:
        try:
            partition, reader = await _restored(log, snapshot)
            taken = _begin(log, partition, reader, generation, failed, snapshot=True)
            return await _take(log, producer, worker, taken)
        except (FoldAgain, ValueError, LogMoved, OffsetOutOfRangeError, JournalBroken) as problem:
            log_.warning("snapshot-ignored", partition=log.number, generation=snapshot.generation, reason=str(problem))
    partition = Partition(number=log.number, partitions=log.shape.partitions)
    taken = _begin(log, partition, Reader(), generation, failed, snapshot=False)
    try:
        return await _take(log, producer, worker, taken)
    except JournalBroken as broken:
        raise CannotTake(f"The journal cannot be read: {broken}") from None


def _begin(
    log: PartitionLog, partition: Partition, reader: Reader, generation: str, failed: dict[int, str], *, snapshot: bool
) -> Taken:
    ownership = Ownership(partition, reader, whole=not snapshot, failed=failed)
    return Taken(ownership, partition, Clock(log.number), generation, snapshot=snapshot)


async def _restored(log: PartitionLog, snapshot: KeptSnapshot) -> tuple[Partition, Reader]:
    """ValueError: it is none. Whether the journal stands where it says, its ownership will find."""
    manifest, *chunks = snapshot.parts
    partition, place, _ = Partition.restore(manifest, chunks)
    partition.number, partition.partitions = log.number, log.shape.partitions
    reader = Reader()
    async for records in log.journal(place.owner, place.owner + 1):
        reader.read(records[0])
    if reader.marker is None:
        raise ValueError(f"the journal has no owner's marker at offset {place.owner}")
    partition.encoding = reader.marker.encoding
    return partition, Reader(place, reader.marker)


async def _take(log: PartitionLog, producer: AIOKafkaProducer, worker: str, taken: Taken) -> Taken:
    ownership = taken.ownership
    begins, ends = await log.ends(JOURNAL)
    if not taken.snapshot and begins > 0:
        raise CannotTake(
            f"The journal begins at offset {begins}: what it began with has been deleted, and there is no snapshot of "
            "it. Restore the topic, and give it unlimited retention (waitline topics plan)."
        )
    await _fold(log, taken, ownership.reads_from, ends)
    first = ownership.reader.first
    if first is not None and first.time != "real":
        raise CannotTake(f"This log holds {first.time} time, and a worker serves real time only.")
    journal_id, commands_id = await log.ids()
    marker = ownership.marker(
        Marker(
            worker,
            log.shape.prefix,
            "real",
            now_ms(),
            partition=log.number,
            partitions=log.shape.partitions,
            journal_id=journal_id,
            commands_id=commands_id,
        )
    )
    sent = now_ms()
    said = await producer.send_and_wait(log.shape.named(JOURNAL), marker, partition=log.number)
    taken.clock.measured(said.timestamp, sent, now_ms())
    ownership.marked(said.offset)
    await _fold(log, taken, ownership.reads_from, said.offset + 1)
    assert ownership.taken and ownership.ours is not None
    taken.partition.encoding = ownership.ours.encoding
    return taken


async def _fold(log: PartitionLog, taken: Taken, start: int, until: int) -> None:
    fold = taken.ownership.fold
    async for records in log.journal(start, until):
        for record in records:
            found = fold(record)
            if type(found) is Void and found.alarm:
                log_.error("void-record-of-the-owner", partition=log.number, offset=found.offset, reason=found.why)
        taken.folded += len(records)
        await asyncio.sleep(0)  # those who have their partitions go on


async def keep(producer: AIOKafkaProducer, log: PartitionLog, taken: Taken, rows: Rows) -> int:
    """Writes a snapshot of rows that were taken with nothing in flight; its bytes. Chunk by chunk, so that others get a
    word in between."""
    manifest, chunks = rows(b"")
    size = await write_snapshot(producer, log.shape, log.number, POOLS, taken.generation, chain([manifest], chunks))
    taken.generation = turn_of(taken.generation)
    return size


def now_ms() -> int:
    return time.time_ns() // 1_000_000

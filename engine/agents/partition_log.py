"""One partition of the topics, read without a group: journal and commands up to a wanted offset, and snapshots.

A reader stops when its position has reached the wanted offset, not at "the last record": a compacted record or one of
Kafka's own is never delivered. Offsets that do not exist are an error, never a reason to begin elsewhere.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from msgspec import Struct

from engine.streams.log import Entry, LogMoved, Record
from engine.streams.topics import COMMANDS, JOURNAL, MIB, SNAPSHOTS, Shape, Topic

from .connection import Connection
from .topic_ids import topic_ids

AT_ONCE = 1000  # records that are handed over before others get a word in
PIECE = 900_000  # bytes of a snapshot's record: under the 1 MiB that every broker takes
WAIT_MS = 200
FETCH_WAIT_MS = 20  # what the broker may hold back an answer for more to come: everything else queues behind it
FETCH_BYTES = 4 * MIB  # of one partition in one answer; a larger record still comes

log_ = structlog.get_logger("waitline.log")


class Ends(NamedTuple):
    """Of a partition of a topic: its first offset, and the one that its next record will get."""

    begins: int
    ends: int


class PartitionLog:
    """Partition `number` of the topics of `shape`. One coroutine at a time reads; `ends` may be asked beside it."""

    def __init__(self, connection: Connection, shape: Shape, number: int) -> None:
        self.shape = shape
        self.number = number
        self._consumer = AIOKafkaConsumer(
            **connection.for_client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=AT_ONCE,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            client_id=f"waitline-log-{number}",
        )

    async def __aenter__(self) -> "PartitionLog":
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def ends(self, topic: Topic) -> Ends:
        partition = TopicPartition(self.shape.named(topic), self.number)
        begins = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        return Ends(begins[partition], ends[partition])

    async def end(self, topic: Topic) -> int:
        """The offset that the topic's next record will get: the half of `ends` that is asked for every second."""
        partition = TopicPartition(self.shape.named(topic), self.number)
        found = await self._consumer.end_offsets([partition])
        return int(found[partition])

    async def ids(self) -> tuple[str, str]:
        """(of the journal topic, of the commands topic)."""
        journal, commands = self.shape.named(JOURNAL), self.shape.named(COMMANDS)
        found = await topic_ids(self._consumer._client, journal, commands)
        return found.get(journal, ""), found.get(commands, "")

    async def journal(self, start: int, until: int) -> AsyncIterator[list[Record]]:
        """From offset `start` on, up to but without `until`. Record.position is None: a reader does not need it."""
        async for found in self.read(JOURNAL, start, until):
            yield [Record(record.offset, None, record.value or b"") for record in found]

    async def commands(self, start: int, until: int, base: int) -> AsyncIterator[list[Entry]]:
        """Likewise, by offset; their position is base + offset."""
        async for found in self.read(COMMANDS, start, until):
            yield entries(found, base)

    async def read(self, topic: Topic, start: int, until: int) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Records of any topic, from `start` to before `until`, a thousand at most at a time. LogMoved: it does not
        reach that far (any more). Who leaves early closes it before the next is read."""
        if start >= until:
            return
        partition = TopicPartition(self.shape.named(topic), self.number)
        self._consumer.assign([partition])
        self._consumer.seek(partition, start)
        try:
            while await self._consumer.position(partition) < until:
                found = (await self._consumer.getmany(partition, timeout_ms=WAIT_MS)).get(partition, [])
                while found and found[-1].offset >= until:
                    found.pop()
                if found:
                    yield found
                elif (end := await self.end(topic)) < until:
                    raise LogMoved(f"{partition.topic} ends at offset {end} in partition {self.number}, not at {until}")
        finally:
            self._consumer.unsubscribe()  # else it goes on fetching

    # ---- snapshots

    async def snapshots(self, kind: str) -> list["KeptSnapshot"]:
        """The whole ones, newest first. A torn one is left out, aloud."""
        newest: dict[str, ConsumerRecord] = {}
        async for found in self.read(SNAPSHOTS, *await self.ends(SNAPSHOTS)):
            for record in found:
                newest[(record.key or b"").decode(errors="replace")] = record
        kept = []
        for generation in GENERATIONS:
            manifest = newest.get(f"{kind}/{generation}/manifest")
            if manifest is None or not manifest.value:
                continue
            try:
                parts = _put_together(_index(manifest.value), newest, f"{kind}/{generation}")
                kept.append((manifest.offset, KeptSnapshot(generation, parts)))
            except (ValueError, msgspec.MsgspecError) as problem:
                log_.warning("snapshot-ignored", partition=self.number, generation=generation, reason=str(problem))
        return [snapshot for _, snapshot in sorted(kept, key=lambda each: -each[0])]


def entries(records: Sequence[ConsumerRecord], base: int) -> list[Entry]:
    """Commands as they stand in the log. What has no value (a tombstone has no place there) is no command."""
    return [Entry(base + record.offset, record.timestamp, record.value or b"") for record in records]


# ---- snapshots: two generations take turns; the manifest, written last, names the pieces by their digests

GENERATIONS = ("a", "b")


class KeptSnapshot(Struct, frozen=True):
    """parts: as they were given to `write_snapshot`."""

    generation: str
    parts: list[bytes]


class _Index(Struct, frozen=True):
    """parts: the digests of the pieces of each part, in order."""

    parts: list[list[bytes]]


_index = msgspec.msgpack.Decoder(_Index).decode


def turn_of(generation: str) -> str:
    """The other one: where a snapshot goes when the newest whole one is of `generation`."""
    return GENERATIONS[1 - GENERATIONS.index(generation)]


async def write_snapshot(
    producer: AIOKafkaProducer, shape: Shape, number: int, kind: str, generation: str, parts: Iterable[bytes]
) -> int:
    """Its bytes. Each part is made and sent by itself, so that others get a word in between; it counts when the
    manifest stands behind all of them. Two that write the same generation at once make one that is torn."""
    topic, prefix = shape.named(SNAPSHOTS), f"{kind}/{generation}"
    index: list[list[bytes]] = []
    size = count = 0
    for part in parts:
        pieces = [part[start : start + PIECE] for start in range(0, len(part), PIECE)]
        for piece in pieces:
            await producer.send_and_wait(topic, piece, key=f"{prefix}/{count}".encode(), partition=number)
            count += 1
        index.append([_digest(piece) for piece in pieces])
        size += len(part)
    manifest = msgspec.msgpack.encode(_Index(index))
    await producer.send_and_wait(topic, manifest, key=f"{prefix}/manifest".encode(), partition=number)
    return size


def _put_together(index: _Index, newest: dict[str, Any], prefix: str) -> list[bytes]:
    parts, count = [], 0
    for digests in index.parts:
        pieces = []
        for digest in digests:
            record = newest.get(f"{prefix}/{count}")
            if record is None or _digest(record.value or b"") != digest:
                raise ValueError(f"piece {count} is missing or of another snapshot: its writer was interrupted")
            pieces.append(record.value)
            count += 1
        parts.append(b"".join(pieces))
    return parts


def _digest(piece: bytes) -> bytes:
    return sha256(piece).digest()[:16]

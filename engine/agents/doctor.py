"""How a log on Kafka stands: looked at partition by partition, and judged in sentences that say what to do.

Looking writes nothing but one deletion of a key that nobody has, to the compacted topic `snapshots`: the time that it
gets is the brokers' clock. Judging is a function of what was seen.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Literal

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from msgspec import Struct, field
from msgspec.structs import replace

from engine.core.deadlines import NONE
from engine.core.messages import Turn
from engine.core.step import next_due
from engine.streams.journal import JournalBroken, Marker, Place, Reader, Void, read_turn, split_turn
from engine.streams.log import LogMoved, Record
from engine.streams.partition import Partition
from engine.streams.topics import COMMANDS, JOURNAL, SNAPSHOTS, Shape

from .admin import Difference, admin_of, differences, look, partitions_there
from .connection import Connection
from .groups import Group, committed_by, group_of
from .partition_log import Ends, PartitionLog
from .taking import POOLS

PROBE = b"doctor/clock"  # a key of the snapshots' topic that holds nothing
AT_ONCE = 5_000  # journal records between two looks at the time
SKEW_MS = 2_000  # between the clocks of brokers and hosts
OVERDUE_MS, OVERDUE_ALARM_MS = 5_000, 60_000  # an owner sends a tick within a second
FOLD_LONG = 200_000  # journal records that a start has to fold: seconds

Severity = Literal["ok", "warning", "alarm"]


class Finding(Struct, frozen=True):
    """text: what is, in sentences; remedy: what to do; runbook: where more is said, a file of deploy/runbooks without
    its ending; partition: -1 where it is about all."""

    severity: Severity
    what: str
    text: str
    remedy: str = ""
    runbook: str = ""
    partition: int = -1


class Overdue(Struct, frozen=True):
    pool: str
    due: int
    by_ms: int


class Seen(Struct):
    """A partition. Times in milliseconds since the epoch, offsets and positions -1 where there is none.

    decided: offset of the commands up to which all is decided; moved: whether that or the journal's end has moved while
    we watched; voids, alarms: among the last `records` of the journal; restart: journal records behind the newest
    snapshot, which a start has to fold; overdue: None where there was no time to look; members: None where the group is
    not known; skew: of the brokers' clock, less ours.
    """

    partition: int
    commands: Ends
    journal: Ends
    committed: int = -1
    decided: int = 0
    moved: bool = False
    marker: Marker | None = None
    marker_offset: int = -1
    position: int = -1
    position_at: int = 0
    records: int = 0
    voids: int = 0
    alarms: list[str] = field(default_factory=list)
    broken: str = ""
    snapshot_position: int = -1
    snapshot_at: int = 0
    restart: int = 0
    overdue: list[Overdue] | None = None
    owner_host: str = ""  # of the group's member to which it is assigned
    skew: int | None = None
    newest_at: int = 0  # log time of the newest record that was read
    marker_skew: int | None = None  # log time of the marker, less the time that its writer had

    @property
    def lag(self) -> int:
        return max(self.commands.ends - self.decided, 0)


class Report(Struct, frozen=True):
    """state, members: of the workers' group; state as Kafka says it."""

    at: int
    prefix: str
    group: str
    state: str
    members: int
    partitions: list[Seen]
    findings: list[Finding]


# ---- looking


async def examine(
    connection: Connection,
    shape: Shape,
    group: str = "",
    *,
    records: int = 1_000,
    seconds: float = 10.0,
    watch_s: float = 3.0,
) -> Report:
    """shape: what is wanted of the topics; the number of partitions is taken from them. records: of each journal's end
    are judged; seconds: for the folds of all partitions; watch_s: between two looks at what waits. Unreachable,
    KafkaError."""
    group = group or f"{shape.prefix}worker"
    async with admin_of(connection) as admin:
        cluster = await look(admin, shape)
        partitions = partitions_there(cluster, shape) or 0
        shape = replace(shape, partitions=partitions or shape.partitions)
        topics = differences(cluster, shape)
        there = {shape.named(topic) for topic in (COMMANDS, JOURNAL, SNAPSHOTS)} <= cluster.topics.keys()
        if not there:
            now = _now()
            return Report(now, shape.prefix, group, "", 0, [], list(_of_topics(topics)))
        members = await group_of(admin, group)
        committed = await committed_by(admin, group, shape.named(COMMANDS))
        partitions_seen: list[Seen] = []
        until = time.monotonic() + seconds
        skews = await _probe(connection, shape)
        for number in range(partitions):
            share = (until - time.monotonic()) / (partitions - number)
            async with PartitionLog(connection, shape, number) as log:
                seen = await _look_at(log, records, share, committed.get(number, -1))
                seen.owner_host = members.assigned.get(TopicPartition(shape.named(COMMANDS), number), "")
                seen.skew = skews.get(number)
                partitions_seen.append(seen)
        waiting = [seen for seen in partitions_seen if seen.lag]
        if waiting:
            await asyncio.sleep(watch_s)
            committed = await committed_by(admin, group, shape.named(COMMANDS))
            for seen in waiting:
                async with PartitionLog(connection, shape, seen.partition) as log:
                    journal = await log.ends(JOURNAL)
                seen.moved = journal != seen.journal or committed.get(seen.partition, -1) > seen.committed
    now = _now()
    ids = {}
    if partitions_seen:
        async with PartitionLog(connection, shape, 0) as log:
            ids = dict(zip(("journal", "commands"), await log.ids(), strict=True))
    findings = [*_of_topics(topics), *judge(partitions_seen, members, shape, ids, now)]
    return Report(now, shape.prefix, members.name, members.state, members.members, partitions_seen, findings)


async def _probe(connection: Connection, shape: Shape) -> dict[int, int]:
    """Of each partition's leader: its clock less ours, as far as it is more than the way there takes. Empty where we
    may not write."""
    skews = {}
    async with AIOKafkaProducer(**connection.for_client(), acks="all") as producer:
        try:
            for number in range(shape.partitions):
                sent = _now()
                said = await producer.send_and_wait(shape.named(SNAPSHOTS), None, key=PROBE, partition=number)
                acknowledged = _now()
                ahead, behind = said.timestamp - acknowledged, said.timestamp - sent
                skews[number] = ahead if ahead > 0 else min(behind, 0)
        except TopicAuthorizationFailedError:
            return {}
    return skews


async def _look_at(log: PartitionLog, records: int, seconds: float, committed: int) -> Seen:
    seen = Seen(log.number, await log.ends(COMMANDS), await log.ends(JOURNAL), committed)
    until = time.monotonic() + seconds
    try:
        reader = await _tail(log, seen, records)
        seen.marker, seen.marker_offset = reader.marker, reader.place.owner
        seen.position = reader.place.position
        base = reader.marker.base if reader.marker else 0
        seen.decided = max(committed, seen.position + 1 - base, 0)
        await _fold(log, seen, until)
    except JournalBroken as broken:
        seen.broken = str(broken)
    except LogMoved as moved:
        seen.broken = f"{moved}: it was cut while it was read"
    if seen.marker_offset >= 0:
        async for found in log.read(JOURNAL, seen.marker_offset, seen.marker_offset + 1):
            if seen.marker is not None:
                seen.marker_skew = found[0].timestamp - seen.marker.at
    return seen


async def _tail(log: PartitionLog, seen: Seen, most: int) -> Reader:
    """Judges the end of the journal, `most` records or as many as it takes; a reader that stands there."""
    reader: Reader | None = None
    while reader is None:
        start = max(seen.journal.begins, seen.journal.ends - most)
        found: list[Record] = []
        async for some in log.read(JOURNAL, start, seen.journal.ends):
            seen.newest_at = some[-1].timestamp
            found += [Record(record.offset, None, record.value or b"") for record in some]
        reader = Reader() if start == seen.journal.begins else await _reader_within(log, seen, found)
        most *= 2
    seen.records = len(found)
    for record in found:
        if record.offset <= reader.place.offset:
            continue
        said = reader.read(record)
        if isinstance(said, Turn):
            seen.position_at = said.at
        elif isinstance(said, Void):
            seen.voids += 1
            if said.alarm:
                seen.alarms.append(f"journal offset {said.offset}: {said.why}")
    return reader


async def _reader_within(log: PartitionLog, seen: Seen, found: list[Record]) -> Reader | None:
    """Before any marker, at the newest owner's first turn that another one continues: so it counted. None: there is no
    such."""
    newest, before, counts = -1, (found[0], b""), False
    for record in found:
        if record.body.startswith(b'{"marker":'):
            break
        try:
            owner, chain, body = split_turn(record.body)
        except (ValueError, msgspec.MsgspecError):
            continue
        if owner > newest:  # all before it are of workers that had lost the partition
            newest, before, counts = owner, (record, chain), False
        elif owner == newest and not counts:
            counts = sha256(before[1] + body).digest() == chain
            before = before if counts else (record, chain)
    if not counts:
        return None
    reader = Reader()
    async for some in log.journal(newest, newest + 1):
        reader.read(some[0])
    record, chain = before
    turn = read_turn(record.body)
    seen.position_at = turn.at
    return Reader(Place(record.offset, newest, turn.position, chain), reader.marker)


async def _fold(log: PartitionLog, seen: Seen, until: float) -> None:
    """Deadlines, from the newest snapshot or the start, while there is time."""
    partition, reader = Partition(number=log.number, partitions=log.shape.partitions), Reader()
    for kept in await log.snapshots(POOLS):
        manifest, *chunks = kept.parts
        try:
            restored, place, _ = Partition.restore(manifest, chunks)
        except ValueError:
            continue  # of another engine: its workers do not use it either
        if seen.snapshot_position < 0:
            seen.snapshot_position, seen.snapshot_at = place.position, restored.at
        if place.offset < seen.journal.ends:
            partition, reader = restored, Reader(place, seen.marker)
            break
    start = reader.place.offset + 1
    seen.restart = seen.journal.ends - start
    for page in range(max(start, seen.journal.begins), seen.journal.ends, AT_ONCE):
        if time.monotonic() > until:
            return
        async for found in log.journal(page, min(page + AT_ONCE, seen.journal.ends)):
            for record in found:
                said = reader.read(record)
                if isinstance(said, Turn):
                    partition.fold(said, reader.place)
    now = _now()
    seen.overdue = [
        Overdue(pool, due, now - due)
        for pool, tables in sorted(partition.pools.items())
        if (due := next_due(tables)) != NONE and due < now
    ]


def _now() -> int:
    return time.time_ns() // 1_000_000


# ---- judging

# What is found -> how bad it is, what to do, and the runbook.
REMEDIES: dict[str, tuple[Severity, str, str]] = {
    "journal-broken": ("alarm", "No worker can take it: see what has written there.", "cut-journal"),
    "void-records": ("alarm", "Look for unclean elections, and compare an export with what was told.", "cut-journal"),
    "half-moved": ("alarm", "Run `waitline migrate` again.", "another-cluster"),
    "recreated-topic": ("alarm", "Restore the topic, or go on under another prefix.", "recreated-topic"),
    "expired-commands": ("alarm", "Ask their senders, and go on behind them.", "expired-commands"),
    "no-worker": ("alarm", "Start `waitline worker`.", "stuck-assignment"),
    "not-assigned": ("alarm", "Wait for the end of the rebalance; else restart the workers.", "stuck-assignment"),
    "stuck": ("alarm", "See what that worker logs; stop it, and others take over.", "stuck-assignment"),
    "no-owner": ("warning", "Start `waitline worker`.", "stuck-assignment"),
    "overdue": ("alarm", "See whether the partition has a worker, and the clocks.", "stuck-assignment"),
    "snapshot-old": ("warning", "See what the worker logs about snapshots.", "full-disk"),
    "clock": ("alarm", "Set all clocks by NTP.", "clock-skew"),
    "clock-then": ("warning", "Set all clocks by NTP.", "clock-skew"),
    "topic-settings": ("alarm", "Run `waitline topics apply`.", "recreated-topic"),
    "topic-copies": ("alarm", "Add brokers or copies.", "power-loss"),
}


def judge(partitions: list[Seen], group: Group, shape: Shape, ids: Mapping[str, str], now: int) -> Iterator[Finding]:
    """ids: of the topics `journal` and `commands` as they are."""
    for seen in partitions:
        for judged in (_of_journal(seen, shape, ids), _of_commands(seen, group), _of_deadlines(seen)):
            for finding in judged:
                yield replace(finding, partition=seen.partition)
    yield from _of_clocks(partitions, now)


def _found(what: str, text: str, severity: Severity | None = None) -> Finding:
    usual, remedy, runbook = REMEDIES[what]
    return Finding(severity or usual, what, text, remedy, runbook)


def _of_topics(found: list[Difference]) -> Iterator[Finding]:
    for each in found:
        copies = each.what in ("replication", "brokers", "min.insync.replicas")
        finding = _found("topic-copies" if copies else "topic-settings", each.text, None if each.blocks else "warning")
        yield finding if each.remedy != "person" else replace(finding, remedy="")  # the text says what to do


def _of_journal(seen: Seen, shape: Shape, ids: Mapping[str, str]) -> Iterator[Finding]:
    of_these = f"of the last {seen.records} journal records"
    if seen.broken:
        yield _found("journal-broken", f"The journal cannot be read: {seen.broken}.")
    if seen.alarms:
        some = "; ".join(seen.alarms[:3])
        yield _found(
            "void-records",
            f"{len(seen.alarms)} {of_these} do not count though their owner was the newest ({some}): an append has "
            "failed in the middle, or the log was cut.",
        )
    elif seen.voids:
        text = f"{seen.voids} {of_these} do not count: they are of workers that had lost the partition."
        yield Finding("ok", "void-records", text)
    marker = seen.marker
    if marker is None:
        return
    if seen.position < marker.base - 1:
        yield _found(
            "half-moved",
            f"A log was being moved here, and only a part of it has arrived (position {seen.position} of "
            f"{marker.base - 1}): no worker takes it.",
        )
    for name, was in (("journal", marker.journal_id), ("commands", marker.commands_id)):
        if was and ids.get(name) and ids[name] != was:
            yield _found(
                "recreated-topic",
                f"The topic {shape.prefix}{name} is not the one that the log was written with: it was deleted and made "
                "anew. No worker takes the partition.",
            )
    if marker.partitions != shape.partitions:
        text = f"The log was begun with {marker.partitions} partitions, and the topics have {shape.partitions}."
        yield _found("recreated-topic", text)


def _of_commands(seen: Seen, group: Group) -> Iterator[Finding]:
    next_offset = max(seen.position + 1 - (seen.marker.base if seen.marker else 0), 0)
    if seen.commands.begins > next_offset:
        yield _found(
            "expired-commands",
            f"The commands begin at offset {seen.commands.begins}, and {next_offset} is the next to be decided: some "
            "have expired before they were read. No worker takes the partition.",
        )
    waiting = f"{seen.lag} commands wait from offset {seen.decided} on, and none was decided while we watched"
    if not seen.lag:
        if not seen.owner_host:
            yield _found("no-owner", f"No worker of the group {group.name} has it. Nothing waits.")
    elif seen.moved:
        yield Finding("ok", "lag", f"{seen.lag} commands wait, and are being decided.")
    elif not group.members:
        yield _found("no-worker", f"{waiting}: no worker is in the group {group.name}.")
    elif not seen.owner_host:
        yield _found("not-assigned", f"{waiting}: none of the {group.members} workers has it ({group.state}).")
    else:
        yield _found("stuck", f"{waiting}: it is assigned to {seen.owner_host}.")


def _of_deadlines(seen: Seen) -> Iterator[Finding]:
    for late in seen.overdue or ():
        if late.by_ms >= OVERDUE_MS:
            text = f"A deadline of the pool {late.pool!r} has passed {late.by_ms // 1000} s ago, and no tick has come."
            yield _found("overdue", text, None if late.by_ms >= OVERDUE_ALARM_MS else "warning")
    if seen.overdue is None and not seen.broken:
        yield Finding("ok", "overdue", "Deadlines were not looked at: the fold takes longer. --seconds gives it more.")
    if seen.restart > FOLD_LONG:
        text = f"{seen.restart} journal records stand behind the newest usable snapshot: a start takes long."
        yield _found("snapshot-old", text)


def _of_clocks(partitions: list[Seen], now: int) -> Iterator[Finding]:
    """The brokers' clocks beside this host's; the clock that each owner had when it took its partition."""
    measured = [(abs(seen.skew), seen.skew, seen.partition) for seen in partitions if seen.skew is not None]
    apart, skew, number = max(measured, default=(0, 0, -1))
    if not measured:  # the newest record tells half of it
        skew = max((seen.newest_at for seen in partitions), default=0) - now
        apart = max(skew, 0)
        text = "The brokers' clock was not measured: that takes the right to write snapshots."
        yield Finding("ok", "clock", text)
    if apart >= SKEW_MS:
        where = "ahead of" if skew > 0 else "behind"
        text = f"The brokers' clock is {apart / 1000:.1f} s {where} this host's. Deadlines go by the brokers'."
        yield replace(_found("clock", text), partition=number)
    for seen in partitions:
        if seen.marker is not None and seen.marker_skew is not None and abs(seen.marker_skew) >= SKEW_MS:
            apart = abs(seen.marker_skew)
            text = f"When {seen.marker.worker} took it, its clock and the broker's were {apart / 1000:.1f} s apart."
            yield replace(_found("clock-then", text), partition=seen.partition)

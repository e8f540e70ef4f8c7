"""A partition into a file, a log into a partition: accepted turns only, under new markers that continue the chain.

A byte copy is no journal, since owners are numbered by offsets. What is copied is what counted, each turn with its own
chain, under a marker of its own wherever the engine changes that had decided. (Rule 11 of the journal.)
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata
from msgspec import Struct
from msgspec.structs import replace

from engine.core.messages import RulesPublished, Turn
from engine.streams.journal import FORMAT, GENESIS, Marker, Place, Reader, Void, handed_over, write_marker
from engine.streams.log import HOLE, Entry, Log, Record
from engine.streams.partition import Partition
from engine.streams.sqlite_log import Seal, SqliteLog
from engine.streams.topics import COMMANDS, JOURNAL, Shape, partition_of

from .connection import Connection
from .partition_log import PartitionLog

Progress = Callable[[int, int], None]  # (done, in all)
AT_ONCE, BYTES_AT_ONCE = 1000, 4 << 20  # of an append to a file
IN_FLIGHT = 2000  # appends to the journal whose answers are awaited at a time
OTHER_COUNTS = 64  # partition counts that are tried where the topics' own puts pools asunder


class CopyProblem(Exception):
    """Why there is no copy, or not yet, and what to do, in sentences for a person."""


class Sealed(Struct, frozen=True):
    """What a seal says to us. state: `export`, a copy; `moving`, a part may be on Kafka, where nobody can take it;
    `moved`, it goes on there. export: it was one before it was moved."""

    state: Literal["export", "moving", "moved"]
    export: bool = False
    prefix: str = ""
    journal_id: str = ""
    partition: int = 0
    partitions: int = 0


def sealed_of(log: SqliteLog) -> Sealed | None:
    """CopyProblem: sealed by something else."""
    seal = log.seal
    if seal is None:
        return None
    try:
        return msgspec.json.decode(seal.data, type=Sealed)
    except msgspec.MsgspecError:
        raise CopyProblem(seal.said) from None


# ---- export: a partition into a file


class Exported(Struct, frozen=True):
    """commands, turns: as the file has them; holes: positions without a command; last_position: of the last turn;
    behind: offsets of the commands topic behind it, which said nothing or have not been decided, and are left out;
    voids, alarms: journal records that do not count; chain: the last turn's, in hex."""

    log: str
    partition: int
    partitions: int
    commands: int
    turns: int
    holes: int
    last_position: int
    behind: int
    voids: int
    alarms: int
    chain: str


async def export(
    connection: Connection,
    shape: Shape,
    number: int,
    folder: Path,
    *,
    archive: Log | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Partition `number` as it stands now, up to its last turn, as a sealed log in `folder`, which gets its name when
    it is whole. archive: a log with commands that the topic no longer has. CopyProblem; LogProblem, JournalBroken."""
    folder = folder.absolute()
    part = folder.with_name(folder.name + ".part")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CopyProblem(f"{folder} is there already, and is left as it is. Choose another --to, or remove it.")
    if part.exists():
        raise CopyProblem(f"{part} is left of an export that broke off, or one still runs. Remove it if none does.")
    where = f"partition {number} of {shape.named(JOURNAL)} at {connection.brokers}"
    async with PartitionLog(connection, shape, number) as journal, PartitionLog(connection, shape, number) as commands:
        begins, end = await journal.ends(JOURNAL)
        if begins:
            raise CopyProblem(
                f"The journal begins at offset {begins}: what stood before is gone, and the chain with it."
            )
        if not end:
            raise CopyProblem(f"Nothing has been written to {where}: there is no log to export.")
        with closing(SqliteLog.open(part)) as log:
            log.put_seal(Seal(f"This is an export of {where} that is not whole."))
            exported = await _Export(journal, commands, log, archive, progress).run(end)
            said = f"This is an export of {where}: a copy to read, or to move elsewhere with `waitline migrate`."
            log.put_seal(Seal(said, msgspec.json.encode(Sealed("export"))))
    if folder.exists():
        folder.rmdir()  # it is empty
    part.rename(folder)
    return exported


class _Export:
    """Two topics are read in step, each by a reader of its own."""

    def __init__(
        self,
        journal: PartitionLog,
        commands: PartitionLog,
        log: SqliteLog,
        archive: Log | None,
        progress: Progress | None,
    ) -> None:
        self.journal = journal
        self.commands = commands
        self.log = log
        self.archive = archive
        self.progress = progress
        self.reader = Reader()
        self.ahead: Entry | None = None  # the next one of the topic,
        self.archived: Entry | None = None  # and of the archive
        self.entries: list[Entry] = []
        self.records: list[Record] = []
        self.size = self.offset = self.position = self.at = self.marked_at = 0
        self.turns = self.holes = self.voids = self.alarms = 0
        self.owner, self.owner_here = -1, -1

    async def run(self, end: int) -> Exported:
        commands, archive = self._commands(), self._archive()
        async for found in self.journal.journal(0, end):
            for record in found:
                said = self.reader.read(record)
                if isinstance(said, Turn):
                    await self._turn(said, record.body, commands, archive)
                elif isinstance(said, Void):
                    self.voids += 1
                    self.alarms += said.alarm
            if self.progress is not None:
                self.progress(found[-1].offset + 1, end)
        first = self.reader.first
        assert first is not None, "a journal begins with a marker"
        if not self.turns:
            self._mark(first)
        self._flush()
        return Exported(
            first.log,
            first.partition,
            first.partitions,
            self.position - self.holes,
            self.turns,
            self.holes,
            self.position - 1,
            max(first.base + (await self.commands.ends(COMMANDS)).ends - max(self.position, first.base), 0),
            self.voids,
            self.alarms,
            self.reader.place.chain.hex(),
        )

    async def _turn(self, turn: Turn, body: bytes, commands: AsyncIterator[Entry], archive: Iterator[Entry]) -> None:
        marker = self.reader.marker
        assert marker is not None, "a turn has an owner"
        if not self.turns:
            self.ahead, self.archived = await anext(commands, None), next(archive, None)
        self._mark(marker)
        while self.position <= turn.position:
            position = self.position
            while self.archived is not None and self.archived.position < position:
                self.archived = next(archive, None)
            if self.ahead is not None and self.ahead.position == position:
                at, command = self.ahead.at, self.ahead.body
                self.ahead = await anext(commands, None)
            elif self.archived is not None and self.archived.position == position:
                at, command = self.archived.at, self.archived.body
            else:
                at, command = (turn.at if position == turn.position else 0), HOLE
            self._add(Entry(position, max(at, self.at), command))  # log time as the core has it: it never runs back
        self.records.append(Record(self.offset, turn.position, handed_over(body, self.owner_here)))
        self.offset += 1
        self.turns += 1
        self._grown(len(body))

    def _mark(self, marker: Marker) -> None:
        """Owners who wrote nothing are left out."""
        if self.owner == self.reader.place.owner:
            return
        self.owner, self.owner_here = self.reader.place.owner, self.offset
        self.marked_at = max(marker.at, self.marked_at)  # hosts' clocks differ
        self.records.append(Record(self.offset, None, write_marker(replace(marker, at=self.marked_at))))
        self.offset += 1

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.position, self.at = entry.position + 1, entry.at
        self.holes += entry.body == HOLE
        self._grown(len(entry.body))

    def _grown(self, size: int) -> None:
        self.size += size
        if self.size > BYTES_AT_ONCE or len(self.entries) + len(self.records) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self.log.append(self.offset - len(self.records), self.entries, self.records)
        self.entries, self.records, self.size = [], [], 0

    async def _commands(self) -> AsyncIterator[Entry]:
        first = self.reader.first
        assert first is not None, "asked for behind a marker"
        async for found in self.commands.commands(*await self.commands.ends(COMMANDS), first.base):
            for entry in found:
                yield entry

    def _archive(self) -> Iterator[Entry]:
        if self.archive is None:
            return
        theirs, ours = first_marker(self.archive), self.reader.first
        if theirs is None or ours is None or theirs.log != ours.log:
            raise CopyProblem(f"The archive is of the log {theirs.log if theirs else '-'}, not of {ours and ours.log}.")
        yield from (entry for entry in self.archive.commands() if entry.body != HOLE)


def first_marker(log: Log) -> Marker | None:
    reader = Reader()
    for record in log.journal():
        reader.read(record)
        break
    return reader.first


# ---- move: a log into a partition


class Survey(Struct, frozen=True):
    """What there is to move. place: of the last turn that counts."""

    first: Marker
    pools: list[str]
    turns: int
    place: Place


def survey(log: Log) -> Survey:
    """Reads the whole journal, in order and without holding it. CopyProblem: it cannot be moved."""
    reader, pools, turns = Reader(), dict[str, None](), 0
    for record in log.journal():
        said = reader.read(record)
        if isinstance(said, Turn):
            turns += 1
            if any(type(event) is RulesPublished for event in said.events):
                pools[said.command.pool] = None
        elif isinstance(said, Void) and said.alarm:
            raise CopyProblem(f"The log does not hold together at journal offset {said.offset} ({said.why}).")
    first = reader.first
    if first is None or not pools:
        raise CopyProblem("There is no pool in this log, so there is nothing to move.")
    if first.time != "real":
        raise CopyProblem(f"This log holds {first.time} time; only one of real time can go on on Kafka.")
    if first.chain != GENESIS.hex():
        raise CopyProblem("This log continues an archive, and its turns do not begin at the beginning.")
    return Survey(first, list(pools), turns, reader.place)


def home_of(pools: Iterable[str], partitions: int) -> int:
    """The partition that all pools belong to. CopyProblem: there is none."""
    homes = {pool: partition_of(pool, partitions) for pool in pools}
    if len(set(homes.values())) == 1:
        return homes.popitem()[1]
    listed = "\n".join(f"    {pool} -> partition {home}" for pool, home in sorted(homes.items()))
    together = [
        count for count in range(1, OTHER_COUNTS + 1) if len({partition_of(pool, count) for pool in homes}) == 1
    ]
    counts = ", ".join(map(str, together[:8]))
    raise CopyProblem(
        f"One log goes into one partition, and with {partitions} partitions its pools belong to several:\n{listed}\n"
        f"They are together in topics of {counts} partitions: make such ones under another prefix (waitline topics "
        "apply --prefix … --partitions …). Or begin these pools anew on Kafka, and keep this log as it is."
    )


class Moved(Struct, frozen=True):
    """turns: that this run has copied; all others were there. base: the position of the first command on Kafka."""

    log: str
    partition: int
    partitions: int
    pools: list[str]
    turns: int
    base: int
    chain: str


class Move:
    """One log on its way into one partition; a run that breaks off is gone on with by another.

    Until its last turn has arrived, which stands right before the base, no worker takes the partition. Before that the
    seal says `moved`, so nobody writes both.
    """

    def __init__(self, connection: Connection, shape: Shape, log: SqliteLog, found: Survey, number: int) -> None:
        self.connection = connection
        self.shape = shape
        self.log = log
        self.found = found
        self.number = number
        self.base = found.place.position + 1
        self.where = f"partition {number} of {shape.named(JOURNAL)} at {connection.brokers}"
        self.reader = Reader()
        self.partition = Partition(found.first.encoding, number, shape.partitions)
        self.arrived_chain = b""  # of the turn before the base, as it stands on Kafka
        self.copied = 0
        self.engine = ""  # of our newest marker
        self.owner = -1
        self.next_offset = 0
        self.flight: deque[tuple[int, asyncio.Future[RecordMetadata]]] = deque()

    async def run(self, progress: Progress | None = None) -> Moved:
        """CopyProblem: not done; what is to be done first. Of a KafkaError: run it again."""
        async with PartitionLog(self.connection, self.shape, self.number) as target:
            sealed = await self._begin(target)
            if not self.arrived_chain:
                producer = AIOKafkaProducer(
                    **self.connection.for_client(),
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=JOURNAL.largest,
                    linger_ms=5,
                )
                await producer.start()
                try:
                    last = self.found.place.position
                    await self._copy(producer, target, last - 1, progress)
                    self.log.put_seal(self._seal(replace(sealed, state="moved")))
                    await self._copy(producer, target, last, progress)
                finally:
                    for _, sent in self.flight:
                        sent.cancel()  # of a run that breaks off nobody asks
                    await producer.stop()
        if self.arrived_chain != self.found.place.chain:
            raise CopyProblem(f"What stands in {self.where} is not this log: its chain is {self.arrived_chain.hex()}.")
        first = self.found.first
        chain = self.arrived_chain.hex()
        return Moved(first.log, self.number, self.shape.partitions, self.found.pools, self.copied, self.base, chain)

    async def _begin(self, target: PartitionLog) -> Sealed:
        journal_id, _ = await target.ids()
        sealed = sealed_of(self.log)
        if sealed is None or sealed.state == "export":
            for topic in (JOURNAL, COMMANDS):
                if ends := (await target.ends(topic)).ends:
                    raise CopyProblem(
                        f"Partition {self.number} of {self.shape.named(topic)} is not empty ({ends} records were "
                        "written). A log goes into a new one: `waitline topics apply --prefix …` makes topics under "
                        "another prefix; move the log there, and only then start the workers."
                    )
            export = sealed is not None
            sealed = Sealed("moving", export, self.shape.prefix, journal_id, self.number, self.shape.partitions)
            self.log.put_seal(self._seal(sealed))
        elif (sealed.prefix, sealed.journal_id) != (self.shape.prefix, journal_id):
            seal = self.log.seal
            raise CopyProblem(f"{seal.said if seal else ''} That is not where it was asked for now.")
        await self._follow(target)
        return sealed

    def _seal(self, sealed: Sealed) -> Seal:
        if sealed.state == "moved":
            said = f"This log is an archive: it goes on in {self.where}. Serve it with `waitline worker`."
        else:
            said = (
                f"This log is being moved to {self.where}, and part of it may be there. Finish that with `waitline "
                "migrate`, or go back with `waitline migrate --give-up`."
            )
        return Seal(said, msgspec.json.encode(sealed))

    async def _follow(self, target: PartitionLog) -> None:
        """Reads back what has arrived, and folds it."""
        async for found in target.journal(self.reader.place.offset + 1, (await target.ends(JOURNAL)).ends):
            for record in found:
                said = self.reader.read(record)
                if isinstance(said, Turn):
                    self.partition.fold(said, self.reader.place)
                    if said.position == self.base - 1:
                        self.arrived_chain = self.reader.place.chain
        first = self.reader.first
        if first is not None and (first.log, first.base) != (self.found.first.log, self.base):
            raise CopyProblem(f"{self.where} holds the log {first.log or '-'} with base {first.base}: not this one.")

    async def _copy(
        self, producer: AIOKafkaProducer, target: PartitionLog, until: int, progress: Progress | None
    ) -> None:
        """Turns up to position `until` that have not arrived, read back."""
        there = self.reader.place
        source, done, reached = Reader(), 0, Place()
        for record in self.log.journal():
            said = source.read(record)
            if not isinstance(said, Turn):
                continue
            if said.position > until:
                break
            done, reached = done + 1, source.place
            if said.position <= there.position:
                if said.position == there.position and source.place.chain != there.chain:
                    raise CopyProblem(f"What stands in {self.where} is not this log: they part at {said.position}.")
                continue
            assert source.marker is not None, "a turn has an owner"
            if self.engine != source.marker.engine:
                await self._settle(0)
                await self._take(producer, target, source.marker.engine)
            body = handed_over(record.body, self.owner)
            sent = await producer.send(self.shape.named(JOURNAL), body, partition=self.number)
            self.flight.append((self.next_offset, sent))
            self.next_offset += 1
            self.copied += 1
            await self._settle(IN_FLIGHT)
            if progress is not None and done % 100 == 0:
                progress(done, self.found.turns)
        await self._settle(0)
        await self._follow(target)
        if there.position <= reached.position and self.reader.place.chain != reached.chain:
            raise CopyProblem(f"{self.where} does not read back as it was written (position {reached.position}).")

    async def _take(self, producer: AIOKafkaProducer, target: PartitionLog, engine: str) -> None:
        """A marker of ours, which says whose engine has decided what follows."""
        journal_id, commands_id = await target.ids()
        marker = replace(
            self.found.first,
            worker=f"migrate-{socket.gethostname()}-{os.getpid()}",
            at=time.time_ns() // 1_000_000,
            engine=engine,
            format=FORMAT,
            base=self.base,
            partition=self.number,
            partitions=self.shape.partitions,
            journal_id=journal_id,
            commands_id=commands_id,
        )
        sent = await producer.send_and_wait(self.shape.named(JOURNAL), write_marker(marker), partition=self.number)
        self.engine, self.owner, self.next_offset = engine, sent.offset, sent.offset + 1
        await self._follow(target)
        if self.reader.marker != marker:
            raise CopyProblem(self._disturbed())

    async def _settle(self, most: int) -> None:
        while len(self.flight) > most:
            expected, sent = self.flight.popleft()
            if (await sent).offset != expected:
                raise CopyProblem(self._disturbed())

    def _disturbed(self) -> str:
        return f"Somebody else has written to {self.where}. Stop all workers, and run this again: it goes on."


def give_up(log: SqliteLog) -> None:
    """The log may be served again, and the part on Kafka stays one that nobody can take. CopyProblem: too late."""
    sealed = sealed_of(log)
    if sealed is None:
        raise CopyProblem("This log is not being moved.")
    if sealed.state != "moving":
        seal = log.seal
        raise CopyProblem(f"{seal.said if seal else ''} It is too late to give that up.")
    said = "This is an export: a copy to read, or to move elsewhere with `waitline migrate`."
    log.put_seal(Seal(said, msgspec.json.encode(Sealed("export"))) if sealed.export else None)

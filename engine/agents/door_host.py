"""The log on Kafka as a door wants it: commands are appended to their partitions, journals are followed to see what
became of them. Nothing is decided here, and several doors do not know of each other."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from msgspec.structs import replace

from engine.core.messages import Turn
from engine.streams.board import Board
from engine.streams.codec import BadCommand, write_command
from engine.streams.host import Asked, Outcome, Stand, Standing, status_of
from engine.streams.journal import JournalBroken, Marker, Place, Reader, TimeKind, read_turn, split_turn
from engine.streams.log import LogForeign, LogProblem, LogUnsure, Record
from engine.streams.ownership import FoldAgain
from engine.streams.topics import COMMANDS, JOURNAL, Shape, partition_of
from engine.streams.views import Views

from .connection import Connection
from .following import Followed
from .partition_log import PartitionLog

APPEND_S = 5.0  # an append that is not acknowledged within so long: what became of it is not known
DECIDE_S = 10.0  # so long a decision is waited for
ANSWER_S = 5.0  # of a broker that is asked how things stand; more is trouble
LOOK_S = 1.0  # between two looks at the broker
POLL = 500  # journal records that are folded before others get a word in
FETCH_WAIT_MS = 20  # aiokafka asks again for a partition only when the answer for the others is there
BATCH_BYTES = 256 << 10  # of commands on their way to one partition
BACK = 10_000  # journal records that are gone back at a time, from a snapshot towards older turns
NOTHING_WRITTEN = (MessageSizeTooLargeError, TopicAuthorizationFailedError, ClusterAuthorizationFailedError)

log_ = structlog.get_logger("waitline.door")


class KafkaHost:
    """connection, shape: which log; the number of partitions is the topics' own. clock: milliseconds since the epoch,
    for what is told between two turns."""

    def __init__(
        self, connection: Connection, shape: Shape, clock: Callable[[], int] = lambda: time.time_ns() // 10**6
    ):
        self.connection = connection
        self.shape = shape
        self.clock = clock
        self.time: TimeKind = "real"
        self.closing = asyncio.Event()
        self.followed: list[Followed] = []
        self._boards: dict[str, Board] = {}
        self._away: LogProblem | None = None
        self._overdue: set[asyncio.Future[Any]] = set()  # appends of which nobody knows what became
        self._undecided: list[int] = []
        self._logs: list[PartitionLog] = []  # of each partition, for what is not kept in memory
        self._reading: list[asyncio.Lock] = []
        self._tasks: list[asyncio.Task[None]] = []
        said = {**connection.for_client(), "client_id": "waitline-door"}
        self._producer = AIOKafkaProducer(
            **said, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES, retry_backoff_ms=20
        )
        self._consumer = AIOKafkaConsumer(
            **said,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=POLL,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        self._journal, self._commands = shape.named(JOURNAL), shape.named(COMMANDS)

    # ---- beginning and end

    async def start(self) -> None:
        """Returns when all that stood in the journals has been folded. LogProblem: why the door cannot open."""
        with self._said_plainly():
            await self._producer.start()
            await self._consumer.start()
            self.shape = replace(self.shape, partitions=await self._partitions())
            for number in range(self.shape.partitions):
                self.followed.append(await self._begin(number))
            self._undecided = [0] * self.shape.partitions
            self._consumer.assign(self._all(self._journal))
            for number, followed in enumerate(self.followed):
                self._consumer.seek(TopicPartition(self._journal, number), followed.place.offset + 1)
            self._tasks.append(asyncio.create_task(self._follow()))
            await self._catch_up()
            for followed in self.followed:
                if followed.marker is not None and followed.marker.time != "real":
                    raise LogForeign(f"This log holds {followed.marker.time} time; only real time is served.")
            await self._look()
        self._tasks.append(asyncio.create_task(self._look_on()))

    async def _partitions(self) -> int:
        topics = self._journal, self._commands
        missing = [topic for topic in topics if topic not in await self._consumer.topics()]
        if missing:
            raise LogForeign(
                f"There is no topic {missing[0]} on {self.connection.brokers}: `waitline topics apply` makes it. Or is "
                "--prefix another?"
            )
        journal, commands = [len(await self._producer.partitions_for(topic)) for topic in topics]
        if journal != commands:
            raise LogForeign(
                f"{topics[0]} has {journal} partitions and {topics[1]} {commands}: they are not of one log."
            )
        return journal

    async def _begin(self, number: int) -> Followed:
        """From the newest snapshot that is of this journal, or from the journal's start."""
        log = PartitionLog(self.connection, self.shape, number)
        self._logs.append(log)
        self._reading.append(asyncio.Lock())
        await log.__aenter__()
        ends = await log.ends(JOURNAL)
        if ends.begins:
            raise LogForeign(
                f"The journal's partition {number} begins at offset {ends.begins}: older turns have been deleted. A "
                "journal is kept for ever; what is left cannot be served."
            )
        for snapshot in await log.snapshots("views"):
            try:
                manifest, *chunks = snapshot.parts
                views = Views.restore(number, manifest, chunks)
                marker = await self._marker_of(log, views.place, ends.ends)
            except (ValueError, JournalBroken) as problem:
                log_.warning("snapshot-ignored", partition=number, reason=str(problem))
            else:
                self._boards |= views.boards
                return Followed(views, marker)
        return Followed(Views(number))

    async def _marker_of(self, log: PartitionLog, place: Place, end: int) -> Marker:
        """The marker of the place's owner. ValueError: the place is not in this journal."""
        if place.offset >= end:
            raise ValueError("it stands behind the journal's end")
        reader = Reader()
        found = [record async for records in log.journal(place.owner, place.owner + 1) for record in records]
        marker = reader.read(found[0]) if found else None
        if not isinstance(marker, Marker):
            raise ValueError(f"the journal has no owner's marker at offset {place.owner}")
        if place.offset > place.owner:
            (record,) = [record async for records in log.journal(place.offset, place.offset + 1) for record in records]
            owner, chain, _ = split_turn(record.body)
            if (owner, chain) != (place.owner, place.chain):
                raise ValueError("it does not stand where the journal stands")
        return marker

    async def run(self) -> None:
        """Until `closing` is set; raises what has gone wrong where that cannot be lived with."""
        await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        self.closing.set()
        for followed in self.followed:
            followed.tell()

    async def close(self) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._consumer.stop()
        for log in self._logs:
            await log.__aexit__()
        try:
            await asyncio.wait_for(self._producer.stop(), ANSWER_S)  # sends what is on its way
        except (TimeoutError, KafkaError) as problem:
            log_.warning("appends-left-behind", reason=str(problem))

    # ---- the journals

    async def _follow(self) -> None:
        while not self.closing.is_set():
            try:
                found = await self._consumer.getmany(timeout_ms=1000)
            except OffsetOutOfRangeError as error:
                for partition in error.args[0]:
                    self._give_up(partition.partition, "The journal is shorter than it was: it was cut.")
                continue
            except KafkaError as problem:
                log_.warning("journal-not-read", reason=str(problem))
                await asyncio.sleep(LOOK_S)
                continue
            for partition, records in found.items():
                self._take(partition.partition, records)
            await asyncio.sleep(0)

    def _take(self, number: int, records: Sequence[ConsumerRecord[Any, Any]]) -> None:
        followed = self.followed[number]
        known = len(followed.views.boards)
        try:
            followed.take([Record(record.offset, None, record.value or b"") for record in records])
        except JournalBroken as broken:
            self._give_up(number, f"The journal cannot be read on: {broken}.")
        except FoldAgain as problem:
            log_.warning("snapshot-ignored", partition=number, reason=str(problem))
            for pool in followed.views.boards:
                self._boards.pop(pool, None)
            followed = self.followed[number] = Followed(Views(number))
            self._consumer.seek(TopicPartition(self._journal, number), 0)
        if len(followed.views.boards) != known:
            self._boards |= followed.views.boards

    def _give_up(self, number: int, why: str) -> None:
        self.followed[number].trouble = f"{why} What is shown of partition {number} stands still."
        log_.error("journal-given-up", partition=number, reason=why)
        self._consumer.pause(TopicPartition(self._journal, number))

    async def catch_up(self) -> None:
        with self._said_plainly():
            await asyncio.wait_for(self._catch_up(), ANSWER_S)

    async def _catch_up(self) -> None:
        ends = await self._consumer.end_offsets(self._all(self._journal))
        for partition, end in ends.items():
            followed = self.followed[partition.partition]
            while await self._consumer.position(partition) < end and not followed.trouble:
                self._must_follow()
                await asyncio.sleep(0.002)

    def _must_follow(self) -> None:
        if self._tasks[0].done():
            self._tasks[0].result()

    def _all(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self.shape.partitions)]

    # ---- how the broker is

    async def _look_on(self) -> None:
        while not self.closing.is_set():
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.wait_for(self._look(), ANSWER_S)
            except (KafkaError, TimeoutError, OSError) as problem:
                self._put_off(LogProblem(self._silent(problem)))
                continue
            self._overdue = {append for append in self._overdue if not append.done()}
            if self._away is not None and not self._overdue:
                self._away = None
                log_.info("log-trouble-over")

    async def _look(self) -> None:
        ends = await self._consumer.end_offsets(self._all(self._commands))
        for partition, end in ends.items():
            followed = self.followed[partition.partition]
            self._undecided[partition.partition] = max(0, followed.base + end - 1 - followed.place.position)

    def _put_off(self, problem: LogProblem) -> None:
        if self._away is None:
            log_.warning("log-trouble", reason=str(problem))
        self._away = problem

    @property
    def trouble(self) -> LogProblem | None:
        if self._away is not None:
            return self._away
        return next((LogForeign(each.trouble) for each in self.followed if each.trouble), None)

    def standings(self) -> list[Standing]:
        return [
            Standing(
                number,
                *self.stand(number),
                followed.marker.worker if followed.marker else "",
                self._undecided[number],
                followed.trouble,
            )
            for number, followed in enumerate(self.followed)
        ]

    # ---- commands

    async def submit(self, asked: Sequence[Asked], decided: bool) -> list[Outcome]:
        if self._away is not None:
            raise LogProblem(str(self._away))
        if any(envelope.pool not in self._boards for envelope, _, _ in asked):
            await self.catch_up()  # a pool may be a moment old
        known = [envelope.pool in self._boards for envelope, _, _ in asked]
        appended = iter(
            await self._append([each for each, is_known in zip(asked, known, strict=True) if is_known], decided)
        )
        places = [next(appended) if is_known else None for is_known in known]
        turns = await self._decided([place for place in places if place]) if decided else {}
        outcomes = []
        for (envelope, _, _), place in zip(asked, places, strict=True):
            if place is None:
                unknown = BadCommand("pool", f"there is no pool {envelope.pool[:64]!r}")
                outcomes.append(Outcome(-1, self.clock(), "refused", [], problem=unknown))
            elif place not in turns:
                outcomes.append(Outcome(place[1], 0, "logged", [], partition=place[0]))
            else:
                outcomes.append(await self._outcome(*place, turns[place]))
        return outcomes

    async def _append(self, asked: Sequence[Asked], decided: bool) -> list[tuple[int, int]]:
        """(partition, position) of each, all of them durable."""
        appends: list[asyncio.Future[Any]] = []
        partitions = []
        try:
            async with asyncio.timeout(APPEND_S):
                for envelope, _, body in asked:
                    if decided:
                        body = write_command(replace(envelope, answer=True))
                    number = self.partition_of(envelope.pool)
                    partitions.append(number)
                    key = envelope.pool.encode()
                    appends.append(await self._producer.send(self._commands, body, key=key, partition=number))
                if appends:
                    await asyncio.wait(appends)
        except TimeoutError as problem:
            self._overdue |= {append for append in appends if not append.done()}
            self._put_off(LogProblem(AWAY))
            raise (LogUnsure(UNSURE) if appends else LogProblem(AWAY)) from problem
        except KafkaError as problem:
            raise self._not_taken(problem, unsure=bool(appends)) from problem
        troubles = [append.exception() for append in appends]
        for trouble in filter(None, troubles):
            raise self._not_taken(trouble, unsure=not all(isinstance(each, NOTHING_WRITTEN) for each in troubles))
        return [
            (number, self.followed[number].base + append.result().offset)
            for number, append in zip(partitions, appends, strict=True)
        ]

    def _not_taken(self, trouble: BaseException, unsure: bool) -> LogProblem:
        log_.warning("append-failed", reason=why(trouble))
        if unsure:
            return LogUnsure(UNSURE)
        return LogProblem(f"Kafka does not take this: {why(trouble)}. Nothing of it is in the log.")

    async def _decided(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Turn | None]:
        """Of those that are decided in time: the turn, or None where there is none."""
        fates = {place: self.followed[place[0]].fate(place[1]) for place in places}
        waited = [fate for fate in fates.values() if fate is not None]
        if waited:
            await asyncio.wait(waited, timeout=DECIDE_S)
        found: dict[tuple[int, int], Turn | None] = {}
        for place, fate in fates.items():
            if fate is None:
                found[place] = await self._turn(*place)
            elif fate.done():
                found[place] = fate.result()
            else:
                self.followed[place[0]].forget(place[1])
        return found

    async def _outcome(self, partition: int, position: int, turn: Turn | None) -> Outcome:
        if turn is None or not turn.command.pool:
            return Outcome(position, 0, "rejected", [], partition=partition)
        if turn.repeats is None:
            return Outcome(position, turn.at, status_of(turn.events), turn.events, partition=partition)
        first = await self._turn(partition, turn.repeats)
        events = first.events if first else []
        return Outcome(position, turn.at, "repeated", events, turn.repeats, partition=partition)

    # ---- who looks on

    @property
    def boards(self) -> Mapping[str, Board]:
        return self._boards

    def partition_of(self, pool: str) -> int:
        return partition_of(pool, self.shape.partitions)

    def stand(self, partition: int) -> Stand:
        followed = self.followed[partition]
        return Stand(followed.place.position, max(self.clock(), followed.at))

    async def turns(self, partition: int, after: int, limit: int) -> list[bytes]:
        recent = self.followed[partition].recent(after, limit)
        if recent is not None:
            return recent
        with self._said_plainly():
            return await self._older(partition, after, limit)

    async def _older(self, partition: int, after: int, limit: int) -> list[bytes]:
        followed, log = self.followed[partition], self._logs[partition]
        end = followed.place.offset + 1
        found: list[bytes] = []
        async with self._reading[partition]:
            place = await self._before(followed, log, after)
            reader = Reader(place)
            async with aclosing(log.read(JOURNAL, place.offset + 1, end)) as reading:  # it is left early
                async for records in reading:
                    for record in records:
                        body = record.value or b""
                        turn = reader.read(Record(record.offset, None, body))
                        if isinstance(turn, Turn) and turn.position > after:
                            found.append(body)
                    if len(found) >= limit:
                        break
        return found[:limit]

    async def _before(self, followed: Followed, log: PartitionLog, after: int) -> Place:
        """From where the journal is to be read to find what comes after that position."""
        if after < 0:
            return Place()
        trail, back = followed.trail, BACK
        while (place := trail.before(after)) is None:
            begin = trail.begin.offset
            records = [record async for found in log.journal(max(0, begin - back), begin + 1) for record in found]
            if not trail.reach_back(records):
                back *= 2
        return place

    async def _turn(self, partition: int, position: int) -> Turn | None:
        found = await self.turns(partition, position - 1, 1)
        turn = read_turn(found[0]) if found else None
        return turn if turn and turn.position == position else None

    async def news(self, partition: int, timeout_s: float) -> bool:
        if self.closing.is_set():
            return False
        news = self.followed[partition].news
        await asyncio.wait({news}, timeout=timeout_s)
        return news.done() and not self.closing.is_set()

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """Kafka's errors as LogProblem."""
        try:
            yield
        except (KafkaError, TimeoutError, OSError) as problem:
            raise LogProblem(self._silent(problem)) from problem

    def _silent(self, problem: BaseException) -> str:
        return f"Kafka at {self.connection.brokers} does not answer as it should: {why(problem)}."


UNSURE = (
    "It is not known whether this is in the log, or part of it: Kafka has not acknowledged it in time. Send it again "
    "with the same source and id; that is harmless."
)
AWAY = "Kafka does not acknowledge what is sent to it; until it does, nothing is taken."


def why(problem: BaseException | None) -> str:
    return str(problem) or type(problem).__name__

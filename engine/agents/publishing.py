"""One partition's public records: its journal in; topics `events` and `status`, and what Faust's tables show, out.

Each accepted event is published at least once and in order. How far that has come is the place (journal offset, owner,
position, chain) that is saved with the group's offset, and only once the broker has acknowledged all that belongs to
it: after a fault, publishing goes on behind the last such place, and receivers drop repeats by id. The views are
memory: they come from a snapshot and the journal.

Somebody may still write who was stopped while the partition was theirs, and has woken up. Their events are repeats, but
their statuses could stay the last of a key and be older than those before them. So each append to `status` compares the
offset that it got with the one it expected, and what others have written in between is told again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import Struct

from engine.streams.journal import JournalBroken, Place, Void
from engine.streams.log import LogMoved, Record
from engine.streams.status import READ_TO, AgentStatus, QueueStatus
from engine.streams.topics import EVENTS, JOURNAL, STATUS, Shape, Topic
from engine.streams.views import Views

from .batching import Poll
from .connection import Connection
from .partition_log import GENERATIONS, PartitionLog, turn_of, write_snapshot
from .routing import producer_of

SNAPSHOT_TURNS = 20_000  # a start folds at most about so many turns: a fifth of a second
ROUND = 500  # records published at once: some fifty milliseconds before others get a word in
FLIGHT = 3  # rounds that wait for the broker's answers while the next ones are made,
FEW = 200  # and one only, where fewer records than that wait to be published
AHEAD = 20_000  # records polled and not yet published, before the partition is held
WATCH_S = 2.0  # how often the end of `status` is looked at while nothing is written
AGAIN_S, AGAIN_MOST_S = 1.0, 30.0
KIND = "views"  # of our snapshots

Row = tuple[bytes, bytes | None, Sequence[tuple[str, bytes]]]  # key, value, headers
Encoded = Callable[[], tuple[bytes, Iterator[bytes]]]
Sent = tuple["asyncio.Future[Any]", int]  # what a batch of records comes to, and how many they are
log_ = structlog.get_logger("waitline.projections")


class Saved(Struct, frozen=True):
    """offset: of the journal, behind the last record whose public records all stand; place: there, None where nobody
    has said; told: what the next append to `status` should get, -1 likewise."""

    offset: int = 0
    place: Place | None = None
    told: int = -1


class Around(Protocol):
    """What a projection needs of the app that it is part of. recovered: the tables are as their changelogs have
    them."""

    connection: Connection
    shape: Shape
    snapshot_turns: int
    recovered: asyncio.Event

    async def saved(self, number: int) -> Saved: ...

    def save(self, number: int, saved: Saved) -> None: ...

    def show(
        self, number: int, agents: Mapping[str, AgentStatus], queues: Mapping[str, QueueStatus | None]
    ) -> None: ...

    def show_all(self, number: int, views: Views) -> None: ...

    def hold(self, number: int) -> None: ...

    def let_go(self, number: int) -> None: ...


class FoldFromStart(Exception):
    """The snapshot is not of this journal."""


class Projection:
    """Partition `number`, as long as it is ours: `hand` it what Faust polls, while `run` is a task of its own."""

    def __init__(self, around: Around, number: int) -> None:
        self.around = around
        self.number = number
        self.done = Saved()  # what we ourselves have seen acknowledged
        self._polled: deque[Any] = deque()  # events of Faust; the value of each is a Poll
        self.ahead = 0  # records in them
        self._news = asyncio.Event()
        self._unacknowledged: deque[Any] = deque()  # events taken whose records are yet to be published
        self._end = 0  # of the journal, as far as it has been polled
        self._whole = False  # whether the next fold begins at the journal's start

    def hand(self, event: Any) -> None:
        poll: Poll = event.value
        self._polled.append(event)
        self._end = max(self._end, poll.end)
        self.ahead += len(poll.records)
        if self.ahead > AHEAD:
            self.around.hold(self.number)
        self._news.set()

    def taken(self) -> list[Any]:
        """What has been handed over since, about a round of it at most."""
        events: list[Any] = []
        size = 0
        while self._polled and size < ROUND:
            events.append(self._polled.popleft())
            self._unacknowledged.append(events[-1])
            size += len(events[-1].value.records)
        self.ahead -= size
        if self.ahead <= AHEAD // 2:
            self.around.let_go(self.number)
        if not self._polled:
            self._news.clear()
        return events

    async def run(self) -> None:
        """Until it is cancelled. Whatever goes wrong stops this partition and is tried again, from the last place that
        was acknowledged."""
        wait = AGAIN_S
        while True:
            before = self.done
            try:
                await self._publish()
            except FoldFromStart as problem:
                log_.warning("snapshot-ignored", partition=self.number, reason=str(problem))
                self._whole = True
                continue
            except JournalBroken as problem:
                log_.error("journal-broken", partition=self.number, reason=str(problem))
                wait = AGAIN_MOST_S
            except (KafkaError, LogMoved, OSError) as problem:
                log_.warning("publishing-stopped", partition=self.number, reason=str(problem) or repr(problem))
            except Exception:
                log_.exception("publishing-stopped", partition=self.number)
            wait = AGAIN_S if self.done != before else min(2 * wait, AGAIN_MOST_S)
            await asyncio.sleep(wait)

    async def _publish(self) -> None:
        producer = producer_of(self.around.connection)
        try:
            await producer.start()
            async with PartitionLog(self.around.connection, self.around.shape, self.number) as log:
                await _Sitting(self, log, producer).sit()
        finally:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await producer.stop()
            await producer._sender.close()  # what could not be sent by then is sent by the next producer
            await producer.client.close()

    async def news(self, beside: "asyncio.Future[Any] | None" = None) -> bool:
        """Waits for a poll, or for what is `beside`; False: neither has come for a while."""
        polled = asyncio.ensure_future(self._news.wait())
        try:
            done, _ = await asyncio.wait(
                {polled, beside} if beside else {polled}, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            polled.cancel()
        return bool(done)

    @property
    def has_news(self) -> bool:
        return bool(self._polled)

    def acknowledge(self, saved: Saved) -> None:
        """Everything before `saved.offset` stands in the public topics."""
        self.done = saved
        self.around.save(self.number, saved)
        while self._unacknowledged and self._unacknowledged[0].value.end <= saved.offset:
            self._unacknowledged.popleft().ack()


class _Round(NamedTuple):
    """What has been sent and waits for the broker's answers. until: behind its last journal record; snapshot: of the
    views after it, where one is due."""

    until: int
    place: Place
    status: list[Sent]
    answers: "asyncio.Future[Any]"
    snapshot: Encoded | None


class _Sitting:
    """From the fold to the next fault: one reader, one producer."""

    def __init__(self, projection: Projection, log: PartitionLog, producer: AIOKafkaProducer) -> None:
        self.projection = projection
        self.around = projection.around
        self.number = projection.number
        self.log = log
        self.producer = producer
        self.views = Views(self.number)
        self.next = 0  # journal offset that is to be published next
        self.others_end = 0  # of the journal: what comes before may have been published by somebody else
        self.status_end = 0  # what our next append to `status` should get
        self.generation = GENERATIONS[0]  # of the next snapshot
        self.flight: deque[_Round] = deque()
        self.snapshot: asyncio.Task[None] | None = None

    async def sit(self) -> None:
        try:
            saved = await self._fold()
            self.others_end = await self.log.end(JOURNAL)
            self.status_end = saved.told if saved.told >= 0 else await self.log.end(STATUS)
            await self._watch()
            await self.around.recovered.wait()
            self.around.show_all(self.number, self.views)
            await self._publish_until(self.projection._end)  # where an earlier sitting has broken off
            while True:
                if not self.projection.has_news:
                    heard = await self.projection.news(self.flight[0].answers if self.flight else None)
                    await self._settle()
                    if not heard and not self.flight:
                        await self._watch()
                    continue
                if self.flight and self.projection.ahead < FEW:  # they go with those that come meanwhile
                    await asyncio.wait([self.flight[0].answers])
                    await self._settle()
                await self._publish_polls(self.projection.taken())
        finally:
            for round_ in self.flight:
                round_.answers.cancel()
            if self.snapshot is not None:
                self.snapshot.cancel()
                with suppress(asyncio.CancelledError):
                    await self.snapshot

    # ---- the views, as of the place up to which everything has been published

    async def _fold(self) -> Saved:
        kept = await self.log.snapshots(KIND)
        if kept:
            self.generation = turn_of(kept[0].generation)
        for snapshot in () if self.projection._whole else kept:
            try:
                self.views = Views.restore(self.number, snapshot.parts[0], snapshot.parts[1:])
                break
            except (ValueError, IndexError) as problem:
                log_.warning("snapshot-ignored", partition=self.number, reason=str(problem))
        restored = self.views.place
        saved = await self.around.saved(self.number)
        if self.projection.done.offset > saved.offset:
            saved = self.projection.done
        self.next = max(restored.offset + 1, saved.offset)
        async for records in self.log.journal(restored.offset + 1, self.next):
            for record in records:
                found = self.views.fold(record)
                if isinstance(found, Void) and found.alarm and restored.offset >= 0:
                    raise FoldFromStart(f"journal offset {found.offset} is void ({found.why}) after it")
            await asyncio.sleep(0)
        if saved.place is not None and saved.offset == self.next and saved.place != self.views.place:
            raise JournalBroken(
                f"what was published up to journal offset {saved.offset} is not what stands there now: the journal was "
                "cut or exchanged. Tell those who follow `events`, then remove the group's offsets: everything is "
                "published again."
            )
        log_.info("publishing", partition=self.number, offset=self.next, folded=self.next - restored.offset - 1)
        return saved

    # ---- publishing

    async def _publish_polls(self, events: Sequence[Any]) -> None:
        records: list[Record] = []
        until = self.next
        for event in events:
            poll: Poll = event.value
            begin = poll.records[0].offset if poll.begin is None else poll.begin
            if begin > until:  # the poll before it was dropped at a rebalance
                await self._publish_records(records, until)
                records = []
                await self._publish_until(begin)
                until = begin
            records += [Record(r.offset, None, r.value or b"") for r in poll.records if r.offset >= until]
            until = max(until, poll.end)
        await self._publish_records(records, until)

    async def _publish_until(self, until: int) -> None:
        """Reads the journal by ourselves."""
        async for records in self.log.journal(self.next, until):
            await self._publish_records(records, records[-1].offset + 1)
        await self._publish_records([], max(until, self.next))

    async def _publish_records(self, records: Sequence[Record], until: int) -> None:
        made = self.views.publish(records, afresh=self.next < self.others_end)
        self.around.show(self.number, made.agents, made.queues)
        events: list[Row] = [(each.key, each.value, each.headers) for each in made.events]
        sent = [await self._sent(EVENTS, events), await self._sent(STATUS, self._rows(made.status))]
        answers = asyncio.gather(*(future for of_topic in sent for future, _ in of_topic))
        due = self.views.turns >= self.around.snapshot_turns and (not self.snapshot or self.snapshot.done())
        self.flight.append(_Round(until, made.place, sent[1], answers, self.views.snapshot() if due else None))
        self.next = until
        await self._settle()

    async def _settle(self) -> None:
        """Acknowledges what stands in the topics, in order; waits where too much is in flight."""
        while self.flight and (len(self.flight) > FLIGHT or self.flight[0].answers.done()):
            round_ = self.flight[0]
            await round_.answers
            if not self._as_expected(round_.status):
                await self._tell_again(round_.status)
            self.flight.popleft()
            self.projection.acknowledge(Saved(round_.until, round_.place, self.status_end))
            if round_.snapshot is not None:  # it holds nothing that is not told
                self.snapshot = asyncio.create_task(self._keep(round_.snapshot))

    def _rows(self, status: Mapping[str, bytes | None]) -> list[Row]:
        headers = [(READ_TO, b"%d" % self.views.place.position)]
        return [(key.encode(), value, headers) for key, value in status.items()]

    async def _sent(self, topic: Topic, rows: Sequence[Row]) -> list[Sent]:
        name, producer, sent = self.around.shape.named(topic), self.producer, list[Sent]()
        rest = deque(rows)
        while rest:
            batch = producer.create_batch()
            while rest:
                key, value, headers = rest[0]
                if batch.append(key=key, value=value, headers=headers, timestamp=None) is None:
                    break
                rest.popleft()
            count = batch.record_count()
            sent.append((await producer.send_batch(batch, name, partition=self.number), count))
        return sent

    # ---- what others have written to `status`

    def _as_expected(self, sent: Sequence[Sent]) -> bool:
        """Whether nobody else has written up to there."""
        for future, count in sent:
            offset = future.result().offset
            if offset > self.status_end:
                return False
            self.status_end = max(self.status_end, offset + count)
        return True

    async def _watch(self) -> None:
        if await self.log.end(STATUS) != self.status_end:
            await self._tell_again(())

    async def _tell_again(self, sent: Sequence[Sent]) -> None:
        """Of what stands in `status` behind where we expected it to end, `sent` and what is in flight: what somebody
        else has written who had read less of the journal than we have."""
        await asyncio.gather(*(round_.answers for round_ in self.flight))
        ours: set[int] = set()
        for future, count in [*sent, *(each for round_ in self.flight for each in round_.status)]:
            ours.update(range(future.result().offset, future.result().offset + count))
        end = await self.log.end(STATUS)
        stale: dict[str, None] = {}
        async for records in self.log.read(STATUS, self.status_end, end):
            for record in records:
                older = _read_to(record.headers) < self.views.place.position
                if record.key and older and record.offset not in ours:
                    stale[record.key.decode(errors="replace")] = None
        self.status_end = end
        if not stale:
            return
        log_.warning("told-again", partition=self.number, statuses=len(stale), reason="an older reader has told them")
        again = await self._sent(STATUS, self._rows(self.views.retold(stale)))
        await asyncio.gather(*(future for future, _ in again))
        if not self._as_expected(again):
            await self._tell_again(again)

    # ---- snapshots

    async def _keep(self, encoded: Encoded) -> None:
        manifest, chunks = encoded()
        shape, generation, parts = self.around.shape, self.generation, chain([manifest], chunks)
        try:
            size = await write_snapshot(self.producer, shape, self.number, KIND, generation, parts)
        except KafkaError as problem:
            log_.warning("snapshot-not-kept", partition=self.number, reason=str(problem))
            return
        self.generation = turn_of(generation)
        log_.info("snapshot-kept", partition=self.number, bytes=size)


def _read_to(headers: Sequence[tuple[str, bytes]]) -> int:
    said = dict(headers).get(READ_TO, b"")
    return int(said) if said.isdigit() else -1

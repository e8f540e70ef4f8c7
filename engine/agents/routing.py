"""The routing processor: commands in, turns out. One owner per partition, each at its own pace.

    poll -> decide -> append (three batches in flight) -> compare -> acknowledge

What may be done when, is said by `Ownership` (the twelve rules); here it is done. An owner takes its partition, serves
it until it is lost, and takes it again: with a producer of its own each time, closed before the next marker is written.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalStateError, KafkaError
from msgspec import Struct

from engine.core.messages import PublishRules
from engine.core.rules import Rules, hash_of
from engine.service import spare_the_collector
from engine.streams.codec import Envelope, envelope_of, json_encode, write_command
from engine.streams.errands import errands, not_taken, outstanding
from engine.streams.hours import Renewal
from engine.streams.journal import Place
from engine.streams.log import Entry, LogProblem
from engine.streams.ownership import Batch, CannotTake, Lost, Poisoned, SeekAgain
from engine.streams.partition import Decided
from engine.streams.topics import COMMANDS, JOURNAL, MIB, REJECTED, Shape, partition_of

from .batching import Poll
from .connection import Connection
from .partition_log import PartitionLog, entries
from .taking import Rows, Taken, keep, now_ms, take

ROUND = 1_000  # commands that are decided before anybody else gets a word in: some 20 ms
BACKLOG = 4_000  # commands polled and not yet decided, from which on no more are polled
FLIGHT = 3  # batches on their way to the journal,
FEW = 200  # and one only, where fewer commands than that wait to be decided
BATCH_BYTES = 1 * MIB
REQUEST_BYTES = JOURNAL.largest  # a turn of up to 4 MiB is a batch by itself
SNAPSHOT_TURNS = 100_000  # a start folds at most about so many turns: two seconds
BODY_SHOWN = 64 << 10  # bytes of what was no command that are shown with its rejection
RENEW_S = 60  # between two looks whether the hours of the rules have to be worked out further
LOOK_S = 1.0  # between two looks at the journal's end
TICK_S = 0.05
LOST_S = 2.0  # before one that another has taken is taken again: Kafka may be about to say that it is no longer ours,
AGAIN_S = 0.5  # before one that stumbled over something else is,
LEFT_ALONE_S = 60.0  # and one that a person must look at
CLOSE_S = 5.0  # for a producer to let go of what it holds
STOP_S = 20.0  # for a clean stop, the snapshot included; Kubernetes gives 30

log_ = structlog.get_logger("waitline.worker")

AGAIN = None  # among polls: seek again


class Worker(Struct, frozen=True):
    """What all owners of a process share. others: producer of all that is not the journal; seek, read_to, hold, let_go:
    the transport's, by partition number."""

    name: str
    connection: Connection
    shape: Shape
    rules: Sequence[Rules]
    others: AIOKafkaProducer
    seek: Callable[[int, int], Any]
    read_to: Callable[[int], int | None]
    hold: Callable[[int], None]
    let_go: Callable[[int], None]
    snapshot_turns: int = SNAPSHOT_TURNS


class Router:
    """The partitions that Kafka has assigned to this worker, each with its owner."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.owners: dict[int, Owner] = {}

    async def assigned(self, numbers: set[int]) -> None:
        """Every assignment begins anew: what was ours may have been another's in between."""
        await self.revoked()
        for number in sorted(numbers):
            self.owners[number] = Owner(self.worker, number)

    async def revoked(self) -> None:
        owners, self.owners = self.owners, {}
        await _ended([owner.cancel() for owner in owners.values()])

    def hand(self, event: Any) -> None:
        owner = self.owners.get(event.message.partition)
        if owner is not None:
            owner.hand(event)

    async def stop(self) -> None:
        """Each owner decides what it has polled, waits for its appends and writes a snapshot."""
        owners, self.owners = self.owners, {}
        await _ended([owner.stop() for owner in owners.values()])


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=STOP_S)
        for task in late:
            task.cancel()


class Owner:
    """One partition, from its assignment to its revocation."""

    taken: Taken
    log: PartitionLog
    producer: AIOKafkaProducer

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker = worker
        self.number = number
        self.failed: dict[int, str] = {}  # positions whose command has poisoned us before, and the error
        self.serving = self.stopping = False
        self.said = ""  # what has been logged last, so that it is logged once
        self.task = asyncio.create_task(self.run(), name=f"partition-{number}")

    # ---- what comes from outside

    def hand(self, event: Any) -> None:
        """A poll. Until the partition is taken they are let go: the seek that follows brings them again."""
        if self.serving:
            self.polls.put_nowait(event)
            self.backlog += len(event.value.records)
            self.news.set()
            if self.backlog > BACKLOG:
                self.worker.hold(self.number)

    def stop(self) -> asyncio.Task[None]:
        if not self.serving:
            return self.cancel()
        self.stopping = True
        self.polls.put_nowait(AGAIN)
        return self.task

    def cancel(self) -> asyncio.Task[None]:
        self.serving = False
        self.task.cancel()
        return self.task

    # ---- taken, served, lost, taken again

    async def run(self) -> None:
        while not self.stopping:
            try:
                async with _producer(self.worker) as self.producer, self._log() as self.log:
                    await self._take()
                    await self._serve()
            except Exception as problem:
                wait_s = self._explain(_first(problem))
                await asyncio.sleep(wait_s)
            finally:
                self.serving = False

    def _log(self) -> PartitionLog:
        return PartitionLog(self.worker.connection, self.worker.shape, self.number)

    async def _take(self) -> None:
        began = time.monotonic()
        taken = self.taken = await take(self.log, self.producer, self.worker.name, self.failed)
        self.polls: asyncio.Queue[Any] = asyncio.Queue()
        self.flight: asyncio.Queue[tuple[Any, int, Any, list[Envelope]]] = asyncio.Queue(FLIGHT)
        self.news = asyncio.Event()  # of another poll, or an append that is done with
        self.backlog = self.turns = self.flying = 0
        self.renewal = Renewal(self.worker.rules)
        self.seek_number = -1
        spare_the_collector()
        self.worker.let_go(self.number)
        self.serving = True
        await self._seek()
        log_.info(
            "partition-taken",
            partition=self.number,
            owner=taken.ownership.number,
            after_position=taken.partition.position,
            contacts=sum(len(tables.contacts) for tables in taken.partition.pools.values()),
            folded=taken.folded,
            from_snapshot=taken.snapshot,
            seconds=round(time.monotonic() - began, 2),
        )
        self.said = ""

    async def _seek(self, again: bool = False) -> None:
        begins, _ = await self.log.ends(COMMANDS)
        offset = self.taken.ownership.seek(begins, again=again)
        self.seek_number = await self.worker.seek(self.number, offset)

    async def _serve(self) -> None:
        """Returns when the worker stops; Lost and everything else that goes wrong ends it."""
        async with asyncio.TaskGroup() as group:
            aside = [
                group.create_task(each) for each in (self._acknowledge(), self._look(), self._tick(), self._renew())
            ]
            writing = group.create_task(self._publish(self.renewal.due(now_ms())))
            group.create_task(self._send(list(outstanding(self.taken.partition))))
            while not self.stopping:
                await self._round()
                if self.turns >= self.worker.snapshot_turns and writing.done():
                    await self.flight.join()
                    writing = group.create_task(self._snapshot(*self._rows()))
            await self.flight.join()
            for task in aside:
                task.cancel()
        if self.turns:
            await self._snapshot(*self._rows())

    def _explain(self, problem: BaseException) -> float:
        """Says it once, in a sentence; how long to wait before the next try, in seconds."""
        say, wait_s, text = log_.warning, AGAIN_S, str(problem)
        match problem:
            case Poisoned():
                self.failed[problem.position] = problem.error
                log_.error("command-failed", partition=self.number, exc_info=problem.__cause__)
                wait_s = 0.0
            case CannotTake():
                say, wait_s = log_.error, LEFT_ALONE_S
            case Lost() | LogProblem() | IllegalStateError():
                wait_s = LOST_S
            case KafkaError() | OSError():
                text = f"Kafka: {text or type(problem).__name__}"
            case _:
                log_.error("partition-stumbled", partition=self.number, exc_info=problem)
        if text != self.said:
            name = "partition-left-alone" if wait_s == LEFT_ALONE_S else "partition-lost"
            say(name, partition=self.number, reason=text, again_in_s=wait_s)
        self.said = text
        return wait_s

    # ---- a round

    async def _round(self) -> None:
        """What has been polled meanwhile, up to a thousand commands: decided together, appended together."""
        event = await self.polls.get()
        await self._room()
        records: list[bytes] = []
        asked: list[Envelope] = []  # of other pools
        count, last = 0, None
        while True:
            try:
                if event is AGAIN:
                    raise SeekAgain
                found, decided = self._decide(event.value)
            except SeekAgain:
                await self._seek(again=True)
            else:
                last = event
                count += len(decided)
                records += [made.record for made in decided if made.record is not None]
                asked += self._asked(found, decided)
                await self._reject(found, decided)
            if count >= ROUND or self.polls.empty():
                break
            event = self.polls.get_nowait()
        await self._append(records, last, asked)
        await asyncio.sleep(0)  # the network, and other partitions

    async def _room(self) -> None:
        """A few commands wait for the append before them, and go with those that come meanwhile: with an append for
        each handful, all would wait for those of three others."""
        while self.flying >= (1 if self.backlog < FEW else FLIGHT):
            self.news.clear()
            await self.news.wait()

    def _decide(self, poll: Poll) -> tuple[list[Entry], list[Decided]]:
        self.backlog -= len(poll.records)
        if self.backlog < BACKLOG // 2:
            self.worker.let_go(self.number)
        ownership, base = self.taken.ownership, self.taken.ownership.base
        generation = ownership.generation if poll.seek == self.seek_number else -1
        begin = -1 if poll.begin is None else base + poll.begin
        found = entries(poll.records, base)
        decided = ownership.decide(Batch(generation, begin, base + poll.end, found))
        self.taken.clock.read(found, decided, self.taken.partition)
        return found, decided

    def _asked(self, found: Sequence[Entry], decided: Sequence[Decided]) -> list[Envelope]:
        asked = []
        for entry, made in zip(found, decided, strict=True):
            if made.turn is not None:
                asked += errands(self.taken.partition, made.turn)
            if made.problem is not None:
                asked += not_taken(entry.body)
        return asked

    async def _append(self, records: list[bytes], event: Any, asked: list[Envelope]) -> None:
        """The records in order, in as many batches as they need. With the last one the round is acknowledged, and what
        its turns ask of other pools is sent."""
        topic = self.worker.shape.named(JOURNAL)
        start = 0
        while start < len(records):
            batch, begin = self.producer.create_batch(), start
            while start < len(records) and batch.append(key=None, value=records[start], timestamp=None):
                start += 1
            appended = await self.producer.send_batch(batch, topic, partition=self.number)
            self.flying += 1
            last = start == len(records)
            await self.flight.put((appended, start - begin, event if last else None, asked if last else []))
        if not records and event is not None:
            await self.flight.put((None, 0, event, asked))
        self.turns += len(records)

    async def _acknowledge(self) -> None:
        """Compares the offset that each append got with the one it should have got; only then is a poll done with."""
        ownership = self.taken.ownership
        while True:
            appended, count, event, asked = await self.flight.get()
            if appended is not None:
                try:
                    said = await appended
                except KafkaError as problem:
                    ownership.failed_append(str(problem))
                    raise Lost(ownership.lost) from problem
                ownership.appended(said.offset, count)
                self.flying -= 1
                self.news.set()
            await self._send(asked)  # a restart begins behind these turns
            if event is not None:
                event.ack()
            self.flight.task_done()

    async def _reject(self, found: Sequence[Entry], decided: Sequence[Decided]) -> None:
        """What was no command, with its place and the reason. Sent before any later turn is appended, since a restart
        begins after the last turn: so each is sent at least once, with a key by which repeats are known."""
        sent = [
            await self.worker.others.send(
                self.worker.shape.named(REJECTED),
                json_encode(rejection(self.number, entry, made)),
                key=f"{self.number}/{entry.position}".encode(),
                partition=self.number,
            )
            for entry, made in zip(found, decided, strict=True)
            if made.problem is not None
        ]
        if sent:
            await asyncio.gather(*sent)

    # ---- beside the rounds

    async def _look(self) -> None:
        """Another may have taken the partition while we have nothing to append; a poll may be lost in a rebalance."""
        ownership, stood = self.taken.ownership, None
        while True:
            await asyncio.sleep(LOOK_S)
            place = ownership.place
            ends = await self.log.end(JOURNAL)
            if ownership.place is place:  # else what was asked is older than what we know
                ownership.journal_ends(ends)
            stands = self.worker.read_to(self.number)
            if stands is not None and stands == stood and self.polls.empty():  # nothing is on its way from Faust
                try:
                    ownership.consumer_stands(ownership.base + stands)
                except SeekAgain:
                    self.polls.put_nowait(AGAIN)
            stood = stands

    async def _tick(self) -> None:
        clock, partition = self.taken.clock, self.taken.partition
        while True:
            await asyncio.sleep(TICK_S)
            for pool, tick in clock.due(partition, now_ms()):
                sent = now_ms()
                try:
                    said = await self._command(tick)
                except KafkaError:
                    clock.not_sent(pool)
                else:
                    clock.measured(said.timestamp, sent, now_ms())
                    clock.sent(pool, self.taken.ownership.base + said.offset, partition)

    async def _renew(self) -> None:
        """Rules whose hours have to be worked out further."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._publish(self.renewal.due(now_ms()))
            except KafkaError:
                self.renewal.forget()

    async def _publish(self, due: Sequence[Rules]) -> None:
        """Those of these rules that differ from those in the log. Two workers with different files: the last to take a
        partition wins."""
        for rules in due:
            if partition_of(rules.pool, self.worker.shape.partitions) != self.number:
                continue
            tables = self.taken.partition.pools.get(rules.pool)
            if tables is None or tables.hash != hash_of(rules):
                id = f"publish-{self.taken.ownership.number}-{hash_of(rules)[:12]}"
                await self._command(envelope_of(PublishRules(rules), id, "waitline", rules.pool))
                log_.info("rules-published", partition=self.number, pool=rules.pool)

    async def _command(self, envelope: Envelope) -> Any:
        return await self.worker.others.send_and_wait(
            self.worker.shape.named(COMMANDS),
            write_command(envelope),
            key=envelope.pool.encode(),
            partition=partition_of(envelope.pool, self.worker.shape.partitions),
        )

    async def _send(self, asked: Sequence[Envelope]) -> None:
        """To other pools, each in its own partition, in this order."""
        for each in asked:
            await self._command(each)

    def _rows(self) -> tuple[Place, Rows]:
        """As they stand now, with nothing in flight: what the partition holds for a snapshot of itself."""
        place = self.taken.ownership.snapshot_place
        assert place is not None, "nothing is in flight"
        self.turns = 0
        return place, self.taken.partition.snapshot(place)

    async def _snapshot(self, place: Place, rows: Rows) -> None:
        """A cache: that it could not be written is no reason to lose the partition."""
        began = time.monotonic()
        try:
            size = await keep(self.worker.others, self.log, self.taken, rows)
        except (KafkaError, OSError) as problem:
            log_.warning("snapshot-not-kept", partition=self.number, reason=str(problem) or type(problem).__name__)
        else:
            log_.info(
                "snapshot-kept",
                partition=self.number,
                position=place.position,
                bytes=size,
                seconds=round(time.monotonic() - began, 2),
            )


@asynccontextmanager
async def _producer(worker: Worker) -> AsyncIterator[AIOKafkaProducer]:
    """One ownership's. What it still holds at the end is given up after some seconds: whether it stands in the journal
    is seen by whoever folds it."""
    producer = producer_of(worker.connection)
    try:
        await producer.start()
        yield producer
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await producer.stop()
        await producer._sender.close()
        await producer.client.close()


def producer_of(connection: Connection) -> AIOKafkaProducer:
    """acks=all and idempotent: in order, each once, and on as many brokers as the topic asks for."""
    return AIOKafkaProducer(
        **connection.for_client(),
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES,
    )


def rejection(number: int, entry: Entry, made: Decided) -> Mapping[str, Any]:
    """What stands in `rejected`."""
    problem = made.problem
    assert problem is not None
    return {
        "partition": number,
        "position": entry.position,
        "at": entry.at,
        "reason": "not-a-command",
        "field": problem.field,
        "problem": problem.problem,
        "body": b64encode(entry.body[:BODY_SHOWN]).decode(),
    }


def _first(problem: BaseException) -> BaseException:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem

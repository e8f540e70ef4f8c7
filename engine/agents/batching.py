"""The transport that hands all records of a partition in a poll to a Faust agent as one message, and says of each poll
where it began and which seek it follows.

Faust hands over record by record, keeps an interval tree of offsets it has not seen, and has a position of its own
beside the client's. For topics that are batched none of that is so: a message is a `Poll`, a group's offset is that of
the last poll acknowledged, and whoever reads tells by `Poll.begin` and `Poll.seek` whether it is the one that comes
next. Nothing here drops a poll; where Faust does (around a rebalance), the next one begins elsewhere than expected.

Faust's client lives in a thread with an event loop of its own: what is marked so below runs there.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from faust import App
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from yarl import URL

FETCH_WAIT_MS = 20  # what the broker may hold back an answer for more to come: other partitions wait behind it
HELD_S = 0.02  # how soon a partition is looked at again that was held and has been let go


class Poll(NamedTuple):
    """What one poll brought of one partition. seek: the number of the seek that it follows, 0 where there was none
    since the partition came to us; begin, end: offsets at which it began and at which the next one will."""

    seek: int
    begin: int | None
    end: int
    records: list[ConsumerRecord]


class _Message:
    """A poll in the shape of the record that Faust expects of its client."""

    def __init__(self, tp: TP, poll: Poll) -> None:
        self.topic, self.partition, self.offset = tp.topic, tp.partition, poll.end - 1
        self.timestamp, self.timestamp_type = poll.records[-1].timestamp, poll.records[-1].timestamp_type
        self.key, self.value, self.headers, self.checksum = None, poll, (), None
        self.serialized_key_size = self.serialized_value_size = 0


class _Thread(AIOKafkaConsumerThread):
    """All but `__init__` runs in the client's thread."""

    def __init__(self, consumer: "BatchConsumer", **named: Any) -> None:
        super().__init__(consumer, thread_loop=type(consumer.loop)(), **named)  # of the kind of the worker's own loop
        self._close_thread_loop_on_stop = True
        self.batched = consumer.batched
        self._numbers = itertools.count(1)
        self.seeks: dict[TP, int] = {}
        self.held: set[TP] = set()

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust says 1,500
        return consumer

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.seeks.clear()  # positions are others now
        self.held.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_from(self, tp: TP, offset: int) -> int:
        self._ensure_consumer().seek(tp, offset)
        number = self.seeks[tp] = next(self._numbers)
        return number

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        until = time.monotonic() + (timeout or 0)
        while True:
            active = active_partitions - self.held
            before = {tp: (self.seeks.get(tp, 0), _position(consumer, tp)) for tp in active}
            # Without a time-out nothing is awaited between looking at the positions and taking the records.
            found = await super()._fetch_records(consumer, active, 0, max_records) if active else {}
            left = until - time.monotonic()
            if found or left <= 0:
                return {tp: self._handed(consumer, tp, records, before) for tp, records in found.items()}
            await _more(consumer, min(left, HELD_S) if self.held else left)

    def _handed(
        self,
        consumer: AIOKafkaConsumer,
        tp: TP,
        records: list[ConsumerRecord],
        before: dict[TP, tuple[int, int | None]],
    ) -> list[Any]:
        if tp.topic not in self.batched:
            return records
        end = _position(consumer, tp)
        if end is None:  # lost while it was read
            return []
        return [_Message(tp, Poll(*before[tp], end, records))]


async def _more(consumer: AIOKafkaConsumer, within_s: float) -> None:
    """Waits until the client has fetched more. Raises what the broker has refused."""
    waiter = consumer._fetcher._create_fetch_waiter()
    await asyncio.wait([waiter], timeout=within_s)
    if waiter.done():
        waiter.result()
    else:
        waiter.cancel()


def _position(consumer: AIOKafkaConsumer, tp: TP) -> int | None:
    """Where the next poll of the partition begins; None: it is not ours, or Kafka has yet to say."""
    assignment = consumer._subscription.subscription.assignment
    if assignment is None or tp not in assignment.tps:
        return None
    state = assignment.state_value(tp)
    return int(state.position) if state.has_valid_position else None


class _ReadOffsets(defaultdict[TP, int | None]):
    """Faust drops what lies before the offset it believes to have read: of batched topics it believes nothing."""

    def __init__(self, batched: frozenset[str]) -> None:
        super().__init__(lambda: None)
        self.batched = batched

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic in self.batched else super().__getitem__(tp)


class BatchConsumer(Consumer):
    """Faust's consumer, on the worker's own loop."""

    _thread: _Thread

    def __init__(self, transport: "BatchTransport", *arguments: Any, **named: Any) -> None:
        self.batched = transport.batched
        super().__init__(transport, *arguments, **named)
        self._read_offset = _ReadOffsets(self.batched)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def seek_from(self, tp: TP, offset: int) -> int:
        """Reads on from there; polls that follow carry the number that is given back. IllegalStateError: the partition
        is not ours."""
        number: int = await self._thread.call_thread(self._thread.seek_from, tp, offset)
        return number

    def read_to(self, tp: TP) -> int | None:
        """Where the next poll of a partition will begin."""
        return _position(self._thread._ensure_consumer(), tp)

    def hold(self, tp: TP) -> None:
        """Flow control: no further poll of this partition; the others go on. (Faust's own way lets the whole consumer
        sleep for a second where only one partition is assigned.)"""
        self._thread.held.add(tp)

    def let_go(self, tp: TP) -> None:
        self._thread.held.discard(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """The offsets inside a poll are no gaps; an interval tree of them would take nine tenths of the time."""
        if tp.topic not in self.batched:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        """Polls are acknowledged in order, and by their last offset: everything up to it is done."""
        if tp.topic not in self.batched:
            offset: int | None = super()._new_offset(tp)
            return offset
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return last + 1

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's watch over partitions in which nothing happens; a quiet partition is no fault."""


class BatchTransport(Transport):
    """batched: names of the topics whose polls are handed over whole."""

    Consumer = BatchConsumer

    def __init__(self, url: list[URL], app: App, batched: Iterable[str]) -> None:
        super().__init__(url, app)
        self.batched = frozenset(batched)

"""One partition's journal as a door follows it: boards, the turns of late, where older ones stand, who waits for one.

Without I/O. Only what `journal.Reader` accepts is ever seen here.
"""

import asyncio
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec

from engine.core.messages import Turn
from engine.streams.codec import json_turn, pack_turn
from engine.streams.journal import Marker, Place, Void, read_turn, split_turn
from engine.streams.log import Record
from engine.streams.ownership import FoldAgain
from engine.streams.views import Views

KEPT = 4_096  # turns of late at least, and
KEPT_BYTES = 4 << 20  # no more bytes than that; who wants older ones has them from the broker
STRIDE = 256  # turns from one place of the trail to the next


class Followed:
    """views: as they stand where following begins; marker: of the owner there, None before the first."""

    def __init__(self, views: Views, marker: Marker | None = None) -> None:
        self.views = views
        self.marker = marker
        self.at = 0
        self.trouble = ""  # why it is followed no more
        self.trail = Trail(views.place)
        self._since = 0
        self._whole = views.place.offset < 0  # nothing comes from a snapshot, or it was continued
        self._floor = views.place.position  # of the last turn that is not kept
        self._positions: list[int] = []
        self._records: list[bytes] = []
        self._bytes = 0
        self._waited: list[int] = []  # positions, a heap
        self._futures: dict[int, asyncio.Future[Turn | None]] = {}
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def place(self) -> Place:
        return self.views.place

    @property
    def base(self) -> int:
        """What is added to the offset of a command to give its position."""
        return self.marker.base if self.marker else 0

    def take(self, records: Sequence[Record]) -> None:
        """The next ones of the journal, in order. JournalBroken: it cannot be read on. FoldAgain: the snapshot where
        this began is not of it."""
        before = self.place.position
        for record in records:
            found = self.views.fold(record)
            if isinstance(found, Turn):
                self._keep(found, record.body)
                self._settle(found)
                self._whole = True
            elif isinstance(found, Void) and found.alarm and not self._whole:
                raise FoldAgain(f"journal offset {record.offset} is void ({found.why}) after the snapshot")
        self.marker = self.views.reader.marker or self.marker
        if self.place.position > before:
            self.tell()

    def tell(self) -> None:
        """Wakes all who wait for news."""
        news, self.news = self.news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    def _keep(self, turn: Turn, body: bytes) -> None:
        self.at = turn.at
        self._positions.append(turn.position)
        self._records.append(body)
        self._bytes += len(body)
        if len(self._positions) >= 2 * KEPT or self._bytes > KEPT_BYTES:
            half = (len(self._positions) + 1) // 2
            self._floor = self._positions[half - 1]
            self._bytes -= sum(map(len, self._records[:half]))
            del self._positions[:half], self._records[:half]
        self._since += 1
        if self._since >= STRIDE:
            self.trail.go_on(self.place)
            self._since = 0

    def recent(self, after: int, limit: int) -> list[bytes] | None:
        """Turn records after that position, in order; None: not all of them are kept here."""
        if after < self._floor:
            return None
        start = bisect_right(self._positions, after)
        return self._records[start : start + limit]

    # ---- who waits for what became of a command

    def fate(self, position: int) -> "asyncio.Future[Turn | None] | None":
        """Its turn, once there is one; None in the future: a later one has come without it. None: it is older than what
        is kept here."""
        future: asyncio.Future[Turn | None] = asyncio.get_running_loop().create_future()
        if position > self.place.position:
            heapq.heappush(self._waited, position)
            self._futures[position] = future
            return future
        found = self.recent(position - 1, 1)
        if found is None:
            return None
        turn = read_turn(found[0])
        future.set_result(turn if turn.position == position else None)
        return future

    def forget(self, position: int) -> None:
        """Nobody waits for that any more."""
        self._futures.pop(position, None)

    def _settle(self, turn: Turn) -> None:
        while self._waited and self._waited[0] <= turn.position:
            position = heapq.heappop(self._waited)
            future = self._futures.pop(position, None)
            if future is not None and not future.done():
                future.set_result(turn if position == turn.position else None)


class Trail:
    """Places along the journal, so that older turns are found by bisection; positions never go down along them. It
    begins where following did, and is continued to the past for who asks."""

    def __init__(self, place: Place) -> None:
        self._places = [place]

    def go_on(self, place: Place) -> None:
        self._places.append(place)

    @property
    def begin(self) -> Place:
        return self._places[0]

    def before(self, position: int) -> Place | None:
        """The last one noted whose turn has at most that position; None: the trail does not reach back so far."""
        found = bisect_right(self._places, position, key=lambda place: place.position)
        return self._places[found - 1] if found else None

    def reach_back(self, records: Sequence[Record]) -> bool:
        """Continues the trail to the past over the records that stand before its beginning, the beginning's own last.
        Of what stands in the journal only that has counted whose chain, with the next turn's bytes, gives the next
        turn's chain. False: none of these has."""
        begin, turns = self.begin, []
        markers = {begin.owner}
        for record in records:
            if record.body.startswith(b'{"marker":'):
                markers.add(record.offset)
                continue
            with suppress(ValueError, msgspec.MsgspecError):
                turns.append((record.offset, *split_turn(record.body)))
        owners = sorted(markers)  # what former ones have written after the next had taken the journal has not counted
        first = max((owner for offset, owner, _, _ in turns if offset < owners[0]), default=-1)
        places: list[Place] = []
        wanted, body = begin.chain, b""
        for offset, owner, chain, turn in reversed(turns):
            newest = bisect_left(owners, offset)
            if owner != (owners[newest - 1] if newest else first):
                continue
            if chain == wanted if not body else sha256(chain + body).digest() == wanted:
                wanted, body = chain, turn
                places.append(Place(offset, owner, position_of(turn), chain))
        older = [place for place in places if place.offset < begin.offset]
        if older:
            kept = older[:-1][STRIDE - 1 :: STRIDE]
            self._places[:0] = [older[-1], *reversed(kept)]
        if not records or not records[0].offset:
            self._places.insert(0, Place())
        return bool(older)


def position_of(turn: bytes) -> int:
    return (json_turn(turn) if turn[:1] == b"{" else pack_turn(turn)).position

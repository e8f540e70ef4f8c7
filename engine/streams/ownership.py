"""Who may write a partition's journal, and what counts as written: the twelve rules, without a broker, clock or thread.

One `Ownership` is one worker's attempt to own one partition, from the fold to the loss. A host does what it says and
reports what came of it:

    fold(record) …            the journal from `reads_from` to its end
    marker(ours)              -> bytes to append with a producer of its own; marked(offset)
    fold(record) …            again from `reads_from`, until `taken`
    seek()                    -> the offset from which commands are to be read, for polls of this generation
    decide(batch)             -> what became of each; those with a record are appended in order
    appended(offset, count)   as each append is acknowledged; only then may anything be told
    journal_ends(offset)      now and then, also when nothing is going on

Once `Lost` has been raised, the object is done with: its producer is closed, and whoever wants the partition begins
anew. The same code runs in the explorer of interleavings (tests/streams/explorer.py).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from msgspec import MsgspecError, Struct
from msgspec.structs import replace

from engine.core.messages import Turn

from .journal import FORMAT, Marker, Place, Reader, Void, split_turn, write_marker
from .log import Entry, Record
from .partition import Decided


class Lost(Exception):
    """The partition is not ours, or not for sure: what is in flight may not be told to anyone. It can be taken
    again."""


class CannotTake(Exception):
    """This worker must leave the partition alone until a person has looked; the text says why and what to do."""


class FoldAgain(Exception):
    """The snapshot is not of this journal: throw it away and fold from the start."""


class SeekAgain(Exception):
    """The batch is not the one that comes next (it was polled before a seek): ask `seek` where to read on."""


class Poisoned(Lost):
    """Deciding the command at `position` has raised: the rows are half written. Taken again with this in `failed`, it
    becomes a turn that says so."""

    def __init__(self, position: int, error: str) -> None:
        super().__init__(f"command {position} cannot be decided: {error}")
        self.position = position
        self.error = error


class Pools(Protocol):
    """What is owned: a `Partition`."""

    owner: int
    chain: bytes
    position: int

    def fold(self, turn: Turn, place: Place) -> None: ...

    def decide_entry(self, entry: Entry, failed: str = "") -> Decided: ...


class Batch(Struct, frozen=True):
    """What one poll brought. generation: of the seek it follows; begin, end: positions at which the poll began and
    where the next one will (offsets between entries may be missing)."""

    generation: int
    begin: int
    end: int
    entries: Sequence[Entry]


class Ownership:
    """pools, reader: both as they stand where the fold is to begin. whole: that is the start of the journal, not a
    snapshot. failed: positions whose command has poisoned an earlier ownership, and the error."""

    def __init__(self, pools: Pools, reader: Reader, *, whole: bool, failed: Mapping[int, str] | None = None) -> None:
        self.pools = pools
        self.reader = reader
        self.whole = whole
        self.failed = failed or {}
        self.lost = ""  # why, once it is
        self.number = -1  # the owner's number: the offset of our marker
        self.ours: Marker | None = None
        self.engine = reader.marker  # the marker of the newest engine that has had the partition
        self.place = reader.place  # the last record that counts and of which we know that it stands in the journal
        self.turn = reader.place if reader.place.offset > reader.place.owner else None  # the last turn of these
        self.since = (reader.place, reader.marker, reader.first)  # the reader as it stood there
        self._read_from_turn()
        self.flight: deque[Place] = deque()  # turns that have been handed out to be appended, in order
        self.next_offset = -1  # what our next append should get
        self.next_position = -1  # what our next batch should begin with
        self.generation = 0
        self.base = 0

    # ---- taking

    def _read_from_turn(self) -> None:
        """The last turn is to be read again, and all that came after it: since it was read, or since the snapshot was
        written, the log may have been cut; what is decided on a lost turn would count for nobody."""
        self.reader.place, self.reader.marker, self.reader.first = self.since
        self.found = self.turn is None  # whether the last turn has been found where it stood
        self.reads_from = self.reader.place.offset + (1 if self.found else 0)

    def fold(self, record: Record) -> Turn | Marker | Void:
        """The journal record at or after `reads_from`. JournalBroken: it cannot be read on. FoldAgain: the snapshot is
        of another journal. Lost, CannotTake: somebody else has come."""
        self._must_be_ours()
        offset = record.offset
        assert offset >= self.reads_from, "the journal is read in order"
        self.reads_from = offset + 1
        if self.turn is not None and not self.found:
            self._find(self.turn, record)
            return Void(offset, "read-again", alarm=False)
        found = self.reader.read(record)
        self.place = self.reader.place
        if isinstance(found, Turn):
            self.turn, self.since = self.place, (self.place, self.reader.marker, self.reader.first)
            self.pools.fold(found, self.place)
        elif isinstance(found, Marker):
            self._meet(found)
        elif found.why == "unknown-owner" and not self.whole:
            self._begin_anew(f"the marker of the turn at journal offset {offset} stands before the snapshot")
        if 0 <= self.number <= offset:
            self._must_be_newest()
        return found

    def _meet(self, marker: Marker) -> None:
        """Not only the newest: an old engine's marker that has arrived late must not hide a newer engine's."""
        if self.engine is None or version_of(marker.engine) >= version_of(self.engine.engine):
            self.engine = marker
        if self.ours is not None and marker != self.ours:
            self._may_follow(marker, self.ours)

    def _find(self, turn: Place, record: Record) -> None:
        """The last turn must stand where it was read. (A former owner may have decided the same: the owner counts.)"""
        if record.offset != turn.offset or head_of(record.body) != (turn.owner, turn.chain):
            self._begin_anew(f"the journal does not hold turn {turn.position} at offset {turn.offset}")
        self.found = True

    def _begin_anew(self, why: str) -> NoReturn:
        if self.whole:
            self._lose(f"{why}: it was cut")
        self.lost = why
        raise FoldAgain(why)

    def _must_be_newest(self) -> None:
        """Until we write, the last record that counts is our marker. (After a cut, turns of a former owner of the same
        number may come after it, and count.) The log is what our marker says."""
        first, newest, place = self.reader.first, self.reader.marker, self.reader.place
        if first is None or newest is None or place.offset != self.number or newest != self.ours:
            self._lose(f"our marker is at journal offset {self.number}, and {place.offset} of {place.owner} counts")
        elif log_of(newest) != log_of(first):
            self._lose(f"{first.worker} has begun a log here between our look and our marker")

    def marker(self, ours: Marker) -> bytes:
        """Our marker, to be appended: what `ours` says of worker, time and topics, and of the log what its first marker
        says. CannotTake: we must not."""
        self._must_be_ours()
        newest, first = self.reader.marker, self.reader.first
        if self.engine is not None and newest is not None and first is not None:
            self._may_follow(self.engine, ours)
            self._may_follow(newest, ours)
            self._must_be_whole(first)
            ours = replace(
                ours, log=first.log, time=first.time, encoding=first.encoding, base=first.base, chain=first.chain
            )
        self.ours, self.base = ours, ours.base
        return write_marker(ours)

    def _may_follow(self, newest: Marker, ours: Marker) -> None:
        if newest.format > FORMAT or version_of(newest.engine) > version_of(ours.engine):
            self._stop(
                f"Engine {newest.engine} (format {newest.format}) has had this partition; this worker is engine "
                f"{ours.engine} and may not know all that it wrote. Start workers of that version or a newer one."
            )
        if newest.partitions != ours.partitions:
            self._stop(
                f"The log was begun with {newest.partitions} partitions, and the topics have {ours.partitions}. The "
                "number never changes, since pools would change places: give the topics their former number, or begin "
                "a log of another prefix."
            )
        if newest.partition != ours.partition:
            self._stop(
                f"The journal is that of partition {newest.partition}, and stands in {ours.partition}: a byte copy of "
                "a topic is no journal. Copy a log with `waitline export` and `waitline migrate`."
            )
        for name, was, now in (
            ("journal", newest.journal_id, ours.journal_id),
            ("commands", newest.commands_id, ours.commands_id),
        ):
            if was and now and was != now:
                self._stop(
                    f"The {name} topic is not the one that this log was written with (id {now}, and was {was}): it was "
                    "deleted and made anew. Restore it, or begin a log of another prefix."
                )

    def _must_be_whole(self, first: Marker) -> None:
        """A log that was moved here has its last turn right before the base."""
        if self.reader.place.position < first.base - 1:
            self._stop(
                f"The log {first.log} was being moved here, and only a part of it has arrived (position "
                f"{self.reader.place.position} of {first.base - 1}). Finish it with `waitline migrate`."
            )

    def marked(self, offset: int) -> None:
        """The broker has put our marker there."""
        self._must_be_ours()
        self.number = offset
        if self.turn is not None and self.turn.offset >= offset:
            self._begin_anew(f"the journal has gone on at {offset}, before the turn of command {self.turn.position}")
        self._read_from_turn()

    @property
    def taken(self) -> bool:
        """All that stood before our marker has been folded, and nobody has come after us."""
        return self.reader.place.offset == self.number >= 0 and not self.lost

    # ---- commands

    def seek(self, begins: int, *, again: bool = False) -> int:
        """The offset from which commands are to be read; what is polled from there is of `generation`. begins: of the
        commands topic. again: this is not the first seek."""
        self._must_be_ours()
        assert self.taken
        if not again:
            self.next_offset = self.number + 1
            self.next_position = self.restart()
            self.pools.owner, self.pools.chain = self.number, self.place.chain  # an archive's, before the first turn
        offset = self.next_position - self.base
        if begins > offset:
            self._stop(
                f"The commands begin at offset {begins}, and {offset} is the next to be decided: some have expired "
                "before they were read. Nothing is skipped silently; see the runbook for expired commands."
            )
        self.generation += 1
        return offset

    def restart(self) -> int:
        """Commands that said nothing after the last turn are decided again: never the group's committed offset, which a
        stalled worker may have moved."""
        return max(self.pools.position + 1, self.base)

    def decide(self, batch: Batch) -> list[Decided]:
        """What became of each entry. The records among them must be appended in this order, each once; the batch must
        not be lost when SeekAgain is raised, but read again."""
        self._must_be_ours()
        self._must_follow(batch)
        decided = []
        pools, flight = self.pools, self.flight
        for entry in batch.entries:
            try:
                made = pools.decide_entry(entry, self.failed.get(entry.position, ""))
            except Exception as error:
                self.lost = f"command {entry.position} cannot be decided"
                raise Poisoned(entry.position, f"{type(error).__name__}: {error}") from error
            if made.record is not None:
                flight.append(Place(self.next_offset, self.number, entry.position, pools.chain))
                self.next_offset += 1
            decided.append(made)
        self.next_position = batch.end
        return decided

    def _must_follow(self, batch: Batch) -> None:
        if batch.generation != self.generation:
            raise SeekAgain(f"the batch is of seek {batch.generation}, and this is {self.generation}")
        self.consumer_stands(batch.begin)

    def consumer_stands(self, position: int) -> None:
        """Where the next poll will begin, looked at also when none brings anything (and nothing polled waits to be
        decided): a consumer that was moved to the end of the commands would be noticed only with the next of them."""
        self._must_be_ours()
        if position != self.next_position:
            raise SeekAgain(f"the commands go on at {position}, and {self.next_position} comes next")

    # ---- appends

    def appended(self, offset: int, count: int = 1) -> Place:
        """The next `count` records in flight stand in the journal, the first of them at `offset`. The place up to which
        everything may now be told. Lost: they stand there, but after somebody else's."""
        self._must_be_ours()
        self._must_be_expected(offset)
        for _ in range(count):
            self.place = self.flight.popleft()
        return self.place

    def _must_be_expected(self, offset: int) -> None:
        if offset != self.flight[0].offset:
            self._lose(f"an append got journal offset {offset} where {self.flight[0].offset} was expected")

    def failed_append(self, why: str) -> None:
        """An append, its answer, or the producer has failed: whatever else it holds may or may not be written."""
        self.lost = self.lost or f"an append has failed: {why}"

    def journal_ends(self, offset: int) -> None:
        """The offset that the journal's next record will get, as the broker says: looked at also when nothing is to be
        written, since an owner of another version that finds nothing to say would never notice that it has lost."""
        self._must_be_ours()
        if self.generation == 0:  # still taking: what comes after our marker is for `fold` to judge
            return
        least = self.flight[0].offset if self.flight else self.next_offset
        if not least <= offset <= self.next_offset:
            self._lose(f"the journal ends at {offset}, not at {self.next_offset}: it was cut, or another has written")

    @property
    def snapshot_place(self) -> Place | None:
        """Where a snapshot of the pools would stand: at a turn of our own, so that whoever begins with it can find the
        turn again. None while turns are in flight, which it must not hold."""
        return self.place if not self.lost and not self.flight and self.place.offset > self.number >= 0 else None

    # ----

    def _lose(self, why: str) -> NoReturn:
        self.lost = why
        raise Lost(why)

    def _stop(self, why: str) -> NoReturn:
        self.lost = why
        raise CannotTake(why)

    def _must_be_ours(self) -> None:
        if self.lost:
            raise Lost(self.lost)


def head_of(record: bytes) -> tuple[int, bytes]:
    """What a turn record says of its owner and its chain; (-1, b"") if it is none."""
    try:
        owner, chain, _ = split_turn(record)
    except (ValueError, MsgspecError):
        return -1, b""
    return owner, chain


def log_of(marker: Marker) -> tuple[object, ...]:
    """What its first marker says of a log, and all others must repeat."""
    return marker.log, marker.time, marker.base, marker.chain


def version_of(engine: str) -> tuple[int, ...]:
    """The numbers of an engine's version, which compare as versions do. What follows them (a pre-release) is not
    told apart."""
    numbers = []
    for part in engine.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)

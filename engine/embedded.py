"""The embedded host: one process, one log. A command is in the log, decided and durable when `submit` returns.

A loop that can be read at a glance: decode, step, encode, append. Everything here is done by one thread, except
writing a snapshot's bytes, which may be done by another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec
import structlog

from engine.core.deadlines import NONE
from engine.core.messages import Command, PublishRules, Turn
from engine.core.rules import Rules
from engine.core.step import next_due
from engine.streams.board import Board
from engine.streams.board import Rows as BoardRows
from engine.streams.codec import BadCommand, Encoding, Envelope, envelope_of, read_command, write_command
from engine.streams.errands import errands, not_taken, outstanding
from engine.streams.host import Asked, Outcome, status_of
from engine.streams.journal import (
    JournalBroken,
    Marker,
    Place,
    Reader,
    TimeKind,
    Void,
    read_turn,
    split_turn,
    write_marker,
)
from engine.streams.log import Entry, Log, LogForeign, LogProblem, Record, Snapshot
from engine.streams.partition import Decided, Partition, tick_for

SNAPSHOT_TURNS = 50_000  # a restart folds at most about so many turns: less than half a second
TAIL = 1_000  # turns before the snapshot whose chain is checked at every start
TICKS_AT_ONCE = 16  # before others get a word in
TICK_AGAIN_MS = 10_000  # after a tick that brought nothing about: a fault of the engine must not become a hot loop

log_ = structlog.get_logger("waitline.embedded")
_board_rows = msgspec.msgpack.Decoder(dict[str, BoardRows])


class Embedded:
    """One log, its pools, their boards. clock: the log's time in milliseconds; what it says is clamped to never run
    back."""

    def __init__(
        self,
        log: Log,
        clock: Callable[[], int],
        time: TimeKind = "real",
        *,
        name: str = "",
        worker: str = "embedded",
        encoding: Encoding = "json",
        snapshot_turns: int = SNAPSHOT_TURNS,
    ) -> None:
        """Recovers from the log: newest good snapshot, then the turns after it. LogForeign: the log does not hold
        together, or holds another kind of time. name: the log's own, used when it is new."""
        self.log = log
        self.clock = clock
        self.listeners: list[Callable[[list[Turn]], None]] = []  # called with each commit's turns, once durable
        self.snapshot_turns = snapshot_turns
        self.worker = worker
        self._reader = Reader()
        self.partition = Partition()
        self.boards: dict[str, Board] = {}
        self.place = Place()
        self._position = self._offset = self._turns_since = 0
        self._errands: list[Envelope] = []  # what is still to be said to other pools
        self._on_errand = False
        self._put_off: dict[str, int] = {}  # pools whose last tick came to nothing: when the next one may come
        self._recover()
        first = self._reader.first
        if first is not None and first.time != time:
            raise LogForeign(f"This log holds {first.time} time; {time} time was asked for. It is left as it is.")
        self.encoding: Encoding = first.encoding if first else encoding
        self.time: TimeKind = time
        self.name = first.log if first else name
        self._take()
        self._errands = list(outstanding(self.partition))
        self._run_errands()

    # ---- what is asked

    def submit(self, asked: Sequence[Asked]) -> list[Outcome]:
        """Decides the commands in order and appends them with their turns, all durable when this returns.

        LogFull, LogProblem: nothing of this has happened, and none of it is in the log.
        """
        failed: dict[int, str] = {}
        while True:
            try:
                decided, entries, records = self._decide(asked, failed)
                break
            except _Poison as poison:
                log_.error(
                    "command-failed", error=poison.error, command=asked[poison.index][0].type, exc_info=poison.__cause__
                )
                failed[poison.index] = poison.error
                self._recover()
                self._adopt()
        if entries:
            try:
                self.log.append(self._offset, entries, records)
            except LogProblem:
                self._recover()
                self._adopt()
                raise
            self._position += len(entries)
            self._offset += len(records)
        outcomes = []
        for position, made in decided:
            if isinstance(made, BadCommand):
                outcomes.append(Outcome(-1, self.partition.at, "refused", [], problem=made))
            else:
                outcomes.append(self._outcome(position, made))
        if records:
            last = records[-1]
            assert last.position is not None
            self.place = Place(last.offset, self.partition.owner, last.position, self.partition.chain)
            turns = [made.turn for _, made in decided if isinstance(made, Decided) and made.turn is not None]
            self._show(turns)
            for turn in turns:
                self._errands += errands(self.partition, turn)
            self._run_errands()
        return outcomes

    def _run_errands(self) -> None:
        """What turns ask of other pools, which are in this log, too. Where it takes nothing now, that is kept for the
        next tick; a start finds it again."""
        while self._errands and not self._on_errand:
            sent, self._errands, self._on_errand = self._errands, [], True
            asked = []
            for each in sent:
                body = write_command(each)
                asked.append((*read_command(body), body))
            try:
                outcomes = self.submit(asked)
            except LogProblem as problem:
                log_.warning("errands-put-off", count=len(sent), reason=str(problem))
                self._errands = sent + self._errands
                return
            finally:
                self._on_errand = False
            for (_, _, body), outcome in zip(asked, outcomes, strict=True):
                if outcome.problem is not None:
                    self._errands += not_taken(body)

    def _decide(
        self, asked: Sequence[Asked], failed: dict[int, str]
    ) -> tuple[list[tuple[int, Decided | BadCommand]], list[Entry], list[Record]]:
        partition, position, offset = self.partition, self._position, self._offset
        at = max(self.clock(), partition.at)
        decided: list[tuple[int, Decided | BadCommand]] = []
        entries: list[Entry] = []
        records: list[Record] = []
        for index, (envelope, command, body) in enumerate(asked):
            try:
                if failed and index in failed:
                    made = partition.fail(envelope, position, at, failed[index])
                else:
                    made = partition.decide(envelope, command, position, at)
            except BadCommand as problem:
                decided.append((-1, problem))
                continue
            except Exception as error:
                raise _Poison(index, f"{type(error).__name__}: {error}") from error
            entries.append(Entry(position, at, body))
            if made.record is not None:
                records.append(Record(offset, position, made.record))
                offset += 1
            decided.append((position, made))
            position += 1
        return decided, entries, records

    def _outcome(self, position: int, made: Decided) -> Outcome:
        at, events = self.partition.at, made.events
        if made.repeats is not None:
            first = self.log.turn(made.repeats)
            return Outcome(position, at, "repeated", list(read_turn(first.body).events) if first else [], made.repeats)
        return Outcome(position, at, status_of(events), events)

    def ask(self, command: Command, id: str, source: str, pool: str, actor: str = "") -> Outcome:
        """One command of our own making."""
        envelope = envelope_of(command, id, source, pool, actor)
        return self.submit([(envelope, command, write_command(envelope))])[0]

    def publish(self, rules: Rules, actor: str = "") -> Outcome:
        """New rules for a pool; `unchanged` where it has them already."""
        return self.ask(PublishRules(rules), f"publish-{self._position}", "waitline", rules.pool, actor)

    def next_due(self) -> int:
        """When a tick is due; deadlines.NONE: nothing is."""
        return self._next_due()[0]

    def _next_due(self) -> tuple[int, str]:
        if not self._put_off:
            return self.partition.next_due()
        pools, put_off = self.partition.pools, self._put_off
        return min(((max(next_due(tables), put_off.get(pool, 0)), pool) for pool, tables in pools.items()))

    def tick(self) -> bool:
        """Appends a tick for each pool that has something due, a few at a time. True: there may be more."""
        self._run_errands()
        for _ in range(TICKS_AT_ONCE):
            due, pool = self._next_due()
            if due == NONE or due > self.at:
                return False
            if self._tick(pool).status == "accepted":
                self._put_off.pop(pool, None)
            else:
                self._put_off[pool] = self.at + TICK_AGAIN_MS
        return True

    def knock(self) -> None:
        """Appends a tick too many, which does no harm: it shows whether the log takes anything. LogProblem: not yet."""
        for pool in list(self.partition.pools)[:1]:
            self._tick(pool)

    def _tick(self, pool: str) -> Outcome:
        envelope, tick = tick_for(pool, self._position)
        return self.submit([(envelope, tick, write_command(envelope))])[0]

    # ---- who looks on

    @property
    def position(self) -> int:
        """Of the last command in the log."""
        return self._position - 1

    @property
    def at(self) -> int:
        """Log time: of the last command, or now."""
        return max(self.clock(), self.partition.at)

    def _show(self, turns: list[Turn]) -> None:
        for turn in turns:
            self._on_board(turn)
        self._turns_since += len(turns)
        for listener in self.listeners:
            listener(turns)

    def _on_board(self, turn: Turn) -> None:
        pool = turn.command.pool
        board = self.boards.get(pool)
        if board is None:
            if pool not in self.partition.pools:
                return
            board = self.boards[pool] = Board(pool)
        try:
            board.fold(turn)
        except Exception:  # views may be wrong then, but nobody waits for them
            log_.exception("board-failed", pool=pool, position=turn.position)

    # ---- snapshots

    @property
    def snapshot_due(self) -> bool:
        return self._turns_since >= self.snapshot_turns

    def snapshot(self) -> Callable[[], None]:
        """Takes the rows at once; the function that is given back writes them, in any thread. LogProblem from there:
        not kept."""
        encoded = self.partition.snapshot(self.place)
        boards = {pool: board.rows() for pool, board in self.boards.items()}
        self._turns_since = 0

        def write() -> None:
            self.log.keep_snapshot(Snapshot(*encoded(msgspec.msgpack.encode(boards))))

        return write

    def close(self) -> None:
        """Writes a snapshot where something has happened since the last, and lets go of the log."""
        if self._turns_since:
            with suppress(LogProblem):
                self.snapshot()()
        self.log.close()

    # ---- recovery

    def _recover(self) -> None:
        """The state as the log has it: the newest snapshot that matches, and every turn after it."""
        for snapshot in self.log.snapshots():
            try:
                self._restore(snapshot)
                break
            except Exception as problem:  # whatever is wrong with it: it is only a cache
                log_.warning("snapshot-ignored", reason=f"{type(problem).__name__}: {problem}")
        else:
            self.partition, self.boards, self.place = Partition(), {}, Place()
            self._reader = Reader()
        self._turns_since = 0
        partition, reader = self.partition, self._reader
        for record in self.log.journal(self.place.offset + 1):
            try:
                found = reader.read(record)
            except JournalBroken as broken:
                raise LogForeign(f"The log cannot be used: {broken}. It is left as it is.") from None
            if isinstance(found, Turn):
                partition.fold(found, reader.place)
                self._on_board(found)
                self._turns_since += 1
            elif isinstance(found, Void) and found.alarm:
                raise LogForeign(
                    f"The log does not hold together at journal offset {found.offset} ({found.why}): it was changed, "
                    "or something else has written there. It is left as it is; `waitline log verify` says more."
                )
        self.place = reader.place
        self._position, self._offset = self.log.ends()

    def _restore(self, snapshot: Snapshot) -> None:
        partition, place, projections = Partition.restore(snapshot.manifest, snapshot.chunks)
        marker = self._marker_of(place)
        self._check_tail(place)
        self.boards = {pool: Board.restore(rows) for pool, rows in _board_rows.decode(projections).items()}
        partition.encoding = marker.encoding
        self.partition, self.place = partition, place
        self._reader = Reader(place, marker)

    def _marker_of(self, place: Place) -> Marker:
        """The marker of the place's owner, read from the journal; ValueError: there is none."""
        reader = Reader()
        for record in self._records(place.owner, 1):
            found = reader.read(record)
            if isinstance(found, Marker):
                return found
        raise ValueError(f"the journal has no owner's marker at offset {place.owner}")

    def _check_tail(self, place: Place) -> None:
        """The last turns up to the place chain on, and end there; ValueError where not: the snapshot is of another
        journal."""
        start = max(0, place.offset - TAIL)
        reader: Reader | None = None
        for record in self._records(start, place.offset - start + 1):
            if record.position is None:
                if reader is not None:
                    reader.read(record)
                continue
            if reader is None:
                owner, chain, _ = split_turn(record.body)
                reader = Reader(Place(record.offset, owner, record.position, chain))
                continue
            reader.read(record)
        if place.position >= 0 and (reader is None or reader.place != place):
            raise ValueError("it does not stand where the journal stands")

    def _records(self, start: int, count: int) -> Iterable[Record]:
        for record in self.log.journal(start):
            if record.offset >= start + count:
                return
            yield record

    def _take(self) -> None:
        """This process becomes the owner of the journal. What the log holds after the last turn said nothing, and is
        decided again."""
        at = max(self.clock(), self.log.last_at())
        marker = Marker(self.worker, self.name, self.time, at, encoding=self.encoding)
        record = Record(self._offset, None, write_marker(marker))
        self._reader.read(record)
        self.log.append(self._offset, [], [record])
        self._offset += 1
        self.place = self._reader.place
        self._adopt()

    def _adopt(self, failed: Mapping[int, str] = {}) -> None:
        """Goes on as the owner where the journal's accepted turns end. failed: positions that cannot be decided."""
        partition = self.partition
        partition.encoding = self.encoding
        partition.owner, partition.chain = self.place.owner, self.place.chain
        records: list[Record] = []
        turns: list[Turn] = []
        for entry in self.log.commands(partition.position + 1):
            try:
                made = partition.decide_entry(entry, failed.get(entry.position, ""))
            except Exception as error:
                log_.exception("command-failed", position=entry.position)
                self._recover()
                return self._adopt({**failed, entry.position: f"{type(error).__name__}: {error}"})
            if made.record is not None:
                records.append(Record(self._offset + len(records), entry.position, made.record))
                assert made.turn is not None
                turns.append(made.turn)
        if records:  # an engine that finds something to say where the former found nothing
            self.log.append(self._offset, [], records)
            self._offset += len(records)
            self.place = Place(records[-1].offset, partition.owner, turns[-1].position, partition.chain)
            self._show(turns)
        partition.next_due()  # makes the indexes that the fold has laid aside, before anybody waits for them


class _Poison(Exception):
    def __init__(self, index: int, error: str) -> None:
        super().__init__(error)
        self.index = index
        self.error = error

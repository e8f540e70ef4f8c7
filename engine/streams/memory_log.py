"""The log in memory, for tests and replays; and what every log asks of an append, so that all of them ask the same."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .log import Entry, LogMoved, Record, Snapshot

SNAPSHOTS_KEPT = 2


class Ends(NamedTuple):
    """Where a log stands. position, offset: the next ones; at, turn: of the last command and of the last turn."""

    position: int = 0
    offset: int = 0
    at: int = 0
    turn: int = -1


def must_fit(ends: Ends, at_offset: int, entries: Sequence[Entry], records: Sequence[Record]) -> None:
    """LogMoved if the log does not stand where the writer believed; ValueError if what comes does not follow in itself.

    The positions of turns never go down along the journal, because readers find a turn by bisection.
    """
    if at_offset != ends.offset:
        raise LogMoved(f"The journal stands at offset {ends.offset}, its writer believed {at_offset}.")
    if entries and entries[0].position != ends.position:
        raise LogMoved(f"The commands stand at position {ends.position}, their writer believed {entries[0].position}.")

    last_at = ends.at
    for expected, (position, at, _) in enumerate(entries, ends.position):
        if position != expected:
            raise ValueError(f"positions have no gaps: {expected} is next, not {position}")
        if at < last_at:
            raise ValueError(f"log time never decreases: {at} ms at position {position} comes after {last_at} ms")
        last_at = at

    last_turn, known = ends.turn, ends.position + len(entries)
    for expected, (offset, turn, _) in enumerate(records, ends.offset):
        if offset != expected:
            raise ValueError(f"offsets have no gaps: {expected} is next, not {offset}")
        if turn is not None:
            if turn < last_turn:
                raise ValueError(f"turns follow their commands: position {turn} comes after {last_turn}")
            if not 0 <= turn < known:
                raise ValueError(f"a turn needs its command: there is none at position {turn}")
            last_turn = turn


class MemoryLog:
    """Keeps to `Log` (log.py) with lists. What comes while somebody iterates is still seen by them."""

    def __init__(self) -> None:
        self._commands: list[Entry] = []
        self._journal: list[Record] = []
        self._turns: list[Record] = []
        self._turn_positions: list[int] = []
        self._snapshots: list[Snapshot] = []

    def ends(self) -> tuple[int, int]:
        return len(self._commands), len(self._journal)

    def last_at(self) -> int:
        return self._commands[-1].at if self._commands else 0

    def append(self, at_offset: int, entries: Sequence[Entry], records: Sequence[Record]) -> None:
        last_turn = self._turn_positions[-1] if self._turn_positions else -1
        must_fit(Ends(*self.ends(), self.last_at(), last_turn), at_offset, entries, records)
        self._commands.extend(entries)
        self._journal.extend(records)
        for record in records:
            if record.position is not None:
                self._turns.append(record)
                self._turn_positions.append(record.position)

    def commands(self, from_position: int = 0) -> Iterator[Entry]:
        position = max(from_position, 0)
        while position < len(self._commands):
            yield self._commands[position]
            position += 1

    def journal(self, from_offset: int = 0) -> Iterator[Record]:
        offset = max(from_offset, 0)
        while offset < len(self._journal):
            yield self._journal[offset]
            offset += 1

    def turns(self, after_position: int, limit: int) -> list[Record]:
        start = bisect_right(self._turn_positions, after_position)
        return self._turns[start : start + max(limit, 0)]

    def turn(self, position: int) -> Record | None:
        behind = bisect_right(self._turn_positions, position)
        return self._turns[behind - 1] if behind and self._turn_positions[behind - 1] == position else None

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        kept = Snapshot(snapshot.manifest, tuple(snapshot.chunks))
        self._snapshots = [kept, *self._snapshots[: SNAPSHOTS_KEPT - 1]]

    def snapshots(self) -> list[Snapshot]:
        return list(self._snapshots)

    def close(self) -> None:
        """Nothing to let go of; what was written can still be read."""

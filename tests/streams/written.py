"""Logs as a host would have written them, from stories."""

from collections.abc import Sequence

from engine.core.messages import Turn
from engine.streams.journal import GENESIS, Marker, Reader, write_marker, write_turn
from engine.streams.log import Entry, Log, Record
from engine.streams.memory_log import MemoryLog
from engine.streams.partition import Partition
from engine.streams.transcript import parse, tell
from tests.transcripts.stories import RULES

MONDAY = 1_795_428_000_000  # 2026-11-23 10:00:00 UTC


def marker(at: int = 0, **said: object) -> Marker:
    return Marker(**{"worker": "test", "log": "log-1", "time": "simulated", "at": at, **said})


def log_of(story: str, log: Log | None = None, *, zero: int = 0, **said: object) -> Log:
    """The log of a story's commands, its zero at `zero`; said: fields of the marker."""
    log = log or MemoryLog()
    encoding = said.get("encoding", "json")
    partition = Partition(encoding)
    parsed = parse(story, RULES)
    log.append(0, [], [Record(0, None, write_marker(marker(zero, **said)))])
    for position, told in enumerate(tell(parsed, partition, zero=zero)):
        offset = log.ends()[1]
        records = [] if told.decided.record is None else [Record(offset, position, told.decided.record)]
        log.append(offset, [Entry(position, zero + told.said.at, told.body)], records)
    return log


def copied(log: Log, *, entries: Sequence[Entry] | None = None, records: Sequence[Record] | None = None) -> "Raw":
    """The same log with other entries or records: what was done to its file, unhindered by what an append asks."""
    return Raw(
        list(log.commands()) if entries is None else list(entries),
        list(log.journal()) if records is None else list(records),
    )


class Raw(MemoryLog):
    """A log that somebody has laid hands on."""

    def __init__(self, entries: list[Entry], records: list[Record]) -> None:
        super().__init__()
        self._commands = entries
        self._journal = records
        self._turns = [record for record in records if record.position is not None]
        self._turn_positions = [record.position for record in self._turns]


def rechained(records: Sequence[Record], turns: dict[int, Turn]) -> list[Record]:
    """The same journal with other turns at some positions, and a chain that hides it."""
    chain, owner = GENESIS, 0
    reader = Reader()
    written = []
    for record in records:
        said = reader.read(record)
        if not isinstance(said, Turn):
            owner = record.offset
            written.append(record)
            continue
        body, chain = write_turn(owner, chain, turns.get(said.position, said))
        written.append(Record(record.offset, record.position, body))
    return written

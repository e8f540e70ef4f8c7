"""The log contract: what a host needs of the place where commands and turns stand. Bytes only; what they mean is said
elsewhere.

A log has two rows of entries. `commands`: each with a position, counted from 0 without gaps, and the log's time.
`journal`: each with an offset, counted from 0 without gaps; a record is a turn (of one command's position) or an
owner's marker. Kept by `MemoryLog` (tests, replays) and `SqliteLog` (one file, the default); one suite of tests runs
over both.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A command as it stands in the log. at: log time, milliseconds since the epoch, never decreasing."""

    position: int
    at: int
    body: bytes


HOLE = b"\0hole"  # body of a position at which a copy has no command: it has expired, or the offset was never used


class Record(NamedTuple):
    """A journal record. position: of the command whose turn it is; None for a marker."""

    offset: int
    position: int | None
    body: bytes


class Snapshot(NamedTuple):
    """A cache of the fold. manifest: what it stands at (journal.py); chunks: its bytes in order."""

    manifest: bytes
    chunks: Iterable[bytes]


class LogProblem(Exception):
    """A problem with the log itself, said in a sentence for a person."""


class LogBusy(LogProblem):
    """Another process has the folder."""


class LogForeign(LogProblem):
    """Torn, changed, or not ours: named, never overwritten."""


class LogSealed(LogProblem):
    """An archive: it goes on elsewhere, or is a copy. It can be read, not written."""


class LogFull(LogProblem):
    """No room to write. Nothing of what was asked has been written."""


class LogUnsure(LogProblem):
    """What was asked may have been written, or some of it, or may yet be: nobody knows. Repeating it under the same ids
    is harmless."""


class LogMoved(LogProblem):
    """Somebody else has written since: whoever meets this owns the log no more."""


class Log(Protocol):
    """What every log keeps to."""

    def ends(self) -> tuple[int, int]:
        """(position the next command gets, offset the next journal record gets)."""

    def last_at(self) -> int:
        """Log time of the last command; 0 in an empty log."""

    def append(self, at_offset: int, entries: Sequence[Entry], records: Sequence[Record]) -> None:
        """All of it or nothing, and durable when this returns. `at_offset` is the offset that the writer expects for
        its first record (entries carry the positions it expects): where the log has gone on, LogMoved, and nothing is
        written. LogFull: no room."""

    def commands(self, from_position: int = 0) -> Iterator[Entry]:
        """Commands in order, streamed."""

    def journal(self, from_offset: int = 0) -> Iterator[Record]:
        """Journal records in order, streamed."""

    def turns(self, after_position: int, limit: int) -> list[Record]:
        """At most `limit` turn records (no markers) whose position is greater than `after_position`, in order; an
        index look-up."""

    def turn(self, position: int) -> Record | None:
        """The newest turn record of that position."""

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Stores it; the two newest are kept. One that does not fit (LogFull) leaves the former in place."""

    def snapshots(self) -> list[Snapshot]:
        """The newest first."""

    def close(self) -> None:
        """Lets go of the file and its lock; harmless when called twice."""

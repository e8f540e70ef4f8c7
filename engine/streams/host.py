"""What a door asks of a host, whichever it is: one process on one file, or workers behind a broker."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from engine.core.messages import Command, CommandFailed, CommandRefused, Event

from .board import Board
from .codec import BadCommand, Envelope
from .journal import TimeKind
from .log import LogProblem

Asked = tuple[Envelope, Command, bytes]  # and the bytes that the log will hold
Fate = Literal["accepted", "refused", "unchanged", "failed"]


class Outcome(Struct, frozen=True):
    """What became of a command. position: in the log of its partition, -1 where it was refused at the door (an unknown
    pool); at: log time, 0 while nothing has been decided.

    status: accepted; refused (events hold the reason); repeated (it was decided before, at position `first`, and events
    are those of then); unchanged (all is so already); failed (the engine's own fault; set aside); logged (it stands in
    the log, and what becomes of it is not known yet); rejected (the engine took it for no command).
    """

    position: int
    at: int
    status: Literal[Fate, "repeated", "logged", "rejected"]
    events: Sequence[Event]
    first: int | None = None
    problem: BadCommand | None = None
    partition: int = 0


class Stand(NamedTuple):
    """How far a partition has come. position: of the last turn, -1 before the first; at: log time, now."""

    position: int
    at: int


class Standing(Struct, frozen=True):
    """What can be said of a partition. owner: the worker that has taken it last, "" before the first; undecided: that
    many commands at most are not decided yet (those after the last turn; some may have said nothing); trouble: why
    nobody can go by it at present, as a sentence."""

    partition: int
    position: int
    at: int
    owner: str = ""
    undecided: int = 0
    trouble: str = ""


class Host(Protocol):
    """Positions belong to a partition; those of a pool, to the partition of that pool. LogProblem, whoever raises it:
    the log cannot be reached or written at present."""

    time: TimeKind
    closing: asyncio.Event

    @property
    def trouble(self) -> LogProblem | None:
        """Why not all can be relied on at present."""

    @property
    def boards(self) -> Mapping[str, Board]:
        """Of every pool, as of its partition's last turn."""

    def partition_of(self, pool: str) -> int: ...

    def stand(self, partition: int) -> Stand: ...

    def standings(self) -> list[Standing]:
        """Of every partition."""

    async def submit(self, asked: Sequence[Asked], decided: bool) -> list[Outcome]:
        """All durable when this returns. decided: what became of them is waited for, for a while. LogFull, LogProblem:
        none of it has happened; LogUnsure: some of it may."""

    async def turns(self, partition: int, after: int, limit: int) -> Sequence[bytes]:
        """At most `limit` turn records (those that count) whose position is greater than `after`, in order; fewer only
        where there are no more."""

    async def news(self, partition: int, timeout_s: float) -> bool:
        """True as soon as there is another turn; False after the timeout, or when the server closes."""

    async def catch_up(self) -> None:
        """What others have done until now can be seen when this returns."""

    def stop(self) -> None:
        """Who listens is let go, and nothing is begun any more."""

    async def close(self) -> None: ...


def status_of(events: Sequence[Event]) -> Fate:
    """What became of a command that had these events."""
    if not events:
        return "unchanged"
    kind = type(events[0])
    return "refused" if kind is CommandRefused else "failed" if kind is CommandFailed else "accepted"

"""The pools of one partition, host-independent: a command in, a turn record out; a turn record in, the same rows."""

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine import __version__
from engine.core.deadlines import NONE
from engine.core.messages import Command, CommandFailed, CommandRef, Event, PublishRules, RulesPublished, Tick, Turn
from engine.core.restore import Rows, restored, rows_of
from engine.core.step import fold, next_due, repeated, step
from engine.core.tables import Tables

from .chunks import Chunks, Counts, sealed, unsealed
from .codec import BadCommand, Encoding, Envelope, read_command
from .journal import FORMAT, GENESIS, Place, write_turn
from .log import Entry
from .topics import partition_of

QUIET_MOST = 1000  # commands that may say nothing in a row before an empty turn is written,
QUIET_MS = 600_000  # or this long, so that a restart is short and what the log still needs can be checked
EVENTS_MOST = 1 << 16  # of one turn; more is a fault of the engine,
RECORD_MOST = 4 << 20  # and so are more bytes: the journal topic must take it
REJECTED = CommandRef("", "waitline", "", "rejected")  # of the empty turn after a long stretch of what is no command


class Decided(Struct, frozen=True, gc=False):
    """What became of a command. record: `turn` as it goes into the journal, both None where it said nothing; repeats:
    the position of the command of the same source and id that was decided before; problem: why it is no command that
    could be decided here."""

    record: bytes | None
    events: list[Event]
    repeats: int | None = None
    problem: BadCommand | None = None
    turn: Turn | None = None


class Partition:
    """Single writer. `owner` and `chain` are the journal's; `position` is of the last command decided or folded."""

    def __init__(self, encoding: Encoding = "json", number: int = 0, partitions: int = 1) -> None:
        """number, partitions: which partition this is, of how many; each pool belongs to one of them."""
        self.encoding: Encoding = encoding
        self.number = number
        self.partitions = partitions
        self.pools: dict[str, Tables] = {}
        self.owner = -1
        self.chain = GENESIS
        self.position = -1
        self.at = 0
        self.quiet = 0
        self.turn_at = 0

    def decide(self, envelope: Envelope, command: Command, position: int, at: int) -> Decided:
        """BadCommand: the pool is unknown, and nothing has changed. Any other exception is a fault of the engine: the
        rows may be half written and must be made anew from the log."""
        pool, source, id = envelope.pool, envelope.source, envelope.id
        tables = self.pools.get(pool) or self.opened(pool, command)
        if at < self.at:
            at = self.at
        events = step(tables, command, source, id, position, at)
        self.position, self.at = position, at
        if events:
            assert len(events) <= EVENTS_MOST, f"a turn of {len(events)} events"
            if pool not in self.pools:
                self.pools[pool] = tables
            return self._written(ref_of(envelope), position, at, events)
        self.quiet += 1
        repeats = repeated(tables, source, id)
        if envelope.answer or self._long_quiet(at):
            return self._written(ref_of(envelope), position, at, events, repeats)
        return Decided(None, events, repeats)

    def decide_entry(self, entry: Entry, failed: str = "") -> Decided:
        """A command as it stands in the log. What is none, or does not belong here, has a `problem` and changes nothing
        but position and time. failed: why it cannot be decided: an earlier try has raised this."""
        try:
            envelope, command = read_command(entry.body)
        except BadCommand as problem:
            return self._refuse(entry, problem)
        except Exception:
            if not failed:
                raise
            return self._refuse(entry, BadCommand("", failed[:500]))  # even reading it is a fault of the engine
        if failed:
            return self.fail(envelope, entry.position, entry.at, failed)
        try:
            return self.decide(envelope, command, entry.position, entry.at)
        except BadCommand as problem:
            return self._refuse(entry, problem)

    def _refuse(self, entry: Entry, problem: BadCommand) -> Decided:
        at = max(entry.at, self.at)
        self.position, self.at = entry.position, at
        self.quiet += 1
        made = self._written(REJECTED, entry.position, at, []) if self._long_quiet(at) else Decided(None, [])
        return replace(made, problem=problem)

    def _long_quiet(self, at: int) -> bool:
        return self.quiet >= QUIET_MOST or at - self.turn_at >= QUIET_MS

    def fail(self, envelope: Envelope, position: int, at: int, error: str) -> Decided:
        """The turn of a command on which `decide` raised."""
        events: list[Event] = [CommandFailed(envelope.type, error[:500])]
        self.position, self.at = position, max(at, self.at)
        made = self._written(ref_of(envelope), position, self.at, events)
        tables = self.pools.get(envelope.pool)
        if tables is not None:
            assert made.turn is not None
            fold(tables, made.turn)
        return made

    def _written(
        self, command: CommandRef, position: int, at: int, events: list[Event], repeats: int | None = None
    ) -> Decided:
        turn = Turn(position, at, command, events, repeats)  # type: ignore[arg-type]
        record, self.chain = write_turn(self.owner, self.chain, turn, self.encoding)
        assert len(record) <= RECORD_MOST, f"a turn of {len(record)} bytes"
        self.quiet, self.turn_at = 0, at
        return Decided(record, events, repeats, turn=turn)

    def fold(self, turn: Turn, place: Place) -> None:
        """An accepted turn."""
        tables = self.pools.get(turn.command.pool)
        if tables is None:
            tables = Tables()
            if any(type(event) is RulesPublished for event in turn.events):
                self.pools[turn.command.pool] = tables
        fold(tables, turn)
        self.position, self.at, self.chain, self.owner = turn.position, turn.at, place.chain, place.owner
        self.quiet, self.turn_at = 0, turn.at

    def opened(self, pool: str, command: Command) -> Tables:
        if self.partitions > 1:
            belongs = partition_of(pool, self.partitions)
            if belongs != self.number:
                raise BadCommand("pool", f"{pool[:64]!r} belongs to partition {belongs}; this is {self.number}")
        if type(command) is PublishRules and command.rules.pool == pool:
            return Tables()
        raise BadCommand("pool", f"there is no pool {pool[:64]!r}")

    def next_due(self) -> tuple[int, str]:
        """(when the next tick is due, the pool it is for); (deadlines.NONE, "") when nothing is."""
        return min(((next_due(tables), pool) for pool, tables in self.pools.items()), default=(NONE, ""))

    # ---- snapshots

    def snapshot(self, place: Place) -> Callable[[bytes], tuple[bytes, Iterator[bytes]]]:
        """Takes the rows as of the last turn, which must stand at `place`: what has been decided since and said nothing
        is decided again after a restore. They are frozen, so the function that is given back (projections' bytes ->
        manifest and chunks) may do the longer work of encoding them later, or in another thread."""
        assert place.chain == self.chain, "a snapshot holds only turns that stand in the journal"
        pools = {pool: rows_of(tables) for pool, tables in self.pools.items()}
        at = self.turn_at

        def encoded(projections: bytes) -> tuple[bytes, Iterator[bytes]]:
            manifest = Manifest(place, at, CHUNKS.heads(pools), CHUNKS.counts(pools), projections, __version__, FORMAT)
            return sealed(msgspec.msgpack.encode(manifest)), CHUNKS.write(pools)

        return encoded

    @classmethod
    def restore(
        cls, manifest: bytes, chunks: Iterable[bytes], encoding: Encoding = "json"
    ) -> "tuple[Partition, Place, bytes]":
        """(the partition, where it stands, the projections' bytes). ValueError: not a snapshot of this engine."""
        try:
            said = _manifest(unsealed(manifest))
        except msgspec.MsgspecError as error:
            raise ValueError(f"cannot be read: {error}") from None
        if (said.engine, said.format) != (__version__, FORMAT):
            raise ValueError(f"made by engine {said.engine}")
        place, partition = said.place, cls(encoding)
        partition.owner, partition.chain, partition.position = place.owner, place.chain, place.position
        partition.at = partition.turn_at = said.at
        for pool, rows in CHUNKS.read(said.pools, said.counts, chunks).items():
            partition.pools[pool] = restored(rows, place.position, said.at)
        return partition, place, said.projections


class Manifest(Struct, frozen=True):
    """What a snapshot is of. It counts only if the journal's next turn continues place.chain."""

    place: Place
    at: int
    pools: dict[str, Rows]
    counts: Counts
    projections: bytes
    engine: str
    format: int


_manifest = msgspec.msgpack.Decoder(Manifest).decode
CHUNKS = Chunks(Rows, ("contacts", "agents", "seen", "finished", "taken", "recalled"), 2000)


def ref_of(envelope: Envelope) -> CommandRef:
    return CommandRef(envelope.pool, envelope.source, envelope.id, envelope.type, envelope.actor)


def tick_for(pool: str, position: int) -> tuple[Envelope, Tick]:
    """The host's own command, named by the position it will have."""
    return Envelope(f"tick-{position}", "waitline", pool, "tick"), Tick()

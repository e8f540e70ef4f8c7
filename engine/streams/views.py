"""What is shown of one partition: its journal followed, a board for each of its pools, and what is published of it.

A fold of accepted turns without I/O, for the projections of the Kafka host and for whoever else follows a journal: the
same records make the same boards, public events and statuses everywhere. A snapshot is a cache of the boards.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from engine import __version__
from engine.core.messages import (
    EVENTS,
    ContactMatchRelaxed,
    ContactOverflowing,
    ContactReturned,
    DeclinesLapsed,
    OverflowRecalled,
    PreferenceLapsed,
    RulesPublished,
    Turn,
    WrapUpEnded,
    WrapUpStarted,
)

from .board import Board, Rows
from .chunks import Chunks, Counts, sealed, unsealed
from .cloud_events import Headers, binary, event_id
from .codec import json_encode
from .journal import FORMAT, Marker, Place, Reader, Void
from .log import Record
from .status import (
    UNTOLD,
    AgentStatus,
    Kind,
    QueueStatus,
    Stamp,
    agent_status,
    contact_status,
    key_of,
    queue_statuses,
)

log_ = structlog.get_logger("waitline.views")


class PublicEvent(Struct, frozen=True, gc=False):
    """A CloudEvent in Kafka's binary mode. key: of the pool."""

    key: bytes
    value: bytes
    headers: Headers


class Published(Struct, frozen=True):
    """What a stretch of the journal brought: every public event in order; of each contact, agent and queue that it was
    about the last status (None: no longer told), by key; agents and queues also as they are. place: where this
    stands."""

    events: list[PublicEvent]
    status: dict[str, bytes | None]
    agents: dict[str, AgentStatus]
    queues: dict[str, QueueStatus | None]
    place: Place


class Views:
    """number: of the partition. `fold` and `publish` take each journal record once, in order."""

    def __init__(self, number: int, place: Place | None = None) -> None:
        self.number = number
        self.reader = Reader(place)
        self.boards: dict[str, Board] = {}
        self.turns = 0  # folded since the start or the last snapshot
        self._stamps: dict[str, Stamp] = {}  # pool -> its last event
        self._touched: dict[tuple[Kind, str, str], Stamp] | None = None  # what changes while it is published
        self._told: dict[str, dict[str, QueueStatus]] = {}  # pool -> its queues as they were published, unstamped

    @property
    def place(self) -> Place:
        return self.reader.place

    def fold(self, record: Record) -> Turn | Marker | Void:
        """The next record. JournalBroken: the journal cannot be read on."""
        found = self.reader.read(record)
        if isinstance(found, Turn):
            self._show(found)
        elif isinstance(found, Void) and found.alarm:
            log_.warning("void-record", partition=self.number, offset=found.offset, why=found.why)
        return found

    def _show(self, turn: Turn) -> None:
        pool = turn.command.pool
        self.turns += 1
        board = self.boards.get(pool)
        if board is None:
            if not any(type(event) is RulesPublished for event in turn.events):
                return
            board = self._watched(Board(pool, self.number))
        try:
            board.fold(turn)
        except Exception:  # views may be wrong then, but events and other pools go on
            log_.exception("board-failed", pool=pool, position=turn.position)
        if turn.events:
            self._stamps[pool] = Stamp(event_id(self.number, turn.position, len(turn.events) - 1), turn.at)

    def _watched(self, board: Board) -> Board:
        self.boards[board.pool] = board
        pool = board.pool

        def forgotten(contact_id: str) -> None:
            if self._touched is not None:
                self._touched.setdefault(("contact", pool, contact_id), UNTOLD)

        board.on_forgotten = forgotten
        return board

    # ---- what is published

    def publish(self, records: Iterable[Record], *, afresh: bool = False) -> Published:
        """Folds these, and says what they brought. afresh: somebody may have published some of it before, and then what
        came after: a queue is told also where it is as it was before these."""
        events: list[PublicEvent] = []
        touched = self._touched = {}
        pools: dict[str, None] = {}
        for pool, board in self.boards.items():
            if pool not in self._told:
                self._told[pool] = queue_statuses(board)
        for record in records:
            turn = self.fold(record)
            if not isinstance(turn, Turn) or not turn.events:
                continue
            pool = turn.command.pool
            pools[pool] = None
            key = pool.encode()
            events += [PublicEvent(key, value, headers) for headers, value in binary(self.number, turn)]
            event: Any
            for ordinal, event in enumerate(turn.events):
                stamp = Stamp(event_id(self.number, turn.position, ordinal), turn.at)
                if type(event) in CONTACTS:
                    touched["contact", pool, event.contact_id] = stamp
                if type(event) in AGENTS:
                    touched["agent", pool, event.agent_id] = stamp
        self._touched = None
        status: dict[str, bytes | None] = {}
        agents: dict[str, AgentStatus] = {}
        queues: dict[str, QueueStatus | None] = {}
        for (kind_of, pool, id), stamp in touched.items():
            self._tell(kind_of, self.boards[pool], id, stamp, status, agents)
        for pool in pools:
            if pool in self.boards:
                queues |= self._changed_queues(self.boards[pool], afresh)
        status |= {key: None if queue is None else json_encode(queue) for key, queue in queues.items()}
        return Published(events, status, agents, queues, self.place)

    def _tell(
        self,
        kind: Kind,
        board: Board,
        id: str,
        stamp: Stamp,
        status: dict[str, bytes | None],
        agents: dict[str, AgentStatus],
    ) -> None:
        key = key_of(kind, board.pool, id)
        if kind == "contact":
            contact = contact_status(board, id, stamp)
            status[key] = None if contact is None else json_encode(contact)
        else:
            agents[key] = agent = agent_status(board, id, stamp)
            status[key] = json_encode(agent)

    def _changed_queues(self, board: Board, afresh: bool) -> dict[str, QueueStatus | None]:
        pool, stamp = board.pool, self._stamps[board.pool]
        told, now = self._told.get(pool, {}), queue_statuses(board)
        self._told[pool] = now
        changed: dict[str, QueueStatus | None] = {
            key_of("queue", pool, id): replace(queue, position=stamp.position, at=stamp.at)
            for id, queue in now.items()
            if afresh or told.get(id) != queue
        }
        return changed | {key_of("queue", pool, id): None for id in told if id not in now}

    def retold(self, keys: Iterable[str]) -> dict[str, bytes | None]:
        """How these stand now, by key of `status`: for where somebody else has told what was so before. Keys of pools
        that are not here are passed over."""
        status: dict[str, bytes | None] = {}
        for key in keys:
            kind, _, rest = key.partition("/")
            pool = next((pool for pool in self.boards if rest.startswith(f"{pool}/")), None)
            if pool is None:
                continue
            board, stamp, id = self.boards[pool], self._stamps[pool], rest[len(pool) + 1 :]
            if kind == "queue":
                queue = queue_statuses(board).get(id)
                told = replace(queue, position=stamp.position, at=stamp.at) if queue else None
                status[key] = json_encode(told) if told else None
            elif kind in ("contact", "agent"):
                self._tell(kind, board, id, stamp, status, {})  # type: ignore[arg-type]
        return status

    def agents_and_queues(self) -> tuple[dict[str, AgentStatus], dict[str, QueueStatus]]:
        """All signed-in agents and all queues as they stand now, by key."""
        agents, queues = {}, {}
        for pool, board in self.boards.items():
            stamp = self._stamps[pool]
            for agent_id in board.agent_ids():
                agents[key_of("agent", pool, agent_id)] = agent_status(board, agent_id, stamp)
            for id, queue in queue_statuses(board).items():
                queues[key_of("queue", pool, id)] = replace(queue, position=stamp.position, at=stamp.at)
        return agents, queues

    # ---- snapshots

    def snapshot(self) -> Callable[[], tuple[bytes, Iterator[bytes]]]:
        """Takes the boards as of now, in rows that stay as they are; the function that is given back encodes them
        (manifest, chunks one by one), later or in another thread."""
        self.turns = 0
        place, stamps = self.place, dict(self._stamps)
        boards = {pool: board.rows() for pool, board in self.boards.items()}

        def encoded() -> tuple[bytes, Iterator[bytes]]:
            heads, counts = CHUNKS.heads(boards), CHUNKS.counts(boards)
            manifest = Index(place, self.number, stamps, heads, counts, __version__, FORMAT)
            return sealed(msgspec.msgpack.encode(manifest)), CHUNKS.write(boards)

        return encoded

    @classmethod
    def restore(cls, number: int, manifest: bytes, chunks: Iterable[bytes]) -> "Views":
        """ValueError: not a snapshot of this engine and partition."""
        try:
            said = _manifest(unsealed(manifest))
        except msgspec.MsgspecError as error:
            raise ValueError(f"cannot be read: {error}") from None
        if (said.engine, said.format, said.number) != (__version__, FORMAT, number):
            raise ValueError(f"made by engine {said.engine}, of partition {said.number}")
        views = cls(number, said.place)
        views._stamps = said.stamps
        for rows in CHUNKS.read(said.boards, said.counts, chunks).values():
            views._watched(Board.restore(rows))
        return views


class Index(Struct, frozen=True):
    """What a snapshot is of. It counts only if the journal's next turn continues place.chain."""

    place: Place
    number: int
    stamps: dict[str, Stamp]
    boards: dict[str, Rows]
    counts: Counts
    engine: str
    format: int


_manifest = msgspec.msgpack.Decoder(Index).decode
CHUNKS = Chunks(Rows, ("open", "finished", "agents", "offers"), 1000)
CONTACTS = frozenset(kind for kind in EVENTS.values() if "contact_id" in kind.__struct_fields__) - {
    WrapUpStarted,  # these are the agent's: a contact that has ended is told once
    WrapUpEnded,
    DeclinesLapsed,
    ContactMatchRelaxed,  # who may serve it is nothing that its customer sees
    PreferenceLapsed,
    ContactOverflowing,  # it waits as before
    ContactReturned,
    OverflowRecalled,
}
AGENTS = frozenset(kind for kind in EVENTS.values() if "agent_id" in kind.__struct_fields__) - {PreferenceLapsed}

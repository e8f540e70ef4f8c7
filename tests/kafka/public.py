"""What the public topics must say, whatever has happened to those who write them: every accepted event is in `events`,
once and in order after dropping repeats by id; the last record of each key in `status` is what the journal makes of it.

    python -m tests.kafka.public BROKER PREFIX PARTITIONS
"""

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
from msgspec import Struct

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.core.messages import Turn
from engine.streams.status import agent_status, contact_status, key_of, queue_statuses
from engine.streams.topics import EVENTS, JOURNAL, STATUS, Shape
from engine.streams.views import Views

EventId = tuple[int, int, int]


class Seen(Struct):
    """Sums over all partitions."""

    turns: int = 0
    events: int = 0
    repeats: int = 0
    keys: int = 0
    gone: int = 0


async def check(broker: str, shape: Shape, within_s: float = 30) -> Seen:
    """Waits until what is in the journal has been published. AssertionError: what must hold does not."""
    seen = Seen()
    until = time.monotonic() + within_s
    for number in range(shape.partitions):
        async with PartitionLog(Connection(broker), shape, number) as log:
            while True:
                try:
                    await _check(log, seen)
                    break
                except AssertionError:  # something may be on its way: a tick, or what it brought about
                    if time.monotonic() > until:
                        raise
                await asyncio.sleep(0.5)
    return seen


async def _check(log: PartitionLog, seen: Seen) -> None:
    views, turns = Views(log.number), []
    async for records in log.journal(0, await log.end(JOURNAL)):
        turns += [found for record in records if isinstance(found := views.fold(record), Turn)]
    expected: dict[EventId, dict[str, Any]] = {
        (log.number, turn.position, ordinal): msgspec.to_builtins(event, str_keys=True)
        for turn in turns
        for ordinal, event in enumerate(turn.events)
    }
    truth = truth_of(views)
    events, status = await _events(log), await _status(log)
    present = {key: unstamped(said) for key, said in status.items() if said and said.get("presence") != "gone"}
    first = dict[EventId, dict[str, Any]]()
    for id, said in events:
        assert first.setdefault(id, said) == said, f"the event {id} has been told in two ways"
    assert list(first) == list(expected), f"partition {log.number}: {_difference(list(first), list(expected))}"
    for id, said in first.items():
        assert said == json.loads(msgspec.json.encode(expected[id])), f"the event {id} is not as it was accepted"
    assert present == truth, [
        (key, present.get(key), truth.get(key)) for key in present | truth if present.get(key) != truth.get(key)
    ][:3]
    seen.turns += len(turns)
    seen.events += len(first)
    seen.repeats += len(events) - len(first)
    seen.keys += len(truth)
    seen.gone += len(status) - len(present)


def truth_of(views: Views) -> dict[str, Any]:
    """Every status that there is, by key, without the event that it stands at."""
    truth: dict[str, Any] = {}
    for pool, board in views.boards.items():
        rows = board.rows()
        for row in (*rows.open, *rows.finished):
            truth[key_of("contact", pool, row.contact_id)] = contact_status(board, row.contact_id)
        for agent_id in board.agent_ids():
            truth[key_of("agent", pool, agent_id)] = agent_status(board, agent_id)
        for id, queue in queue_statuses(board).items():
            truth[key_of("queue", pool, id)] = queue
    return {key: unstamped(json.loads(msgspec.json.encode(said))) for key, said in truth.items()}


def unstamped(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "position": "", "at": 0}


async def _events(log: PartitionLog) -> list[tuple[EventId, dict[str, Any]]]:
    found = []
    async for records in log.read(EVENTS, *await log.ends(EVENTS)):
        for record in records:
            headers = {name: value.decode() for name, value in record.headers}
            assert record.key.decode() == headers["ce_pool"]
            partition, position, ordinal = map(int, headers["ce_id"].split("/"))
            kind = headers["ce_type"].removeprefix("waitline.")
            found.append(((partition, position, ordinal), {"type": kind} | json.loads(record.value)))
    return found


async def _status(log: PartitionLog) -> dict[str, dict[str, Any] | None]:
    """The last record of each key: what is left when the broker has compacted the topic."""
    found: dict[str, dict[str, Any] | None] = {}
    async for records in log.read(STATUS, *await log.ends(STATUS)):
        for record in records:
            found[record.key.decode()] = json.loads(record.value) if record.value is not None else None
    return found


def _difference(found: list[EventId], expected: list[EventId]) -> str:
    pairs = enumerate(zip(found, expected, strict=False))
    at = next((i for i, (one, other) in pairs if one != other), min(len(found), len(expected)))
    near = slice(at, at + 2)
    return f"{len(found)} events, expected {len(expected)}; at {at}: {found[near]}, expected {expected[near]}"


if __name__ == "__main__":
    broker, prefix, partitions = sys.argv[1:]
    print(asyncio.run(check(broker, Shape(prefix, int(partitions)))))

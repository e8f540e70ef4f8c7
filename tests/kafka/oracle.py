"""What a log on Kafka must be, whatever has happened to its workers: its accepted turns are those of an undisturbed
replay of its commands, each command is covered once, and nobody is offered to two agents at once.

    python -m tests.kafka.oracle BROKER PREFIX
"""

import asyncio
import sys
import time
from collections.abc import Mapping

from msgspec import Struct

from engine.agents.admin import admin_of, look, partitions_there
from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.core import messages as m
from engine.streams.journal import Marker, Reader, Void, split_turn
from engine.streams.partition import Partition
from engine.streams.topics import COMMANDS, JOURNAL, REJECTED, Shape


class Checked(Struct):
    """Sums over all partitions. markers: owners there have been; void: records that do not count; failed: turns of
    poisoned commands."""

    commands: int = 0
    turns: int = 0
    events: int = 0
    accepted_offers: int = 0
    markers: int = 0
    void: int = 0
    alarms: int = 0
    rejected: int = 0
    failed: int = 0


async def check(
    broker: str | Connection,
    prefix: str,
    within_s: float = 30,
    *,
    acknowledged: Mapping[tuple[int, int], int] | None = None,
    but: int | None = None,
) -> Checked:
    """Waits until the workers have decided what is in the log now, and looks at all of it. acknowledged: hashes of the
    commands of which the broker has said that it holds them, by partition and offset; but: a partition that is left
    out. AssertionError: what must hold does not."""
    connection = Connection(broker) if isinstance(broker, str) else broker
    async with admin_of(connection) as admin:
        partitions = partitions_there(await look(admin, Shape(prefix)), Shape(prefix)) or 0
    assert partitions, "there is no such log"
    checked = Checked()
    for number in range(partitions):
        if number != but:
            async with PartitionLog(connection, Shape(prefix, partitions), number) as log:
                await _check(log, checked, within_s, acknowledged or {})
    return checked


async def _check(
    log: PartitionLog, checked: Checked, within_s: float, acknowledged: Mapping[tuple[int, int], int]
) -> None:
    commands = [entry async for some in log.commands(0, await log.end(COMMANDS), 0) for entry in some]
    held = {(log.number, entry.position): hash(entry.body) for entry in commands}
    lost = [place for place, said in acknowledged.items() if place[0] == log.number and held.get(place) != said]
    assert not lost, f"{len(lost)} commands that were acknowledged are not there, such as {lost[0]}"
    failed: dict[int, str] = {}
    until = time.monotonic() + within_s
    while True:
        journal, found = await _accepted(log, len(commands))
        for turn, _ in journal:
            if turn.events and type(turn.events[0]) is m.CommandFailed:
                failed[turn.position] = turn.events[0].error
        expected, problems = _replayed(log, commands, failed)
        if len(journal) >= len(expected) or time.monotonic() > until:
            break
        await asyncio.sleep(0.5)

    assert [body for _, body in journal] == [body for _, body in expected], _where(journal, expected)
    _nobody_is_offered_twice([turn for turn, _ in journal])
    ids = [(turn.position, ordinal) for turn, _ in journal for ordinal in range(len(turn.events))]
    assert len(set(ids)) == len(ids), "an event's id is never used again"
    told = {record.key async for some in log.read(REJECTED, *await log.ends(REJECTED)) for record in some}
    assert told == {f"{log.number}/{position}".encode() for position in problems}, "all rejections are told of"

    checked.commands += len(commands)
    checked.turns += len(journal)
    checked.events += len(ids)
    checked.rejected += len(problems)
    checked.failed += len(failed)
    checked.markers += sum(type(each) is Marker for each in found)
    checked.void += sum(type(each) is Void for each in found)
    checked.alarms += sum(type(each) is Void and each.alarm for each in found)
    checked.accepted_offers += sum(type(event) is m.OfferAccepted for turn, _ in journal for event in turn.events)


async def _accepted(log: PartitionLog, before: int) -> tuple[list[tuple[m.Turn, bytes]], list[object]]:
    """The turns that count, of commands at positions below `before`, each with its bytes; and all that was found."""
    reader, turns, all_found = Reader(), [], []
    async for records in log.journal(0, await log.end(JOURNAL)):
        for record in records:
            found = reader.read(record)
            all_found.append(found)
            if type(found) is m.Turn and found.position < before:
                turns.append((found, split_turn(record.body)[2]))
    return turns, all_found


def _replayed(log: PartitionLog, commands: list, failed: dict[int, str]) -> tuple[list[tuple[int, bytes]], list[int]]:
    """(position and bytes of each turn, positions of what is no command), of a partition that nothing has disturbed."""
    partition = Partition(number=log.number, partitions=log.shape.partitions)
    turns, problems = [], []
    for entry in commands:
        made = partition.decide_entry(entry, failed.get(entry.position, ""))
        if made.record is not None:
            turns.append((entry.position, split_turn(made.record)[2]))
        if made.problem is not None:
            problems.append(entry.position)
    return turns, problems


def _where(journal: list[tuple[m.Turn, bytes]], expected: list[tuple[int, bytes]]) -> str:
    for (turn, body), (position, wanted) in zip(journal, expected, strict=False):
        if body != wanted:
            return f"at position {turn.position} (expected {position}):\n{body!r}\n{wanted!r}"
    return f"{len(journal)} turns, expected {len(expected)}"


def _nobody_is_offered_twice(turns: list[m.Turn]) -> None:
    offered: dict[tuple[str, str], str] = {}
    held: dict[tuple[str, str], str] = {}
    for turn in turns:
        for event in turn.events:
            match event:
                case m.OfferIssued():
                    contact = turn.command.pool, event.contact_id
                    assert contact not in offered, f"{contact} is offered to two agents"
                    assert contact not in held, f"{contact} is offered while an agent has it"
                    offered[contact] = event.agent_id
                case m.OfferAccepted():
                    contact = turn.command.pool, event.contact_id
                    assert offered.pop(contact) == event.agent_id, f"{contact} is accepted by another than was asked"
                    held[contact] = event.agent_id
                case m.ContactTransferred():
                    held.pop((turn.command.pool, event.contact_id), None)
                case m.OfferDeclined() | m.OfferExpired() | m.OfferRevoked():
                    offered.pop((turn.command.pool, event.contact_id))


if __name__ == "__main__":
    print(asyncio.run(check(*sys.argv[1:])))

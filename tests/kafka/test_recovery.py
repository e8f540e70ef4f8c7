"""How long nobody decides after a worker was killed, with the time-outs that the product has. Figures are printed."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from engine.core import messages as m
from engine.streams.codec import envelope_of, write_command
from engine.streams.journal import Reader
from engine.streams.log import Record
from engine.streams.topics import JOURNAL
from tests.kafka import oracle
from tests.kafka.altered import Altered
from tests.kafka.load import QUEUES, Load, begin, send

SESSION_S = 6
PRODUCT = Altered(session_s=SESSION_S)


SLOW = pytest.mark.slow
NEVER = 10**9


@pytest.mark.parametrize(
    ("waiting", "snapshot_turns"),
    [(10_000, NEVER), pytest.param(100_000, NEVER, marks=SLOW), pytest.param(100_000, 90_000, marks=SLOW)],
)
async def test_within_twenty_seconds_of_its_kill_the_only_worker_is_replaced(storm_log, waiting, snapshot_turns):
    log = storm_log(partitions=1)
    (pool,) = log.pools
    await send(log.connection, log.shape, begin(log.pools))
    one = await log.joins("one", altered=replace(PRODUCT, snapshot_turns=snapshot_turns))
    await send(log.connection, log.shape, ((pool, routed(pool, number)) for number in range(waiting)))
    await decided(log, f"{waiting - 1:x}")
    one.kill()
    killed_at = time.time()
    two = log.start("two", altered=PRODUCT)
    await send(log.connection, log.shape, iter([(pool, routed(pool, waiting))]))
    seconds = await decided(log, f"{waiting:x}") - killed_at
    (taken,) = two.said("partition-taken")
    print(
        f"\n{waiting:,} open contacts: {seconds:.1f} s from the kill of the only worker to the next turn; "
        f"{taken['folded']:,} turns folded in {taken['seconds']} s, from a snapshot: {taken['from_snapshot']}"
    )
    assert taken["from_snapshot"] == (snapshot_turns < waiting)
    assert taken["contacts"] >= waiting - 100
    assert seconds < 20
    assert (await oracle.check(log.connection, log.shape.prefix, 60)).alarms == 0


def routed(pool, number):
    command = m.RouteContact(f"waiting-{number}", "call", f"queue-{number % QUEUES}")
    return write_command(envelope_of(command, f"{number:x}", "waiting", pool))


async def decided(log, id, within_s=120):
    """When the turn of the command got into the journal, in seconds of this machine's clock."""
    until, read = time.monotonic() + within_s, 0
    async with log.reader(0) as journal:
        while True:
            async for records in journal.read(JOURNAL, read, await journal.end(JOURNAL)):
                for record in records:
                    if f'"waiting","id":"{id}"'.encode() in record.value:
                        return record.timestamp / 1000
                read = records[-1].offset + 1
            assert time.monotonic() < until, f"command {id} has not been decided"
            await asyncio.sleep(0.05)


@SLOW
async def test_when_one_of_two_workers_is_killed_its_partitions_stand_still_for_the_session_and_three_seconds(
    storm_log,
):
    log = storm_log(partitions=4)
    await send(log.connection, log.shape, begin(log.pools))
    one, two = log.start("one", altered=PRODUCT), log.start("two", altered=PRODUCT)
    await log.says(one, "partition-taken", 2)
    await log.says(two, "partition-taken", 2)
    async with Load(log.connection, log.shape, log.pools, per_s=2_000):
        await asyncio.sleep(3)
        of_one = {number for number, name in log.owners().items() if name == "one"}
        one.kill()
        killed_at = time.time()
        await log.taken_by(two)
        await asyncio.sleep(2)
    await oracle.check(log.connection, log.shape.prefix, 60)
    stood = {number: await stood_still(log, number, killed_at) for number in log.numbers}
    print(f"\none of two workers killed: its partitions stand still for {most(stood, of_one):.1f} s at most, ", end="")
    print(f"the others for {most(stood, set(log.numbers) - of_one):.1f} s (the rebalance)")
    assert most(stood, of_one) < SESSION_S + 3
    assert most(stood, set(log.numbers) - of_one) < 3


def most(stood, numbers):
    assert len(numbers) == 2
    return max(stood[number] for number in numbers)


async def stood_still(log, number, since):
    """The longest time between two accepted records, in seconds, from a moment on."""
    reader, before, longest = Reader(), since, 0.0
    for record in await log.journal(number):
        reader.read(Record(record.offset, None, record.value))
        if reader.place.offset == record.offset and record.timestamp / 1000 > since:
            longest = max(longest, record.timestamp / 1000 - before)
            before = record.timestamp / 1000
    return longest

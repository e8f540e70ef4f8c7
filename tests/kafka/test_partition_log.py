"""A partition read without a group, on a real broker: to a wanted offset and no further, and snapshots that are whole
or left out."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import OffsetOutOfRangeError

from engine.agents.connection import Connection
from engine.agents.partition_log import GENERATIONS, PIECE, PartitionLog, turn_of, write_snapshot
from engine.streams.log import LogMoved
from engine.streams.topics import COMMANDS, JOURNAL, SNAPSHOTS

PARTS = [b"manifest", b"", b"x" * (2 * PIECE + 1)]


@pytest.fixture
async def log(broker, topics):
    async with PartitionLog(Connection(broker), topics(partitions=2), 1) as one:
        yield one


@pytest.fixture
async def producer(broker):
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as one:
        yield one


async def bodies(found):
    return [entry.body async for some in found for entry in some]


async def test_a_reader_stops_at_the_wanted_offset(log, producer):
    assert await log.ends(JOURNAL) == (0, 0)
    assert await bodies(log.journal(0, 0)) == []
    for number in range(5):
        await producer.send_and_wait(log.shape.named(JOURNAL), b"%d" % number, partition=1)
    assert await log.ends(JOURNAL) == (0, 5)
    assert await log.end(JOURNAL) == 5
    assert await bodies(log.journal(1, 4)) == [b"1", b"2", b"3"]
    assert await bodies(log.journal(4, 5)) == [b"4"], "and can begin elsewhere the next time"


async def test_what_a_topic_has_not_is_an_error_and_never_waited_for(log, producer):
    await producer.send_and_wait(log.shape.named(JOURNAL), b"0", partition=1)
    with pytest.raises(LogMoved, match="ends at offset 1"):
        await bodies(log.journal(0, 2))
    with pytest.raises((OffsetOutOfRangeError, LogMoved)):
        await bodies(log.journal(7, 8))


async def test_a_command_has_its_position_and_the_time_of_the_log(log, producer):
    await producer.send_and_wait(log.shape.named(COMMANDS), b"body", partition=1, timestamp_ms=5)
    ((entry,),) = [some async for some in log.commands(0, 1, base=100)]
    assert (entry.position, entry.body) == (100, b"body")
    assert entry.at > 1_700_000_000_000, "not the sender's"


async def test_topics_have_ids(log):
    journal, commands = await log.ids()
    assert len(journal) == len(commands) == 36
    assert journal != commands


async def test_a_snapshot_comes_back_as_it_was_written_the_newest_first(log, producer):
    assert await log.snapshots("pools") == []
    for generation in GENERATIONS:
        await write_snapshot(producer, log.shape, 1, "pools", generation, [generation.encode(), *PARTS])
        await write_snapshot(producer, log.shape, 1, "views", generation, [b"of another kind"])
    newest, other = await log.snapshots("pools")
    assert (newest.generation, newest.parts) == ("b", [b"b", *PARTS])
    assert (other.generation, other.parts) == ("a", [b"a", *PARTS])
    await write_snapshot(producer, log.shape, 1, "pools", turn_of(newest.generation), [b"new"])
    assert [each.parts[0] for each in await log.snapshots("pools")] == [b"new", b"b"]


async def test_a_torn_snapshot_is_left_out_and_the_one_before_it_stays(log, producer):
    for generation in GENERATIONS:
        await write_snapshot(producer, log.shape, 1, "pools", generation, PARTS)

    def interrupted():
        yield b"another manifest"
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await write_snapshot(producer, log.shape, 1, "pools", "a", interrupted())
    assert [each.generation for each in await log.snapshots("pools")] == ["b"]
    await producer.send_and_wait(log.shape.named(SNAPSHOTS), b"rubbish", key=b"pools/b/manifest", partition=1)
    assert await log.snapshots("pools") == []

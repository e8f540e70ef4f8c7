"""A contact leaves for a pool in another partition of a real broker, and is there once, though the worker is killed
between the two turns."""

import asyncio
import time

import pytest

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times, Widening
from engine.streams.codec import envelope_of, write_command
from tests.kafka.load import pools, send
from tests.kafka.oracle import _accepted, check
from tests.kafka.workers import WORKER, WorkerProcess

KILLED = """
import os, signal
from engine.__main__ import main
from engine.agents.routing import Owner

send = Owner._send

async def struck(self, asked):
    if asked and {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await send(self, asked)
    if asked:
        os.kill(os.getpid(), signal.SIGKILL)

Owner._send = struck
main()
"""


async def told(connection: Connection, shape, *kinds: type) -> list:
    found = []
    for number in range(shape.partitions):
        async with PartitionLog(connection, shape, number) as log:
            turns, _ = await _accepted(log, 1 << 40)
            found += [event for turn, _ in turns for event in turn.events if type(event) in kinds]
    return found


@pytest.mark.parametrize("when", ["never", "before", "after"])
async def test_a_contact_is_taken_over_in_another_partition_once(broker, topics, tmp_path, when):
    shape = topics(partitions=2)
    home, bureau = pools(shape)
    connection = Connection(broker)
    step = Widening(1, pool=bureau, queue="any")
    times = Times(wait=600, overflow=120)  # longer than it takes Kafka to see that a worker is dead
    said = [
        (home, m.PublishRules(Rules(home, (Queue("sales", widen=(step,)),), times=times))),
        (bureau, m.PublishRules(Rules(bureau, (Queue("any"),), times=times))),
        (home, m.RouteContact("c1", "call", "sales", "k1")),
    ]
    asked = [(pool, write_command(envelope_of(each, f"m{i}", "pbx", pool))) for i, (pool, each) in enumerate(said)]
    await send(connection, shape, iter(asked))
    workers = []
    if when != "never":
        program = ["-c", KILLED.format(when=when), WORKER[-1]]
        workers.append(WorkerProcess(tmp_path, broker, shape, "struck", program))
        workers[0].struck()
        workers[0].kill()
    workers.append(WorkerProcess(tmp_path, broker, shape, "whole"))
    try:
        until = time.monotonic() + 60
        while not await told(connection, shape, m.ContactOverflowed):
            assert time.monotonic() < until, "the contact has not been taken over"
            await asyncio.sleep(0.3)
        assert (await check(broker, shape.prefix)).alarms == 0
        (there,) = await told(connection, shape, m.ContactOverflowed)
        assert (there.contact_id, there.to_pool) == ("c1", bureau)
        here, taken = await told(connection, shape, m.ContactQueued)
        assert (taken.due_at, taken.first_queued_at, taken.from_pool) == (here.due_at, here.due_at - 60_000, home)
        assert not await told(connection, shape, m.ContactReturned)
        assert workers[-1].stop() == 0
    finally:
        for each in workers:
            if each.process.poll() is None:
                each.kill()

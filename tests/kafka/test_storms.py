"""Faults under load, on a real broker. After each: the accepted turns are those of an undisturbed replay, nothing that
was acknowledged is lost, nobody is offered to two agents, and where somebody publishes, what is public is public once.
"""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from engine.core import messages as m
from engine.streams.codec import envelope_of, write_command
from engine.streams.topics import COMMANDS
from tests.kafka import oracle
from tests.kafka.altered import POINTS, Altered
from tests.kafka.load import begin, go_on, send

# How often a worker passes its point before it strikes: so that it has something in hand.
PASSES = {"before an append": 20, "between two appends": 20, "after an append": 20}
AWAY_S = 5  # longer than the session of a worker in a storm


def at(point, signal):
    return Altered(at=point, passes=PASSES.get(point, 0), signal=signal, snapshot_turns=200)


async def test_workers_that_are_killed_at_any_point_of_their_work_are_followed_by_another(storm):
    async def killed(log):
        sound = await log.joins("sound")
        victims = [log.start(f"victim-{number}", altered=at(point, "KILL")) for number, point in enumerate(POINTS)]
        await log.struck(*victims)
        await log.taken_by(sound)

    checked = await storm(killed, partitions=8, published=True)
    assert checked.alarms == 0


async def test_what_workers_write_that_slept_too_long_is_void_and_they_take_part_again(storm):
    async def stopped(log):
        sound = await log.joins("sound")
        victims = [log.start(f"victim-{number}", altered=at(point, "STOP")) for number, point in enumerate(POINTS)]
        await log.struck(*victims)
        await log.taken_by(sound)
        await asyncio.sleep(1)  # the sound one has written since
        before = {victim.name: len(victim.said("partition-taken")) for victim in victims}
        for victim in victims:
            victim.thaw()
        for victim in victims:
            await log.says(victim, "partition-taken", before[victim.name] + 1)

    checked = await storm(stopped, partitions=8, published=True)
    assert checked.alarms == 0
    assert checked.void > 0, "somebody has woken up with something in hand"


async def test_a_worker_that_leads_its_group_before_it_knows_the_topic_looks_again(storm):
    async def led_blindly(log):
        await log.joins("blind", altered=Altered(blind_s=8))

    await storm(led_blindly)


async def test_workers_join_and_leave(storm):
    async def coming_and_going(log):
        one = await log.joins("one")
        two = await log.joins("two")
        three = await log.joins("three")
        assert await asyncio.to_thread(one.stop) == 0
        await log.taken_by(two, three)
        assert await asyncio.to_thread(two.stop) == 0
        await log.taken_by(three)

    checked = await storm(coming_and_going)
    assert (checked.void, checked.alarms) == (0, 0)


async def test_a_killed_broker_is_waited_for(storm):
    async def broker_killed(log):
        workers = [await log.joins("one"), await log.joins("two")]
        log.kafka.kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(log.kafka.up)
        await log.still_writes()
        assert all(worker.process.poll() is None for worker in workers)

    checked = await storm(broker_killed, published=True)
    assert checked.alarms == 0


async def test_a_full_disk_ends_the_broker_and_nothing_that_was_acknowledged_is_lost(storm, broker_on_small_disk):
    """A broker whose only log directory cannot be written ends itself. Workers wait for it."""
    broker, disk = broker_on_small_disk

    async def disk_full(log):
        one = await log.joins("one")
        disk.fill()
        await log.until(lambda: broker.running() is None, "a broker without room goes on")
        disk.clear()
        await asyncio.to_thread(broker.up)
        await log.still_writes()
        assert one.process.poll() is None

    checked = await storm(disk_full, on=broker)
    assert checked.alarms == 0


async def test_an_append_may_be_lost_or_unanswered_or_refused_in_the_middle_of_a_run(storm):
    """Lost and unanswered ones are sent again, and stand in the journal once. After a refused one everything that was
    decided on it counts for nothing."""

    async def appends_fail(log):
        worker = await log.joins("one", at=log.one.address)
        for harm, takes_again in (("lost", False), ("unanswered", False), ("refused", True)) * 2:
            taken = len(worker.said("partition-taken"))
            log.one.harm(harm)
            await log.until(lambda harm=harm: not log.one.harms, f"nothing was {harm}")
            await asyncio.sleep(1)
            if takes_again:
                await log.says(worker, "partition-taken", taken + 1)

    checked = await storm(appends_fail, partitions=2)
    assert checked.alarms == 0
    assert checked.markers >= 4


@pytest.mark.parametrize("where", ["proxy", pytest.param("namespace", marks=pytest.mark.slow)])
async def test_a_worker_that_is_cut_off_is_replaced_and_takes_part_again(storm, request, where):
    """Nothing is closed, nothing comes through: in the second case a cable is out between two network interfaces."""
    cable = request.getfixturevalue("namespace") if where == "namespace" else None

    async def cut_off(log):
        sound = await log.joins("sound")
        if cable is None:
            other, out, back = await log.joins("other", at=log.one.address), log.one.silence, log.one.speak
        else:
            other, out, back = (
                await log.joins("other", at=log.kafka.inside, within=cable.within),
                cable.pull,
                cable.plug,
            )
        taken = len(other.said("partition-taken"))
        out()
        await log.taken_by(sound)
        await asyncio.sleep(2)
        back()
        await log.says(other, "partition-taken", taken + 1, within_s=60)
        assert other.process.poll() is None

    checked = await storm(cut_off)
    assert checked.alarms == 0


async def test_what_is_no_command_and_what_cannot_be_decided_is_set_aside(storm):
    async def poisoned(log):
        one = await log.joins("one", altered=Altered(poison=True))
        two = await log.joins("two", altered=Altered(poison=True))
        nonsense = [b"", b"{", b"\xff\xfe", b"x" * 300_000, b'{"id":"1","source":"a","pool":"nobody","type":"tick"}']
        astray = [(log.pools[0], body) for _, body in go_on(log.pools[1:2], 20, seed=1)]  # in another's partition
        await send(log.connection, log.shape, iter([(pool, body) for pool in log.pools for body in nonsense] + astray))
        poison = [
            (pool, write_command(envelope_of(m.EndContact("poison", "customer"), f"p{number}", "people", pool)))
            for pool in log.pools[:2]
            for number in range(2)
        ]
        await send(log.connection, log.shape, iter(poison))
        await log.until(
            lambda: len(one.said("command-failed")) + len(two.said("command-failed")) == len(poison), "no poison"
        )
        three = await log.joins("three")  # whose engine could decide it: what is written stays written
        one.kill()
        assert await asyncio.to_thread(two.stop) == 0
        await log.taken_by(three)

    checked = await storm(poisoned)
    assert checked.rejected == 4 * 5 + 20
    assert checked.failed == 4
    assert checked.alarms == 0


async def test_where_commands_have_expired_unread_a_partition_is_left_alone_and_others_go_on(storm_log):
    log = storm_log(partitions=2)
    await send(log.connection, log.shape, begin(log.pools))
    one = await log.joins("one")
    await send(log.connection, log.shape, go_on(log.pools, 200))
    await oracle.check(log.connection, log.shape.prefix)
    one.kill()
    await send(log.connection, log.shape, go_on(log.pools, 200, seed=3))
    await expire(log, 0, 150 + len(list(begin(log.pools[:1]))))

    two = log.start("two")
    (left,) = await log.says(two, "partition-left-alone", partition=0)
    assert "expired before they were read" in left["reason"]
    assert left["level"] == "error"
    await send(log.connection, log.shape, go_on(log.pools, 200, seed=4))
    checked = await oracle.check(log.connection, log.shape.prefix, but=0)
    assert checked.accepted_offers > 10
    assert two.said("partition-taken", partition=0) == []


async def expire(log, number, before):
    """What retention does in its own time: the partition's commands before an offset are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=log.broker)
    await admin.start()
    partition = TopicPartition(log.shape.named(COMMANDS), number)
    await admin.delete_records({partition: RecordsToDelete(before_offset=before)})
    await admin.close()

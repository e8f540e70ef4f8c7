"""Projections on the real broker: what is public is what was accepted, whatever happens to those who publish it."""

import asyncio
import subprocess
import sys

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from engine.agents.admin import admin_of
from engine.agents.groups import group_of
from engine.streams.status import READ_TO
from engine.streams.topics import EVENTS, STATUS, Topic
from tests.kafka import public
from tests.kafka.houses import House


async def test_nothing_is_lost_or_out_of_order_when_who_publishes_is_killed_and_others_join(house):
    house = house(4)
    await house.worker()
    first = await house.projections("first", 4)
    load = asyncio.create_task(house.goes_on(8_000, 2000))
    await house.says(first, "snapshot-kept", 4)
    first.kill()
    second = await house.projections("second", 4)
    assert any(said["folded"] < said["offset"] - 100 for said in second.said("publishing")), "a snapshot was of use"
    await asyncio.sleep(0.5)
    third = await house.projections("third", 2)
    await load
    seen = await public.check(house.broker, house.shape)
    assert seen.events > 7_000
    assert third.stop() == 0
    await house.goes_on(1000, 1000)
    await public.check(house.broker, house.shape)
    assert not any("ERROR" in process.errors.read_text() for process in (first, second, third))


async def test_who_was_stopped_and_wakes_up_leaves_no_older_status_behind(house):
    house = house(2)
    await house.worker()
    first = await house.projections("first", 2)
    load = asyncio.create_task(house.goes_on(6000, 600))
    await asyncio.sleep(3)
    first.freeze()
    second = await house.projections("second", 2)
    await asyncio.sleep(1)
    first.thaw()
    await load
    await public.check(house.broker, house.shape)
    assert second.process.poll() is None
    assert first.process.poll() is None, "it takes part again"


async def test_a_status_that_somebody_else_has_told_who_knew_less_is_told_again(house):
    house = house(1)
    await house.worker()
    one = await house.projections("one", 1)
    await public.check(house.broker, house.shape)
    async with AIOKafkaProducer(bootstrap_servers=house.broker) as somebody:
        key = f"agent/{house.pools[0]}/a0".encode()
        for count, value in enumerate((b'{"presence":"gone"}', None), 1):
            older = [(READ_TO, b"0")]
            await somebody.send_and_wait(house.shape.named(STATUS), value, key=key, partition=0, headers=older)
            await house.says(one, "told-again", count)
            await public.check(house.broker, house.shape)


async def test_what_the_broker_refuses_stops_its_partition_and_nothing_is_skipped(house):
    house = house(2)
    await house.worker()
    one = await house.projections("one", 2)
    await house.goes_on(300, 1000)
    await largest(house, EVENTS, 200)
    await house.goes_on(300, 1000)
    await house.says(one, "publishing-stopped", 2)
    await house.goes_on(300, 1000)
    await largest(house, EVENTS, 1 << 20)
    seen = await public.check(house.broker, house.shape)
    assert seen.events > 500
    assert one.process.poll() is None


async def largest(house: House, topic: Topic, size: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=house.broker)
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, house.shape.named(topic), {"max.message.bytes": str(size)})
    await admin.alter_configs([resource])
    await admin.close()


async def test_the_tables_come_back_after_a_kill_and_are_as_the_board_has_them(house):
    house = house(2)
    worker = await house.worker()
    first = await house.projections("first", 2)
    await house.goes_on(2000, 1000)
    first.kill()
    await house.goes_on(500, 1000)
    second = await house.projections("second", 2)
    await public.check(house.broker, house.shape)
    await tables_are_as_the_board_has_them(house)

    assert worker.stop() == 0  # nothing happens any more,
    assert second.stop() == 0
    arguments = ["--broker", house.broker, "--prefix", house.shape.prefix, "--yes"]
    command = [sys.executable, "-m", "engine", "kafka", "rebuild-tables", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    await house.projections("third", 2)
    await tables_are_as_the_board_has_them(house)  # and they are made anew all the same


async def tables_are_as_the_board_has_them(house: House) -> None:
    group = f"{house.shape.prefix}projections"
    for number in range(house.shape.partitions):
        for table, kind in (("agent_view", "agent"), ("queue_view", "queue")):
            for _ in range(40):  # Faust sends them in its own time
                truth = public.truth_of(await house.views(number))
                shown = await house.last(f"{group}-{table}-changelog", number)
                expected = {key.partition("/")[2]: said for key, said in truth.items() if key.startswith(kind)}
                if {id: public.unstamped(value) for id, value in shown.items()} == expected:
                    break
                await asyncio.sleep(0.25)
            else:
                assert {id: public.unstamped(value) for id, value in shown.items()} == expected
            assert all(value["position"].startswith(f"{number}/") for value in shown.values())


async def test_a_worker_may_bring_its_projections_along_and_takes_them_with_it(house):
    house = house(1)
    worker = await house.worker("--with-projections")
    await public.check(house.broker, house.shape)
    worker.kill()
    for _ in range(100):
        async with admin_of(house.connection) as admin:
            members = (await group_of(admin, f"{house.shape.prefix}projections")).members
        if members == 0:
            break
        await asyncio.sleep(0.1)
    assert members == 0

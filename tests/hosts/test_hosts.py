"""What every host keeps to, whatever the log stands on: memory, one SQLite file, or Kafka with a worker behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine.agents.connection import Connection
from engine.agents.door_host import KafkaHost
from engine.agents.partition_log import PartitionLog
from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times
from engine.embedded import Embedded
from engine.live import Live
from engine.streams.codec import BadCommand, envelope_of, write_command
from engine.streams.host import Asked, Host, Outcome
from engine.streams.journal import read_turn, split_turn
from engine.streams.log import Entry, Log
from engine.streams.memory_log import MemoryLog
from engine.streams.partition import Partition
from engine.streams.sqlite_log import SqliteLog
from engine.streams.topics import COMMANDS, Shape
from tests.kafka.altered import Altered
from tests.kafka.workers import WorkerProcess

DESKS = ("desk", "shop", "clinic")  # on Kafka each in a partition of its own
RULES = [Rules(pool, (Queue("sales"),), times=Times(offer=600, wrap_up=30, wait=600)) for pool in DESKS]
TOML = 'pool = "{pool}"\nroster = "sign-in"\n[times]\noffer = 600\nwrap_up = 30\n[[queues]]\nid = "sales"\n'


class House(Protocol):
    """A host and what it stands on."""

    host: Host

    async def open(self) -> None: ...

    async def crash(self) -> None:
        """As the power fails; `open` goes on from what is in the log."""

    async def commands(self, partition: int) -> Sequence[Entry]:
        """As they stand in the log."""

    async def close(self) -> None: ...


class OneProcess:
    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.memory = MemoryLog()

    def log(self) -> Log:
        return SqliteLog.open(self.folder) if self.folder else self.memory

    async def open(self) -> None:
        engine = Embedded(self.log(), lambda: time.time_ns() // 1_000_000)
        for rules in RULES:
            engine.publish(rules)
        self.host = Live(engine)
        self.running = asyncio.create_task(self.host.run())

    async def crash(self) -> None:
        self.host.stop()
        await self.running
        self.host.host.log.close()  # without the snapshot of a good end

    async def commands(self, partition: int) -> Sequence[Entry]:
        return list(self.host.host.log.commands())

    async def close(self) -> None:
        self.host.stop()
        await self.running
        await self.host.close()


class OnKafka:
    def __init__(self, folder: Path, broker: str, shape: Shape) -> None:
        self.folder = folder
        self.broker = broker
        self.shape = shape
        self.workers = 0
        for pool in DESKS:
            (folder / f"{pool}.toml").write_text(TOML.format(pool=pool))

    async def open(self) -> None:
        self.workers += 1
        name = f"worker-{self.workers}"
        program = Altered(session_s=2).program  # who is killed is soon missed
        self.worker = WorkerProcess(self.folder.parent, self.broker, self.shape, name, program, config=self.folder)
        event, count = ("rules-published", len(DESKS)) if self.workers == 1 else ("partition-taken", 3)
        await asyncio.to_thread(self.worker.wait, event, count)
        self.host = KafkaHost(Connection(self.broker), self.shape)
        await self.host.start()

    async def crash(self) -> None:
        self.worker.kill()
        await self.host.close()

    async def commands(self, partition: int) -> Sequence[Entry]:
        async with PartitionLog(Connection(self.broker), self.shape, partition) as log:
            return [entry async for some in log.commands(0, await log.end(COMMANDS), 0) for entry in some]

    async def close(self) -> None:
        await self.host.close()
        self.worker.kill()


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.broker)])
async def house(request, tmp_path) -> AsyncIterator[House]:
    if request.param == "kafka":
        (tmp_path / "pools").mkdir()
        shape = request.getfixturevalue("topics")(partitions=3)
        house: House = OnKafka(tmp_path / "pools", request.getfixturevalue("broker"), shape)
    else:
        house = OneProcess(tmp_path / "data" if request.param == "sqlite" else None)
    await house.open()
    yield house
    await house.close()


def asked(command: m.Command, id: str, source: str = "pbx", pool: str = "desk") -> Asked:
    envelope = envelope_of(command, id, source, pool)
    return envelope, command, write_command(envelope)


def routed(number: int | str, pool: str = "desk") -> Asked:
    return asked(m.RouteContact(f"c{number}", "call", "sales"), f"route-{number}", pool=pool)


async def one(house: House, command: m.Command, id: str, pool: str = "desk") -> Outcome:
    (outcome,) = await house.host.submit([asked(command, id, pool=pool)], True)
    return outcome


async def turns(house: House, partition: int) -> list[m.Turn]:
    return [read_turn(record) for record in await house.host.turns(partition, -1, 10_000)]


async def test_what_was_asked_is_told_with_its_events_in_order(house):
    outcomes = await house.host.submit(
        [
            routed(1),
            routed(1, pool="shop"),
            asked(m.SignInAgent("ann", True, ("sales",)), "in"),
            routed(2),
            asked(m.AcceptOffer("c1", "ann"), "accept"),
        ],
        True,
    )
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    kinds = [[type(event) for event in outcome.events] for outcome in outcomes]
    assert kinds == [
        [m.ContactQueued],
        [m.ContactQueued],
        [m.AgentSignedIn, m.AgentBecameReady, m.OfferIssued],
        [m.ContactQueued],
        [m.OfferAccepted],
    ]
    for pool in DESKS:
        mine = [outcome for outcome in outcomes if outcome.partition == house.host.partition_of(pool)]
        positions = [outcome.position for outcome in mine]
        assert positions == sorted(set(positions)) and [o.at for o in mine] == sorted(o.at for o in mine)
    await house.host.catch_up()
    assert house.host.boards["desk"].queues(outcomes[-1].at)[0].waiting == 1
    assert house.host.stand(outcomes[-1].partition).position == outcomes[-1].position


async def test_repeats_refusals_and_what_changes_nothing_are_told_apart(house):
    first = await one(house, m.RouteContact("c1", "call", "sales"), "1")
    again = await one(house, m.RouteContact("c1", "call", "sales"), "1")
    assert (again.status, again.first, list(again.events)) == ("repeated", first.position, list(first.events))
    refused = await one(house, m.RouteContact("c1", "call", "sales"), "2")
    assert refused.status == "refused" and isinstance(refused.events[0], m.CommandRefused)
    assert refused.events[0].reason == "contact-id-open"
    unchanged = await one(house, m.UpdateContact("c1"), "3")
    assert (unchanged.status, list(unchanged.events)) == ("unchanged", [])
    assert first.position < again.position < refused.position < unchanged.position
    refused_again = await one(house, m.RouteContact("c1", "call", "sales"), "2")
    assert (refused_again.status, refused_again.first) == ("repeated", refused.position)


async def test_a_pool_that_nobody_has_is_refused_at_the_door_and_leaves_nothing(house):
    before = await one(house, m.UpdateContact("c1"), "0")
    outcomes = await house.host.submit([routed(1, pool="nowhere"), routed(1)], True)
    assert [outcome.status for outcome in outcomes] == ["refused", "accepted"]
    assert outcomes[0].position == -1 and isinstance(outcomes[0].problem, BadCommand)
    assert outcomes[0].problem.field == "pool" and "nowhere" in str(outcomes[0].problem)
    assert outcomes[1].position == before.position + 1, "nothing of it is in the log"
    assert "nowhere" not in house.host.boards and set(house.host.boards) == set(DESKS)


async def test_what_many_ask_at_once_is_each_decided_once(house):
    async def adapter(number: int) -> list[Outcome]:
        found = []
        for i in range(10):
            found += await house.host.submit(
                [routed(f"{number}-{i}", DESKS[i % 3]), routed(f"{number}-{i}", DESKS[i % 3])], True
            )
        return found

    outcomes = [outcome for some in await asyncio.gather(*map(adapter, range(8))) for outcome in some]
    assert [outcome.status for outcome in outcomes] == ["accepted", "repeated"] * 80
    assert len({(outcome.partition, outcome.position) for outcome in outcomes}) == 160
    await house.host.catch_up()
    assert sum(house.host.boards[pool].queues(0)[0].waiting for pool in DESKS) == 80


async def test_turns_come_page_by_page_and_news_of_those_that_follow(house):
    outcomes = await house.host.submit([routed(i) for i in range(25)], True)
    partition = outcomes[0].partition
    everything = await turns(house, partition)
    paged, after = [], -1
    while page := await house.host.turns(partition, after, 7):
        paged += [read_turn(record) for record in page]
        after = paged[-1].position
        assert len(page) <= 7
    assert paged == everything and [turn.position for turn in everything][-25:] == [o.position for o in outcomes]
    assert await house.host.turns(partition, outcomes[-1].position, 7) == []
    assert not await house.host.news(partition, 0.05)
    waiting = asyncio.create_task(house.host.news(partition, 10))
    await asyncio.sleep(0)
    (late,) = await house.host.submit([routed(99)], True)
    assert await waiting
    (turn,) = [read_turn(record) for record in await house.host.turns(partition, outcomes[-1].position, 7)]
    assert turn.position == late.position


async def test_a_deadline_comes_by_itself(house):
    await one(house, m.SignInAgent("ann", True, ("sales",)), "in", "shop")
    await one(house, m.SourceHeartbeat(1000), "beat", "shop")
    await one(house, m.RouteContact("c1", "call", "sales"), "1", "shop")
    partition = house.host.partition_of("shop")
    until = time.monotonic() + 20
    while not any(type(event) is m.SourceFellSilent for turn in await turns(house, partition) for event in turn.events):
        assert time.monotonic() < until
        await house.host.news(partition, 1)


async def test_a_crash_changes_nothing_and_the_log_is_what_a_replay_of_its_commands_makes(house):
    said = []
    for lap in range(3):
        for i in range(20):
            pool = DESKS[i % 3]
            said.append((routed(f"{lap}-{i}", pool), (await house.host.submit([routed(f"{lap}-{i}", pool)], True))[0]))
            if i % 4 == 0:
                await one(house, m.SignInAgent(f"a{lap}-{i}", True, ("sales",)), f"in-{lap}-{i}", pool)
                await one(house, m.UpdateContact(f"c{lap}-{i}"), f"same-{lap}-{i}", pool)
        before = {number: await turns(house, number) for number in {o.partition for _, o in said}}
        await house.crash()
        await house.open()
        for number, found in before.items():
            assert (await turns(house, number))[: len(found)] == found
        for ask, first in said[:: lap + 3]:
            (again,) = await house.host.submit([ask], True)
            assert (again.status, again.first, list(again.events)) == ("repeated", first.position, list(first.events))
    for number in before:
        await replayed(house, number)


async def replayed(house: House, number: int) -> None:
    """Chain for chain: positions, times and bytes."""
    partition = Partition(number=number, partitions=len(house.host.standings()))
    expected = []
    for entry in await house.commands(number):
        made = partition.decide_entry(entry)
        if made.record is not None:
            expected.append(made.record)
    found: Any = await house.host.turns(number, -1, 10_000)
    assert [split_turn(record)[1:] for record in found] == [split_turn(record)[1:] for record in expected]

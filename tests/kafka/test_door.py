"""Doors of a log on Kafka: what only they have to do. That they answer as embedded hosts do is tests/web's to say."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace
from structlog.testing import capture_logs

from engine.agents import door_host, following
from engine.agents.connection import Connection
from engine.agents.door_host import KafkaHost
from engine.agents.partition_log import write_snapshot
from engine.core import messages as m
from engine.streams.codec import envelope_of, write_command
from engine.streams.journal import read_turn
from engine.streams.log import LogProblem, LogUnsure
from engine.streams.topics import Shape, partition_of
from engine.streams.views import Views
from tests.hosts.server import RULES, WAIT_S, Listener, command
from tests.kafka.doors import KafkaDoor
from tests.kafka.oracle import check
from tests.kafka.workers import WorkerProcess

POOLS = ("desk", "shop", "bank", "clinic")  # in three partitions, two of them in one


class World:
    """A log with a pool or two in each of three partitions, and whoever works on it."""

    def __init__(self, folder: Path, broker: str, shape: Shape) -> None:
        self.folder = folder
        self.broker = broker
        self.shape = shape
        self.config = folder / "pools"
        self.config.mkdir()
        for pool in POOLS:
            (self.config / f"{pool}.toml").write_text(RULES.replace('pool = "desk"', f'pool = "{pool}"'))
        self.started: list[WorkerProcess | KafkaDoor] = []

    def worker(self, name: str = "worker", published: bool = True) -> WorkerProcess:
        worker = WorkerProcess(self.folder, self.broker, self.shape, name, config=self.config)
        self.started.append(worker)
        worker.wait("rules-published" if published else "partition-taken", len(POOLS) if published else 3)
        return worker

    def door(self) -> KafkaDoor:
        door = KafkaDoor(self.broker, self.shape)
        self.started.append(door)
        return door.start()

    @asynccontextmanager
    async def host(self) -> AsyncIterator[KafkaHost]:
        host = KafkaHost(Connection(self.broker), self.shape)
        try:
            await host.start()
            yield host
        finally:
            await host.close()

    def end(self) -> None:
        for each in self.started:
            if each.process.poll() is None:
                each.kill()


@pytest.fixture
def world(tmp_path, broker, topics) -> Iterator[World]:
    world = World(tmp_path, broker, topics(partitions=3))
    yield world
    world.end()


def asked(number: int, pool: str = "desk", **changed: Any) -> Any:
    route = m.RouteContact(f"c{number}", "call", "sales")
    envelope = replace(envelope_of(route, str(number), "pbx", pool), **changed)
    return envelope, route, write_command(envelope)


def test_the_pools_of_this_file_are_in_every_partition():
    assert {partition_of(pool, 3) for pool in POOLS} == {0, 1, 2}


def test_who_does_not_wait_is_told_where_it_stands_and_later_what_became_of_it(world):
    world.worker()
    with world.door() as door, door.hasty_client() as client:
        for pool in POOLS:
            ask = command("route-contact", "1", pool=pool, contact_id="c1", channel="call", queue_id="sales")
            logged = client.post("/v1/commands", json=ask)
            assert logged.status_code == 200
            said = logged.json()
            assert said["status"] == "logged" and said.get("partition", 0) == partition_of(pool, 3)
            assert said.keys() - {"partition"} == {"status", "position"}, "and no word of what is not known"
            again = client.post("/v1/commands", json=ask, params={"wait": "decided"}).json()
            assert (again["status"], again["first"]) == (
                "repeated",
                {"position": said["position"], "status": "accepted"},
            )
            assert [event["type"] for event in again["events"]] == ["contact-queued"]
            assert again["events"][0]["id"] == f"{said.get('partition', 0)}/{said['position']}/0"
        ready = client.get("/readyz").json()
        assert [each["owner"] for each in ready["partitions"]] == ["worker"] * 3
        assert ready["status"] == "ready" and [each["trouble"] for each in ready["partitions"]] == [""] * 3


def test_where_nobody_decides_the_wait_ends_with_a_sentence_and_the_command_is_decided_later(world, monkeypatch):
    world.worker().stop()
    monkeypatch.setattr(door_host, "DECIDE_S", 0.5)

    async def alone() -> int:
        async with world.host() as host:
            (outcome,) = await host.submit([asked(1)], True)
            assert outcome.status == "logged"
            await host._look()
            assert host.standings()[outcome.partition].undecided == 1
            return outcome.position

    position = asyncio.run(alone())
    monkeypatch.undo()
    world.worker("another", published=False)

    async def decided() -> None:
        async with world.host() as host:
            (outcome,) = await host.submit([asked(1)], True)
            assert (outcome.status, outcome.first) == ("repeated", position)
            assert type(outcome.events[0]) is m.ContactQueued

    asyncio.run(decided())


async def test_what_the_engine_takes_for_no_command_is_told_as_soon_as_a_later_turn_has_come(world):
    await asyncio.to_thread(world.worker)
    async with world.host() as host:
        outcomes = await host.submit([asked(1), asked(2, version=2), asked(3), asked(4, pool="nowhere")], True)
        assert [outcome.status for outcome in outcomes] == ["accepted", "rejected", "accepted", "refused"]
        assert outcomes[1].position == outcomes[0].position + 1 == outcomes[2].position - 1
        assert outcomes[3].problem is not None and outcomes[3].problem.field == "pool"


def test_a_listener_goes_from_door_to_door_and_over_a_restart_without_loss_or_repetition(world):
    world.worker()
    one, two = world.door(), world.door()
    listeners = {pool: Listener(one, iter_rest(3), pool=pool, **{"from": "start"}) for pool in POOLS}
    expected: dict[str, list[str]] = {pool: [] for pool in POOLS}
    for lap in range(3):
        for door in (one, two):
            with door.client() as client:
                batch = []
                for i in range(40):
                    id = f"{lap}-{door is one}-{i}"
                    batch.append(command("route-contact", id, pool=POOLS[i % 4], contact_id=id))
                    batch[-1]["data"] |= {"channel": "call", "queue_id": "sales"}
                for ask, result in zip(batch, client.post("/v1/commands", json=batch).json(), strict=True):
                    assert result["status"] == "accepted"
                    expected[ask["pool"]] += [event["id"] for event in result["events"]]
        for listener in listeners.values():
            listener.server = two if lap == 0 else one  # with the next break
        if lap == 1:
            two.kill()
            two.start()
    for pool, listener in listeners.items():
        assert listener.has(lambda seen, pool=pool: bool(seen) and seen[-1]["id"] == expected[pool][-1])
        listener.stop()
        assert listener.ids[1:] == expected[pool] and listener.breaks > 5, "the first is of the rules"
    with one.client() as a, two.client() as b:
        for pool in POOLS:
            views = [client.get(f"/v1/pools/{pool}/queues").json() for client in (a, b)]
            assert views[0]["queues"][0]["waiting"] == 60 and views[0]["position"] == views[1]["position"]
    asyncio.run(check(world.broker, world.shape.prefix))


def iter_rest(count: int) -> Callable[[], int]:
    return lambda: count


async def test_turns_that_are_kept_no_more_come_from_the_broker(world, monkeypatch):
    await asyncio.to_thread(world.worker)
    monkeypatch.setattr(following, "KEPT", 8)
    monkeypatch.setattr(following, "STRIDE", 16)
    async with world.host() as host:
        number = host.partition_of("desk")
        outcomes = []
        for lap in range(10):
            outcomes += await host.submit([asked(lap * 20 + i) for i in range(20)], True)
        everything = [read_turn(each) for each in await host.turns(number, -1, 10_000)]
        mine = [turn.position for turn in everything if turn.command.source == "pbx"]
        assert mine == [outcome.position for outcome in outcomes] and host.followed[number].recent(mine[0], 1) is None
        for after in mine[::7]:
            page = [read_turn(each) for each in await host.turns(number, after, 5)]
            assert page == [turn for turn in everything if turn.position > after][:5]
        (again,) = await host.submit([asked(0)], True)
        assert (again.first, again.events) == (outcomes[0].position, outcomes[0].events)


async def test_a_door_begins_at_a_snapshot_of_the_views_and_still_has_what_came_before(world, monkeypatch):
    await asyncio.to_thread(world.worker)
    monkeypatch.setattr(door_host, "BACK", 25)
    monkeypatch.setattr(following, "STRIDE", 4)
    async with world.host() as host:
        number = host.partition_of("desk")
        first = await host.submit([asked(i) for i in range(60)], True)
        snapshot = host.followed[number].views.snapshot()
        async with AIOKafkaProducer(bootstrap_servers=world.broker) as producer:
            manifest, chunks = snapshot()
            await write_snapshot(producer, world.shape, number, "views", "a", [manifest, *chunks])
            torn = [Views(number).snapshot()()[0][:-1]]
            await write_snapshot(producer, world.shape, number, "views", "b", torn)
        await host.submit([asked(100 + i) for i in range(30)], True)
        everything = await host.turns(number, -1, 1000)
        with capture_logs() as said:
            async with world.host() as other:
                assert other.followed[number].trail.begin.position == first[-1].position, "it began at the snapshot"
                assert other.boards["desk"].rows() == host.boards["desk"].rows()
                assert other.standings()[number].owner == "worker"
                for outcome in (first[50], first[3], first[20]):
                    page = await other.turns(number, outcome.position - 1, 40)
                    assert read_turn(page[0]).position == outcome.position
                    assert page == everything[everything.index(page[0]) :][:40]
                assert await other.turns(number, -1, 1000) == everything
                (again,) = await other.submit([asked(7)], True)
                assert (again.status, again.first, again.events) == ("repeated", first[7].position, first[7].events)
        assert [each["event"] for each in said if each["event"] == "snapshot-ignored"], "the torn one, aloud"


def test_without_topics_and_with_topics_of_another_shape_the_door_says_so(broker, tmp_path):
    with KafkaDoor(broker, Shape("nowhere.")).start(wait=False) as door:
        assert not door.listening() and door.ended() == 1
        assert "no topic nowhere.journal" in door.text() and "topics apply" in door.text()


async def test_a_broker_that_is_away_is_said_at_once_and_nothing_is_pretended(brokers, topics, tmp_path, monkeypatch):
    own = brokers(settings={"broker.session.timeout.ms": "3000"})
    world = World(tmp_path, own.address, topics(partitions=3, at=own.address))
    try:
        await asyncio.to_thread(world.worker)
        monkeypatch.setattr(door_host, "APPEND_S", 2.0)
        async with world.host() as host:
            (before,) = await host.submit([asked(1)], True)
            assert before.status == "accepted"
            own.freeze()
            with pytest.raises(LogUnsure):  # it had been sent, perhaps
                await host.submit([asked(2)], True)
            with pytest.raises(LogProblem) as refused:
                await host.submit([asked(3)], True)
            assert not isinstance(refused.value, LogUnsure) and host.trouble is not None
            own.thaw()
            until = asyncio.get_running_loop().time() + WAIT_S
            while host.trouble is not None:
                assert asyncio.get_running_loop().time() < until
                await asyncio.sleep(0.05)
            outcomes = await host.submit([asked(2), asked(3)], True)
            assert outcomes[0].status in ("repeated", "accepted"), "whichever it was, it has happened once"
            assert outcomes[1].status == "accepted", "what was refused had not happened"
            assert host.boards["desk"].queues(0)[0].waiting == 3
    finally:
        world.end()


# ---- the command


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", "serve", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which log"),
        (["--data", "var"], "Say which log"),
        (["--config", "x.toml", "--data", "var", "--prefix", "mine."], "Say which log"),
        (["--broker", "localhost:9092", "--data", "var"], "leave out --config and --data"),
        (["--broker", "localhost"], "HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_a_sentence(arguments, said):
    done = serve(*arguments)
    assert done.returncode == 2 and said in " ".join(done.stderr.split())


def test_a_log_in_a_folder_is_served_without_a_client_of_kafka():
    code = "import sys, engine.commands_serve; print([m for m in ('aiokafka', 'faust', 'mode') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""A partition in a file, a log in a partition: what is copied is what counted, the chain goes on, and nothing that is
half there is taken for whole."""

import asyncio
import json
import subprocess
import sys
from contextlib import closing

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from msgspec.structs import replace

from engine.agents import copies
from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.commands_copies import close_for_good
from engine.core import messages as m
from engine.embedded import Embedded
from engine.streams.audit import verify
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.log import LogSealed
from engine.streams.ownership import CannotTake, Lost
from engine.streams.sqlite_log import SqliteLog
from engine.streams.topics import COMMANDS, partition_of
from tests.hosts.test_embedded import DESK, Clock, Stretch
from tests.kafka.owner import Owner, send
from tests.kafka.workers import WorkerProcess

WAITLINE = [sys.executable, "-m", "engine"]


def waitline(*arguments, code=0):
    done = subprocess.run([*WAITLINE, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout if code in (0, None) or "--json" in arguments else done.stderr


def body(command, id, pool="desk"):
    return write_command(envelope_of(command, id, "pbx", pool))


def day(contacts=150, seed=3):
    """What is sent on a simulated day: late, false and repeated commands among it."""
    stretch = Stretch(seed, contacts)
    stretch.run()
    return stretch.script


def log_in(folder, script, pools=("desk",)):
    """An embedded log of real time, as `serve` leaves it."""
    clock = Clock()
    host = Embedded(SqliteLog.open(folder), clock, "real", name="log-1")
    for pool in pools:
        host.publish(replace(DESK, pool=pool))
    for at, command in script:
        while (due := host.next_due()) <= at:
            clock.now = max(clock.now, due)
            host.tick()
        clock.now = at
        host.submit([(*read_command(command), command)])
    host.close()
    return folder


def verified(folder):
    log = SqliteLog.open(folder, read_only=True)
    try:
        found = verify(log, redecide=True)
    finally:
        log.close()
    assert found.problems == []
    return found


# ---- export


async def test_an_export_holds_the_turns_that_count_and_is_decided_again_to_the_same_bytes(broker, topics, tmp_path):
    shape = topics(1)
    script = [command for _, command in day()]
    await send(broker, shape, [body(m.PublishRules(DESK), "rules"), *script[:200], b"no command", *script[200:400]])
    async with Owner(broker, shape, worker="first") as first:
        assert await first.decide() == 402
        await send(broker, shape, script[400:])
        async with Owner(broker, shape, worker="second"):
            with pytest.raises(Lost):
                await first.decide()  # what it appends is void
    async with Owner(broker, shape, worker="third") as third:
        await third.decide()
        chain = third.own.place.chain.hex()
    to = tmp_path / "out"
    export = ["export", "--broker", broker, "--prefix", shape.prefix, "--partition", 0, "--to", to]
    said = json.loads(waitline(*export, "--json"))
    assert (said["chain"], said["holes"], said["alarms"]) == (chain, 0, 0)
    assert said["voids"] >= 1
    found = verified(to)
    assert (found.chain, found.markers, found.voids, found.log) == (chain, 2, 0, "log-k")
    assert found.redecided == found.commands == said["commands"] > 500
    shown = waitline("log", "show", to)
    assert "worker=first" in shown and "no command #201" in shown
    assert "export of partition 0" in waitline("log", "verify", to)

    assert "there already" in waitline(*export, code=1)
    with pytest.raises(LogSealed, match="export of partition 0"):
        SqliteLog.open(to)


async def test_where_commands_have_expired_the_copy_has_holes_unless_an_earlier_one_has_them(broker, topics, tmp_path):
    shape = topics(1)
    script = [command for _, command in day()]
    await send(broker, shape, [body(m.PublishRules(DESK), "rules"), *script[:300]])
    export = ["export", "--broker", broker, "--prefix", shape.prefix, "--partition", 0, "--to"]
    async with Owner(broker, shape) as owner:
        await owner.decide()
        waitline(*export, tmp_path / "early")
        await send(broker, shape, script[300:])
        await owner.decide()
        chain = owner.own.place.chain.hex()
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.delete_records({TopicPartition(shape.named(COMMANDS), 0): RecordsToDelete(before_offset=250)})
    await admin.close()

    waitline(*export, tmp_path / "late")
    found = verified(tmp_path / "late")
    assert (found.chain, found.holes) == (chain, 250)
    assert found.folded > 100 and found.redecided + found.holes == found.last_position + 1
    said = waitline("log", "verify", tmp_path / "late", "--redecide")
    assert "250 positions without a command" in said and "The log is whole." in said
    shown = waitline("log", "show", tmp_path / "late")
    assert "! no command #5: it had expired" in shown and "< contact-queued" in shown

    waitline(*export, tmp_path / "both", "--archive", tmp_path / "early")
    found = verified(tmp_path / "both")
    assert (found.chain, found.holes) == (chain, 0)


async def test_offsets_that_were_never_used_are_holes(broker, topics, tmp_path):
    shape = topics(1)
    transactional = AIOKafkaProducer(bootstrap_servers=broker, transactional_id="gap-" + shape.prefix)
    async with transactional as producer, producer.transaction():  # whose commit takes an offset
        await producer.send(shape.named(COMMANDS), body(m.PublishRules(DESK), "rules"), partition=0)
    async with PartitionLog(Connection(broker), shape, 0) as log:
        while await log.end(COMMANDS) < 2:  # the commit is on its way when the transaction is over
            await asyncio.sleep(0.01)
    await send(broker, shape, [body(m.RouteContact("c1", "call", "sales"), "1")])
    async with Owner(broker, shape) as owner:
        assert await owner.decide() == 2
        chain = owner.own.place.chain.hex()
    waitline("export", "--broker", broker, "--prefix", shape.prefix, "--partition", 0, "--to", tmp_path / "out")
    found = verified(tmp_path / "out")
    assert (found.chain, found.holes, found.last_position, found.redecided) == (chain, 1, 2, 2)


async def test_a_partition_that_nobody_has_taken_has_nothing_to_export(broker, topics, tmp_path):
    shape = topics(1)
    export = ["export", "--broker", broker, "--prefix", shape.prefix, "--to", tmp_path / "out"]
    assert "no log to export" in waitline(*export, "--partition", 0, code=1)
    assert "partitions 0 to 0" in waitline(*export, "--partition", 1, code=1)
    assert not (tmp_path / "out").exists()
    assert "no topics" in waitline(*export[:-4], "--prefix", "none.", *export[-2:], "--partition", 0, code=1)
    assert "Kafka" in waitline(*export[:1], "--broker", "127.0.0.1:1", *export[-2:], "--partition", 0, code=3)


# ---- migrate


async def test_an_embedded_log_goes_on_on_kafka_and_its_export_is_one_log_from_the_first_command(
    broker, topics, tmp_path
):
    shape = topics(3)
    number = partition_of("desk", 3)
    script = day(600)
    half = len(script) // 2
    folder = log_in(tmp_path / "old", script[:half])
    migrate = ["migrate", folder, "--broker", broker, "--prefix", shape.prefix]
    said = json.loads(waitline(*migrate, "--json"))
    assert said["partition"] == number and said["turns"] > 1000
    old = verified(folder)
    assert old.chain == said["chain"] and old.last_position == said["base"] - 1
    assert "This log is an archive" in waitline("log", "verify", folder)
    assert "goes on in partition" in waitline("serve", "--config", "deploy/desks/shop.toml", "--data", folder, code=1)

    await send(broker, shape, [command for _, command in script[half:]], number)
    async with Owner(broker, shape, number) as owner:
        assert owner.own.base == said["base"] and owner.partition.pools.keys() == {"desk"}
        assert await owner.decide() == len(script) - half
        chain = owner.own.place.chain.hex()
    export = [
        "export",
        "--broker",
        broker,
        "--prefix",
        shape.prefix,
        "--partition",
        number,
        "--archive",
        folder,
        "--to",
    ]
    waitline(*export, tmp_path / "new")
    found = verified(tmp_path / "new")
    assert (found.chain, found.holes, found.log) == (chain, 0, "log-1")
    assert found.redecided == found.commands > len(script)
    assert json.loads(waitline(*migrate, "--json"))["turns"] == 0, "all of it is there"

    other = topics(1)
    said = waitline("migrate", tmp_path / "new", "--broker", broker, "--prefix", other.prefix, "--json")
    assert json.loads(said)["chain"] == chain, "an export goes on elsewhere"
    async with Owner(broker, other) as owner:
        assert owner.partition.pools["desk"].contacts.keys() and owner.own.base == found.last_position + 1


async def test_a_worker_goes_on_with_a_log_that_was_moved_and_the_doctor_finds_it_well(broker, topics, tmp_path):
    shape = topics(2)
    number = partition_of("desk", 2)
    to_it = ["--broker", broker, "--prefix", shape.prefix]
    script = day(300)
    half = len(script) // 2
    folder = log_in(tmp_path / "old", script[:half])
    base = json.loads(waitline("migrate", folder, *to_it, "--json"))["base"]
    worker = WorkerProcess(tmp_path, broker, shape, "w1")
    try:
        worker.wait("partition-taken", 2)
        await send(broker, shape, [command for _, command in script[half:]], number)
        report = {}
        async with asyncio.timeout(40):
            while not report or any(seen["decided"] < seen["commands"][1] for seen in report["partitions"]):
                report = json.loads(waitline("doctor", *to_it, "--development", "--watch", 1, "--json", code=None))
        assert [each for each in report["findings"] if each["severity"] != "ok"] == []
        seen = report["partitions"][number]
        assert (seen["marker"]["worker"], seen["marker"]["base"], report["members"]) == ("w1", base, 1)
        assert worker.stop() == 0
    finally:
        worker.kill()
    report = json.loads(waitline("doctor", *to_it, "--development", "--json", code=1))
    assert report["partitions"][number]["snapshot_position"] == report["partitions"][number]["position"] > base
    said = json.loads(
        waitline("export", *to_it, "--partition", number, "--archive", folder, "--to", tmp_path / "new", "--json")
    )
    found = verified(tmp_path / "new")
    assert (found.chain, found.holes, found.log) == (said["chain"], 0, "log-1")
    assert found.commands > len(script) and found.redecided == found.commands


def interrupted(monkeypatch, after):
    """The move breaks off behind so many appends of turns."""
    sends = 0
    true_send = AIOKafkaProducer.send

    async def send(self, *arguments, **said):
        nonlocal sends
        sends += 1
        if sends > after:
            raise KeyboardInterrupt
        return await true_send(self, *arguments, **said)

    monkeypatch.setattr(AIOKafkaProducer, "send", send)


@pytest.mark.parametrize("after", [1, 60, "last"])
async def test_a_move_that_breaks_off_is_taken_by_nobody_and_gone_on_with(broker, topics, tmp_path, monkeypatch, after):
    shape = topics(1)
    folder = log_in(tmp_path / "old", day(60)[:120])
    migrate = ["migrate", folder, "--broker", broker, "--prefix", shape.prefix]
    log = SqliteLog.open(folder)
    close_for_good(log)
    found = copies.survey(log)
    move = copies.Move(copies.Connection(broker), shape, log, found, 0)
    with monkeypatch.context() as patched:
        interrupted(patched, found.turns if after == "last" else after)
        with pytest.raises(KeyboardInterrupt):
            await move.run()
    log.close()
    for _ in range(2):
        with pytest.raises(CannotTake, match="only a part of it has arrived"):
            async with Owner(broker, shape):
                pass
    with pytest.raises(LogSealed, match="goes on in" if after == "last" else "is being moved"):
        SqliteLog.open(folder)
    if after == "last":
        assert "too late" in waitline(*migrate, "--give-up", code=1)
    said = json.loads(waitline(*migrate, "--json"))
    assert said["chain"] == found.place.chain.hex()
    async with Owner(broker, shape) as owner:
        assert owner.own.place.chain == found.place.chain


async def test_a_move_that_is_given_up_leaves_the_log_to_be_served_and_the_part_to_nobody(
    broker, topics, tmp_path, monkeypatch
):
    shape = topics(1)
    folder = log_in(tmp_path / "old", day(60)[:120])
    migrate = ["migrate", folder, "--broker", broker, "--prefix", shape.prefix]
    with closing(SqliteLog.open(folder)) as log:
        move = copies.Move(copies.Connection(broker), shape, log, copies.survey(log), 0)
        with monkeypatch.context() as patched:
            interrupted(patched, 30)
            with pytest.raises(KeyboardInterrupt):
                await move.run()
    waitline(*migrate, "--give-up")
    log_in(folder, [])
    assert "not empty" in waitline(*migrate, code=1)
    with pytest.raises(CannotTake):
        async with Owner(broker, shape):
            pass
    log_in(folder, [])  # and the refusal has not sealed it


async def test_what_cannot_go_on_in_one_empty_partition_is_refused_with_what_to_do(broker, topics, tmp_path):
    shape = topics(2)
    to_it = ["--broker", broker, "--prefix", shape.prefix]
    pools = ["desk", next(f"p{n}" for n in range(99) if partition_of(f"p{n}", 2) != partition_of("desk", 2))]
    several = log_in(tmp_path / "several", day(60)[:40], pools)
    said = waitline("migrate", several, *to_it, code=1)
    assert f"desk -> partition {partition_of('desk', 2)}" in said and "together in topics of 1," in said
    log_in(several, [])

    simulated = tmp_path / "simulated"
    Embedded(SqliteLog.open(simulated), Clock(), "simulated").close()
    assert "holds simulated time" in waitline("migrate", simulated, *to_it, code=1)

    empty = tmp_path / "empty"
    Embedded(SqliteLog.open(empty), Clock(), "real").close()
    assert "no pool in this log" in waitline("migrate", empty, *to_it, code=1)

    log = log_in(tmp_path / "log", day(60)[:40])
    await send(broker, shape, [b"early"], partition_of("desk", 2))
    assert "commands is not empty (1 records" in waitline("migrate", log, *to_it, code=1)
    assert waitline("migrate", tmp_path / "none", *to_it, code=2)


async def test_a_worker_that_looked_before_the_move_and_wrote_its_marker_behind_it_does_not_own(
    broker, topics, tmp_path
):
    shape = topics(1)
    folder = log_in(tmp_path / "old", day(60)[:40])
    with closing(SqliteLog.open(folder)) as log:
        close_for_good(log)
        move = copies.Move(copies.Connection(broker), shape, log, copies.survey(log), 0)
        late = Owner(broker, shape)

        async def meanwhile(marker):
            await move.run()
            return await append(marker)

        append, late.append = late.append, meanwhile
        with pytest.raises(Lost, match="has begun a log here"):
            await late.__aenter__()
        await late.open.aclose()
    async with Owner(broker, shape) as owner:
        assert owner.own.base == move.base

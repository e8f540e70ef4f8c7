"""What goes wrong with a log on Kafka is made to go wrong, and `waitline doctor` says it, with what to do."""

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from engine.agents import doctor
from engine.agents.connection import Connection
from engine.agents.partition_log import GENERATIONS, write_snapshot
from engine.core import messages as m
from engine.streams.journal import Marker, write_marker, write_turn
from engine.streams.ownership import Lost
from engine.streams.topics import COMMANDS, JOURNAL, SNAPSHOTS, partition_of
from tests.hosts.test_embedded import DESK
from tests.kafka.owner import Owner, send
from tests.kafka.test_copies import body

RUNBOOKS = Path(__file__).parents[2] / "deploy" / "runbooks"
START = [
    body(m.PublishRules(DESK), "rules"),
    body(m.SignInAgent("ann", queues=("sales",), ready=True), "ann"),
    body(m.RouteContact("c1", "call", "sales"), "c1"),
]


def examined(broker, shape, *more, code=None):
    """The report; code: the exit status."""
    arguments = ["doctor", "--broker", broker, "--prefix", shape.prefix, "--development", "--watch", "0.5", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "engine", *arguments, *map(str, more)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = json.loads(done.stdout) if done.stdout else done.stderr
    if code is not None:
        assert done.returncode == code, report
    return report


def found(report, severity="alarm"):
    """what -> the sentence, of the findings of a severity, each with a remedy and a runbook that is there."""
    chosen = {each["what"]: each for each in report["findings"] if each["severity"] == severity}
    for each in chosen.values():
        if severity != "ok":
            assert each["remedy"] or each["what"] == "topic-settings"
            assert (RUNBOOKS / f"{each['runbook']}.md").exists()
    return {what: each["text"] for what, each in chosen.items()}


@asynccontextmanager
async def member(broker, shape, topic=None):
    """Somebody in the workers' group who does nothing."""
    consumer = AIOKafkaConsumer(
        topic or shape.named(COMMANDS),
        bootstrap_servers=broker,
        group_id=f"{shape.prefix}worker",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        await consumer.getmany(timeout_ms=500)
        yield consumer


@asynccontextmanager
async def admin(broker):
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def test_a_log_that_is_served_is_well(broker, topics):
    shape = topics(2)
    number = partition_of("desk", 2)
    await send(broker, shape, START, number)
    async with Owner(broker, shape, number, "w7") as owner, member(broker, shape):
        await owner.decide()
        report = examined(broker, shape, code=0)
        seen = report["partitions"][number]
        assert (seen["position"], seen["decided"], seen["commands"]) == (2, 3, [0, 3])
        assert (seen["marker"]["worker"], seen["voids"], seen["overdue"]) == ("w7", 0, [])
        assert (report["group"], report["state"], report["members"]) == (f"{shape.prefix}worker", "Stable", 1)
        assert abs(seen["skew"]) < 500 and report["partitions"][1 - number]["position"] == -1
    said = subprocess.run(
        [sys.executable, "-m", "engine", "doctor", "--broker", broker, "--prefix", shape.prefix, "--development"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"partition {number}: last turn 2" in said.stdout and "w7 (engine" in said.stdout, said
    assert said.returncode == 1 and "No worker of the group" in said.stdout


async def test_commands_that_nobody_decides_are_alarming_with_or_without_workers(broker, topics):
    shape = topics(1)
    await send(broker, shape, START)
    assert "no worker is in the group" in found(examined(broker, shape, code=1))["no-worker"]
    async with member(broker, shape):
        assert "3 commands wait from offset 0 on" in found(examined(broker, shape, code=1))["stuck"]
    async with member(broker, shape, shape.named(JOURNAL)):
        assert "none of the 1 workers has it" in found(examined(broker, shape, code=1))["not-assigned"]


async def test_commands_that_have_expired_before_they_were_decided_are_alarming(broker, topics):
    shape = topics(1)
    await send(broker, shape, START)
    async with Owner(broker, shape) as owner:
        await owner.decide()
        await send(broker, shape, START * 3)
    async with admin(broker) as client:
        await client.delete_records({TopicPartition(shape.named(COMMANDS), 0): RecordsToDelete(before_offset=5)})
    said = found(examined(broker, shape, code=1))["expired-commands"]
    assert "begin at offset 5, and 3 is the next" in said


async def test_void_records_are_told_and_those_of_the_newest_owner_are_alarming(broker, topics):
    shape = topics(1)
    await send(broker, shape, START)
    async with Owner(broker, shape) as first, member(broker, shape):
        await first.decide()
        await send(broker, shape, [body(m.EndContact("c1", by="customer"), "e1")])
        async with Owner(broker, shape, worker="w2") as second:
            with pytest.raises(Lost):
                await first.decide()
            report = examined(broker, shape)
            assert report["partitions"][0]["voids"] == 1 and report["partitions"][0]["alarms"] == []
            assert "void-records" in found(report, "ok")
            turn = m.Turn(3, 0, m.CommandRef("desk", "pbx", "x", "tick"), [])
            await second.append(write_turn(second.own.number, bytes(32), turn)[0])
    said = found(examined(broker, shape, code=1))["void-records"]
    assert "chain-broken" in said and "1 of the last 7 journal records" in said
    said = found(examined(broker, shape, "--records", 1, code=1))["void-records"]
    assert "chain-broken" in said, "also where the end is looked at only"


async def test_a_deadline_that_has_passed_is_told_where_there_was_time_to_look(broker, topics, monkeypatch):
    shape = topics(1)
    await send(broker, shape, START)
    async with Owner(broker, shape) as owner, member(broker, shape):
        await owner.decide()
        assert "Deadlines were not looked at" in found(examined(broker, shape, "--seconds", 0), "ok")["overdue"]
        manifest, chunks = owner.partition.snapshot(owner.own.place)(b"")
        parts = [manifest, *chunks]
        await write_snapshot(owner.producer, shape, 0, "pools", GENERATIONS[0], parts)
        real = doctor._now
        monkeypatch.setattr(doctor, "_now", lambda: real() + 40_000)  # the offer has lasted 15 s
        report = await doctor.examine(Connection(broker), shape, watch_s=0.1)
    seen = report.partitions[0]
    assert (seen.snapshot_position, seen.restart) == (2, 0)
    assert seen.overdue[0].pool == "desk" and 20_000 < seen.overdue[0].by_ms < 40_000
    assert "'desk' has passed" in next(each.text for each in report.findings if each.what == "overdue")


@pytest.mark.parametrize("ahead", [3_000, -3_000])
async def test_clocks_that_differ_are_alarming(broker, topics, monkeypatch, ahead):
    shape = topics(1)
    real = doctor._now
    monkeypatch.setattr(doctor, "_now", lambda: real() - ahead)  # this host's is wrong
    report = await doctor.examine(Connection(broker), shape, watch_s=0.1)
    said = next(each for each in report.findings if each.what == "clock")
    assert said.severity == "alarm" and f"3.0 s {'ahead of' if ahead > 0 else 'behind'} this host's" in said.text


async def test_a_worker_whose_clock_was_wrong_when_it_took_the_partition_is_named(broker, topics):
    shape = topics(1)
    async with Owner(broker, shape, worker="w3", at=1_000_000):
        said = found(examined(broker, shape, code=1), "warning")["clock-then"]
    assert "When w3 took it" in said


async def test_a_topic_that_was_made_anew_is_alarming(broker, topics):
    shape = topics(1)
    await send(broker, shape, START)
    async with Owner(broker, shape) as owner:
        await owner.decide()
    async with admin(broker) as client:
        name = shape.named(COMMANDS)
        await client.delete_topics([name])
        while name in await client.list_topics():
            pass
        await client.create_topics([NewTopic(name, 1, 1, topic_configs=shape.settings(COMMANDS))])
    assert f"{shape.prefix}commands is not the one" in found(examined(broker, shape, code=1))["recreated-topic"]


async def test_a_log_of_which_a_part_has_arrived_is_alarming(broker, topics):
    shape = topics(1)
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        marker = write_marker(Marker("migrate", "log-1", "real", 0, base=40))
        await producer.send_and_wait(shape.named(JOURNAL), marker, partition=0)
    assert "only a part of it has arrived (position -1 of 39)" in found(examined(broker, shape, code=1))["half-moved"]


async def test_a_journal_that_cannot_be_read_is_alarming(broker, topics):
    shape = topics(1)
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        await producer.send_and_wait(shape.named(JOURNAL), b"a turn before any marker", partition=0)
    assert "a turn before any owner's marker" in found(examined(broker, shape, code=1))["journal-broken"]


async def test_topic_settings_are_judged_and_missing_topics_are_all_that_is_said(broker, topics):
    shape = topics(1)
    async with admin(broker) as client:
        await client.delete_topics([shape.named(SNAPSHOTS)])
        while shape.named(SNAPSHOTS) in await client.list_topics():
            pass
    report = examined(broker, shape, code=1)
    assert report["partitions"] == [] and "does not exist" in found(report)["topic-settings"]


def test_a_cluster_that_is_not_there_is_another_exit_status(topics):
    done = subprocess.run(
        [sys.executable, "-m", "engine", "doctor", "--broker", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3 and "127.0.0.1:1" in done.stderr

"""`waitline topics` on a real broker: what it finds, makes and alters, and what it leaves to a person."""

import itertools
import json
import os
import subprocess
import sys

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from engine.agents.admin import check_topics
from engine.agents.connection import Connection
from engine.streams.topics import DEVELOPMENT, TOPICS, Shape

KINDS = [topic.kind for topic in TOPICS]
_numbers = itertools.count(1)


class Desk:
    """One prefix on the broker, seen by `waitline topics` and by a client that others wrote."""

    def __init__(self, broker):
        self.broker = broker
        self.prefix = f"planned-{next(_numbers)}."
        self.others = AdminClient({"bootstrap.servers": broker})

    def run(self, verb, *arguments):
        """(exit status, the document)."""
        done = subprocess.run(
            [sys.executable, "-m", "engine", "topics", verb, "--broker", self.broker, "--prefix", self.prefix, "--json"]
            + [str(each) for each in arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def plan(self, *arguments):
        status, said = self.run("plan", "--development", *arguments)
        return status, {(each["topic"].removeprefix(self.prefix), each["what"]): each for each in said["differences"]}

    def apply(self, *arguments):
        status, said = self.run("apply", "--development", *arguments)
        return status, [(each["topic"].removeprefix(self.prefix), each["what"]) for each in said["done"]]

    def create(self, kind, partitions=4, **settings):
        named = {name.replace("_", "."): value for name, value in settings.items()}
        topic = NewTopic(self.prefix + kind, partitions, 1, config=named)
        self.others.create_topics([topic])[topic.topic].result()

    def settings(self, kind):
        resource = ConfigResource(ResourceType.TOPIC, self.prefix + kind)
        found = self.others.describe_configs([resource])[resource].result()
        return {name: entry.value for name, entry in found.items()}

    def alter(self, kind, **settings):
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self.prefix + kind, incremental_configs=entries)
        self.others.incremental_alter_configs([resource])[resource].result()

    def partitions(self):
        topics = self.others.list_topics(timeout=10).topics
        return {
            name.removeprefix(self.prefix): len(topic.partitions)
            for name, topic in topics.items()
            if name.startswith(self.prefix)
        }


@pytest.fixture
def desk(broker):
    return Desk(broker)


def test_what_is_applied_is_as_planned_and_a_second_time_there_is_nothing_to_do(desk):
    status, missing = desk.plan()
    assert (status, list(missing)) == (1, [(kind, "topic") for kind in KINDS])
    assert desk.partitions() == {}, "a plan changes nothing"

    assert desk.apply("--partitions", 3) == (0, [(kind, "topic") for kind in KINDS])
    assert desk.plan() == (0, {})
    assert desk.apply() == (0, [])


def test_another_client_finds_the_topics_as_they_are_written_down(desk):
    desk.apply("--partitions", 3, "--retention-days", 2)
    assert desk.partitions() == dict.fromkeys(KINDS, 3)
    shape = Shape(desk.prefix, 3, 1, 1, retention_days=2)
    for topic in TOPICS:
        assert desk.settings(topic.kind).items() >= shape.settings(topic).items()


def test_a_journal_that_could_lose_turns_is_mended_and_other_settings_stay(desk):
    desk.apply()
    desk.alter("journal", retention_ms="3600000", unclean_leader_election_enable="true", segment_bytes="20000000")
    status, found = desk.plan()
    assert status == 1
    assert set(found) == {("journal", "retention.ms"), ("journal", "unclean.leader.election.enable")}
    assert all(each["blocks"] and each["remedy"] == "alter" for each in found.values())

    status, done = desk.apply()
    assert (status, set(done)) == (0, set(found))
    assert desk.settings("journal")["retention.ms"] == "-1"
    assert desk.settings("journal")["segment.bytes"] == "20000000"


def test_other_partitions_are_left_to_a_person(desk):
    desk.create("status", 2, cleanup_policy="compact")
    _, found = desk.plan("--partitions", 4)
    assert found["status", "partitions"]["remedy"] == "person"
    assert "The number never changes" in found["status", "partitions"]["text"]

    assert desk.apply("--partitions", 4)[0] == 1
    assert desk.partitions() == dict.fromkeys(KINDS, 4) | {"status": 2}


def test_where_topics_are_there_already_theirs_is_the_number_of_partitions(desk):
    desk.create("journal", 5)
    desk.apply()
    assert desk.partitions() == dict.fromkeys(KINDS, 5)


def test_nothing_is_shortened_and_a_policy_that_throws_records_away_is_a_persons_choice(desk):
    desk.apply()
    desk.alter("commands", retention_ms="31536000000", max_message_bytes="9000000")
    desk.alter("events", cleanup_policy="compact")
    status, found = desk.plan()
    assert (status, list(found)) == (1, [("events", "cleanup.policy")])
    assert "kafka-configs.sh" in found["events", "cleanup.policy"]["text"]

    assert desk.apply() == (1, [])
    assert desk.settings("commands")["retention.ms"] == "31536000000"
    assert desk.settings("events")["cleanup.policy"] == "compact"


def test_commands_that_are_compacted_keep_a_worker_from_starting(desk):
    desk.create("commands", cleanup_policy="compact")
    _, found = desk.plan()
    assert found["commands", "cleanup.policy"]["blocks"]
    assert found["commands", "message.timestamp.type"]["blocks"]
    assert not found["commands", "max.message.bytes"]["blocks"]


def test_what_holds_only_by_the_brokers_default_is_set_on_the_topic(desk):
    desk.create("rejected")
    _, found = desk.plan()
    assert "only by the brokers' default" in found["rejected", "unclean.leader.election.enable"]["text"]
    assert not found["rejected", "unclean.leader.election.enable"]["blocks"]
    assert desk.apply()[0] == 0
    assert desk.plan() == (0, {})


def test_more_acknowledgements_than_there_are_copies_are_not_asked_for(desk):
    desk.apply()
    status, said = desk.run("apply")  # outside development
    assert status == 1
    assert {each["remedy"] for each in said["differences"]} == {"person"}
    assert {each["what"] for each in said["differences"]} == {"replication", "min.insync.replicas"}
    assert desk.settings("journal")["min.insync.replicas"] == "1", "else nothing could be written any more"


def test_copies_that_no_broker_is_there_for_are_said_before_anything_is_made(desk):
    status, said = desk.run("apply")
    assert status == 1
    assert "has 1 broker and 3 copies" in said["differences"][0]["text"]
    assert desk.partitions() == {}


async def test_a_worker_can_ask_for_what_blocks_it(desk):
    desk.apply()
    connection, shape = Connection(desk.broker), Shape(desk.prefix, 12, 1, 1)
    assert await check_topics(connection, shape) == []
    found = await check_topics(connection, shape, any_partitions=False)
    assert {(each.what, each.found, each.blocks) for each in found} == {
        ("partitions", str(DEVELOPMENT.partitions), True)
    }


def test_a_cluster_that_is_not_there_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "engine", "topics", "plan", "--broker", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("Kafka cannot be reached at 127.0.0.1:1. ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Where is Kafka?"),
        (["--broker", "kafka"], "HOST:PORT"),
        (["--broker", "kafka:9092", "--replication", "1", "--min-insync", "2"], "nothing could be written"),
    ],
)
def test_wrong_use_is_said_before_anything_is_asked(arguments, word):
    done = subprocess.run(
        [sys.executable, "-m", "engine", "topics", "plan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert word in done.stderr

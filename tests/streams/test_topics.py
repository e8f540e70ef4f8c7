"""Topics and the partition function, judged by Kafka's own vectors and by clients that others wrote."""

import json
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from engine.streams.topics import COMMANDS, DEVELOPMENT, JOURNAL, STATUS, TOPICS, Shape, murmur2, partition_of

VECTORS = json.loads((Path(__file__).parents[2] / "schemas" / "partition-vectors.json").read_text())

# UtilsTest.testMurmur2 of Apache Kafka, as signed numbers.
KAFKAS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def theirs(pool, partitions):
    every = list(range(partitions))
    return DefaultPartitioner()(pool.encode(), every, every)


@pytest.mark.parametrize(("data", "wanted"), KAFKAS.items())
def test_the_hash_is_kafkas(data, wanted):
    assert murmur2(data) == wanted & 0xFFFFFFFF


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 5000))
def test_a_pool_is_where_aiokafka_puts_its_id(pool, partitions):
    assert partition_of(pool, partitions) == theirs(pool, partitions)


def test_the_vectors_for_other_languages_hold():
    assert len(VECTORS["pools"]) >= 12
    for vector in VECTORS["pools"]:
        pool = vector["pool"]
        assert vector["utf8"] == pool.encode().hex()
        assert vector["murmur2"] == murmur2(pool.encode())
        for partitions, wanted in vector["partition_of"].items():
            assert partition_of(pool, int(partitions)) == theirs(pool, int(partitions)) == wanted


@pytest.mark.parametrize(("pool", "partitions"), [("", 4), ("shop", 0), ("shop", -1)])
def test_no_pool_and_no_partition_are_mistakes(pool, partitions):
    with pytest.raises(ValueError, match="at least one"):
        partition_of(pool, partitions)


def test_the_journal_is_kept_for_ever_and_commands_for_a_stated_time():
    settings = Shape(retention_days=3).settings
    assert (settings(JOURNAL)["retention.ms"], settings(JOURNAL)["retention.bytes"]) == ("-1", "-1")
    assert settings(COMMANDS)["retention.ms"] == str(3 * 86_400_000)
    assert settings(STATUS)["cleanup.policy"] == "compact"


def test_every_topic_has_the_logs_time_and_a_leader_that_has_it_all():
    for topic in TOPICS:
        settings = Shape().settings(topic)
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["unclean.leader.election.enable"] == "false"
        assert settings["min.insync.replicas"] == "2"
        assert DEVELOPMENT.settings(topic)["min.insync.replicas"] == "1"


def test_a_prefix_keeps_installations_apart():
    assert [Shape("test.").named(topic) for topic in TOPICS] == [
        "test.commands",
        "test.journal",
        "test.events",
        "test.status",
        "test.rejected",
        "test.snapshots",
    ]

"""The development broker: started, asked, stopped, harmed and started again, as `waitline kafka` does it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from engine.agents.broker import Broker, BrokerProblem, answers, fetch_jars, find_java
from engine.streams.topics import COMMANDS
from tests.kafka.brokers import Breakable

KAFKA = [sys.executable, "-m", "engine", "kafka"]


def kafka(*arguments, **environment):
    return subprocess.run(
        [*KAFKA, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | environment,
    )


async def test_a_command_that_was_acknowledged_is_there_after_a_kill(brokers, topics):
    broker = brokers(settings={"broker.session.timeout.ms": "3000"})
    shape = topics(at=broker.address)
    name = shape.named(COMMANDS)
    address = broker.address
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
        for number in range(100):
            await producer.send_and_wait(name, b"%d" % number, key=b"shop")
        broker.kill()
        assert broker.running() is None
        assert broker.up().address == address, "it comes back where clients look for it"
        await producer.send_and_wait(name, b"100", key=b"shop")
    async with AIOKafkaConsumer(bootstrap_servers=address, group_id=None) as consumer:
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        found = []
        while len(found) < 101:
            found += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
    assert [int(record.value) for record in found] == list(range(101))
    assert {record.timestamp_type for record in found} == {1}, "the log's time, not the sender's"


@pytest.mark.broker
def test_a_day_with_the_development_broker(tmp_path):
    data = ["--data", tmp_path / "kafka"]
    assert kafka("status", *data).returncode == 3

    up = kafka("up", *data, "--port", 0, "--json")
    assert up.returncode == 0, up.stderr
    said = json.loads(up.stdout)
    try:
        again = kafka("up", *data, "--json")
        assert json.loads(again.stdout) == said, "what runs is left alone"

        other_port = kafka("up", *data, "--port", 1)
        assert other_port.returncode == 1
        assert "already runs on port" in other_port.stderr

        status = kafka("status", *data, "--json")
        assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "answers")

        here = Breakable(tmp_path / "kafka")
        here.freeze()
        silent = kafka("status", *data)
        assert silent.returncode == 1
        assert "does not answer" in silent.stdout
        here.thaw()

        assert kafka("down", *data).stdout == "Stopped.\n"
        assert kafka("status", *data).returncode == 3
        assert kafka("down", *data, "--json").stdout.split() == ["{", '"stopped":', "false", "}"]
        assert "WARN" in kafka("logs", *data).stdout
    finally:
        kafka("down", *data)


def test_the_number_of_a_dead_broker_that_another_process_has_now_is_not_taken_for_a_broker(tmp_path):
    (tmp_path / "pid").write_text(f"{os.getpid()} 9092\n")
    assert Broker(tmp_path).running() is None
    assert Broker(tmp_path).down() is False


@pytest.mark.broker  # nothing starts, but Java and the jars are looked for first
def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = kafka("up", "--data", tmp_path, "--port", port)
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.stderr
    assert not (tmp_path / "log").exists()


@pytest.mark.broker
def test_a_broker_that_ends_while_it_starts_shows_its_last_words(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    with pytest.raises(BrokerProblem, match=r"ended while it started(.|\n)*node.id"):
        Broker(tmp_path).up(0)


def test_without_java_it_says_what_to_install(tmp_path):
    for without in ({"PATH": "", "JAVA_HOME": ""}, {"JAVA_HOME": str(tmp_path)}):
        done = kafka("up", "--data", tmp_path, **without)
        assert done.returncode == 1
        assert "Kafka runs on Java 17 or newer" in done.stderr
        assert "apt install" in done.stderr


def test_an_old_java_is_refused(tmp_path, monkeypatch):
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(BrokerProblem, match=r"needs Java 17 or newer.*11\.0\.2"):
        find_java()


def test_a_fetch_without_maven_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BrokerProblem, match="no `mvn` on the PATH"):
        fetch_jars()


def test_a_fetch_that_breaks_off_leaves_nothing_that_looks_like_a_broker(tmp_path, monkeypatch):
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(
        '#!/bin/sh\nfor last; do :; done\nfolder=${last#-DoutputDirectory=}\nmkdir "$folder" && : > "$folder/a.jar"\n'
        "echo 'no route to host'; exit 1\n"
    )
    maven.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    with pytest.raises(BrokerProblem, match=r"could not fetch(.|\n)*no route to host"):
        fetch_jars()
    assert list(Path(tmp_path / "cache" / "waitline").iterdir()) == []


def test_a_port_where_something_else_listens_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not answers(other.getsockname()[1], within_s=0.2)

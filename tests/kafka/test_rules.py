"""`waitline rules publish --broker`: rules take their turn in a log on Kafka, and the answer is awaited."""

import asyncio
from pathlib import Path

from click.testing import CliRunner

from engine.commands_rules import rules_command
from engine.streams.topics import Shape
from tests.kafka.oracle import check
from tests.kafka.workers import WorkerProcess

FIRST = 'pool = "desk"\nhead_starts.vip = 90\n[[queues]]\nid = "sales"\n'


def publish(file: Path, broker: str, shape: Shape, text: str, answer: str = "") -> tuple[int, str]:
    file.write_text(text)
    arguments = ["publish", str(file), "--broker", broker, "--prefix", shape.prefix]
    result = CliRunner().invoke(rules_command, arguments, input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_rules_are_published_into_a_log_that_is_being_worked_on(tmp_path, broker, topics):
    shape = topics(partitions=1)
    config = tmp_path / "desk.toml"
    config.write_text(FIRST)
    worker = WorkerProcess(tmp_path, broker, shape, "worker", config=config)
    try:
        worker.wait("rules-published", 1)
        file = tmp_path / "new.toml"
        code, output = publish(file, broker, shape, FIRST.replace("90", "120"), "n\n")
        assert code == 1 and output.startswith("VIP customers are now due 2 min earlier (was 1 min 30 s)\n")
        code, output = publish(file, broker, shape, FIRST.replace("90", "120"), "y\n")
        assert code == 0 and output.endswith("The pool desk goes by these rules since position 1.\n")
        assert publish(file, broker, shape, FIRST.replace("90", "120")) == (0, "The rules are the same.\n")
        code, output = publish(file, broker, shape, FIRST.replace("desk", "bank"))
        assert code == 1 and output.startswith("There is no pool bank in this log.")
        assert asyncio.run(check(broker, shape.prefix)).alarms == 0
    finally:
        worker.kill()


def test_a_broker_that_is_not_there_is_said(tmp_path):
    file = tmp_path / "desk.toml"
    code, output = publish(file, "127.0.0.1:27299", Shape("nowhere."), FIRST)
    assert code == 3 and output

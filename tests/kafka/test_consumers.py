"""The example programs for other teams, in Python, Java and Node: each follows what is public, and finds partitions."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.agents.broker import fetch_jars, find_java
from engine.agents.partition_log import PartitionLog
from engine.core.messages import Turn
from engine.streams.journal import Reader
from engine.streams.topics import JOURNAL
from tests.kafka import public

ROOT = Path(__file__).resolve().parents[2]
CONSUMERS = ROOT / "deploy" / "consumers"
NODE_MODULES = ROOT / "tests" / "kafka" / "node" / "node_modules"
VECTORS = json.loads((ROOT / "schemas" / "partition-vectors.json").read_text("utf-8"))["pools"]


def python(program: str, _folder: Path) -> list[str]:
    return [sys.executable, str(CONSUMERS / "python" / f"{program}.py")]


def java(program: str, _folder: Path) -> list[str]:
    small = ["-XX:+UseSerialGC", "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    return [find_java(), *small, "-cp", f"{fetch_jars()}/*", str(CONSUMERS / "java" / f"{program.capitalize()}.java")]


def node(program: str, folder: Path) -> list[str]:
    """Node looks for packages beside a program."""
    copied = folder / f"{program}.mjs"
    shutil.copy(CONSUMERS / "node" / copied.name, copied)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    return ["node", str(copied)]


LANGUAGES = [
    pytest.param(python, id="python"),
    pytest.param(java, id="java", marks=pytest.mark.javac),
    pytest.param(node, id="node", marks=pytest.mark.node),
]
Program = Callable[[str, Path], list[str]]


async def run(command: list[str], sent: str = "") -> list[str]:
    done = await asyncio.to_thread(
        subprocess.run, command, input=sent.encode(), capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode().splitlines()


@pytest.mark.javac
@pytest.mark.node
async def test_each_follows_every_event_once_and_knows_how_everybody_stands(house, tmp_path):
    house = house(2)
    worker = await house.worker()
    one = await house.projections("one", 2)
    await house.goes_on(1500, 1500)
    one.kill()
    await house.projections("two", 2)  # so that there are repeats, some of them
    await house.goes_on(500, 1500)
    await asyncio.sleep(5)  # until wrap-ups have timed out
    seen = await public.check(house.broker, house.shape)
    worker.stop()
    expected = await accepted(house)
    truth = {key: said for number in range(2) for key, said in public.truth_of(await house.views(number)).items()}
    found = await asyncio.gather(
        *(run([*of("follow", tmp_path), house.broker, house.shape.prefix, "5"]) for of in (python, java, node))
    )
    for lines in found:
        events, statuses = read(lines)
        assert sorted(events) == sorted(expected)
        assert {id: events[id] for id in expected} == expected
        present = {key: public.unstamped(said) for key, said in statuses.items() if said.get("state") != "gone"}
        assert present == truth
    assert seen.events > 1500


async def accepted(house: Any) -> dict[str, Any]:
    expected = {}
    for number in range(house.shape.partitions):
        reader = Reader()
        async with PartitionLog(house.connection, house.shape, number) as log:
            async for records in log.journal(0, await log.end(JOURNAL)):
                for record in records:
                    turn = reader.read(record)
                    for ordinal, event in enumerate(turn.events if isinstance(turn, Turn) else ()):
                        expected[f"{number}/{turn.position}/{ordinal}"] = json.loads(msgspec.json.encode(event))
    return expected


def read(lines: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(data of each event by id, the newest status of each key), of what a program has printed."""
    events: dict[str, Any] = {}
    statuses: dict[str, Any] = {}
    for line in map(json.loads, lines):
        if "event" in line:
            assert line["event"] not in events, "printed twice"
            events[line["event"]] = {"type": line["type"].removeprefix("waitline.")} | line["data"]
        elif line["value"] is None:
            statuses.pop(line["status"], None)
        else:
            statuses[line["status"]] = line["value"]
    return events, statuses


@pytest.mark.parametrize("of", LANGUAGES)
async def test_each_clients_own_partitioner_puts_a_pool_where_ours_does(of, tmp_path, broker, topics):
    shape = topics(partitions=12)
    commands = [
        {"id": str(i), "source": "test", "pool": each["pool"], "type": "source-heartbeat"}
        for i, each in enumerate(VECTORS)
    ]
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    told = await run([*of("send", tmp_path), broker, shape.prefix], lines)
    assert sorted(told) == sorted(f"{each['pool']}\t{each['partition_of']['12']}" for each in VECTORS)

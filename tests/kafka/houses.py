"""A log with a worker and those who publish it, for tests: processes that can be killed and frozen, or join."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.agents.connection import Connection
from engine.agents.partition_log import PartitionLog
from engine.streams.topics import JOURNAL, Shape, Topic
from engine.streams.views import Views
from tests.kafka.load import begin, go_on, pools, send
from tests.kafka.workers import WORKER, WorkerProcess

# As `waitline projections`, with a snapshot after every few turns and a session that soon ends.
OFTEN = """
from engine.agents import projections
projections.SESSION_S = 3
from engine.__main__ import main
projections.Projections.__init__.__kwdefaults__["snapshot_turns"] = 400
main()
"""


class ProjectionsProcess(WorkerProcess):
    def __init__(self, folder: Path, broker: str, shape: Shape, name: str) -> None:
        self.name = name
        self.errors = folder / f"{name}.log"
        arguments = ["--broker", broker, "--prefix", shape.prefix, "--development"]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", OFTEN, "projections", *arguments], stdout=errors, stderr=errors, env=os.environ
            )


class House:
    """A log with a worker, and whoever publishes it."""

    def __init__(self, folder: Path, broker: str, shape: Shape) -> None:
        self.folder, self.broker, self.shape = folder, broker, shape
        self.connection = Connection(broker)
        self.processes: list[WorkerProcess] = []
        self.pools = pools(shape)
        self.seed = 1

    async def worker(self, *options: str) -> WorkerProcess:
        worker = self.start("worker", program=[*WORKER, *options])
        await self.says(worker, "partition-taken", self.shape.partitions)
        await send(self.connection, self.shape, begin(self.pools))
        return worker

    def start(self, name: str, at: str = "", **said: Any) -> WorkerProcess:
        """A worker more. at: where it finds the broker."""
        self.processes.append(WorkerProcess(self.folder, at or self.broker, self.shape, name, **said))
        return self.processes[-1]

    def end(self) -> None:
        for process in self.processes:
            process.thaw()
            process.kill()

    async def projections(self, name: str, partitions: int) -> WorkerProcess:
        publisher = self.start_projections(name)
        await self.says(publisher, "publishing", partitions)
        return publisher

    def start_projections(self, name: str) -> WorkerProcess:
        self.processes.append(ProjectionsProcess(self.folder, self.broker, self.shape, name))
        return self.processes[-1]

    async def says(
        self, process: WorkerProcess, event: str, count: int = 1, within_s: float = 30, **fields: Any
    ) -> list[dict[str, Any]]:
        return await asyncio.to_thread(process.wait, event, count, within_s, **fields)

    async def goes_on(self, count: int, per_s: float) -> None:
        self.seed += 1
        await send(self.connection, self.shape, go_on(self.pools, count, self.seed), per_s)

    async def last(self, name: str, number: int) -> dict[str, Any]:
        """The last value of each key in a partition of a topic that is not one of ours."""
        found = {}
        async with PartitionLog(self.connection, Shape("", self.shape.partitions), number) as log:
            topic = Topic(name, "", "", 1)
            async for records in log.read(topic, *await log.ends(topic)):
                found |= {json.loads(record.key): json.loads(record.value) for record in records}
        return found

    async def views(self, number: int) -> Views:
        views = Views(number)
        async with PartitionLog(self.connection, self.shape, number) as log:
            async for records in log.journal(0, await log.end(JOURNAL)):
                for record in records:
                    views.fold(record)
        return views


@pytest.fixture
def house(tmp_path: Path, broker: str, topics: Callable[..., Shape]) -> Iterator[Callable[[int], House]]:
    made: list[House] = []

    def make(partitions: int) -> House:
        made.append(House(tmp_path, broker, topics(partitions=partitions)))
        return made[-1]

    yield make
    for house in made:
        house.end()

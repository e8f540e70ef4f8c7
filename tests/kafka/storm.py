"""A storm: load on a log, a fault in it, and then what must hold. What befalls the log stands in test_storms.py.

load -> fault -> settle -> oracle
"""

import asyncio
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from engine.agents.partition_log import PartitionLog
from engine.streams.topics import JOURNAL, Shape
from tests.kafka import oracle, public
from tests.kafka.altered import Altered
from tests.kafka.brokers import SOON, Breakable
from tests.kafka.houses import House
from tests.kafka.load import Load, begin, send
from tests.kafka.proxy import Proxy
from tests.kafka.workers import WorkerProcess

PER_S = 500
INSIDE = "10.199.77.1"  # the broker, as who lives in a network namespace of a test sees it

_seeds = itertools.count(2)


class StormyBroker(Breakable):
    """A broker that may be killed, with two ways to it that may be harmed (`one`, `two`), and a third for who lives in
    a network namespace. Storms share it: each leaves it running."""

    def __init__(self, data: Path) -> None:
        ports = _free_ports(5)
        self.proxies = {"one": Proxy(ports[0], ports[1]), "two": Proxy(ports[2], ports[3])}
        self.inside = f"{INSIDE}:{ports[4]}"
        listeners = {
            "ONE": (f"127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[0]}"),
            "TWO": (f"127.0.0.1:{ports[3]}", f"127.0.0.1:{ports[2]}"),
            "INSIDE": (f"0.0.0.0:{ports[4]}", self.inside),
        }
        super().__init__(
            data,
            SOON
            | {
                "listeners": ",".join(f"{name}://{at}" for name, (at, _) in listeners.items()),
                "advertised.listeners": ",".join(f"{name}://{said}" for name, (_, said) in listeners.items()),
                "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
            },
        )


class Storm(House):
    """A log in a storm."""

    def __init__(self, folder: Path, broker: StormyBroker, shape: Shape) -> None:
        super().__init__(folder, broker.address, shape)
        self.kafka = broker
        self.one = broker.proxies["one"]
        self.two = broker.proxies["two"]
        self.one.topic = self.two.topic = shape.named(JOURNAL)
        self.numbers = range(shape.partitions)

    def start(self, name: str, at: str = "", altered: Altered | None = None, **said: Any) -> WorkerProcess:
        return super().start(name, at, program=(altered or Altered()).program, **said)

    async def joins(self, name: str, **said: Any) -> WorkerProcess:
        """A worker that soon has a partition."""
        worker = self.start(name, **said)
        await self.says(worker, "partition-taken", within_s=60)
        return worker

    async def until(self, holds: Callable[[], bool], else_say: str, within_s: float = 60) -> None:
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, else_say
            await asyncio.sleep(0.05)

    async def still_writes(self, within_s: float = 60) -> None:
        """Waits until something more has been written to each partition's journal."""
        for number in self.numbers:
            async with self.reader(number) as log:
                end, until = await log.end(JOURNAL), time.monotonic() + within_s
                while await log.end(JOURNAL) == end:
                    assert time.monotonic() < until, f"nothing is written to partition {number}"
                    await asyncio.sleep(0.1)

    async def struck(self, *workers: WorkerProcess) -> None:
        for worker in workers:
            await asyncio.to_thread(worker.struck)

    async def taken_by(self, *workers: WorkerProcess, within_s: float = 60) -> None:
        """Waits until each partition has been taken last by one of these."""
        names = {worker.name for worker in workers}
        until = time.monotonic() + within_s
        while not (owners := self.owners()) or not set(owners.values()) <= names:
            assert time.monotonic() < until, f"the partitions are taken by {owners}, and not by {names} alone"
            await asyncio.sleep(0.1)

    def owners(self) -> dict[int, str]:
        """Of each partition, who says to have taken it last; empty while some have not been taken."""
        newest: dict[int, tuple[int, str]] = {}
        for worker in self.processes:
            for line in worker.said("partition-taken"):
                taken = line["owner"], worker.name
                newest[line["partition"]] = max(newest.get(line["partition"], taken), taken)
        return {number: name for number, (_, name) in newest.items()} if len(newest) == len(self.numbers) else {}

    def reader(self, number: int) -> PartitionLog:
        return PartitionLog(self.connection, self.shape, number)

    async def journal(self, number: int) -> list[ConsumerRecord]:
        async with self.reader(number) as log:
            return [record async for some in log.read(JOURNAL, *await log.ends(JOURNAL)) for record in some]


Fault = Callable[[Storm], Awaitable[None]]


@pytest.fixture(scope="session")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StormyBroker]:
    broker = StormyBroker(tmp_path_factory.mktemp("stormy"))
    broker.up(0)
    yield broker
    broker.down()


@pytest.fixture
def storm_log(
    request: pytest.FixtureRequest, topics: Callable[..., Shape], tmp_path: Path
) -> Iterator[Callable[..., Storm]]:
    """Makes a log for a storm, on the broker that storms share or on another: `storm_log(partitions=2)`."""
    made: list[Storm] = []

    def make(partitions: int, on: StormyBroker | None = None) -> Storm:
        broker: StormyBroker = on or request.getfixturevalue("stormy")
        made.append(Storm(tmp_path, broker, topics(partitions=partitions, at=broker.address)))
        return made[-1]

    yield make
    for log in made:
        log.end()


@pytest.fixture
def storm(storm_log: Callable[..., Storm]) -> Callable[..., Awaitable[oracle.Checked]]:
    """`await storm(fault)`: load on a log, with the workers that the fault starts, until it has passed; what the oracle
    has found."""

    async def rage(
        fault: Fault,
        *,
        partitions: int = 4,
        per_s: float = PER_S,
        published: bool = False,
        on: StormyBroker | None = None,
    ) -> oracle.Checked:
        log = storm_log(partitions, on)
        await send(log.connection, log.shape, begin(log.pools))
        async with log.one, log.two:
            if published:
                log.start_projections("publisher")
            async with Load(log.connection, log.shape, log.pools, per_s, next(_seeds)) as load:
                await fault(log)
                await asyncio.sleep(1)  # and it goes on
            checked = await oracle.check(log.connection, log.shape.prefix, 60, acknowledged=load.acknowledged)
            assert checked.accepted_offers > 100
            if published:
                seen = await public.check(log.broker, log.shape, 60)
                assert seen.events >= checked.events
        return checked

    return rage


class Disk:
    """A small one, in memory, which can be filled: its mount point, by root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True, capture_output=True
        )
        self.filler = folder / "filler"

    def fill(self) -> None:
        with suppress(OSError), self.filler.open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass

    def clear(self) -> None:
        self.filler.unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def broker_on_small_disk(tmp_path: Path) -> Iterator[tuple[StormyBroker, Disk]]:
    try:
        disk = Disk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"no disk of a test's own may be mounted here: {problem}")
    broker = StormyBroker(disk.folder / "kafka")
    try:
        broker.up(0)
        yield broker, disk
    finally:
        if broker.running():
            broker.kill()
        disk.remove()


class Cable:
    """To a network namespace of its own, by root: a veth pair, whose end here carries the broker's address."""

    def __init__(self) -> None:
        self.name = f"waitline-{os.getpid()}"
        self.within = ["ip", "netns", "exec", self.name]
        here, there = f"w{os.getpid()}", f"v{os.getpid()}"
        self.here = here
        try:
            for line in (
                f"netns add {self.name}",
                f"link add {here} type veth peer name {there} netns {self.name}",
                f"addr add {INSIDE}/30 dev {here}",
                f"link set {here} up",
                f"-n {self.name} addr add {INSIDE[:-1]}2/30 dev {there}",
                f"-n {self.name} link set {there} up",
            ):
                _ip(line)
        except BaseException:
            self.remove()
            raise

    def pull(self) -> None:
        _ip(f"link set {self.here} down")

    def plug(self) -> None:
        _ip(f"link set {self.here} up")

    def remove(self) -> None:
        _ip(f"netns del {self.name}", check=False)  # and with it, both ends


def _ip(line: str, check: bool = True) -> None:
    subprocess.run(["ip", *line.split()], check=check, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[Cable]:
    try:
        cable = Cable()
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"no network namespace may be made here: {problem}")
    yield cable
    cable.remove()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports

"""Real brokers for tests: one for the session, others that a test may kill, and topics of its own for each test."""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.agents.broker import Broker, BrokerProblem, fetch_jars, find_java
from engine.agents.connection import Connection
from engine.streams.topics import DEVELOPMENT, Shape

SOON = {
    "group.min.session.timeout.ms": "1000",  # who dies in a test is missed after 2 or 3 s, not after 6
    "broker.session.timeout.ms": "3000",  # and a broker that was killed is back so much sooner
}

_prefixes = itertools.count(1)


@cache
def can_run_kafka() -> bool:
    try:
        find_java()
        fetch_jars()
    except BrokerProblem:
        return False
    return True


class Breakable(Broker):
    """A broker with ways to harm it. After `kill`, `up` brings it back on its port; that takes 3 s, or up to 12 s where
    the controller still waits for the session of the one that was killed: the setting broker.session.timeout.ms, 9000
    by default, shortens it."""

    @property
    def address(self) -> str:
        running = self.running()
        assert running is not None, "the broker does not run"
        return running.address

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        running = self.running()
        assert running is not None, "the broker does not run"
        os.kill(running.pid, signal.SIGKILL)
        assert self._gone(running.pid, 10)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        os.kill(int((self.data / "pid").read_text().split()[0]), number)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a broker that all tests share: not to be harmed. Asking for it marks a test `broker`."""
    one = Breakable(tmp_path_factory.mktemp("kafka"), SOON)
    one.up(0)
    yield one.address
    one.down()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Callable[..., Breakable]]:
    """Starts brokers of the test's own: `brokers(settings={…}, format_arguments=[…], data=folder)`. They end with the
    test, also frozen ones."""
    started: list[Breakable] = []

    def start(data: Path | None = None, **said: Any) -> Breakable:
        one = Breakable(data or tmp_path / f"kafka-{len(started)}", **said)
        started.append(one)
        one.up(0)
        return one

    yield start
    for one in started:
        if one.running():
            one.thaw()
            one.kill()


@pytest.fixture(scope="session")
def topics(request: pytest.FixtureRequest) -> Callable[..., Shape]:
    """Makes all topics under a prefix that nobody else has, on the shared broker: `topics(partitions=2)`, or on one of
    the test's own: `topics(at=address)`. They are there, and can be written, when it returns."""

    def make(partitions: int = 1, at: str = "") -> Shape:
        at = at or request.getfixturevalue("broker")
        shape = Shape(f"test-{next(_prefixes)}.", partitions, DEVELOPMENT.replication, DEVELOPMENT.min_insync)
        with ThreadPoolExecutor(1) as aside:  # a test may have an event loop that runs
            aside.submit(asyncio.run, _make(at, shape)).result()
        return shape

    return make


async def _make(broker: str, shape: Shape) -> None:
    from engine.agents.admin import admin_of, apply, differences, look

    async with admin_of(Connection(broker)) as admin:
        await apply(admin, shape, differences(await look(admin, shape), shape))

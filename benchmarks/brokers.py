"""A real broker for as long as a benchmark takes, in a folder of its own."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.agents.broker import Broker, BrokerProblem, fetch_jars, find_java


@contextmanager
def broker_for(say: Callable[[str], None]) -> Iterator[str]:
    """Its address; empty where there can be none, which is said aloud."""
    try:
        find_java()
        fetch_jars()
    except BrokerProblem as problem:
        say(f"NOT RUN: {problem}")
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        try:
            yield broker.up(0).address
        finally:
            broker.down()

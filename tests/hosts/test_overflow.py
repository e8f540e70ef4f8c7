"""A contact leaves for another pool on a host of one process, and is there once, whenever the process is killed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times, Widening
from engine.embedded import Embedded
from engine.streams.audit import verify
from engine.streams.codec import read_command
from engine.streams.journal import read_turn
from engine.streams.log import Log
from engine.streams.memory_log import MemoryLog
from engine.streams.sqlite_log import SqliteLog

ROOT = Path(__file__).resolve().parents[2]
START = 1_795_428_000_000


class Desk:
    """Two pools in one log: `home`, whose sales overflow after ten seconds, and `bureau`."""

    def __init__(self, log: Log, at: int = START) -> None:
        self.now = at
        self.host = Embedded(log, lambda: self.now, time="simulated", name="test")

    def rules(self, bureau: str = "bureau", **said: Any) -> None:
        away = Widening(10, pool=bureau, queue="any", topics=said.pop("topics", ()))
        back = Widening(10, pool="home", queue="sales")
        self.host.publish(Rules("home", (Queue("sales", widen=(away,)),), times=Times(wait=600)))
        steps = (back,) if said.pop("back", False) else ()
        self.host.publish(Rules("bureau", (Queue("any", widen=steps, **said),), times=Times(wait=600)))

    def say(self, command: m.Command, id: str, pool: str = "home") -> Any:
        return self.host.ask(command, id, "pbx", pool)

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        while self.host.tick():
            pass

    def where(self, id: str = "c1") -> list[str]:
        return [pool for pool, tables in self.host.partition.pools.items() if id in tables.contacts]

    def row(self, pool: str, id: str = "c1") -> Any:
        return self.host.partition.pools[pool].contacts[id]

    def told(self, *kinds: type[Any]) -> list[Any]:
        turns = [read_turn(record.body) for record in self.host.log.turns(-1, 1000)]
        return [event for turn in turns for event in turn.events if type(event) in kinds]


ROUTE = m.RouteContact("c1", "call", "sales", "k1", {"german": 2}, "today", attributes={"topic": "wine"})


@pytest.fixture
def desk() -> Desk:
    return Desk(MemoryLog())


def test_a_contact_is_taken_over_with_its_due_time_its_customer_and_its_context(desk):
    desk.rules()
    desk.say(ROUTE, "1")
    before = desk.row("home")
    desk.wait(10)
    assert desk.where() == ["bureau"]
    after = desk.row("bureau")
    kept = ("id", "source", "customer", "tier", "first_queued_at", "due_at", "attributes")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert dict(after.need[2]) == {"german": 2} and after.hops == 1
    assert [type(event) for event in desk.told(m.ContactOverflowing, m.ContactOverflowed)] == [
        m.ContactOverflowing,
        m.ContactOverflowed,
    ]
    verify(desk.host.log)


def test_who_has_another_topic_stays(desk):
    desk.rules(topics=("cheese",))
    desk.say(ROUTE, "1")
    desk.wait(10)
    assert desk.where() == ["home"] and desk.row("home").status == "waiting"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"bureau": "nowhere"}, "unknown-pool"),
        ({"channels": ("chat",)}, "channel-not-served"),
        ({"most_waiting": 1}, "queue-full"),
    ],
)
def test_who_is_not_taken_waits_in_the_old_place(desk, said, reason):
    desk.rules(**said)
    desk.say(m.RouteContact("other", "call", "any"), "0", "bureau")
    desk.say(ROUTE, "1")
    before = desk.row("home")
    desk.wait(10)
    after = desk.row("home")
    assert [event.reason for event in desk.told(m.ContactReturned)] == [reason]
    assert desk.where() == ["home"] and after.status == "waiting"
    assert (after.due_at, after.seq, after.give_up_at) == (before.due_at, before.seq, before.give_up_at)


def test_a_repeat_of_what_was_asked_changes_nothing(desk):
    desk.rules()
    desk.say(ROUTE, "1")
    desk.wait(10)
    sent = [
        entry.body for entry in desk.host.log.commands() if b'"take-over"' in entry.body or b'"confirm-' in entry.body
    ]
    assert len(sent) == 2

    desk.host.submit([(*read_command(body), body) for body in sent])
    assert desk.where() == ["bureau"]
    assert len(desk.told(m.ContactOverflowed, m.ContactReturned)) == 1


def test_two_pools_that_overflow_into_each_other_come_to_an_end(desk):
    desk.rules(back=True)
    desk.say(ROUTE, "1")
    for _ in range(20):
        desk.wait(10)
    assert len(desk.told(m.ContactOverflowed)) == 8
    assert desk.where() == ["home"] and desk.row("home").due_at == START + 4 * 3600 * 1000


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.streams.sqlite_log import SqliteLog
from tests.hosts.test_overflow import ROUTE, START, Desk

left, when = int(sys.argv[2]), sys.argv[3]
desk = Desk(SqliteLog.open(Path(sys.argv[1])))
desk.rules()
desk.say(ROUTE, "1")
append = SqliteLog.append

def appended(self, *args):
    global left
    left -= 1
    if left < 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, *args)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

SqliteLog.append = appended
desk.wait(10)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("appends", [0, 1, 2])
def test_a_process_that_is_killed_between_the_turns_of_two_pools_leaves_the_contact_in_one(tmp_path, appends, when):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path, str(appends), when], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    desk = Desk(SqliteLog.open(tmp_path), START + 12_000)
    desk.wait(0)
    assert desk.where() == ["bureau"] and desk.row("bureau").due_at == START + 4 * 3600 * 1000
    assert len(desk.told(m.ContactOverflowed)) == 1 and not desk.told(m.ContactReturned)
    for _ in range(3):  # started again and again
        desk.host.log.close()
        desk = Desk(SqliteLog.open(tmp_path), START + 12_000)
        assert desk.where() == ["bureau"]
    verify(desk.host.log)

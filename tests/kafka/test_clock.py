"""When ticks are sent: once, until they have been read; by the broker's clock, of which ours may differ."""

import pytest

from engine.agents.clock import AGAIN_MS, Clock
from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times
from engine.streams.codec import envelope_of, write_command
from engine.streams.log import Entry
from engine.streams.partition import Partition

AT = 1_000_000


@pytest.fixture
def partition():
    """A contact is offered to an agent, for two seconds."""
    one = Partition()
    for position, command in enumerate(
        (
            m.PublishRules(Rules("pool", (Queue("sales"),), times=Times(offer=2))),
            m.SignInAgent("ann", True, ("sales",)),
            m.RouteContact("c1", "call", "sales"),
        )
    ):
        one.decide(envelope_of(command, str(position), "test", "pool"), command, position, AT)
    return one


def read_tick(clock, partition, position, at):
    entry = Entry(position, at, write_command(envelope_of(m.Tick(), "tick", "waitline", "pool")))
    clock.read([entry], [partition.decide_entry(entry)], partition)


def test_a_tick_is_sent_when_it_is_due_and_not_again_before_it_has_been_read(partition):
    clock = Clock(0)
    assert clock.due(partition, AT + 1_999) == []
    ((pool, tick),) = clock.due(partition, AT + 2_000)
    assert (pool, tick.type, tick.source) == ("pool", "tick", "waitline")
    assert clock.due(partition, AT + 3_000) == []
    clock.sent(pool, 3, partition)
    assert clock.due(partition, AT + 60_000) == []
    read_tick(clock, partition, 3, AT + 2_001)
    assert clock.due(partition, AT + 2_100) == [], "the offer has expired, and nothing else is due"


def test_a_tick_that_could_not_be_sent_is_sent_again(partition):
    clock = Clock(0)
    ((pool, _),) = clock.due(partition, AT + 2_000)
    clock.not_sent(pool)
    assert clock.due(partition, AT + 2_050) != []


def test_a_tick_that_was_read_before_its_sender_heard_of_it_does_not_stop_the_clock(partition):
    clock = Clock(0)
    ((pool, _),) = clock.due(partition, AT + 2_000)
    read_tick(clock, partition, 3, AT + 1_000)
    clock.sent(pool, 3, partition)
    assert clock.due(partition, AT + 2_050) != []


def test_what_the_brokers_clock_is_behind_is_waited_out(partition):
    clock = Clock(0)
    ((pool, _),) = clock.due(partition, AT + 2_000)
    clock.sent(pool, 3, partition)
    clock.measured(AT + 500, AT + 2_000, AT + 2_010)  # 1.5 s behind
    read_tick(clock, partition, 3, AT + 500)
    assert clock.due(partition, AT + 3_499) == []
    assert clock.due(partition, AT + 3_500) != []


def test_a_tick_in_time_that_brings_nothing_about_is_not_asked_for_again_and_again(partition, monkeypatch):
    clock = Clock(0)
    ((pool, _),) = clock.due(partition, AT + 2_000)
    clock.sent(pool, 3, partition)
    made = partition.decide_entry(Entry(3, AT + 1_000, b"no tick: as if an engine had found nothing"))
    clock.read([Entry(3, AT + 2_000, b"")], [made], partition)
    assert clock.due(partition, AT + 2_000 + AGAIN_MS - 1) == []
    assert clock.due(partition, AT + 2_000 + AGAIN_MS) != []


def test_two_seconds_between_the_clocks_are_said_aloud_once(capfd):
    clock = Clock(0)
    clock.measured(AT + 1_990, AT, AT)
    assert clock.skew == 1_990
    for _ in range(2):
        clock.measured(AT - 2_000, AT, AT + 5)
        assert clock.skew == -2_000
    said = capfd.readouterr()
    assert (said.out + said.err).count("clocks-differ") == 1

"""What is published of a journal: every event once and in order, and the newest status of everybody it was about."""

import json
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from engine.core import messages as m
from engine.streams.board import FINISHED_MS
from engine.streams.cloud_events import binary, event_id, structured
from engine.streams.journal import GENESIS, Marker, write_marker, write_turn
from engine.streams.log import Record
from engine.streams.status import (
    UNTOLD,
    AgentStatus,
    ContactStatus,
    QueueStatus,
    agent_status,
    contact_status,
    queue_statuses,
)
from engine.streams.views import Published, Views
from tests.streams.test_board import START, Desk, busy_day
from tests.streams.written import MONDAY

NUMBER = 3  # of the partition
BATCH = 7


def journal(turns: Iterable[m.Turn]) -> list[Record]:
    records = [Record(0, None, write_marker(Marker(worker="test", log="log-1", time="simulated", at=START)))]
    chain = GENESIS
    for offset, turn in enumerate(turns, 1):
        body, chain = write_turn(0, chain, turn)
        records.append(Record(offset, turn.position, body))
    return records


def batches(records: list[Record], size: int = BATCH) -> Iterator[list[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def published(records: list[Record], views: Views | None = None) -> Iterator[Published]:
    views = views or Views(NUMBER)
    for batch in batches(records):
        yield views.publish(batch)


def place(position: str) -> tuple[int, ...]:
    return tuple(map(int, position.split("/")))


def test_every_accepted_event_is_published_once_and_in_order():
    desk = busy_day(1)
    events = [event for made in published(journal(desk.turns)) for event in made.events]
    expected = [
        (f"{NUMBER}/{turn.position}/{ordinal}", json.loads(msgspec.json.encode(event)))
        for turn in desk.turns
        for ordinal, event in enumerate(turn.events)
    ]
    found = []
    for event in events:
        headers = dict(event.headers)
        data = {"type": headers["ce_type"].decode().removeprefix("waitline.")} | json.loads(event.value)
        found.append((headers["ce_id"].decode(), data))
    assert found == expected
    assert {event.key for event in events} == {b"desk"}


def test_another_library_reads_the_same_event_from_kafka_and_from_http():
    turn = m.Turn(12, MONDAY + 7, m.CommandRef("desk", "pbx", "1", "accept-offer"), [
        m.AgentBecameReady("ann"), m.AgentBecameNotReady("安", "no-answer"),
    ])  # fmt: skip
    for ordinal, (headers, value) in enumerate(binary(NUMBER, turn)):
        one = from_binary(KafkaMessage(dict(headers), b"desk", value), JSONFormat())
        data = msgspec.to_builtins(turn.events[ordinal])
        other = JSONFormat().read(None, structured(NUMBER, "desk", 12, ordinal, MONDAY + 7, data))
        told = {**one.get_attributes(), "partitionkey": "desk"}
        assert told == {**other.get_attributes(), "position": "12", "at": str(MONDAY + 7), "partitionkey": "desk"}
        assert one.get_data() == other.get_data()
        assert one.get_time().timestamp() * 1000 == MONDAY + 7


def test_an_event_that_says_nothing_more_than_its_type_is_no_tombstone():
    class Nothing(m.Event, frozen=True, tag="nothing"):
        pass

    from engine.streams.cloud_events import data_of

    assert data_of("nothing", Nothing()) == b"{}"


@pytest.mark.parametrize("seed", range(3))
def test_after_every_batch_the_last_statuses_are_those_that_the_board_has(seed: int):
    desk = busy_day(seed)
    views, known = Views(NUMBER), dict[str, Any]()
    last = dict[str, tuple[int, ...]]()
    for batch in batches(journal(desk.turns)):
        made = views.publish(batch)
        for key, value in made.status.items():
            assert value is None or place(json.loads(value)["position"]) > last.get(key, ()), "later tells of later"
            if value is None:
                known.pop(key, None)
            else:
                known[key] = json.loads(value)
                last[key] = place(known[key]["position"])
        for board in views.boards.values():
            truth = {f"queue/desk/{id}": queue for id, queue in queue_statuses(board).items()}
            rows = board.rows()
            for row in (*rows.open, *rows.finished):
                truth[f"contact/desk/{row.contact_id}"] = contact_status(board, row.contact_id, UNTOLD)
            for agent_id in board.agent_ids():
                truth[f"agent/desk/{agent_id}"] = agent_status(board, agent_id, UNTOLD)
            present = {key: value for key, value in known.items() if value.get("presence") != "gone"}
            assert unstamped(present) == unstamped(json.loads(msgspec.json.encode(truth)))


def unstamped(statuses: dict[str, Any]) -> dict[str, Any]:
    """Finished contacts that the board may forget at any moment are compared as well: it has the last word on both."""
    return {key: {**value, "position": "", "at": 0} for key, value in statuses.items()}


def test_a_contact_is_told_with_all_that_a_customer_relations_system_asks_for():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "c1", customer="k1", tier="today", vip=True)
    desk.accepts(3, "c1")
    desk.ends(10, "c1", "agent")
    views = Views(NUMBER)
    told = [
        msgspec.json.decode(value, type=ContactStatus)
        for record in journal(desk.turns)
        if (value := views.publish([record]).status.get("contact/desk/c1"))
    ]
    offered, talking, ended = told
    queued = next(e for turn in desk.turns for e in turn.events if isinstance(e, m.ContactQueued))
    assert (offered.state, offered.agent_id, offered.tier, offered.vip) == ("offered", "ann", "today", True)
    assert (offered.due_at, offered.queued_at, offered.since) == (queued.due_at, START + 1000, START + 1000)
    assert (talking.state, talking.since, talking.answered_at) == ("talking", START + 3000, START + 3000)
    assert (ended.state, ended.outcome, ended.since, ended.at) == ("finished", "ended", START + 10_000, START + 10_000)


def test_a_transferred_contact_is_due_as_its_event_says():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "c1", vip=True)
    desk.accepts(3, "c1")
    desk.do(9, m.TransferContact("c1", "ann", "help"))
    (*_, last) = published(journal(desk.turns))
    event = next(e for turn in desk.turns for e in turn.events if isinstance(e, m.ContactTransferred))
    told = msgspec.json.decode(last.status["contact/desk/c1"] or b"", type=ContactStatus)
    assert (told.queue_id, told.due_at, told.state, told.since) == ("help", event.due_at, "waiting", START + 9000)


def test_a_finished_contact_is_told_once_and_taken_back_when_its_hour_is_over():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "c1")
    desk.accepts(2, "c1")
    desk.ends(3, "c1")  # and Ann wraps up, which is hers
    desk.do(4, m.CompleteWrapUp("c1", "ann"))
    later = 4 + FINISHED_MS / 1000
    desk.arrives(later, "c2")
    desk.ends(later + 1, "c2")
    views = Views(NUMBER)
    told = [
        value if value is None else json.loads(value)["state"]
        for record in journal(desk.turns)
        for key, value in views.publish([record]).status.items()
        if key == "contact/desk/c1"
    ]
    assert told == ["offered", "talking", "finished", None]


def test_an_agent_who_has_gone_is_told_as_gone_and_a_queue_that_has_gone_is_taken_back():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.do(1, m.SignOutAgent("ann"))
    rules = desk.board.rules
    assert rules is not None
    desk.do(2, m.PublishRules(msgspec.structs.replace(rules, queues=rules.queues[:1])))
    made = list(published(journal(desk.turns), Views(NUMBER)))
    views = Views(NUMBER)
    one_by_one = [views.publish([record]) for record in journal(desk.turns)]
    told = msgspec.json.decode(made[-1].status["agent/desk/ann"] or b"", type=AgentStatus)
    assert (told.presence, told.state, told.assignments) == ("gone", "gone", ())
    assert one_by_one[-1].status["queue/desk/help"] is None
    sales = next(made.status["queue/desk/sales"] for made in one_by_one if "queue/desk/sales" in made.status)
    assert msgspec.json.decode(sales or b"", type=QueueStatus).waiting == 0


@pytest.mark.parametrize("seed", range(2))
def test_views_that_were_put_away_go_on_as_if_they_had_not(seed: int):
    desk = busy_day(seed)
    records = journal(desk.turns)
    half = random.Random(seed).randrange(len(records) // 4, len(records) // 2)
    views = Views(NUMBER)
    for record in records[:half]:
        views.fold(record)
    manifest, chunks = views.snapshot()()
    again = Views.restore(NUMBER, manifest, list(chunks))
    assert again.place == views.place
    for one, other in zip(published(records[half:], views), published(records[half:], again), strict=True):
        assert msgspec.to_builtins(one) == msgspec.to_builtins(other)


def test_a_snapshot_with_another_byte_or_of_another_partition_is_refused():
    views = Views(NUMBER)
    for record in journal(busy_day(0).turns):
        views.fold(record)
    manifest, chunks = views.snapshot()()
    parts = list(chunks)
    for bad in (
        (NUMBER, manifest[:-1] + b"?", parts),
        (NUMBER, manifest, parts[1:]),
        (NUMBER, manifest, [*parts[:-1], parts[-1][:-1] + b"?"]),
        (NUMBER + 1, manifest, parts),
    ):
        with pytest.raises(ValueError, match=r"changed|whole|made by"):
            Views.restore(*bad)


def test_where_somebody_else_told_what_was_so_before_it_can_be_told_again_as_it_is_now():
    desk = busy_day(2)
    views, stale = Views(NUMBER), dict[str, bytes | None]()
    for record in journal(desk.turns):
        for key, value in views.publish([record]).status.items():
            stale.setdefault(key, value)
    now = views.retold([*stale, "contact/nowhere/c1", "nonsense"])
    assert now.keys() == stale.keys()
    for key, value in now.items():
        old = stale[key]
        if value is not None and old is not None:
            assert place(json.loads(value)["position"]) >= place(json.loads(old)["position"])
    assert None in now.values(), "what has been forgotten is taken back once more"


def test_ids_rise_along_the_journal():
    events = [event for made in published(journal(busy_day(0).turns)) for event in made.events]
    ids = [place(dict(event.headers)["ce_id"].decode()) for event in events]
    assert all(one < other for one, other in pairwise(ids))
    assert event_id(1, 2, 3) == "1/2/3"


def test_a_queue_that_is_as_before_is_told_where_somebody_may_have_told_what_was_in_between():
    desk = Desk()
    desk.arrives(1, "c1")
    desk.ends(2, "c1")
    *before, arrives, leaves = journal(desk.turns)
    for afresh in (False, True):
        views = Views(NUMBER)
        views.publish(before)
        told = views.publish([arrives, leaves], afresh=afresh).status
        assert ("queue/desk/sales" in told) == afresh

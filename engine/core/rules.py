"""A pool's rules: what a rules file says, as it stands in the log, and compiled for the hot path.

Durations in `Rules` are whole seconds, as people write them; `Compiled` holds milliseconds.
"""

from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .words import CHANNELS, CLASSES, TIERS, Channel, Id, Key, Skills, Text

Seconds = Annotated[int, Meta(ge=0, le=30 * 86_400)]
Duration = Annotated[int, Meta(ge=1, le=30 * 86_400)]  # a deadline of no seconds would be due at once, for ever
Weight = Annotated[int, Meta(ge=1, le=100)]
Limit = Annotated[int, Meta(ge=0, le=100)]
Edge = Annotated[int, Meta(ge=0, le=253_402_300_799)]  # seconds since the epoch, to the end of the year 9999
Most = Annotated[int, Meta(ge=1, le=1_000_000)]
OnClose = Literal["serve", "keep", "tell"]
Instead = Literal["message", "form", "self-service"]  # what a customer is given who is not let in


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the rules file. In the log it stands in full: a default that changes later must not change old
    logs."""


class Targets(Rule, frozen=True, rename=lambda name: name.replace("_", "-")):
    """How soon a contact of each tier should be served, in seconds: this, not a priority number, orders the line."""

    now: Seconds = 60
    today: Seconds = 4 * 3600
    follow_up: Seconds = 24 * 3600


class HeadStarts(Rule, frozen=True):
    """Seconds by which a contact is due earlier than its tier alone would say: by the customer's class, and on top of
    that where the customer is on the allow-list."""

    vip: Seconds = 90
    known: Seconds = 0
    prospect: Seconds = 0
    allowed: Seconds = 0


class Weights(Rule, frozen=True):
    """How much of an agent's 100 a contact of each channel takes."""

    call: Weight = 100
    chat: Weight = 33
    sms: Weight = 20


class Limits(Rule, frozen=True):
    """The greatest number of contacts of each channel that one agent has at a time."""

    call: Limit = 1
    chat: Limit = 3
    sms: Limit = 5


class Times(Rule, frozen=True):
    """Deadlines, in seconds; a queue may say its own `offer`, `wrap_up`, `wait` and `talk`. grace: by so much may a
    contact for which an agent has room go before one that is due earlier and needs more room than the agent has left;
    beyond it the room is kept. prefer: so long a contact waits for the agent it prefers; 0: not at all. (Half of the
    target of `now`: who has waited for theirs in vain can still be served in time by another.) overflow: so
    long another pool has to take a contact over."""

    offer: Duration = 15
    wrap_up: Seconds = 30
    wait: Duration = 3 * 86_400
    talk: Duration = 12 * 3600
    decline: Duration = 120
    silence: Duration = 30
    lost: Duration = 120
    grace: Seconds = 30
    prefer: Seconds = 30
    overflow: Duration = 30


class Hours(Rule, frozen=True):
    """Opening hours, worked out: at `edges` doors open and close by turns, and the first opens them.

    Past the last edge they stay as it left them. A rules file says hours by days of the week and holidays;
    engine/streams/hours.py makes this of it, for a stated time, at whose end the doors open: nobody is turned away
    because nobody has worked out more.
    """

    id: Id
    edges: tuple[Edge, ...] = ()


class Repeats(Rule, frozen=True):
    """A customer is let in at most so often within so many seconds."""

    most: Annotated[int, Meta(ge=1, le=1000)]
    window: Duration


class Doors(Rule, frozen=True):
    """Who is let in, where a queue does not say so itself.

    on_close: what becomes of those who wait when a queue closes: `serve` them all, `keep` their places until it opens
    again, or `tell` them that it has closed. closed, full: what a customer is given who is not let in. waited: what one
    is given who has waited as long as the rules allow. most_waiting: in the pool, of all queues. blocked, too_often:
    what a customer is given who is on the block-list, or was here as often as `repeats` says.
    """

    on_close: OnClose = "serve"
    closed: Instead = "message"
    full: Instead = "message"
    waited: Literal["end", "message", "form", "self-service"] = "end"
    most_waiting: Most | None = None
    blocked: Instead = "message"
    too_often: Instead = "message"
    repeats: Repeats | None = None


class Widening(Rule, frozen=True):
    """After so many seconds in the queue more agents may serve a contact: skills it needs no longer, or at a lower
    level; agents of further queues or teams. Steps add up; none of them changes anybody's place in the line.

    pool, queue: it leaves for that queue of another pool, and is still due when it was; topics: only where its
    attribute `topic` is one of these."""

    after: Duration
    drop: tuple[Id, ...] = ()
    lower: Skills = {}
    queues: tuple[Id, ...] = ()
    teams: tuple[Id, ...] = ()
    pool: Key = ""
    queue: Key = ""
    topics: tuple[Id, ...] = ()


class Queue(Rule, frozen=True):
    """A queue of the pool. service_level: the threshold T in seconds of `answered within T`. hours: of all its channels
    or by channel; where none are said it is always open. alternatives: `queue` or `queue/channel`, for whom these doors
    do not let in, told as far as they are open themselves."""

    id: Id
    name: Text = ""
    channels: tuple[Channel, ...] = CHANNELS
    skills: Skills = {}
    service_level: Duration = 20
    targets: Targets | None = None
    offer: Duration | None = None
    wrap_up: Seconds | None = None
    wait: Duration | None = None
    talk: Duration | None = None
    hours: Id | dict[Channel, Id] | None = None
    on_close: OnClose | None = None
    closed: Instead | None = None
    full: Instead | None = None
    waited: Literal["end", "message", "form", "self-service"] | None = None
    most_waiting: Most | None = None
    alternatives: tuple[Id, ...] = ()
    widen: Annotated[tuple[Widening, ...], Meta(max_length=16)] = ()


class Team(Rule, frozen=True):
    """What its agents have in common; an agent's own queues and skills come on top."""

    id: Id
    queues: tuple[Id, ...] = ()
    skills: Skills = {}


class Agent(Rule, frozen=True):
    """One person of the roster."""

    id: Id
    name: Text = ""
    team: Key = ""
    queues: tuple[Id, ...] = ()
    skills: Skills = {}
    limits: Limits | None = None
    addresses: dict[Channel, Text] = {}


class Rules(Rule, frozen=True):
    """Everything a pool decides by. roster: `rules` (agents are those listed here) or `sign-in` (they say what they
    serve)."""

    pool: Id
    queues: tuple[Queue, ...]
    time_zone: Id = "UTC"
    locale: Literal["en", "zh-CN"] = "en"
    roster: Literal["rules", "sign-in"] = "sign-in"
    targets: Targets = Targets()
    head_starts: HeadStarts = HeadStarts()
    times: Times = Times()
    weights: Weights = Weights()
    limits: Limits = Limits()
    teams: tuple[Team, ...] = ()
    agents: tuple[Agent, ...] = ()
    hours: tuple[Hours, ...] = ()
    doors: Doors = Doors()


# ---- compiled

FULL = 100  # what an agent has to give, in weights
BIT: dict[str, int] = {channel: 1 << i for i, channel in enumerate(CHANNELS)}
INDEX: dict[str, int] = {channel: i for i, channel in enumerate(CHANNELS)}
EVERY = (1 << len(CHANNELS)) - 1  # room for one more of every channel; a room is channels as bits
PART = range(1, EVERY)
FITTING: tuple[tuple[int, ...], ...] = tuple(
    tuple(i for i in range(len(CHANNELS)) if room >> i & 1) for room in range(EVERY + 1)
)
NEEDS_MORE: tuple[tuple[int, ...], ...] = tuple(
    tuple(i for i in range(len(CHANNELS)) if not room >> i & 1) for room in range(EVERY + 1)
)
ROOMS_WITH: dict[str, tuple[int, ...]] = {c: tuple(room for room in range(8) if room & BIT[c]) for c in CHANNELS}
Favour = tuple[str, str, bool]  # tier, the customer's class, whether the customer is on the allow-list


class Width(Struct, frozen=True):
    """How far a match is relaxed after so long, earlier steps included. dropped: only asked for membership. pool,
    queue, topics: where this step itself leads; "": to no other pool."""

    after_ms: int
    dropped: frozenset[str]
    lowest: dict[str, int]
    queues: tuple[str, ...]
    teams: tuple[str, ...]
    pool: str = ""
    queue: str = ""
    topics: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """What one queue goes by, in milliseconds. hours: by channel, edges as in `Hours`; a channel that is not in it is
    always open. guarded: whether its doors can turn anybody away. alternatives: queues, each with a channel or "" for
    the contact's own. most_waiting: 0 where there is no limit."""

    channels: tuple[str, ...]
    skills: dict[str, int]
    target_ms: dict[str, int]
    offer_ms: int
    wrap_up_ms: int
    wait_ms: int
    talk_ms: int
    hours: dict[Channel, tuple[int, ...]]
    guarded: bool
    on_close: OnClose
    closed: str
    full: str
    waited: str
    most_waiting: int
    alternatives: tuple[tuple[str, str], ...]
    widths: tuple[Width, ...]


class Profile(Struct, frozen=True):
    """What an agent serves: queues and skills sorted, limits by channel."""

    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    team: str = ""
    addresses: dict[str, str] = {}


class Compiled(Struct, frozen=True):
    """The rules as the core reads them. starts: head start in milliseconds, and the codes that say why a contact is due
    when it is."""

    rules: Rules
    queues: dict[str, Plan]
    roster: dict[str, Profile]
    limits: dict[str, int]
    weights: tuple[int, int, int]
    starts: dict[Favour, tuple[int, tuple[str, ...]]]
    decline_ms: int
    silence_ms: int
    lost_ms: int
    grace_ms: int
    prefer_ms: int
    overflow_ms: int


def compile_rules(rules: Rules) -> Compiled:
    """The rules must have been checked; times in the result are milliseconds."""
    times, doors = rules.times, rules.doors
    edges = {hours.id: tuple([edge * 1000 for edge in hours.edges]) for hours in rules.hours}
    queue_ids = {queue.id for queue in rules.queues}
    plans = {}
    for queue in rules.queues:
        targets = queue.targets or rules.targets
        by_channel = queue.hours if isinstance(queue.hours, dict) else dict.fromkeys(queue.channels, queue.hours)
        hours = {channel: edges[id] for channel, id in by_channel.items() if id and channel in queue.channels}
        plans[queue.id] = Plan(
            queue.channels,
            in_order(queue.skills),
            {"now": targets.now * 1000, "today": targets.today * 1000, "follow-up": targets.follow_up * 1000},
            own(queue.offer, times.offer),
            own(queue.wrap_up, times.wrap_up),
            own(queue.wait, times.wait),
            own(queue.talk, times.talk),
            hours,
            bool(hours or queue.most_waiting or doors.most_waiting or doors.repeats),
            queue.on_close or doors.on_close,
            queue.closed or doors.closed,
            queue.full or doors.full,
            queue.waited or doors.waited,
            queue.most_waiting or 0,
            tuple([way_of(said, queue_ids) for said in queue.alternatives]),
            widths_of(queue.widen),
        )
    teams = {team.id: team for team in rules.teams}
    roster = {}
    for agent in rules.agents:
        team = teams.get(agent.team, Team(""))
        roster[agent.id] = Profile(
            tuple(sorted({*team.queues, *agent.queues})),
            in_order(team.skills | agent.skills),
            limits_of(agent.limits or rules.limits),
            agent.team,
            in_order(agent.addresses),
        )
    weights = rules.weights
    return Compiled(
        rules,
        plans,
        roster,
        limits_of(rules.limits),
        (weights.call, weights.chat, weights.sms),
        {
            (tier, of, allowed): start_of(rules.head_starts, tier, of, allowed)
            for tier in TIERS
            for of in CLASSES
            for allowed in (False, True)
        },
        times.decline * 1000,
        times.silence * 1000,
        times.lost * 1000,
        times.grace * 1000,
        times.prefer * 1000,
        times.overflow * 1000,
    )


def start_of(starts: HeadStarts, tier: str, of: str, allowed: bool) -> tuple[int, tuple[str, ...]]:
    seconds = {"vip": starts.vip, "known": starts.known, "prospect": starts.prospect}.get(of, 0)
    why = [f"tier-{tier}"]
    if seconds or of == "vip":
        why.append(of)
    if allowed and starts.allowed:
        seconds += starts.allowed
        why.append("allow-listed")
    return seconds * 1000, tuple(why)


def widths_of(steps: tuple[Widening, ...]) -> tuple[Width, ...]:
    widths: list[Width] = []
    dropped: frozenset[str] = frozenset()
    lowest: dict[str, int] = {}
    queues: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    for step in steps:
        dropped |= set(step.drop)
        lowest = lowest | {skill: min(level, lowest.get(skill, level)) for skill, level in step.lower.items()}
        queues, teams = tuple(sorted({*queues, *step.queues})), tuple(sorted({*teams, *step.teams}))
        widths.append(Width(step.after * 1000, dropped, lowest, queues, teams, step.pool, step.queue, step.topics))
    return tuple(widths)


def own(said: int | None, common: int) -> int:
    return (common if said is None else said) * 1000


def way_of(said: str, queue_ids: set[str]) -> tuple[str, str]:
    """`queue` or `queue/channel` -> (queue, channel or ""). A queue of exactly that id comes first."""
    queue_id, _, channel = said.rpartition("/")
    return (queue_id, channel) if said not in queue_ids and channel in CHANNELS else (said, "")


def limits_of(limits: Limits) -> dict[str, int]:
    return {"call": limits.call, "chat": limits.chat, "sms": limits.sms}


def in_order(said: dict[Any, Any]) -> dict[Any, Any]:
    """Sorted by name, so that equal ones have equal bytes."""
    return dict(sorted(said.items())) if len(said) > 1 else said


def hash_of(rules: Rules) -> str:
    """SHA-256 over the rules' bytes as they stand in the log, in hex."""
    return sha256(msgspec.json.encode(rules)).hexdigest()

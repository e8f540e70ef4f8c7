"""Seeded simulated days: a small pool, its people and their adapters, plausible and hostile, driven through the engine.

`python -m tests.core.world SEED …` runs days and prints the chain of each. A day that breaks a promise stops with the
position and the command, and comes out the same each time it is run: a failure is a seed.

Every command travels as bytes through the codec and `Partition`. Beside it a second partition only folds the journal's
records, and from a random point on a third one, restored from a snapshot, decides the same commands.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random
from traceback import extract_tb
from typing import Any

from msgspec.structs import replace

from engine.core import messages as m
from engine.core.restore import rows_of
from engine.core.rules import (
    Agent,
    Doors,
    HeadStarts,
    Hours,
    Limits,
    Queue,
    Repeats,
    Rules,
    Targets,
    Team,
    Times,
    Weights,
    Widening,
)
from engine.core.step import next_due
from engine.core.words import CLASSES
from engine.streams.codec import Envelope, envelope_of, json_encode, read_command, write_command
from engine.streams.journal import Marker, Reader, write_marker
from engine.streams.log import Record
from engine.streams.partition import Partition, tick_for

from .indexes import check_indexes
from .promises import CHANNELS, NONE, REMEMBERED_MS, Case, Person, Witness

POOL = "desk"
START = 1_795_386_180_000
QUEUES = ("sales", "billing", "repairs", "orders", "night")
SKILLS = ("en", "zh", "refunds", "mainframe")
FULL_CHECK_EVERY = 100  # turns; what stands in the rows is compared for everybody whom a turn names after each


@dataclass
class Summary:
    """What a day was like."""

    chain: str
    turns: int = 0
    contacts: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    overtaken: tuple[int, int] = (0, 1)  # milliseconds by which somebody was, and of how many at most; the closest


class Broken(AssertionError):
    """A promise did not hold; the text says where."""


class Day:
    """One seed's day. contacts: how many arrive at least."""

    def __init__(self, seed: int, contacts: int = 500) -> None:
        self.seed = seed
        self.contacts = contacts
        self.random = Random(seed)
        self.doors = Random(f"doors {seed}")  # of its own, so that days without doors are what they were
        self.has_doors = seed % 10 in (1, 6, 9)
        self.widths = Random(f"widths {seed}")  # likewise
        self.widens = seed >= 10 and (seed % 10 in (2, 5, 7) or seed % 20 == 9)
        self.now = START
        self.future: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.made = 0  # commands and future things, numbered
        self.routed = 0
        self.closing = False
        self.position = -1
        self.witness = Witness()
        self.partition, self.twin = Partition(), Partition()
        self.rival: Partition | None = None
        self.reader = Reader()
        marker = Marker("worker-1", f"log-{seed}", "simulated", START)
        self.reader.read(Record(0, None, write_marker(marker)))
        self.offset = 0
        self.partition.owner = self.twin.owner = self.reader.place.owner
        self.since_record: list[tuple[Envelope, m.Command, int, int]] = []  # those that said nothing since
        self.sent: list[bytes] = []
        self.draw()

    # ---- what kind of day it is

    def draw(self) -> None:
        r = self.random
        self.grain = r.choice((1, 1, 250, 1000))  # people are punctual to so many milliseconds
        self.lags = r.choice(((0,), (0, 0, 5, 80), (0, 300, 2500), (0, 0, 0, 9000)))  # how late ticks are
        agents = r.choice((3, 4, 5, 6, 8, 10, 14, 18, 25))
        self.staff = [f"agent-{i:02d}" for i in range(agents)]
        self.adapters = ["pbx-1", "pbx-2", "web", "sms-gate"][: r.randint(1, 4)]
        self.queue_ids = list(QUEUES[: r.randint(2, 5)])
        self.skills = list(SKILLS[: r.randint(1, 4)])
        self.talk_s = r.choice((15, 25, 40))
        self.profiles = {id: self.profile() for id in (*self.staff, "stranger")}
        self.rules = self.with_doors(self.first_rules())
        load = r.choice((0.6, 0.8, 0.95, 1.1, 1.4))
        self.gap_s = (self.talk_s + 8) / (agents * load)
        self.patience_s = r.choice((8, 20, 40))
        self.neglect = r.choice((0.05, 0.2, 0.7))  # of wrap-ups that nobody ends
        self.hostility = r.choice((0.02, 0.05, 0.1))
        self.lag = 0
        self.restore_at = r.randrange(self.contacts // 10, self.contacts - 40)
        self.fail_at = r.randrange(self.contacts) if r.random() < 0.3 else NONE
        mishaps = [self.publish] * r.randint(3, 9)
        self.rough = self.seed % 10 == 4
        if self.rough:
            self.lags = (0, 300, 9000, 30000)
            mishaps += [self.stampede, self.pause, self.outage, self.outage, self.outage]
        else:
            mishaps += [mishap for mishap in (self.stampede, self.pause, self.outage) if r.random() < 0.25]
        self.mishaps = [(r.randrange(self.contacts // 8, self.contacts), mishap) for mishap in mishaps]
        self.mishaps.sort(key=lambda entry: entry[0])

    def some(self, of: list[str], least: int = 1) -> list[str]:
        return self.random.sample(of, self.random.randint(min(least, len(of)), len(of)))

    def levels(self, names: list[str], most: int) -> dict[str, int]:
        return {name: self.random.randint(1, most) for name in names}

    def profile(self) -> dict[str, Any]:
        r = self.random
        limits = None
        if r.random() < 0.3:
            limits = {"call": r.randint(0, 1), "chat": r.randint(0, 4), "sms": r.randint(1, 6)}
        return {
            "queues": tuple(self.some(self.queue_ids)),
            "skills": self.levels(self.some(self.skills, 0), 5),
            "limits": limits,
        }

    def queue(self, id: str) -> Queue:
        r = self.random
        channels = CHANNELS if r.random() < 0.7 else tuple(self.some(list(CHANNELS)))
        own: dict[str, Any] = {}
        if r.random() < 0.35:
            own["wrap_up"] = r.choice((0, 0, 3, 12))
        if r.random() < 0.3:
            own["offer"] = r.choice((2, 5, 20))
        if r.random() < 0.2:
            own["wait"] = r.choice((10, 45, 120))
        if r.random() < 0.2:
            own["talk"] = r.choice((10, 35, 90))
        if r.random() < 0.3:
            own["targets"] = Targets(r.choice((0, 10, 60)), r.choice((60, 200)), 600)
        skills = self.levels(self.some(self.skills)[:1], 2) if r.random() < 0.25 else {}
        if self.has_doors:
            own |= self.own_doors()
        if self.widens:
            own["widen"] = self.widening()
        return Queue(id, channels=tuple(channels), skills=skills, **own)

    def widening(self) -> tuple[Widening, ...]:
        """Steps some seconds apart, sensible or not."""
        w, after, steps = self.widths, 0, []
        for _ in range(w.choice((0, 1, 1, 2, 3))):
            after += w.choice((1, 3, 8, 20))
            steps.append(
                Widening(
                    after,
                    tuple(w.sample(SKILLS, w.choice((0, 0, 1, 2)))),
                    {skill: w.randint(1, 3) for skill in w.sample(SKILLS, w.choice((0, 1, 1)))},
                    tuple(w.sample(QUEUES, w.choice((0, 1, 1, 2)))),
                    tuple(w.sample(("red", "blue", "green"), w.choice((0, 0, 1)))),
                    **w.choice(({}, {}, {"pool": w.choice(("bureau", "bureau", POOL)), "queue": "any"})),
                    topics=w.choice(((), (), ("wine",))),
                )
            )
        return tuple(steps)

    def own_doors(self) -> dict[str, Any]:
        """Hours and limits of a queue, or some of them."""
        d = self.doors
        own: dict[str, Any] = {}
        if d.random() < 0.6:
            id = d.choice(("early", "late", "short"))
            own["hours"] = id if d.random() < 0.6 else {d.choice(CHANNELS): id, d.choice(CHANNELS): "late"}
        if d.random() < 0.5:
            own["on_close"] = d.choice(("serve", "keep", "tell"))
        if d.random() < 0.3:
            own["most_waiting"] = d.choice((1, 3, 8, 30))
        for key in ("closed", "full", "waited"):
            if d.random() < 0.3:
                own[key] = d.choice(("message", "form", "self-service"))
        own["alternatives"] = tuple(d.sample((*QUEUES, "sales/sms", "billing/chat", "night/call"), d.randint(0, 3)))
        return own

    def hours(self) -> tuple[Hours, ...]:
        """Spans from seconds to ten minutes, after which the doors stay open; some that never close, or never open."""
        d = self.doors
        found = []
        for id in ("early", "late", "short"):
            edge = START // 1000 - d.randint(0, 600)
            edges = [edge]
            for _ in range(2 * d.randint(0, 25)):
                edge += d.choice((1, 10, 60, 200, 600))
                edges.append(edge)
            found.append(Hours(id, tuple(edges)))
        return tuple(found)

    def with_doors(self, rules: Rules) -> Rules:
        if not self.has_doors:
            return rules
        d = self.doors
        on_close: Any = d.choice(("serve", "keep", "keep", "tell", "tell"))
        most = d.choice((None, None, 5, 40))
        repeats = d.choice((None, Repeats(1, 30), Repeats(2, 300), Repeats(3, 3600)))
        doors = Doors(on_close, most_waiting=most, blocked=d.choice(("message", "form")), repeats=repeats)
        starts = HeadStarts(rules.head_starts.vip, d.choice((0, 20)), d.choice((0, 5)), d.choice((0, 40)))
        return replace(rules, hours=self.hours(), doors=doors, head_starts=starts)

    def times(self) -> Times:
        r = self.random
        times = Times(
            offer=r.choice((3, 8, 15)),
            wrap_up=r.choice((0, 4, 10, 20)),
            wait=r.choice((20, 60, 200)),
            talk=r.choice((30, 60, 200)),
            decline=r.choice((5, 20, 60)),
            silence=r.choice((6, 15, 40)),
            lost=r.choice((3, 20, 60)),
        )
        times = replace(times, grace={20: 0, 60: 5, 200: 30}[times.wait])
        return (
            replace(times, prefer=self.widths.choice((0, 3, 10, 30)), overflow=self.widths.choice((2, 10, 30)))
            if self.widens
            else times
        )

    def weights(self) -> Weights:
        of = self.random.choice(((100, 33, 20), (100, 50, 25), (60, 41, 7), (70, 30, 30), (34, 33, 33), (100, 100, 1)))
        return Weights(*of)

    def roster(self, queue_ids: list[str]) -> tuple[tuple[Team, ...], tuple[Agent, ...]]:
        """Most of the staff, some through a team, a few with nothing to serve."""
        r = self.random
        teams = (Team("red", tuple(self.some(queue_ids)), self.levels(self.some(self.skills), 3)), Team("blue"))
        agents = []
        for id in self.staff:
            if r.random() < 0.06:
                continue
            said = self.profiles[id]
            limits = Limits(**said["limits"]) if said["limits"] else None
            queues = tuple(q for q in said["queues"] if q in queue_ids) if r.random() < 0.95 else ()
            team = r.choice(("", "", "red", "blue"))
            addresses: dict[Any, str] = {"call": f"sip:{id}"} if r.random() < 0.3 else {}
            agents.append(
                Agent(id, team=team, queues=queues, skills=said["skills"], limits=limits, addresses=addresses)
            )
        return teams, tuple(agents)

    def first_rules(self) -> Rules:
        r = self.random
        teams, agents = self.roster(self.queue_ids)
        return Rules(
            POOL,
            tuple(self.queue(id) for id in self.queue_ids),
            roster=r.choice(("rules", "sign-in", "sign-in")),
            targets=Targets(r.choice((10, 60)), 200, 900),
            head_starts=HeadStarts(r.choice((90, 90, 30))),
            times=self.times(),
            weights=self.weights(),
            limits=Limits(*r.choice(((1, 3, 5), (1, 2, 3), (2, 4, 4)))),
            teams=teams,
            agents=agents,
        )

    def other_rules(self) -> Rules:
        """A change of the rules in mid day, sensible or not."""
        r, rules = self.random, self.rules
        kept = list(rules.queues)
        what = r.choice(
            ("weights", "weights", "limits", "queues", "queues", "roster", "roster", "times", "pool", "same")
        )
        if what == "weights":
            return replace(rules, weights=self.weights())
        if what == "limits":
            return replace(rules, limits=Limits(r.randint(0, 1), r.randint(0, 3), r.randint(0, 5)))
        if what == "queues":
            if r.random() < 0.6 and len(kept) > 1:
                kept.remove(r.choice(kept))
            else:
                missing = [id for id in QUEUES if id not in [queue.id for queue in kept]]
                kept += [self.queue(id) for id in missing[:1]]
            teams, agents = self.roster([queue.id for queue in kept])
            return replace(rules, queues=tuple(kept), teams=teams, agents=agents)
        if what == "roster":
            teams, agents = self.roster([queue.id for queue in kept])
            return replace(rules, roster=r.choice(("rules", "rules", "sign-in")), teams=teams, agents=agents)
        if what == "times":
            return replace(rules, times=self.times(), head_starts=HeadStarts(r.choice((90, 0, 30))))
        return replace(rules, pool="another") if what == "pool" else rules

    # ---- the clock

    def later(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        at = self.now + int(seconds * 1000)
        at += -at % self.grain
        self.made += 1
        heappush(self.future, (at, self.made, do, args))

    def soon(self, mean_s: float) -> float:
        return self.random.expovariate(1 / mean_s)

    def run(self) -> Summary:
        try:
            self.live()
        except Exception as error:
            where = extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {str(error) or where.line}"
            raise Broken(f"seed {self.seed}, position {self.position}, {self.witness.command}: {said}") from error
        witness = self.witness
        return Summary(
            self.partition.chain.hex(),
            self.position + 1,
            self.routed,
            witness.seen,
            witness.met,
            max(witness.overtaken, key=lambda each: each[0] / each[1]),
        )

    def live(self) -> None:
        self.say(m.PublishRules(self.rules), "operator")
        for id in self.staff:
            self.later(self.random.random() * 3, self.sign_in, id)
        for adapter in self.adapters:
            if self.random.random() < 0.6:
                self.beat(adapter)
        self.later(1, self.arrive)
        while self.step():
            assert self.position < 60 * self.contacts, "the day does not end"
        assert not self.witness.open, "every contact reaches a final state"
        self.check_all()
        assert self.rival is not None
        assert rows(self.rival) == rows(self.partition), "going on from a snapshot leads to the same rows"

    def step(self) -> bool:
        """One command, the earliest of what people mean to do and the host's tick. False: the day is over."""
        due = next_due(self.partition.pools[POOL])
        tick_at = max(self.now, due + self.lag) if due < NONE else NONE
        next_at = self.future[0][0] if self.future else NONE
        if tick_at >= NONE <= next_at:
            return False
        if tick_at <= next_at:
            self.now = tick_at
            self.lag = self.random.choice(self.lags)
            self.tick()
        else:
            self.now, _, do, args = heappop(self.future)
            do(*args)
        if self.closing:
            return True
        if self.random.random() < self.hostility:
            self.mischief()
        if self.random.random() < 0.01:
            self.tick()  # before its time, or the second in a row: no harm
        if self.rival is None and self.routed >= self.restore_at + 20 * (not self.since_record):
            self.restore()
        return True

    # ---- what people do

    def arrive(self) -> None:
        r = self.random
        if self.routed >= self.contacts:
            self.closing = True
            for id in list(self.witness.people):
                self.later(self.soon(20), self.say, m.SetAgentReady(id))
            return
        for _ in range(1 if r.random() < 0.9 else r.randint(2, 8)):
            self.route()
            if self.widens and self.widths.random() < 0.08:
                self.from_elsewhere()
        while self.mishaps and self.mishaps[0][0] <= self.routed:
            self.mishaps.pop(0)[1]()
        if self.has_doors and self.doors.random() < 0.005:
            self.rush()
        if self.has_doors and self.doors.random() < 0.3:
            self.keep_lists()
        self.later(self.soon(self.gap_s), self.arrive)

    def route(self, adapter: str = "", queue: str = "", channel: str = "") -> None:
        r = self.random
        self.routed += 1
        skills: dict[str, int] = {}
        if r.random() < 0.35:
            skills = self.levels(self.some(self.skills)[: r.choice((1, 1, 2))], r.choice((2, 4, 7)))
        kind: Any = channel or r.choices(CHANNELS, (50, 30, 20))[0]
        self.say(
            m.RouteContact(
                f"c{self.routed}",
                kind,
                queue or r.choice(self.queue_ids),
                f"k{r.randrange(300)}",
                skills,
                r.choices(("now", "today", "follow-up"), (75, 20, 5))[0],
                r.random() < 0.15,
                {"lang": r.choice(("de", "en"))} if r.random() < 0.1 else {"topic": "wine"} if self.widens else {},
                self.doors.choice(CLASSES) if self.has_doors else "unknown",
                **self.particular(),
            ),
            adapter or r.choice(self.adapters),
        )

    def particular(self) -> dict[str, Any]:
        """Whom a contact would like to have, and whom it must not."""
        w, said = self.widths, {}
        if self.widens and w.random() < 0.15:
            said["prefer"] = w.choice((*self.staff, "stranger"))
        if self.widens and w.random() < 0.1:
            said["not_agents"] = tuple(w.choices((*self.staff, "stranger"), k=w.choice((1, 1, 3))))
            if w.random() < 0.3:
                said["prefer"] = said["not_agents"][0]
        return said

    def overflowing(self, e: m.ContactOverflowing) -> None:
        """The other pool takes it or not, in time or not; some say it twice, some never."""
        w = self.widths
        reason = w.choice(("queue-full", "queue-closed", "unknown-queue", "channel-not-served", "contact-id-open"))
        reason = w.choice((reason, "unknown-pool", "too-late"))
        x, in_time = w.random(), (e.until - self.now) / 1000 * w.random()
        yes = m.ConfirmOverflow(e.errand, e.to_pool, True, w.choice((e.contact_id, e.contact_id, "")))
        no = m.ConfirmOverflow(e.errand, e.to_pool, False, e.contact_id, reason)
        if x < 0.4:
            self.later(in_time, self.say, yes, "waitline")
        elif x < 0.7:
            self.later(in_time, self.say, no, "waitline")
        elif x < 0.9:
            self.later(in_time + w.choice((1, 10, 40)), self.say, w.choice((yes, yes, no)), "waitline")
        if x < 0.1:
            self.later(in_time + w.choice((0, 5, 100)), self.say, w.choice((yes, no)), "waitline")
        if w.random() < 0.2:
            self.later(in_time * 1.1, self.say, m.EndContact(e.contact_id, "customer"))

    def from_elsewhere(self) -> None:
        """Another pool passes a contact on; some ask twice."""
        w, at = self.widths, self.now - self.widths.randint(0, 90_000)
        self.made += 1
        id = w.choice((f"t{self.made}", f"t{self.made}", f"c{self.routed}"))
        asked = m.TakeOver(
            id, w.choice(CHANNELS), w.choice((*self.queue_ids, "nowhere")), w.choice(self.adapters), f"3/{self.made}/0",
            "bureau", self.now + w.choice((-1, 5_000, 30_000)), at + w.choice((0, 10_000, 200_000)), at,
            w.choice((1, 2, 7, 8)), "k1", self.levels(self.some(self.skills, 0)[:1], 3), attributes={"topic": "wine"},
            customer_class=w.choice(CLASSES), allowed=w.random() < 0.1,
        )  # fmt: skip
        for _ in range(w.choice((1, 1, 2))):
            self.say(asked, "waitline")

    def sign_in(self, id: str) -> None:
        assert self.witness.rules is not None
        said = self.profiles[id]
        ready = self.random.random() < 0.7
        listed = self.witness.rules.roster == "rules"
        if self.random.random() < 0.03:
            listed = not listed
        if listed:
            self.say(m.SignInAgent(id, ready))
        else:
            self.say(m.SignInAgent(id, ready, team="green", **said))

    def break_off(self, id: str) -> None:
        if self.closing or id not in self.witness.people:
            return
        if self.random.random() < 0.25:
            self.say(m.SignOutAgent(id))
        else:
            self.say(m.SetAgentNotReady(id, self.random.choice(("break", "meeting"))))
        self.later(self.soon(240), self.break_off, id)

    def beat(self, adapter: str) -> None:
        if self.closing:
            return
        said_s = self.random.choice((None, None, None, 30))
        self.say(m.SourceHeartbeat(said_s and said_s * 1000), adapter)
        silence_s = said_s or self.rules.times.silence
        if self.random.random() < 0.95:
            self.later(silence_s * 0.7, self.beat, adapter)

    def publish(self) -> None:
        rules = self.other_rules()
        if rules.pool == POOL and rules != self.rules and self.doors.random() < 0.3:
            rules = self.with_doors(rules)
        if rules.pool == POOL and self.widens and self.widths.random() < 0.4:
            rules = replace(rules, queues=tuple(replace(queue, widen=self.widening()) for queue in rules.queues))
        self.say(m.PublishRules(rules), "operator")
        if self.witness.rules == rules:
            self.rules = rules
            self.queue_ids = [queue.id for queue in rules.queues]

    def stampede(self) -> None:
        """One adapter brings many contacts for one queue in the same millisecond."""
        r = self.random
        adapter, queue, channel = r.choice(self.adapters), r.choice(self.queue_ids), r.choice(CHANNELS)
        for _ in range(r.randint(80, 150)):
            self.route(adapter, queue, channel)

    def keep_lists(self) -> None:
        """Somebody blocks or allows a customer, for a time or for good, or thinks better of it."""
        d = self.doors
        customer, for_ms = f"k{d.randrange(300)}", d.choice((None, 1_000, 10_000, 40_000))
        if self.witness.visits and d.random() < 0.7:
            customer = d.choice(list(self.witness.visits)[-20:])
        kind = d.choice((m.BlockCustomer, m.AllowCustomer))
        self.say(m.UnlistCustomer(customer) if d.random() < 0.3 else kind(customer, for_ms, d.choice(("", "fraud"))))

    def rush(self) -> None:
        """Many come just before a queue closes and tells them so."""
        for (queue, channel), shown in self.witness.doors.items():
            limits = self.witness.queues[queue].most_waiting, self.rules.doors.most_waiting
            if shown.open and limits == (None, None) and self.witness.rule(queue, "on_close") == "tell":
                self.later(max(0, shown.next_at - self.now - 1500) / 1000, self.pour_in, queue, channel)
                return

    def pour_in(self, queue: str, channel: str) -> None:
        if not self.closing:
            for _ in range(self.doors.randint(90, 150)):
                self.route(queue=queue, channel=channel)

    def pause(self) -> None:
        """Nothing happens for a long time, not even a tick: the machine was off."""
        pause_ms = self.random.randint(35, 70) * 60_000
        self.future = [(at + pause_ms, tie, do, args) for at, tie, do, args in self.future]
        heapify(self.future)
        self.now += pause_ms
        self.lag = 0

    def outage(self) -> None:
        """An adapter brings many contacts, and is never heard again."""
        adapter, queue = self.random.choice(self.adapters), self.random.choice(self.queue_ids)
        for _ in range(self.random.randint(5, 90) + 80 * self.rough):
            self.route(adapter, queue)
        self.later(self.random.randint(0, 8), self.say, m.SourceHeartbeat(1_000), adapter)

    # ---- what people answer

    def react(self, event: Any, adapter: str) -> None:
        reaction = REACTIONS.get(type(event))
        if reaction is not None:
            reaction(self, event)

    def queued(self, e: m.ContactQueued) -> None:
        r = self.random
        if r.random() < 0.4:
            by = "customer" if r.random() < 0.85 else "adapter"
            self.later(self.soon(self.patience_s), self.say, m.EndContact(e.contact_id, by), e.source)
        if r.random() < 0.04:
            skills = self.levels(self.some(self.skills, 0)[:1], 4) if r.random() < 0.6 else None
            update = m.UpdateContact(e.contact_id, skills, {"note": r.choice(("", "called before"))})
            self.later(self.soon(6), self.say, update, e.source)

    def held_out(self, e: m.OfferIssued) -> None:
        r = self.random
        time_s = (e.expires_at - self.now) / 1000
        in_time = time_s * r.random() * 0.95
        accept = m.AcceptOffer(e.contact_id, e.agent_id)
        x = r.random()
        if self.closing:
            x *= 0.7
        if x < 0.70:
            self.later(in_time, self.say, accept)
        elif x < 0.80:
            self.later(in_time, self.say, m.DeclineOffer(e.contact_id, e.agent_id, r.choice(("", "busy"))))
        elif x < 0.84:
            pass
        elif x < 0.89:
            self.later(time_s + r.choice((0, 0.001, 1.5)), self.say, accept)
        elif x < 0.93:
            by = r.choice(("customer", "customer", "adapter"))
            self.later(in_time, self.say, m.EndContact(e.contact_id, by), self.witness.open[e.contact_id].source)
            self.later(time_s * 0.97, self.say, accept)
        elif x < 0.95:
            self.later(in_time, self.say, m.SetAgentNotReady(e.agent_id, "break"))
        elif x < 0.965:
            self.later(in_time, self.say, m.SignOutAgent(e.agent_id))
        elif x < 0.98:
            self.later(in_time, self.say, m.AcceptOffer(e.contact_id, r.choice(self.staff)))
            self.later(time_s * 0.97, self.say, accept)
        else:
            self.later(in_time, self.say, accept)
            self.later(in_time, self.say, accept)

    def answered(self, e: m.OfferAccepted) -> None:
        r = self.random
        x = r.random()
        talk_s = self.soon(self.talk_s) * {"call": 1, "chat": 1.5, "sms": 0.5}[self.witness.open[e.contact_id].channel]
        if x < 0.1:
            skills = self.levels(self.some(self.skills, 0)[:1], 4) if r.random() < 0.5 else None
            transfer = m.TransferContact(e.contact_id, e.agent_id, r.choice(self.queue_ids), skills)
            self.later(talk_s, self.say, transfer)
            self.later(talk_s * 2, self.say, m.EndContact(e.contact_id, "agent"))
        elif x < 0.95 or self.closing:
            by = r.choice(("agent", "agent", "customer", "adapter"))
            self.later(talk_s, self.say, m.EndContact(e.contact_id, by))
        if r.random() < 0.02:
            self.later(talk_s / 2, self.say, m.SignOutAgent(e.agent_id))

    def wraps_up(self, e: m.WrapUpStarted) -> None:
        time_s = (e.until - self.now) / 1000
        x = self.random.random()
        if x > self.neglect:
            self.later(time_s * self.random.random(), self.say, m.CompleteWrapUp(e.contact_id, e.agent_id))
        elif x < 0.03:
            self.later(time_s, self.say, m.CompleteWrapUp(e.contact_id, self.random.choice(self.staff)))
        elif x < 0.05:
            self.later(time_s / 2, self.say, m.SignOutAgent(e.agent_id))

    def here(self, e: m.AgentSignedIn) -> None:
        self.later(self.soon(4), self.say, m.SetAgentReady(e.agent_id))
        self.later(self.soon(240), self.break_off, e.agent_id)

    def not_ready(self, e: m.AgentBecameNotReady) -> None:
        self.later(self.soon(8), self.say, m.SetAgentReady(e.agent_id))

    def signed_out(self, e: m.AgentSignedOut) -> None:
        if not self.closing:
            self.later(self.soon(20), self.sign_in, e.agent_id)

    def fell_silent(self, e: m.SourceFellSilent) -> None:
        if self.random.random() < 0.5:
            self.later(self.soon(8), self.beat, e.source)

    def lost(self, e: m.SourceLost) -> None:
        self.later(self.soon(30), self.beat, e.source)

    def refused(self, e: m.CommandRefused) -> None:
        """Who is told "not in the roster" and the like tries again later."""
        if e.command == "sign-in-agent" and e.subject in self.profiles and not self.closing:
            if e.reason == "unknown-queue":
                self.profiles[e.subject] = self.profile()
            if e.subject not in self.witness.people:
                self.later(self.soon(40), self.sign_in, e.subject)

    # ---- what nobody should do

    def mischief(self) -> None:
        """A command that is late, false, repeated or out of place."""
        r, witness = self.random, self.witness
        cases = list(witness.open.values())
        case = r.choice(cases) if cases and r.random() < 0.9 else None
        id = case.id if case else r.choice(("nobody", f"c{r.randint(1, self.routed + 1)}"))
        agent = case.agent if case and case.agent and r.random() < 0.6 else r.choice((*self.staff, "stranger"))
        adapter = case.source if case else r.choice(self.adapters)
        what = r.randrange(18)
        if what == 0:
            self.say(m.AcceptOffer(id, agent))
        elif what == 1:
            self.say(m.DeclineOffer(id, agent))
        elif what == 2:
            self.say(m.EndContact(id, r.choice(("agent", "customer", "adapter"))), adapter)
        elif what == 3:
            self.say(m.CompleteWrapUp(id, agent))
        elif what == 4:
            queue = r.choice((*self.queue_ids, "nowhere"))
            self.say(m.TransferContact(id, agent, queue, r.choice((None, {"zh": 2}))))
        elif what == 5:
            self.say(m.UpdateContact(id, r.choice((None, {}, {"en": 3})), {"note": "x"}), adapter)
        elif what == 6:
            self.say(m.RouteContact(id, "chat", r.choice((*self.queue_ids, "nowhere"))), adapter)
        elif what == 7:
            self.say(m.SetAgentReady(agent))
        elif what == 8:
            self.say(m.SetAgentNotReady(agent, r.choice(("break", "lunch"))))
        elif what == 9:
            self.say(m.SignOutAgent(agent))
        elif what == 10:
            queues = r.choice((None, (), ("nowhere",), tuple(self.queue_ids[:1])))
            self.say(m.SignInAgent(agent, True, queues))
        elif what in (11, 12) and self.sent:
            self.deliver(r.choice(self.sent[-40:] if r.random() < 0.7 else self.sent))
        elif what == 13:
            witness.met["a clock was set back"] += 1
            self.now -= r.randint(1, 3_000)  # log time stands still meanwhile
            self.say(m.SourceHeartbeat(r.choice((None, 2_000))), r.choice((adapter, "stray")))
            self.now = self.partition.at
        elif what == 14:
            self.over_capacity()
        elif what == 15:
            channel: Any = r.choice(CHANNELS)
            self.say(m.RouteContact(f"x{self.made}", channel, r.choice(QUEUES), vip=True), adapter)
        elif what == 16 and witness.waiting:
            many = {f"key-{r.randrange(100)}": "x" for _ in range(64)}
            self.say(m.UpdateContact(r.choice(list(witness.waiting)), None, many), adapter)
        elif r.random() < 0.2:
            self.publish()

    def over_capacity(self) -> None:
        """The rules get stricter while something is held out to somebody who has other contacts."""
        for person in self.witness.people.values():
            if person.offered and person.held:
                stricter = replace(self.rules, weights=Weights(100, 100, 90))
                offered = person.offered
                self.say(m.PublishRules(stricter), "operator")
                self.rules = self.witness.rules or self.rules
                self.say(m.AcceptOffer(offered, person.id))
                self.later(10, self.relent)
                return

    def relent(self) -> None:
        self.rules = replace(self.rules, weights=self.weights())
        self.say(m.PublishRules(self.rules), "operator")

    # ---- the way through the engine

    def say(self, command: m.Command, source: str = "desk-app") -> None:
        self.made += 1
        body = write_command(envelope_of(command, f"m{self.made}", source, POOL))
        self.sent.append(body)
        self.deliver(body)
        if not self.closing and self.random.random() < 0.015:
            self.later(self.soon(20), self.deliver, body)

    def tick(self) -> None:
        envelope, command = tick_for(POOL, self.position + 1)
        self.decide(envelope, command)

    def deliver(self, body: bytes) -> None:
        envelope, command = read_command(body)
        self.decide(envelope, command)

    def decide(self, envelope: Envelope, command: m.Command) -> None:
        self.position += 1
        position, partition, witness = self.position, self.partition, self.witness
        tables = partition.pools.get(POOL)
        before = None
        if tables is not None:
            before = dict(tables.contacts), dict(tables.agents), dict(tables.sources), tables.rules, tables.version
        fails = self.routed >= self.fail_at and type(command) is not m.PublishRules
        if fails:
            self.fail_at = NONE
            decided = partition.fail(envelope, position, self.now, "ZeroDivisionError: set aside")
        else:
            decided = partition.decide(envelope, command, position, self.now)
        tables, at, events = partition.pools[POOL], partition.at, decided.events
        if fails:
            witness.at, witness.position, witness.command = at, position, command
            witness.fold(events)
            if type(command) is not m.Tick:
                witness.noted[envelope.source, envelope.id] = position, at
        else:
            witness.turn(command, envelope.source, envelope.id, position, at, events, decided.repeats)
        if len(events) < 2 and (not events or type(events[0]) in (m.CommandRefused, m.CommandFailed)):
            after = tables.contacts, tables.agents, tables.sources, tables.rules, tables.version
            assert before == after, "a refused command changes nothing"
        self.go_along(envelope, command, at, decided.record, fails)
        self.check_named(events)
        assert next_due(tables) == witness.next_due(), "the next deadline is known"
        if position % FULL_CHECK_EVERY == 0:
            self.check_all()
        for event in events:
            self.react(event, envelope.source)

    def go_along(self, envelope: Envelope, command: m.Command, at: int, record: bytes | None, fails: bool) -> None:
        """The twin folds what the journal says, the rival decides for itself."""
        if self.rival is not None:
            if fails:
                other = self.rival.fail(envelope, self.position, at, "ZeroDivisionError: set aside")
            else:
                other = self.rival.decide(envelope, command, self.position, at)
            assert other.record == record, "who was restored goes on as if nothing had been"
        self.since_record.append((envelope, command, self.position, at))
        if record is not None:
            self.offset += 1
            turn = self.reader.read(Record(self.offset, self.position, record))
            assert isinstance(turn, m.Turn), turn
            self.twin.fold(turn, self.reader.place)
            self.since_record.clear()

    def restore(self) -> None:
        """A snapshot is taken and a partition restored from it, which then decides again what left no record."""
        manifest, chunks = self.partition.snapshot(self.reader.place)(b"")
        self.rival, place, _ = Partition.restore(manifest, list(chunks))
        assert place == self.reader.place
        check_indexes(self.rival.pools[POOL])
        if self.since_record:
            self.witness.met["a snapshot was taken after quiet commands"] += 1
        for envelope, command, position, at in self.since_record:
            again = self.rival.decide(envelope, command, position, at)
            assert again.record is None, "deciding a quiet command again is harmless"
        assert rows(self.rival) == rows(self.partition)

    # ---- comparing rows

    def check_named(self, events: list[Any]) -> None:
        """Everybody whom the turn names stands alike in the core, in the twin and in the witness's books."""
        mine, twins = self.partition.pools[POOL], self.twin.pools[POOL]
        witness = self.witness
        for event in events:
            id = getattr(event, "contact_id", None)
            if id is not None:
                row = mine.contacts.get(id)
                assert row == twins.contacts.get(id), f"fold and step differ: {row} and {twins.contacts.get(id)}"
                case = witness.open.get(id)
                assert (row is None) == (case is None), f"{id} is here and is not: {row}, {case}"
                if row is not None and case is not None:
                    assert same_contact(row, case), f"{row} is not {case}"
            id = getattr(event, "agent_id", None)
            if id is not None:
                agent = mine.agents.get(id)
                person = witness.people.get(id)
                assert (agent is None) == (person is None), id
                if agent is not None and person is not None:
                    assert same_agent(agent, person), f"{agent} is not {person}"

    def check_all(self) -> None:
        """All rows, all indexes, of the core and of the twin."""
        witness, tables = self.witness, self.partition.pools[POOL]
        assert list(tables.contacts) == list(witness.open), "nobody is lost"
        assert all(same_contact(row, witness.open[id]) for id, row in tables.contacts.items())
        assert tables.agents.keys() == witness.people.keys()
        assert all(same_agent(row, witness.people[id]) for id, row in tables.agents.items())
        sources = {source.id: (source.deadline_at, source.silent) for source in tables.sources.values()}
        assert sources == witness.sources
        assert {row.customer: (row.blocked, row.until) for row in tables.listed.values()} == witness.on_lists
        assert (tables.rules.rules, tables.version, tables.hash) == (witness.rules, witness.version, witness.hash)
        for key, (_, at) in witness.noted.items():
            if witness.at - at < REMEMBERED_MS:
                assert tables.seen.get("\n".join(key)) is not None, key
        for id, at in witness.finished.items():
            if witness.at - at < REMEMBERED_MS:
                assert tables.finished.get(id) is not None, id
        assert rows(self.twin) == rows(self.partition), "fold equals step"
        check_indexes(tables)
        check_indexes(self.twin.pools[POOL])
        assert rows(self.twin) == rows(self.partition), "making the indexes changes no row"
        assert next_due(self.twin.pools[POOL]) == next_due(tables)


def rows(partition: Partition) -> bytes:
    """A pool's rows as bytes."""
    return json_encode(rows_of(partition.pools[POOL]))


def same_contact(row: Any, case: Case) -> bool:
    return (
        row.need == case.need
        and row.status == case.status
        and row.agent_id == case.agent
        and row.deadline_at == case.deadline_at
        and row.due_at == case.due_at
        and row.give_up_at == case.give_up_at
        and row.since == case.since
        and row.queued_at == case.queued_at
        and row.first_queued_at == case.first_queued_at
        and row.seq == case.seq
        and row.declined_by == (*case.excluded, *case.declined)
        and row.retry_at == case.retry_at
        and row.attributes == case.attributes
        and (row.prefer, row.prefer_until, row.not_agents) == (case.prefer, case.prefer_until, case.excluded)
        and (row.step, row.relax_at, row.need[3]) == (case.step, case.relax_at, case.also)
        and dict(row.asked or row.need[2]) == case.asked
        and (row.away, row.came, row.hops) == (case.away, case.came, case.hops)
        and (row.source, row.customer, row.tier, row.vip) == (case.source, case.customer, case.tier, case.vip)
        and (row.customer_class, row.allowed) == (case.customer_class, case.allowed)
    )


def same_agent(row: Any, person: Person) -> bool:
    held = list(person.held.values())
    return (
        row.ready == person.ready
        and row.reason == person.reason
        and row.since == person.since
        and row.idle_since == person.idle_since
        and row.offered == person.offered
        and row.contacts == tuple(person.held)
        and row.load == tuple(held.count(channel) for channel in CHANNELS)
        and row.team == person.team
        and row.addresses == person.addresses
    )


REACTIONS: dict[type[m.Event], Callable[[Day, Any], None]] = {
    m.ContactQueued: Day.queued,
    m.ContactOverflowing: Day.overflowing,
    m.OfferIssued: Day.held_out,
    m.OfferAccepted: Day.answered,
    m.WrapUpStarted: Day.wraps_up,
    m.AgentSignedIn: Day.here,
    m.AgentBecameNotReady: Day.not_ready,
    m.AgentSignedOut: Day.signed_out,
    m.SourceFellSilent: Day.fell_silent,
    m.SourceLost: Day.lost,
    m.CommandRefused: Day.refused,
}


def main(arguments: list[str]) -> None:
    for seed in map(int, arguments):
        day = Day(seed).run()
        print(seed, day.chain, f"{day.turns} turns, {day.contacts} contacts", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A seeded world of queues, skills, agents and customers, and the command log that it makes through the real core.

About as many contacts wait all the time as were asked for: a new one comes for each that leaves. Of the offers 5 % are
declined, 2 % run out, 2 % are overtaken by the customer hanging up; 8 % of the wrap-ups run into their limit.
"""

import bisect
import heapq
import itertools
import random
from collections.abc import Iterator

from engine.core import messages as m
from engine.core.rules import Queue, Rules, Times
from engine.core.step import next_due, step
from engine.core.tables import Tables
from engine.core.words import Channel, Tier
from engine.streams.codec import envelope_of, write_command

POOL = "pool"
START = 1_700_000_000_000
TALKS_S = {"call": (60, 300), "chat": (120, 600), "sms": (30, 120)}
Timed = tuple[int, bytes]  # log time, the command's bytes


class World:
    """requirements: distinct needs that contacts come with; profiles: distinct sets of queues and skills that agents
    have."""

    def __init__(
        self, seed: int = 1, requirements: int = 200, profiles: int = 300, agents: int = 10_000, pool: str = POOL
    ) -> None:
        self.pool = pool
        r = self.random = random.Random(seed)
        self.queues = [f"queue-{i}" for i in range(20)]
        skills = [f"skill-{i}" for i in range(30)]
        needs: set[tuple[str, Channel, tuple[tuple[str, int], ...]]] = set()
        while len(needs) < requirements:
            channel = r.choices(("call", "chat", "sms"), (60, 25, 15))[0]
            several = r.choices((0, 1, 2), (35, 45, 20))[0]
            wanted = tuple(sorted((skill, r.randint(1, 4)) for skill in r.sample(skills, several)))
            needs.add((r.choice(self.queues), channel, wanted))  # type: ignore[arg-type]
        self.needs = sorted(needs)
        r.shuffle(self.needs)
        self.shares = list(itertools.accumulate(1 / (1 + i / 20) for i in range(len(self.needs))))
        made = []
        for i in range(profiles):  # every need has agents who can serve it
            pair = self.needs[2 * i : 2 * i + 2]
            base = pair if len(pair) == 2 else r.sample(self.needs, r.choice((2, 3, 3, 4)))
            queues: set[str] = set()
            have: dict[str, int] = {}
            for queue, _, wanted in base:
                queues.add(queue)
                for skill, level in wanted:
                    have[skill] = max(have.get(skill, 0), min(5, level + r.randint(0, 1)))
            for skill in r.sample(skills, r.randint(8, 16)):
                have[skill] = max(have.get(skill, 0), r.randint(1, 5))
            made.append((tuple(sorted(queues)), dict(sorted(have.items()))))
        self.agents = {f"agent-{i:05d}": made[i % profiles] for i in range(agents)}
        self.contacts = 0

    def rules(self) -> Rules:
        return Rules(self.pool, tuple(Queue(queue) for queue in self.queues), times=Times(wait=30 * 86_400))

    def contact(self) -> m.RouteContact:
        r = self.random
        self.contacts += 1
        queue, channel, wanted = self.needs[bisect.bisect(self.shares, r.random() * self.shares[-1])]
        x = r.random()
        tier: Tier = "now" if x < 0.7 else "today" if x < 0.95 else "follow-up"
        customer = f"customer-{r.randrange(5_000_000):07d}"
        return m.RouteContact(
            f"contact-{self.contacts:08d}", channel, queue, customer, dict(wanted), tier, r.random() < 0.1
        )


class Traffic:
    """What people ask, as a log: `fill` brings contacts and agents, `go_on` lets them live. group: so many commands in
    a row have one log time, that of the first, as those do that a host commits together."""

    def __init__(self, world: World, group: int = 1) -> None:
        self.world = world
        self.tables = Tables()
        self.position = 0
        self.group = group
        self.at = START  # the log's time
        self._clock = START  # of those who ask
        self._coming: list[tuple[int, int, m.Command]] = []
        self._number = itertools.count()
        self._waiting: list[str] = []
        self._place: dict[str, int] = {}
        self._replacing = False

    def fill(self, waiting: int, first: str = "contacts") -> Iterator[Timed]:
        """first: `contacts` wait before the agents come, or `agents` are there before the contacts."""
        yield self._do(m.PublishRules(self.world.rules()), 0)
        contacts = (self.world.contact() for _ in range(waiting))
        agents = (m.SignInAgent(id, True, queues, have) for id, (queues, have) in self.world.agents.items())
        for command in itertools.chain(contacts, agents) if first == "contacts" else itertools.chain(agents, contacts):
            yield self._do(command, 10 if type(command) is m.RouteContact else 2)
        self._replacing = True

    def go_on(self, commands: int) -> Iterator[Timed]:
        for _ in range(commands):
            due = next_due(self.tables)
            if not self._coming or due <= (self.at if self.position % self.group else self._coming[0][0]):
                yield self._do(m.Tick(), max(0, due - self._clock))
            else:
                at, _, command = heapq.heappop(self._coming)
                yield self._do(command, max(0, at - self._clock))

    def _do(self, command: m.Command, after_ms: int) -> Timed:
        self._clock += after_ms
        if self.position % self.group == 0:
            self.at = self._clock
        own = type(command) is m.Tick
        source = "waitline" if own else f"pbx-{self.position % 7}"
        envelope = envelope_of(command, f"{self.position:x}", source, self.world.pool)
        events = step(self.tables, command, source, envelope.id, self.position, self.at)
        self.position += 1
        for event in events:
            self._react(event)
        return self.at, write_command(envelope)

    def _later(self, low_ms: int, high_ms: int, command: m.Command) -> None:
        at = self.at + self.world.random.randint(low_ms, high_ms)
        heapq.heappush(self._coming, (at, next(self._number), command))

    def _react(self, event: m.Event) -> None:
        r = self.world.random
        match event:
            case m.ContactQueued():
                self._place[event.contact_id] = len(self._waiting)
                self._waiting.append(event.contact_id)
            case m.OfferIssued():
                x, ids = r.random(), (event.contact_id, event.agent_id)
                if x < 0.05:
                    self._later(1000, 5000, m.DeclineOffer(*ids))
                elif x < 0.07:
                    pass  # runs out
                elif x < 0.09:
                    self._later(1000, 5000, m.EndContact(event.contact_id, "customer"))
                    self._later(2000, 6000, m.AcceptOffer(*ids))
                else:
                    self._later(1000, 8000, m.AcceptOffer(*ids))
            case m.OfferAccepted():
                self._gone(event.contact_id)
                low, high = TALKS_S[self.tables.contacts[event.contact_id].need[1]]
                by: m.By = r.choice(("agent", "customer"))
                self._later(low * 1000, high * 1000, m.EndContact(event.contact_id, by))
            case m.ContactAbandoned():
                self._gone(event.contact_id)
            case m.WrapUpStarted():
                if r.random() > 0.08:
                    self._later(5000, 25_000, m.CompleteWrapUp(event.contact_id, event.agent_id))
            case m.WrapUpEnded():
                if r.random() < 0.01:
                    self._later(10, 10, m.SetAgentNotReady(event.agent_id, "break"))
                    self._later(60_000, 60_000, m.SetAgentReady(event.agent_id))
            case m.AgentBecameNotReady(reason="no-answer"):
                self._later(20_000, 20_000, m.SetAgentReady(event.agent_id))

    def _gone(self, contact_id: str) -> None:
        """Waits no more; another comes in its stead."""
        i, last = self._place.pop(contact_id), self._waiting.pop()
        if last != contact_id:
            self._waiting[i], self._place[last] = last, i
        if self._replacing:
            self._later(0, 10_000, self.world.contact())
            if self._waiting and self.world.random.random() < 0.06:
                self._later(0, 10_000, m.EndContact(self.world.random.choice(self._waiting), "customer"))

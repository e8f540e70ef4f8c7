"""What a person wants to see of a pool: queues, agents, today's figures, last decisions. A projection of its turns.

It stands on accepted turns alone: no clock, no I/O, nothing of the core's tables; every host may keep one. `fold` takes
each once, in order, and costs O(1) for an event (plus O(contacts) of the one agent it is about, and O(queues) for new
rules and at midnight). Kept: a row for each open contact, each signed-in agent, each finished contact (an hour, at most
10,000) and each of the last 50 offers, and a tally for each queue and channel. Rows are frozen and replaced, tallies
copied, so what `rows()` hands out stays as it was while the fold goes on.

Times ending in `_at` are milliseconds since the epoch, from the log; `_ms` are milliseconds. Methods that take `at`
want the log's time now: not earlier than the last turn's.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from engine.core import messages as m
from engine.core.doors import is_open, next_edge
from engine.core.rules import Queue, Rules, compile_rules
from engine.core.words import CHANNELS, Channel

Status = Literal["waiting", "offered", "talking", "finished"]
Outcome = Literal["", "ended", "abandoned", "timed-out", "turned-away", "overflowed"]
State = Literal["idle", "offered", "talking", "wrap-up", "not-ready"]
OfferOutcome = Literal["offered", "accepted", "declined", "expired", "revoked"]

STATES: tuple[State, ...] = ("idle", "offered", "talking", "wrap-up", "not-ready")
FOREMOST: tuple[Literal["talking", "offered", "wrap-up"], ...] = ("talking", "offered", "wrap-up")
DECISIONS = 50
FINISHED_MS = 3_600_000
FINISHED_MOST = 10_000
DEFAULT_THRESHOLD_S = Queue(id="any").service_level  # for a queue that the rules no longer name


# ---- rows: what is kept, and all that a snapshot needs


class Contact(Struct, frozen=True, gc=False, omit_defaults=True):
    """An open contact, or one that has finished. A transfer starts a new wait: entered_at is the present one's start.

    waited_ms, talked_ms: of the waits and talks that are over. answered_at: first answer. offer_id: of the last offer.
    """

    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    customer: str
    queued_at: int
    entered_at: int
    due_reason: tuple[str, ...]
    target_ms: int
    status: Status = "waiting"
    outcome: Outcome = ""
    head_start_ms: int = 0
    agent_id: str = ""
    offer_id: str = ""
    answered_at: int = 0
    ended_at: int = 0
    waited_ms: int = 0
    talked_ms: int = 0
    attributes: dict[str, str] = {}


class Assignment(Struct, frozen=True, gc=False):
    """A contact that an agent is offered, talks to, or wraps up."""

    contact_id: str
    channel: Channel
    queue_id: str
    status: Literal["offered", "talking", "wrap-up"]
    since: int


class Agent(Struct, frozen=True, gc=False):
    """A signed-in agent. since: of `state`, or of the reason given for not being ready."""

    agent_id: str
    team: str
    ready: bool
    reason: str
    state: State
    since: int
    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    contacts: tuple[Assignment, ...] = ()


class Offer(Struct, frozen=True, gc=False, omit_defaults=True):
    """A decision, in codes and integers, and what became of it. outcome_reason: why it was declined or revoked."""

    id: str
    at: int
    contact_id: str
    agent_id: str
    queue_id: str
    channel: Channel
    reason: tuple[str, ...]
    waited_ms: int
    idle_ms: int
    due_reason: tuple[str, ...]
    target_ms: int
    head_start_ms: int = 0
    outcome: OfferOutcome = "offered"
    outcome_at: int = 0
    outcome_reason: str = ""


class Tally(Struct, gc=False, omit_defaults=True):
    """A day's counts of one queue and channel; the one row that is counted in place, and copied where it is handed out.

    arrived: asked for this queue first; transferred_in: passed here by an agent; turned_away: not let in, or told that
    it closes. threshold_s: by which answered_within and abandoned_after were judged; 0: nothing was, -1: by several.
    """

    queue_id: str
    channel: Channel
    arrived: int = 0
    transferred_in: int = 0
    answered: int = 0
    abandoned: int = 0
    timed_out: int = 0
    waited_ms: int = 0  # of those answered, in all
    answered_within: int = 0
    abandoned_after: int = 0
    threshold_s: int = 0
    turned_away: int = 0


class Rows(Struct, frozen=True):
    """All that a board knows at a position, for a snapshot; whatever is not here is derived from it."""

    pool: str
    partition: int
    position: int
    at: int
    rules: Rules | None
    open: list[Contact]
    finished: list[Contact]
    agents: list[Agent]
    offers: list[Offer]
    tallies: list[Tally]


# ---- views: what the API says


class DoorView(Struct, frozen=True):
    """Whether a channel of a queue is open, by its hours; next_at: when that changes, None if never."""

    open: bool
    next_at: int | None


class QueueView(Struct, frozen=True):
    """waiting counts those held out to an agent too. agents_idle: those of the ready ones without a contact. doors: by
    channel, of those channels that have opening hours."""

    queue_id: str
    name: str
    waiting: int
    longest_wait_ms: int
    waiting_by_channel: dict[str, int]
    offered: int
    talking: int
    agents_ready: int
    agents_idle: int
    doors: dict[str, DoorView]


class AgentView(Struct, frozen=True):
    agent_id: str
    name: str
    team: str
    presence: Literal["ready", "not-ready"]
    reason: str
    state: State
    since: int
    skills: dict[str, int]
    queues: tuple[str, ...]
    limits: dict[str, int]
    contacts: tuple[Assignment, ...]


class AgentsView(Struct, frozen=True):
    """counts: agents by state."""

    counts: dict[str, int]
    agents: list[AgentView]


class ContactView(Struct, frozen=True):
    """One contact. waited_ms: all its waits, the present one included; talked_ms: of the talks that are over."""

    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    customer: str
    status: Status
    outcome: Outcome | None
    queued_at: int
    answered_at: int | None
    ended_at: int | None
    waited_ms: int
    talked_ms: int
    agent_id: str
    attributes: dict[str, str]


class DecisionView(Struct, frozen=True):
    """An offer, why it was made, what became of it. sentence: the same in words, added where the language is known."""

    id: str
    at: int
    contact_id: str
    agent_id: str
    agent_name: str
    queue_id: str
    queue_name: str
    channel: Channel
    outcome: OfferOutcome
    outcome_at: int | None
    outcome_reason: str
    reason: tuple[str, ...]
    waited_ms: int
    idle_ms: int
    due_reason: tuple[str, ...]
    target_ms: int
    head_start_ms: int
    sentence: str = ""


class ServiceLevel(Struct, frozen=True):
    """percent = 100 · answered_within / (answered + abandoned_after), one decimal; None where nothing counts yet.

    threshold_s is None where queues, or the hours of the day, were judged by different ones.
    """

    answered_within: int
    answered: int
    abandoned_after: int
    threshold_s: int | None
    percent: float | None


class Figures(Struct, frozen=True, kw_only=True):
    """A day's figures. arrived + transferred_in, of all days, are those answered, abandoned, timed out, turned away and
    waiting.

    mean_wait_ms: of those answered; None where nobody was.
    """

    arrived: int
    transferred_in: int
    answered: int
    abandoned: int
    timed_out: int
    turned_away: int
    mean_wait_ms: int | None
    service_level: ServiceLevel


class QueueFigures(Figures, frozen=True, kw_only=True):
    queue_id: str
    name: str


class ChannelFigures(Figures, frozen=True, kw_only=True):
    channel: Channel


class DayFigures(Struct, frozen=True):
    """Figures of the day, by the pool's time zone, on which `at` falls."""

    day: str
    time_zone: str
    total: Figures
    queues: list[QueueFigures]
    channels: list[ChannelFigures]


class Line:
    """What is counted as it goes of one queue. waiting: contact id -> when it entered, in order of entry."""

    __slots__ = ("by_channel", "offered", "talking", "tallies", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[str, int] = OrderedDict()  # its head is found at once, however many have left before
        self.by_channel: dict[str, int] = dict.fromkeys(CHANNELS, 0)
        self.offered = 0
        self.talking = 0
        self.tallies: dict[Channel, Tally] = {}


class Crew:
    """How many agents who serve the same queues are ready, and how many of them idle."""

    __slots__ = ("idle", "members", "ready")

    def __init__(self) -> None:
        self.members = 0
        self.ready = 0
        self.idle = 0


class Board:
    """One pool. partition: the first part of its events' ids. finished_ms, finished_most: how they are kept."""

    def __init__(
        self, pool: str, partition: int = 0, *, finished_ms: int = FINISHED_MS, finished_most: int = FINISHED_MOST
    ) -> None:
        self.on_forgotten: Callable[[str], None] = _nobody_asks  # called with the id of each contact it no longer keeps
        assert finished_most >= 1, "a wrap-up needs the contact that has just finished"
        self.pool = pool
        self.partition = partition
        self.position = -1
        self.at = 0
        self.rules: Rules | None = None
        self._finished_ms = finished_ms
        self._finished_most = finished_most
        self._open: dict[str, Contact] = {}  # in order of entry into their present queues
        self._finished: OrderedDict[str, Contact] = OrderedDict()  # the earliest ended first
        self._agents: dict[str, Agent] = {}
        self._offers: OrderedDict[str, Offer] = OrderedDict()  # the oldest first
        self._day = ""
        self._day_end = 0
        # derived from the rows and the rules
        self._lines: dict[str, Line] = {}
        self._open_of: dict[str, dict[str, None]] = {}  # source -> its open contacts
        self._finished_of: dict[str, dict[str, None]] = {}
        self._crews: dict[tuple[str, ...], Crew] = {}
        self._states: dict[State, int] = dict.fromkeys(STATES, 0)
        self._take_rules(None)

    def fold(self, turn: m.Turn) -> None:
        """Takes one accepted turn; each once, in order of position."""
        at = turn.at
        if at >= self._day_end:
            self._begin_day(at)
        self.position, self.at = turn.position, at
        for ordinal, event in enumerate(turn.events):
            FOLD[type(event)](self, event, at, ordinal)

    # ---- snapshots

    def rows(self) -> Rows:
        """Everything, in rows that later folds leave alone; O(rows) to list, without copying them."""
        return Rows(
            self.pool,
            self.partition,
            self.position,
            self.at,
            self.rules,
            list(self._open.values()),
            list(self._finished.values()),
            list(self._agents.values()),
            list(self._offers.values()),
            sorted(map(replace, self._tallies()), key=lambda tally: (tally.queue_id, tally.channel)),
        )

    @classmethod
    def restore(cls, rows: Rows, *, finished_ms: int = FINISHED_MS, finished_most: int = FINISHED_MOST) -> "Board":
        """The board that `rows` was taken of: folding on from here is the same as having folded all along."""
        board = cls(rows.pool, rows.partition, finished_ms=finished_ms, finished_most=finished_most)
        board.position, board.at = rows.position, rows.at
        board._take_rules(rows.rules)
        if rows.position >= 0:
            board._day, board._day_end = day_of(rows.at, board._zone)
        for contact in rows.open:
            board._open[contact.contact_id] = contact
            board._open_of.setdefault(contact.source, {})[contact.contact_id] = None
            line = board._line(contact.queue_id)
            if contact.status == "talking":
                line.talking += 1
            else:
                line.waiting[contact.contact_id] = contact.entered_at
                line.by_channel[contact.channel] += 1
                line.offered += contact.status == "offered"
        for contact in rows.finished:
            board._finished[contact.contact_id] = contact
            board._finished_of.setdefault(contact.source, {})[contact.contact_id] = None
        for agent in rows.agents:
            board._stand(None, agent)
        board._offers.update((offer.id, offer) for offer in rows.offers)
        for tally in rows.tallies:
            board._line(tally.queue_id).tallies[tally.channel] = replace(tally)
        return board

    # ---- what it says

    def queues(self, at: int) -> list[QueueView]:
        """Queues in the order of the rules, then those no longer in them where somebody still waits or talks."""
        ready: dict[str, int] = {}
        idle: dict[str, int] = {}
        for queues, crew in self._crews.items():
            for queue_id in queues:
                ready[queue_id] = ready.get(queue_id, 0) + crew.ready
                idle[queue_id] = idle.get(queue_id, 0) + crew.idle
        shown = []
        for queue_id in self._queue_ids(lambda line: bool(line.waiting or line.talking)):
            line = self._lines.get(queue_id) or Line()
            shown.append(
                QueueView(
                    queue_id,
                    self._queue_names.get(queue_id, queue_id),
                    len(line.waiting),
                    at - next(iter(line.waiting.values())) if line.waiting else 0,
                    dict(line.by_channel),
                    line.offered,
                    line.talking,
                    ready.get(queue_id, 0),
                    idle.get(queue_id, 0),
                    {
                        channel: DoorView(is_open(edges, at), next_edge(edges, at) or None)
                        for channel, edges in self._hours.get(queue_id, {}).items()
                    },
                )
            )
        return shown

    def agents(self, limit: int | None = None) -> AgentsView:
        """Signed-in agents in the order in which they signed in, the first `limit`; the counts are of all. O(shown)."""
        return AgentsView(
            {state: self._states[state] for state in STATES},
            [self._agent_view(agent) for agent in islice(self._agents.values(), limit)],
        )

    def figures(self, at: int) -> DayFigures:
        """Today's figures; all zero where the day has changed since the last turn."""
        day = self._day if at < self._day_end else day_of(at, self._zone)[0]
        lines = self._lines if day == self._day else {}
        tallies = self._tallies() if lines else []
        queues = []
        for queue_id in self._queue_ids(lambda line: bool(line.tallies)) if lines else self._thresholds:
            own = list(lines[queue_id].tallies.values()) if queue_id in lines else []
            name = self._queue_names.get(queue_id, queue_id)
            queues.append(QueueFigures(queue_id=queue_id, name=name, **figures_of(own, self._threshold((queue_id,)))))
        channels = []
        for channel in CHANNELS:
            own = [tally for tally in tallies if tally.channel == channel]
            taking = [queue.id for queue in self.rules.queues if channel in queue.channels] if self.rules else []
            channels.append(ChannelFigures(channel=channel, **figures_of(own, self._threshold(taking))))
        total = Figures(**figures_of(tallies, self._threshold(self._thresholds)))
        return DayFigures(day, str(self._zone), total, queues, channels)

    def decisions(self, limit: int = 20) -> list[DecisionView]:
        """The last offers, newest first; at most 50 are kept."""
        return [self._decision_view(offer) for offer in islice(reversed(self._offers.values()), max(0, limit))]

    def contact(self, contact_id: str, at: int) -> ContactView | None:
        """An open contact, or one that finished not too long ago; None where neither is known."""
        contact = self._open.get(contact_id) or self._finished.get(contact_id)
        if contact is None or (contact.outcome and at - contact.ended_at > self._finished_ms):
            return None
        waits = contact.status in ("waiting", "offered")
        return ContactView(
            contact.contact_id,
            contact.channel,
            contact.queue_id,
            contact.source,
            contact.customer,
            contact.status,
            contact.outcome or None,
            contact.queued_at,
            contact.answered_at or None,
            contact.ended_at or None,
            contact.waited_ms + (at - contact.entered_at if waits else 0),
            contact.talked_ms,
            contact.agent_id,
            contact.attributes,
        )

    def contact_row(self, contact_id: str) -> Contact | None:
        """As it is kept: an open contact, or a finished one that has not been forgotten."""
        return self._open.get(contact_id) or self._finished.get(contact_id)

    def agent_row(self, agent_id: str) -> Agent | None:
        """As it is kept; None: not signed in."""
        return self._agents.get(agent_id)

    def agent_ids(self) -> list[str]:
        return list(self._agents)

    def contacts_of(self, source: str, at: int, *, open_only: bool = True) -> list[ContactView]:
        """The contacts that a source brought, in order of arrival: open ones, or also finished ones still kept."""
        ids = list(self._open_of.get(source, ()))
        if not open_only:
            ids += self._finished_of.get(source, ())
        found = [view for id in ids if (view := self.contact(id, at)) is not None]
        return sorted(found, key=lambda view: (view.queued_at, view.contact_id))

    def _agent_view(self, agent: Agent) -> AgentView:
        return AgentView(
            agent.agent_id,
            self._agent_names.get(agent.agent_id, agent.agent_id),
            agent.team,
            "ready" if agent.ready else "not-ready",
            agent.reason,
            agent.state,
            agent.since,
            agent.skills,
            agent.queues,
            agent.limits,
            agent.contacts,
        )

    def _decision_view(self, offer: Offer) -> DecisionView:
        return DecisionView(
            offer.id,
            offer.at,
            offer.contact_id,
            offer.agent_id,
            self._agent_names.get(offer.agent_id, offer.agent_id),
            offer.queue_id,
            self._queue_names.get(offer.queue_id, offer.queue_id),
            offer.channel,
            offer.outcome,
            offer.outcome_at or None,
            offer.outcome_reason,
            offer.reason,
            offer.waited_ms,
            offer.idle_ms,
            offer.due_reason,
            offer.target_ms,
            offer.head_start_ms,
        )

    def _queue_ids(self, worth_showing: Callable[[Line], bool]) -> list[str]:
        former = (id for id, line in self._lines.items() if id not in self._thresholds and worth_showing(line))
        return [*self._thresholds, *sorted(former)]

    def _tallies(self) -> list[Tally]:
        return [tally for line in self._lines.values() for tally in line.tallies.values()]

    def _threshold(self, queue_ids: Iterable[str]) -> int | None:
        """The one threshold of these queues, in seconds; None where they differ."""
        several = {self._thresholds.get(id, DEFAULT_THRESHOLD_S) for id in queue_ids}
        return several.pop() if len(several) == 1 else None

    # ---- how events change it

    def _take_rules(self, rules: Rules | None) -> None:
        self.rules = rules
        queues = rules.queues if rules else ()
        self._queue_names = {queue.id: queue.name or queue.id for queue in queues}
        self._thresholds = {queue.id: queue.service_level for queue in queues}
        self._agent_names = {agent.id: agent.name or agent.id for agent in rules.agents} if rules else {}
        self._zone = zone_of(rules.time_zone if rules else "UTC")
        plans = compile_rules(rules).queues if rules else {}
        self._hours = {queue_id: plan.hours for queue_id, plan in plans.items() if plan.hours}

    def _begin_day(self, at: int) -> None:
        day, self._day_end = day_of(at, self._zone)
        if day != self._day:
            self._day = day
            for line in self._lines.values():
                line.tallies = {}

    def _line(self, queue_id: str) -> Line:
        line = self._lines.get(queue_id)
        if line is None:
            line = self._lines[queue_id] = Line()
        return line

    def _tally(self, line: Line, queue_id: str, channel: Channel) -> Tally:
        tally = line.tallies.get(channel)
        if tally is None:
            tally = line.tallies[channel] = Tally(queue_id, channel)
        return tally

    def _stand(self, former: Agent | None, agent: Agent | None) -> None:
        """An agent's row is put in the place of the former one; None: there was none, or there is none any more."""
        if agent is not None:
            self._agents[agent.agent_id] = agent
            self._count(agent, 1)
        if former is not None:
            self._count(former, -1)

    def _count(self, agent: Agent, change: int) -> None:
        self._states[agent.state] += change
        crew = self._crews.get(agent.queues)
        if crew is None:
            crew = self._crews[agent.queues] = Crew()
        crew.members += change
        if agent.ready:
            crew.ready += change
        if agent.state == "idle":
            crew.idle += change
        if not crew.members:
            del self._crews[agent.queues]

    def _renew(self, former: Agent, ready: bool, reason: str, contacts: tuple[Assignment, ...], at: int) -> None:
        """An agent's new presence or contacts, and the state that a wallboard derives from them."""
        state: State = "idle" if ready else "not-ready"
        if contacts:
            held = [assignment.status for assignment in contacts]
            state = held[0] if len(held) == 1 else next(status for status in FOREMOST if status in held)
        renewed = state != former.state or (state == "not-ready" and reason != former.reason)
        since = at if renewed else former.since
        agent = replace(former, ready=ready, reason=reason, contacts=contacts, state=state, since=since)
        if renewed or ready != former.ready:
            self._stand(former, agent)
        else:
            self._agents[agent.agent_id] = agent  # as many as before of each kind

    def _give(self, agent_id: str, assignment: Assignment, at: int) -> None:
        """The agent is offered the contact, talks to it or wraps it up, whatever it was to them before."""
        agent = self._agents[agent_id]
        contacts = (*without(agent.contacts, assignment.contact_id), assignment)
        self._renew(agent, agent.ready, agent.reason, contacts, at)

    def _part(self, agent_id: str, contact_id: str, at: int) -> None:
        agent = self._agents.get(agent_id)
        if agent is not None:
            self._renew(agent, agent.ready, agent.reason, without(agent.contacts, contact_id), at)

    def _enter(self, contact: Contact) -> Line:
        line = self._line(contact.queue_id)
        self._open[contact.contact_id] = contact
        line.waiting[contact.contact_id] = contact.entered_at
        line.by_channel[contact.channel] += 1
        return line

    def _leave_line(self, contact: Contact) -> Line:
        line = self._lines[contact.queue_id]
        del line.waiting[contact.contact_id]
        line.by_channel[contact.channel] -= 1
        return line

    def _settle(self, contact: Contact, outcome: OfferOutcome, at: int, reason: str = "") -> None:
        """What became of the contact's standing offer, as long as it is among the last."""
        offer = self._offers.get(contact.offer_id)
        if offer is not None:
            self._offers[offer.id] = replace(offer, outcome=outcome, outcome_at=at, outcome_reason=reason)

    def _offer_over(self, contact_id: str, agent_id: str, outcome: OfferOutcome, at: int, reason: str = "") -> None:
        contact = self._open[contact_id]
        self._lines[contact.queue_id].offered -= 1
        self._open[contact_id] = replace(contact, status="waiting", agent_id="")
        self._part(agent_id, contact_id, at)
        self._settle(contact, outcome, at, reason)

    def _finish(self, contact: Contact) -> None:
        """Out of the open ones, into the finished ones."""
        del self._open[contact.contact_id]
        drop(self._open_of, contact.source, contact.contact_id)
        self._keep(contact)

    def _keep(self, contact: Contact) -> None:
        """Among the finished ones; at most two of these are forgotten for each that comes."""
        id, source = contact.contact_id, contact.source
        self._finished[id] = contact
        self._finished_of.setdefault(source, {})[id] = None
        for _ in range(2):
            oldest = next(iter(self._finished.values()))
            if len(self._finished) <= self._finished_most and contact.ended_at - oldest.ended_at <= self._finished_ms:
                break
            self._forget(oldest)

    def _forget(self, contact: Contact) -> None:
        del self._finished[contact.contact_id]
        drop(self._finished_of, contact.source, contact.contact_id)
        self.on_forgotten(contact.contact_id)


# ---- one function per event


def contact_queued(board: Board, event: m.ContactQueued, at: int, _: int) -> None:
    id = event.contact_id
    earlier = board._finished.get(id)
    if earlier is not None:
        board._forget(earlier)
    contact = Contact(
        id,
        event.channel,
        event.queue_id,
        event.source,
        event.customer,
        at,
        at,
        event.reason,
        event.target_ms,
        head_start_ms=event.head_start_ms,
        attributes=event.attributes,
    )
    line = board._enter(contact)
    board._open_of.setdefault(event.source, {})[id] = None
    board._tally(line, event.queue_id, event.channel).arrived += 1


def contact_turned_away(board: Board, event: m.ContactTurnedAway, at: int, _: int) -> None:
    waiting = board._open.get(event.contact_id)
    if waiting is not None:
        leaves_unanswered(board, waiting, "turned-away", event.waited_ms, at)
        return
    earlier = board._finished.get(event.contact_id)
    if earlier is not None:
        board._forget(earlier)
    line = board._line(event.queue_id)
    tally = board._tally(line, event.queue_id, event.channel)
    tally.arrived += 1
    tally.turned_away += 1
    board._keep(
        Contact(
            event.contact_id,
            event.channel,
            event.queue_id,
            event.source,
            event.customer,
            at,
            at,
            (f"tier-{event.tier}",),
            0,
            status="finished",
            outcome="turned-away",
            ended_at=at,
        )
    )


def contact_overflowed(board: Board, event: m.ContactOverflowed, at: int, _: int) -> None:
    leaves_unanswered(board, board._open[event.contact_id], "overflowed", event.waited_ms, at)


def contact_updated(board: Board, event: m.ContactUpdated, at: int, _: int) -> None:
    board._open[event.contact_id] = replace(board._open[event.contact_id], attributes=event.attributes)


def offer_issued(board: Board, event: m.OfferIssued, at: int, ordinal: int) -> None:
    contact = board._open[event.contact_id]
    offer = Offer(
        f"{board.partition}/{board.position}/{ordinal}",
        at,
        contact.contact_id,
        event.agent_id,
        contact.queue_id,
        contact.channel,
        event.reason,
        event.waited_ms,
        event.idle_ms,
        contact.due_reason,
        contact.target_ms,
        contact.head_start_ms,
    )
    board._open[contact.contact_id] = replace(contact, status="offered", agent_id=event.agent_id, offer_id=offer.id)
    board._lines[contact.queue_id].offered += 1
    board._give(event.agent_id, Assignment(contact.contact_id, contact.channel, contact.queue_id, "offered", at), at)
    board._offers[offer.id] = offer
    if len(board._offers) > DECISIONS:
        board._offers.popitem(last=False)


def offer_accepted(board: Board, event: m.OfferAccepted, at: int, _: int) -> None:
    contact = board._open[event.contact_id]
    line = board._leave_line(contact)
    line.offered -= 1
    line.talking += 1
    board._open[contact.contact_id] = replace(
        contact,
        status="talking",
        answered_at=contact.answered_at or at,
        waited_ms=contact.waited_ms + event.waited_ms,
    )
    board._give(event.agent_id, Assignment(contact.contact_id, contact.channel, contact.queue_id, "talking", at), at)
    board._settle(contact, "accepted", at)
    tally = board._tally(line, contact.queue_id, contact.channel)
    threshold_s = board._thresholds.get(contact.queue_id, DEFAULT_THRESHOLD_S)
    tally.answered += 1
    tally.waited_ms += event.waited_ms
    tally.answered_within += event.waited_ms <= threshold_s * 1000
    tally.threshold_s = judged_by(tally, threshold_s)


def offer_declined(board: Board, event: m.OfferDeclined, at: int, _: int) -> None:
    board._offer_over(event.contact_id, event.agent_id, "declined", at, event.reason)


def offer_expired(board: Board, event: m.OfferExpired, at: int, _: int) -> None:
    board._offer_over(event.contact_id, event.agent_id, "expired", at)


def offer_revoked(board: Board, event: m.OfferRevoked, at: int, _: int) -> None:
    board._offer_over(event.contact_id, event.agent_id, "revoked", at, event.reason)


def contact_transferred(board: Board, event: m.ContactTransferred, at: int, _: int) -> None:
    former = board._open.pop(event.contact_id)  # and back at the end, where the last to enter its queue stands
    board._lines[former.queue_id].talking -= 1
    board._part(event.agent_id, former.contact_id, at)
    contact = replace(
        former,
        queue_id=event.queue_id,
        entered_at=at,
        status="waiting",
        due_reason=event.reason,
        target_ms=event.target_ms,
        head_start_ms=event.head_start_ms,
        agent_id="",
        talked_ms=former.talked_ms + event.talked_ms,
    )
    line = board._enter(contact)
    board._tally(line, event.queue_id, contact.channel).transferred_in += 1


def contact_abandoned(board: Board, event: m.ContactAbandoned, at: int, _: int) -> None:
    leaves_unanswered(board, board._open[event.contact_id], "abandoned", event.waited_ms, at)


def contact_timed_out(board: Board, event: m.ContactTimedOut, at: int, _: int) -> None:
    leaves_unanswered(board, board._open[event.contact_id], "timed-out", event.waited_ms, at)


def contact_ended(board: Board, event: m.ContactEnded, at: int, _: int) -> None:
    contact = board._open[event.contact_id]
    board._lines[contact.queue_id].talking -= 1
    board._part(event.agent_id, contact.contact_id, at)
    talked_ms = contact.talked_ms + event.talked_ms
    board._finish(replace(contact, status="finished", outcome="ended", ended_at=at, talked_ms=talked_ms))


def wrap_up_started(board: Board, event: m.WrapUpStarted, at: int, _: int) -> None:
    contact = board._finished[event.contact_id]  # it has ended in this very turn
    board._give(event.agent_id, Assignment(contact.contact_id, contact.channel, contact.queue_id, "wrap-up", at), at)


def wrap_up_ended(board: Board, event: m.WrapUpEnded, at: int, _: int) -> None:
    board._part(event.agent_id, event.contact_id, at)


def agent_signed_in(board: Board, event: m.AgentSignedIn, at: int, _: int) -> None:
    agent = Agent(event.agent_id, event.team, False, "", "not-ready", at, event.queues, event.skills, event.limits)
    board._stand(board._agents.get(event.agent_id), agent)


def agent_profile_changed(board: Board, event: m.AgentProfileChanged, at: int, _: int) -> None:
    former = board._agents[event.agent_id]
    changed = replace(former, team=event.team, queues=event.queues, skills=event.skills, limits=event.limits)
    board._stand(former, changed)


def agent_became_ready(board: Board, event: m.AgentBecameReady, at: int, _: int) -> None:
    agent = board._agents[event.agent_id]
    board._renew(agent, True, "", agent.contacts, at)


def agent_became_not_ready(board: Board, event: m.AgentBecameNotReady, at: int, _: int) -> None:
    agent = board._agents[event.agent_id]
    board._renew(agent, False, event.reason, agent.contacts, at)


def agent_signed_out(board: Board, event: m.AgentSignedOut, at: int, _: int) -> None:
    board._stand(board._agents.pop(event.agent_id), None)


def rules_published(board: Board, event: m.RulesPublished, at: int, _: int) -> None:
    """Another time zone takes effect at once: where that changes the date, today's figures begin anew."""
    board._take_rules(event.rules)
    board._begin_day(at)


def nothing(board: Board, event: m.Event, at: int, _: int) -> None:
    """Not shown on the board."""


FOLD: dict[type[m.Event], Callable[[Board, Any, int, int], None]] = {
    m.ContactQueued: contact_queued,
    m.ContactTurnedAway: contact_turned_away,
    m.ContactKept: nothing,
    m.ContactUpdated: contact_updated,
    m.OfferIssued: offer_issued,
    m.OfferAccepted: offer_accepted,
    m.OfferDeclined: offer_declined,
    m.OfferExpired: offer_expired,
    m.OfferRevoked: offer_revoked,
    m.DeclinesLapsed: nothing,
    m.ContactMatchRelaxed: nothing,
    m.PreferenceLapsed: nothing,
    m.ContactOverflowing: nothing,
    m.ContactOverflowed: contact_overflowed,
    m.ContactReturned: nothing,
    m.OverflowRecalled: nothing,
    m.ContactTransferred: contact_transferred,
    m.ContactAbandoned: contact_abandoned,
    m.ContactTimedOut: contact_timed_out,
    m.ContactEnded: contact_ended,
    m.WrapUpStarted: wrap_up_started,
    m.WrapUpEnded: wrap_up_ended,
    m.CustomerBlocked: nothing,
    m.CustomerAllowed: nothing,
    m.CustomerUnlisted: nothing,
    m.AgentSignedIn: agent_signed_in,
    m.AgentProfileChanged: agent_profile_changed,
    m.AgentBecameReady: agent_became_ready,
    m.AgentBecameNotReady: agent_became_not_ready,
    m.AgentSignedOut: agent_signed_out,
    m.QueueOpened: nothing,
    m.QueueClosed: nothing,
    m.SourceHeard: nothing,
    m.SourceFellSilent: nothing,
    m.SourceLost: nothing,
    m.RulesPublished: rules_published,
    m.CommandRefused: nothing,
    m.CommandFailed: nothing,
}


# ---- helpers


def leaves_unanswered(board: Board, contact: Contact, outcome: Outcome, waited_ms: int, at: int) -> None:
    line = board._leave_line(contact)
    tally = board._tally(line, contact.queue_id, contact.channel)
    threshold_s = board._thresholds.get(contact.queue_id, DEFAULT_THRESHOLD_S)
    tally.abandoned += outcome == "abandoned"
    tally.timed_out += outcome == "timed-out"
    tally.turned_away += outcome == "turned-away"
    tally.abandoned_after += waited_ms > threshold_s * 1000
    tally.threshold_s = judged_by(tally, threshold_s)
    waited_ms += contact.waited_ms
    board._finish(replace(contact, status="finished", outcome=outcome, ended_at=at, waited_ms=waited_ms))


def without(contacts: tuple[Assignment, ...], contact_id: str) -> tuple[Assignment, ...]:
    return tuple([other for other in contacts if other.contact_id != contact_id])


def judged_by(tally: Tally, threshold_s: int) -> int:
    return threshold_s if tally.threshold_s in (0, threshold_s) else -1


def figures_of(tallies: list[Tally], threshold_s: int | None) -> dict[str, Any]:
    """The sums of these tallies as `Figures` wants them. threshold_s: of today's rules; None where queues differ."""
    answered = sum(t.answered for t in tallies)
    within = sum(t.answered_within for t in tallies)
    after = sum(t.abandoned_after for t in tallies)
    if any(t.threshold_s not in (0, threshold_s) for t in tallies):
        threshold_s = None
    return {
        "arrived": sum(t.arrived for t in tallies),
        "transferred_in": sum(t.transferred_in for t in tallies),
        "answered": answered,
        "abandoned": sum(t.abandoned for t in tallies),
        "timed_out": sum(t.timed_out for t in tallies),
        "turned_away": sum(t.turned_away for t in tallies),
        "mean_wait_ms": (sum(t.waited_ms for t in tallies) + answered // 2) // answered if answered else None,
        "service_level": ServiceLevel(
            within,
            answered,
            after,
            threshold_s,
            round(100 * within / (answered + after), 1) if answered + after else None,
        ),
    }


def zone_of(name: str) -> tzinfo:
    """The time zone of that name; UTC for one that nobody knows, since a log that holds it must still be readable."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; the name of a folder
        return UTC


def day_of(at: int, zone: tzinfo) -> tuple[str, int]:
    """(the date in this zone, when the next one begins there)."""
    today = datetime.fromtimestamp(at // 1000, zone).date()
    following: date = today + timedelta(days=1)
    begins = datetime(following.year, following.month, following.day, tzinfo=zone)
    return today.isoformat(), int(begins.timestamp()) * 1000


def _nobody_asks(_contact_id: str) -> None:
    pass


def drop(index: dict[str, dict[str, None]], source: str, contact_id: str) -> None:
    ids = index[source]
    del ids[contact_id]
    if not ids:
        del index[source]

"""The core's promises, checked by brute force: a second bookkeeping of a pool, made from its commands and events alone.

Nothing here reads the core's tables: `Witness` keeps plain books of its own, says beforehand which refusals a command
may meet and which events it must bring about, holds every event against that, and searches all pairs where the core
looks into an index.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.core import messages as m
from engine.core.rules import Queue, Rules, hash_of
from engine.streams.rules_bound import bounds

Need = tuple[str, str, tuple[tuple[str, int], ...], tuple[str, ...]]  # the last: whose agents, too
Door = tuple[str, str]  # queue, channel
Deadline = tuple[int, str, str]  # due_at, kind, id of the contact or source

NONE = 1 << 62
REMEMBERED_MS = 1_800_000  # ids of commands and of finished contacts are known at least so long
TICK_MOST = 64  # deadlines that a tick may fire, and contacts of a lost source that it may end
FULL = 100
QUEUEING = ("waiting", "offered", "overflowing")
CHANNELS = ("call", "chat", "sms")


@dataclass(slots=True)
class Case:
    """An open contact."""

    id: str
    source: str
    customer: str
    queue: str
    channel: str
    skills: dict[str, int]
    tier: str
    vip: bool
    seq: int
    first_queued_at: int
    queued_at: int
    due_at: int
    give_up_at: int
    attributes: dict[str, str]
    since: int
    status: str = "waiting"
    agent: str = ""
    deadline_at: int = 0
    declined: list[str] = field(default_factory=list)
    retry_at: int = 0
    under: int = 0  # the version of the rules by which it is due
    customer_class: str = "unknown"
    allowed: bool = False
    excluded: tuple[str, ...] = ()
    prefer: str = ""
    prefer_until: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    step: int = 0
    relax_at: int = 0
    also: tuple[str, ...] = ()
    away: tuple[str, ...] = ()  # the errand by which it last left for another pool, that pool, the queue there
    hops: int = 0
    came: tuple[str, ...] = ()
    need: Need = ("", "", (), ())

    def __post_init__(self) -> None:
        self.needs(self.queue, self.skills)

    def needs(self, queue: str, skills: dict[str, int]) -> None:
        self.queue, self.skills = queue, skills
        self.need = (queue, self.channel, tuple(sorted(skills.items())), self.also)


@dataclass(slots=True)
class Person:
    """A signed-in agent. held: the contacts they talk to or wrap up, by id, with their channels."""

    id: str
    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    team: str
    addresses: dict[str, str]
    since: int
    idle_since: int
    ready: bool = False
    reason: str = ""
    offered: str = ""
    held: dict[str, str] = field(default_factory=dict)
    known: dict[Need, bool] = field(default_factory=dict)  # what was asked of this profile before

    def serves(self, need: Need) -> bool:
        """Queue, channel, every skill at its level; room is another matter."""
        answer = self.known.get(need)
        if answer is None:
            queue, channel, wanted, also = need
            mine = {*self.queues, "\n" + self.team} if self.team else self.queues
            answer = self.known[need] = (
                any(group in mine for group in (queue, *also))
                and self.limits.get(channel, 0) > 0
                and all(self.skills.get(skill, 0) >= level for skill, level in wanted)
            )
        return answer


@dataclass(slots=True)
class Shown:
    """What a door with hours shows by the events so far. shut: places are kept behind it, and nobody is asked."""

    open: bool
    next_at: int
    shut: bool = False


@dataclass(slots=True)
class Foreseen:
    """What a command meets: one of the refusals in `must`, perhaps one of those in `may`, else just these events."""

    must: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)
    kinds: list[type[m.Event]] | None = None


class Witness:
    """One pool, seen from outside."""

    def __init__(self) -> None:
        self.rules: Rules | None = None
        self.hash = ""
        self.version = 0
        self.queues: dict[str, Queue] = {}
        self.weights: dict[str, int] = {}
        self.doors: dict[Door, Shown] = {}
        self.crowds: Counter[str] = Counter()
        self.on_lists: dict[str, tuple[bool, int]] = {}  # customers on a list: blocked, until
        self.visits: dict[str, list[int]] = {}  # when each customer was let in
        self.people: dict[str, Person] = {}
        self.open: dict[str, Case] = {}
        self.waiting: dict[str, Case] = {}
        self.sources: dict[str, tuple[int, bool]] = {}  # deadline, silent
        self.taken: set[str] = set()  # errands by which contacts came
        self.left: dict[str, int] = {}  # errands whose contacts ended here, perhaps taken over elsewhere, and when
        self.noted: dict[tuple[str, str], tuple[int, int]] = {}  # commands that had events: position, at
        self.finished: dict[str, int] = {}
        self.at = 0
        self.position = -1
        self.command: m.Command = m.Tick()
        self.source = ""
        self.freed: set[str] = set()  # contacts that began to wait, or changed while waiting, in this turn
        self.expired: set[str] = set()
        self.seen: Counter[str] = Counter()  # types of events and codes of reasons
        self.bounds: dict[
            tuple[str, str, str, tuple[str, ...]], int
        ] = {}  # as the rules in force promise, in milliseconds
        self.overtaken: list[tuple[int, int]] = []  # by how much, of how much at most: the greatest of each version
        self.met: Counter[str] = Counter()  # hard cases, as sentences: a day without them proves less

    # ---- one turn

    def turn(
        self, command: m.Command, source: str, id: str, position: int, at: int, events: list[Any], repeats: int | None
    ) -> None:
        """Holds the turn against every promise. AssertionError: one is broken."""
        assert at >= self.at, "time never runs backwards"
        if at - self.at > REMEMBERED_MS:
            self.met["nothing was heard for more than half an hour"] += 1
        self.position, self.at, self.command, self.source = position, at, command, source
        if self.rules is not None and self.rules.hours:
            self.crowds = Counter(c.queue for c in self.open.values() if c.status in QUEUEING)
        own = type(command) is m.Tick
        first = None if own else self.noted.get((source, id))
        if repeats is not None or (first is not None and at - first[1] < REMEMBERED_MS):
            assert first is not None and repeats == first[0], f"a repeat of {first} is taken for one of {repeats}"
            assert not events, "a repeated command has no second effect"
            self.met["a command was repeated"] += 1
            return
        if first is not None and events:
            self.met["a command came again after it had been forgotten"] += 1
        decided = [event for event in events if type(event) is not m.OfferIssued]
        assert all(type(event) is m.OfferIssued for event in events[len(decided) :]), "offers come last"
        if own:
            self.tick(decided, events)
        else:
            self.check_foreseen(self.foresee(command, source), command, decided)
            self.fold(events)
            if events:
                self.noted[source, id] = position, at
        self.check_quiet()

    def fold(self, events: list[Any]) -> None:
        self.freed.clear()
        self.expired.clear()
        for event in events:
            kind = type(event)
            self.seen[m.TYPE_OF[kind]] += 1
            HANDLERS[kind](self, event)

    def check_foreseen(self, foreseen: Foreseen, command: m.Command, decided: list[Any]) -> None:
        if decided and type(decided[0]) is m.CommandFailed:
            assert len(decided) == 1
            return
        if decided and type(decided[0]) is m.CommandRefused:
            refusal = decided[0]
            assert refusal.reason in foreseen.must | foreseen.may, f"refused as {refusal.reason}, but {foreseen}"
            assert refusal.command == m.TYPE_OF[type(command)]
            assert refusal.subject == subject_of(command)
            more = [type(event) for event in decided[1:]]
            assert more == ([m.OfferRevoked] if refusal.reason == "over-capacity" else []), "a refusal does nothing"
            return
        assert not foreseen.must, f"not refused, though {foreseen.must}"
        kinds = [type(event) for event in decided]
        assert kinds == foreseen.kinds, f"{kinds} and not {foreseen.kinds}"

    # ---- what must happen

    def foresee(self, command: m.Command, source: str) -> Foreseen:
        return FORESEE[type(command)](self, command)

    def absent(self, id: str) -> Foreseen:
        gone_at = self.finished.get(id)
        if gone_at is None:
            return Foreseen({"unknown-contact"})
        if self.at - gone_at < REMEMBERED_MS:
            return Foreseen({"contact-gone"})
        return Foreseen({"contact-gone", "unknown-contact"})

    def route(self, c: m.RouteContact) -> Foreseen:
        found = Foreseen(kinds=[m.ContactQueued])
        if c.contact_id in self.open:
            found.must.add("contact-id-open")
        elif c.contact_id in self.finished:
            recent = self.at - self.finished[c.contact_id] < REMEMBERED_MS
            (found.must if recent else found.may).add("contact-id-used")
        queue = self.queues.get(c.queue_id)
        if queue is None:
            found.must.add("unknown-queue")
        elif c.channel not in queue.channels:
            found.must.add("channel-not-served")
        elif self.unwelcome(c):
            found.kinds = [m.ContactTurnedAway]
        elif self.no_preference(c):
            found.kinds = [m.ContactQueued, m.PreferenceLapsed]
        return found

    def unwelcome(self, c: m.RouteContact) -> str:
        """Why the contact is not let in, "" where it is."""
        on = self.on_list(c.customer)
        if on == "blocked":
            return on
        bar = self.barred(c.queue_id, c.channel)
        return "too-often" if bar != "closed" and not on and self.welcome_at(c.customer) else bar

    def on_list(self, customer: str) -> str:
        blocked, until = self.on_lists.get(customer, (False, 1))
        return "" if until and until <= self.at else "blocked" if blocked else "allowed"

    def welcome_at(self, customer: str) -> int:
        assert self.rules is not None
        repeats = self.rules.doors.repeats
        if repeats is None or not customer:
            return 0
        recent = [at for at in self.visits.get(customer, []) if at > self.at - repeats.window * 1000]
        return recent[-repeats.most] + repeats.window * 1000 if len(recent) >= repeats.most else 0

    def favour(self, tier: str, of: str, allowed: bool) -> tuple[int, tuple[str, ...]]:
        """Head start in milliseconds, and the codes that say why it is due when it is."""
        assert self.rules is not None
        starts = self.rules.head_starts
        by_class = {"vip": starts.vip, "known": starts.known, "prospect": starts.prospect, "unknown": 0}[of]
        by_list = starts.allowed if allowed else 0
        told = [of] * (of == "vip" or by_class > 0) + ["allow-listed"] * (by_list > 0)
        return (by_class + by_list) * 1000, (f"tier-{tier}", *told)

    def block(self, c: m.BlockCustomer) -> Foreseen:
        return Foreseen(kinds=[m.CustomerBlocked])

    def allow(self, c: m.AllowCustomer) -> Foreseen:
        return Foreseen(kinds=[m.CustomerAllowed])

    def unlist(self, c: m.UnlistCustomer) -> Foreseen:
        return Foreseen(kinds=[m.CustomerUnlisted]) if c.customer in self.on_lists else Foreseen({"not-listed"})

    def no_preference(self, c: m.RouteContact) -> str:
        """Why the contact does not wait for the agent it prefers."""
        assert self.rules is not None
        if not c.prefer or not self.rules.times.prefer:
            return ""
        if c.prefer in c.not_agents:
            return "excluded"
        if c.prefer not in self.people:
            return "not-here"
        need = (c.queue_id, c.channel, tuple(sorted(self.needed(c.queue_id, c.skills).items())), ())
        shown = self.doors.get((c.queue_id, c.channel))
        shut = shown is not None and shown.shut
        return "" if not shut and self.people[c.prefer].serves(need) else "not-able"

    def update(self, c: m.UpdateContact) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        if case.status != "waiting":
            return Foreseen({"not-waiting"})
        updated = self.updated(case, c)
        if len(updated[1]) > 64:
            return Foreseen({"too-many-attributes"})
        changed = updated != (case.asked, case.attributes)
        return Foreseen(kinds=[m.ContactUpdated] if changed else [])

    def updated(self, case: Case, c: m.UpdateContact) -> tuple[dict[str, int], dict[str, str]]:
        """What it asks and what is known of it, then."""
        skills = case.asked if c.skills is None else self.needed(case.queue, c.skills)
        return skills, {k: v for k, v in (case.attributes | c.attributes).items() if v}

    def accept(self, c: m.AcceptOffer) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        if case.status != "offered" or case.agent != c.agent_id:
            return Foreseen({"offer-gone"})
        found = Foreseen(kinds=[m.OfferAccepted])
        if self.at >= case.deadline_at:
            found.must.add("offer-expired")
        elif case.channel not in self.room(self.people[c.agent_id]):
            found.must.add("over-capacity")
        return found

    def decline(self, c: m.DeclineOffer) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        if case.status != "offered" or case.agent != c.agent_id:
            return Foreseen({"offer-gone"})
        asked = [*case.declined, c.agent_id]
        others = [p for p in self.able(case) if p.ready and p.id not in (*asked, *case.excluded)]
        kinds: list[type[m.Event]] = [m.OfferDeclined] if others else [m.OfferDeclined, m.DeclinesLapsed]
        return Foreseen(kinds=[*kinds, m.PreferenceLapsed] if case.prefer_until else kinds)

    def end(self, c: m.EndContact) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        if case.status == "wrap-up":
            return Foreseen({"already-ended"})
        if case.status == "talking":
            wraps = self.own(case.queue, "wrap_up") > 0
            return Foreseen(kinds=[m.ContactEnded, m.WrapUpStarted] if wraps else [m.ContactEnded])
        if c.by == "agent":
            return Foreseen({"not-with-agent"})
        left: list[type[m.Event]] = [m.ContactAbandoned]
        if case.status == "overflowing":
            return Foreseen(kinds=[*left, m.OverflowRecalled])
        return Foreseen(kinds=[m.OfferRevoked, *left] if case.status == "offered" else left)

    def complete(self, c: m.CompleteWrapUp) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        if case.status != "wrap-up" or case.agent != c.agent_id:
            return Foreseen({"no-wrap-up"})
        return Foreseen(kinds=[m.WrapUpEnded])

    def transfer(self, c: m.TransferContact) -> Foreseen:
        case = self.open.get(c.contact_id)
        if case is None:
            return self.absent(c.contact_id)
        found = Foreseen(kinds=[m.ContactTransferred])
        if case.status != "talking":
            found.must.add("not-talking")
        elif case.agent != c.agent_id:
            found.must.add("not-with-agent")
        queue = self.queues.get(c.queue_id)
        if queue is None:
            found.must.add("unknown-queue")
        elif case.channel not in queue.channels:
            found.must.add("channel-not-served")
        elif bar := self.barred(c.queue_id, case.channel):
            found.must.add(f"queue-{bar}")
        return found

    def take_over(self, c: m.TakeOver) -> Foreseen:
        if c.errand in self.taken:
            return Foreseen(kinds=[])
        found = Foreseen(kinds=[m.ContactQueued])
        queue = self.queues.get(c.queue_id)
        if self.at > c.until:
            found.must.add("too-late")
        if c.contact_id in self.open:
            found.must.add("contact-id-open")
        if queue is None:
            found.must.add("unknown-queue")
        elif c.channel not in queue.channels:
            found.must.add("channel-not-served")
        elif bar := self.barred(c.queue_id, c.channel):
            found.must.add(f"queue-{bar}")
        return found

    def by_errand(self, errand: str) -> Case | None:
        return next((case for case in self.open.values() if case.away and case.away[0] == errand), None)

    def confirm(self, c: m.ConfirmOverflow) -> Foreseen:
        case = self.by_errand(c.errand)
        if case is None:
            left_at = self.left.get(c.errand)
            if left_at is None or not c.accepted or not c.contact_id:
                return Foreseen({"unknown-errand"})
            if self.at - left_at < REMEMBERED_MS:
                return Foreseen(kinds=[m.OverflowRecalled])
            return Foreseen(may={"unknown-errand"}, kinds=[m.OverflowRecalled])
        if case.status == "overflowing":
            return Foreseen(kinds=[m.ContactOverflowed if c.accepted else m.ContactReturned])
        if not c.accepted:
            return Foreseen({"unknown-errand"})
        if case.status == "waiting":
            return Foreseen(kinds=[m.ContactOverflowed])
        if case.status == "offered":
            return Foreseen(kinds=[m.OfferRevoked, m.ContactOverflowed])
        return Foreseen(kinds=[m.OverflowRecalled])

    def sign_in(self, c: m.SignInAgent) -> Foreseen:
        assert self.rules is not None
        found = Foreseen(kinds=[m.AgentSignedIn, m.AgentBecameReady] if c.ready else [m.AgentSignedIn])
        if c.agent_id in self.people:
            found.must.add("already-signed-in")
        queues = c.queues or ()
        if self.rules.roster == "rules":
            listed = self.listed(c.agent_id)
            if listed is None:
                found.must.add("not-in-roster")
            queues = listed.queues if listed else ()
            if c.queues is not None or c.skills is not None or c.limits is not None:
                found.must.add("roster-in-rules")
            if listed is not None and not queues:
                found.must.add("nothing-to-serve")
        elif not queues:
            found.must.add("nothing-to-serve")
        if any(queue not in self.queues for queue in queues):
            found.must.add("unknown-queue")
        return found

    def become_ready(self, c: m.SetAgentReady) -> Foreseen:
        person = self.people.get(c.agent_id)
        if person is None:
            return Foreseen({"unknown-agent"})
        return Foreseen({"already-ready"}) if person.ready else Foreseen(kinds=[m.AgentBecameReady])

    def become_not_ready(self, c: m.SetAgentNotReady) -> Foreseen:
        person = self.people.get(c.agent_id)
        if person is None:
            return Foreseen({"unknown-agent"})
        if not person.ready and person.reason == c.reason:
            return Foreseen({"already-not-ready"})
        gone: list[type[m.Event]] = [m.AgentBecameNotReady]
        return Foreseen(kinds=[m.OfferRevoked, *gone] if person.offered else gone)

    def sign_out(self, c: m.SignOutAgent) -> Foreseen:
        person = self.people.get(c.agent_id)
        if person is None:
            return Foreseen({"unknown-agent"})
        if any(self.open[id].status == "talking" for id in person.held):
            return Foreseen({"agent-has-contacts"})
        kinds: list[type[m.Event]] = [m.OfferRevoked] if person.offered else []
        kinds += [m.WrapUpEnded] * len(person.held)
        wait_for_them = [case for case in self.open.values() if case.prefer_until and case.prefer == person.id]
        return Foreseen(kinds=[*kinds, *[m.PreferenceLapsed] * len(wait_for_them), m.AgentSignedOut])

    def heartbeat(self, c: m.SourceHeartbeat) -> Foreseen:
        return Foreseen(kinds=[m.SourceHeard])

    def publish(self, c: m.PublishRules) -> Foreseen:
        kinds: list[type[m.Event]] = [m.RulesPublished]
        if self.rules is None:
            return Foreseen(kinds=kinds)
        found = Foreseen(kinds=kinds)
        if c.rules.pool != self.rules.pool:
            found.must.add("wrong-pool")
        kept = [queue.id for queue in c.rules.queues]
        if any(case.queue not in kept for case in self.open.values()):
            found.must.add("queue-in-use")
        if hash_of(c.rules) == self.hash:
            return Foreseen(kinds=[])
        if c.rules.roster == "rules":
            for person in self.people.values():
                listed = listed_in(c.rules, person.id)
                if listed is not None and listed.queues and profile_of(listed) != profile_of(person):
                    kinds.append(m.AgentProfileChanged)
        return found

    # ---- a tick

    def tick(self, decided: list[Any], events: list[Any]) -> None:
        """At most so many deadlines, the earliest first, nothing before its time and nothing due left behind."""
        due = sorted(deadline for deadline in self.deadlines() if deadline[0] <= self.at)
        if not due:
            self.met["a tick came too early"] += 1
        elif due[0][0] < self.at - 1000:
            self.met["a tick came more than a second late"] += 1
        if decided and type(decided[0]) is m.CommandFailed:
            self.fold(events)
            return
        one_each = (
            m.OfferExpired,
            m.ContactTimedOut,
            m.ContactKept,
            m.SourceFellSilent,
            m.QueueOpened,
            m.QueueClosed,
            m.CustomerUnlisted,
            m.ContactMatchRelaxed,
            m.ContactReturned,
        )
        fired = sum(type(event) in one_each for event in decided)
        told = Counter((e.queue_id, e.channel) for e in decided if type(e) is m.ContactTurnedAway)
        fired += len(told.keys() - {(e.queue_id, e.channel) for e in decided if type(e) is m.QueueClosed})
        lapses = (m.DeclinesLapsed, m.PreferenceLapsed)
        fired += sum(type(event) in lapses and event.reason == "time" for event in decided)
        fired += sum(type(event) is m.ContactEnded and event.by == "limit" for event in decided)
        fired += sum(type(event) is m.WrapUpEnded and event.reason == "limit" for event in decided)
        ended = Counter(
            self.open[event.contact_id].source
            for event in decided
            if type(event) in (m.ContactAbandoned, m.ContactEnded) and event.by == "adapter"
        )
        over = {e.contact_id for e in decided if type(e) in (m.ContactTimedOut, m.ContactKept, m.ContactEnded)}
        over |= {e.contact_id for e in decided if type(e) in (m.ContactAbandoned, m.ContactTurnedAway)}
        fired += len(set(ended) | {event.source for event in decided if type(event) is m.SourceLost})
        assert fired <= TICK_MOST, f"a tick fired {fired}"
        assert sum(ended.values()) + sum(told.values()) <= TICK_MOST, f"a tick ended {ended} and {told}"
        self.fold(events)
        assert not self.expired, "who did not answer is not ready"
        still = {deadline for deadline in self.deadlines() if deadline[0] <= self.at}
        last = due[min(len(due), TICK_MOST) - 1][0] if due else 0
        for deadline in due:
            due_at, kind, id = deadline
            if kind == "silence" and (deadline in still and self.watched(id)):
                self.met["a source was lost with more contacts than one tick ends"] += 1
                continue
            if kind == "door" and deadline in still and (told or len(over) >= TICK_MOST):
                self.met["a queue closed with more waiting than one tick tells"] += 1
                continue
            if len(due) <= TICK_MOST or due_at < last:
                assert deadline not in still, f"{deadline} was left behind at {self.at}"
        if len(due) > TICK_MOST:
            self.met["more was due than one tick fires"] += 1
        if sum(type(event) is m.OfferIssued and event.reason[0] == "earliest-due" for event in events) > 1:
            self.met["one tick freed several agents who were offered waiting contacts"] += 1

    def watched(self, source: str) -> bool:
        return any(case.source == source and case.status != "wrap-up" for case in self.open.values())

    def deadlines(self) -> Iterator[Deadline]:
        for case in self.open.values():
            if case.status in QUEUEING:
                yield case.give_up_at, "wait", case.id
            if case.status != "waiting":
                yield case.deadline_at, case.status, case.id
            if case.retry_at:
                yield case.retry_at, "declines", case.id
            if case.prefer_until:
                yield case.prefer_until, "prefers", case.id
            if case.relax_at:
                yield case.relax_at, "relaxes", case.id
        for id, (deadline_at, _) in self.sources.items():
            yield deadline_at, "silence", id
        for customer, (_, until) in self.on_lists.items():
            if until:
                yield until, "listing", customer
        for door, shown in self.doors.items():
            if shown.next_at:
                yield shown.next_at, "door", "/".join(door)

    def next_due(self) -> int:
        next_at = NONE
        for case in self.open.values():
            status = case.status
            if status != "waiting" and case.deadline_at < next_at:
                next_at = case.deadline_at
            if case.give_up_at < next_at and status in QUEUEING:
                next_at = case.give_up_at
            for at in (case.retry_at, case.prefer_until, case.relax_at):
                if at and at < next_at:
                    next_at = at
        for deadline_at, _ in self.sources.values():
            if deadline_at < next_at:
                next_at = deadline_at
        ends = [until for _, until in self.on_lists.values() if until]
        return min([next_at, *ends, *(shown.next_at for shown in self.doors.values() if shown.next_at)])

    # ---- doors

    def edges(self, door: Door) -> list[int] | None:
        """When these doors open and close by turns, in milliseconds; None: they are always open."""
        assert self.rules is not None
        queue_id, channel = door
        said = self.queues[queue_id].hours
        id = said.get(channel) if isinstance(said, dict) else said
        if id is None:
            return None
        return [edge * 1000 for hours in self.rules.hours if hours.id == id for edge in hours.edges]

    def is_open(self, door: Door) -> bool:
        edges = self.edges(door)
        return edges is None or sum(edge <= self.at for edge in edges) % 2 == 1

    def next_edge(self, door: Door) -> int:
        return min([edge for edge in self.edges(door) or () if edge > self.at], default=0)

    def crowd(self, queue_id: str | None = None) -> int:
        """How many waited or were held out to an agent when the turn began, in the queue or in all."""
        return sum(count for queue, count in self.crowds.items() if queue_id in (None, queue))

    def barred(self, queue_id: str, channel: str) -> str:
        assert self.rules is not None
        if not self.is_open((queue_id, channel)):
            return "closed"
        most, of_all = self.queues[queue_id].most_waiting, self.rules.doors.most_waiting
        if most is not None and self.crowd(queue_id) >= most:
            return "full"
        return "full" if of_all is not None and self.crowd() >= of_all else ""

    def rule(self, queue_id: str, name: str) -> Any:
        """A queue's own, or the pool's."""
        assert self.rules is not None
        said = getattr(self.queues[queue_id], name)
        return getattr(self.rules.doors, name) if said is None else said

    def alternatives(self, queue_id: str, channel: str) -> tuple[str, ...]:
        found = []
        for said in self.queues[queue_id].alternatives:
            other, _, way = said.partition("/")
            way = way or channel
            if other in self.queues and way in self.queues[other].channels and not self.barred(other, way):
                found.append(f"{other}/{way}")
        return tuple(found)

    def shut(self, case: Case) -> bool:
        shown = self.doors.get((case.queue, case.channel))
        return shown is not None and shown.shut

    def keeps_at(self, case: Case, at: int) -> bool:
        """Whether the queue is closed at that moment and keeps places."""
        edges = self.edges((case.queue, case.channel))
        if edges is None or self.rule(case.queue, "on_close") != "keep":
            return False
        return sum(edge <= at for edge in edges) % 2 == 0

    def able(self, case: Case) -> list[Person]:
        """Who serves it, if anybody is asked for it at all."""
        return [] if self.shut(case) else [p for p in self.people.values() if p.serves(case.need)]

    # ---- who could have whom

    def room(self, person: Person) -> list[str]:
        """The channels of which the agent can take one more."""
        held = list(person.held.values())
        free = FULL - sum(self.weights[channel] for channel in held)
        return [
            channel
            for channel in CHANNELS
            if self.weights[channel] <= free and held.count(channel) < person.limits.get(channel, 0)
        ]

    def standing(self) -> list[tuple[Person, list[str]]]:
        """Who can be offered something, and of which channels."""
        found = [(p, self.room(p)) for p in self.people.values() if p.ready and not p.offered]
        return [(person, room) for person, room in found if room]

    def can_have(self, person: Person, room: list[str], case: Case) -> bool:
        if case.prefer_until and case.prefer != person.id:
            return False
        asked = person.id not in case.declined and person.id not in case.excluded
        return asked and case.channel in room and person.serves(case.need)

    def room_is_kept(self, person: Person, room: list[str], case: Case) -> bool:
        """For another whom the agent can serve, who needs more room, and who is due earlier by more than the grace."""
        assert self.rules is not None
        before = case.due_at - self.rules.times.grace * 1000
        return any(
            other.due_at < before
            and other.channel not in room
            and person.serves(other.need)
            and person.id not in other.declined
            and person.id not in other.excluded
            and not other.prefer_until
            and not self.shut(other)
            for other in self.waiting.values()
        )

    def check_quiet(self) -> None:
        """After each turn nobody waits whom a standing agent could serve, unless the room is kept for another."""
        if not self.waiting:
            return
        for person, room in self.standing():
            for case in self.waiting.values():
                if self.doors and self.shut(case):
                    continue
                if self.can_have(person, room, case):
                    assert self.room_is_kept(person, room, case), f"{case.id} waits, though {person.id} could serve it"
                    self.met["room was kept for a contact that needs more"] += 1

    def check_choice(self, e: m.OfferIssued) -> None:
        """The earliest due of all whom anybody standing can serve, to the longest idle of those who can serve it."""
        standing = self.standing()
        for case in sorted(self.waiting.values(), key=lambda case: (case.due_at, case.seq)):
            if self.shut(case):
                assert case.id != e.contact_id, f"{case.id} is offered, though its queue keeps its place and is closed"
                continue
            able = [
                person
                for person, room in standing
                if self.can_have(person, room, case) and not self.room_is_kept(person, room, case)
            ]
            if able:
                assert case.id == e.contact_id, f"{e.contact_id} is offered before {case.id}, which is due earlier"
                longest = min(able, key=lambda person: (person.idle_since, person.id))
                assert e.agent_id == longest.id, f"{e.agent_id} is offered {case.id} before {longest.id}, longer idle"
                self.note_choice(case, longest, able, [person for person, _ in standing])
                return
        raise AssertionError(f"{e.contact_id} is offered to {e.agent_id}, who cannot have it")

    def check_overtaking(self, case: Case, person: Person) -> None:
        """Nobody whom this agent could have had is overtaken by more than was known of the rules beforehand."""
        assert self.rules is not None
        if any(self.open[id].under != self.version for id in (case.id, *person.held)):
            return  # it came, or they talk, by other rules
        if self.rules.roster == "rules":
            listed = self.listed(person.id)
            if listed is None or profile_of(listed) != profile_of(person):
                return
        for other in self.waiting.values():
            by_ms = case.first_queued_at - other.first_queued_at
            if by_ms <= 0 or other.under != self.version or other is case:
                continue
            asked = person.id not in (*other.declined, *other.excluded) and not other.prefer_until
            if asked and person.serves(other.need) and not self.shut(other):
                most_ms = self.bounds[other.queue, other.channel, other.tier, self.standing_of(other)]
                assert by_ms <= most_ms, f"{case.id} overtakes {other.id} by {by_ms} ms, {most_ms} ms are the bound"
                if by_ms * self.overtaken[-1][1] >= self.overtaken[-1][0] * most_ms:
                    self.overtaken[-1] = by_ms, most_ms

    def standing_of(self, case: Case) -> tuple[str, ...]:
        """What the customer has a head start for."""
        assert self.rules is not None
        starts = self.rules.head_starts
        names = [case.customer_class] if getattr(starts, case.customer_class, 0) else []
        return (*names, "allowed") if case.allowed and starts.allowed else tuple(names)

    def note_choice(self, case: Case, chosen: Person, able: list[Person], standing: list[Person]) -> None:
        if len(able) > 1 and sum(person.idle_since == chosen.idle_since for person in able) > 1:
            self.met["two had been idle equally long"] += 1
        idle_longer = [person for person in standing if person.idle_since < chosen.idle_since]
        if case.prefer_until and any(person.serves(case.need) for person in idle_longer):
            self.met["the preferred agent came before one longer idle"] += 1
        if case.also and case.queue not in chosen.queues:
            self.met["an agent of another queue or team served, the match being relaxed"] += 1
        if any(person.id in case.excluded for person in idle_longer):
            self.met["who is never to be asked was passed over"] += 1
        if any(person.id in case.declined for person in idle_longer):
            self.met["who had declined was passed over"] += 1
        for other in self.waiting.values():
            if other.need == case.need:
                if other.due_at == case.due_at and other is not case:
                    self.met["two were due at the same time"] += 1
                if case.vip and not other.vip and other.queued_at < case.queued_at and other.tier == case.tier:
                    self.met["a priority customer came first, though later"] += 1

    # ---- rules

    def own(self, queue_id: str, name: str) -> int:
        """A queue's own time, or the pool's, in milliseconds."""
        assert self.rules is not None
        said = getattr(self.queues[queue_id], name)
        return (getattr(self.rules.times, name) if said is None else said) * 1000

    def target(self, queue_id: str, tier: str) -> int:
        assert self.rules is not None
        targets = self.queues[queue_id].targets or self.rules.targets
        return getattr(targets, tier.replace("-", "_")) * 1000

    def needed(self, queue_id: str, asked: dict[str, int]) -> dict[str, int]:
        needed = dict(asked)
        for skill, level in self.queues[queue_id].skills.items():
            needed[skill] = max(level, needed.get(skill, 0))
        return needed

    def listed(self, agent_id: str) -> "Listed | None":
        assert self.rules is not None
        return listed_in(self.rules, agent_id)

    # ---- events: contacts

    def contact_queued(self, e: m.ContactQueued) -> None:
        c = self.command
        assert self.rules is not None
        if type(c) is m.TakeOver:
            self.contact_taken_over(c, e)
            return
        assert type(c) is m.RouteContact and not e.errand
        assert e.contact_id not in self.open, "nobody is here twice"
        assert not self.barred(e.queue_id, e.channel), "nobody is let in outside the doors, nor more than may wait"
        assert not self.unwelcome(c), "nobody is let in who is blocked, or comes too often"
        assert (e.contact_id, e.channel, e.queue_id, e.customer) == (c.contact_id, c.channel, c.queue_id, c.customer)
        of, allowed = "vip" if c.vip else c.customer_class, self.on_list(c.customer) == "allowed"
        assert (e.source, e.tier, e.vip, e.attributes) == (self.source, c.tier, of == "vip", c.attributes)
        assert (e.customer_class, e.allowed) == (of, allowed)
        assert e.skills == self.needed(c.queue_id, c.skills)
        assert e.target_ms == self.target(e.queue_id, e.tier)
        assert (e.head_start_ms, e.reason) == self.favour(e.tier, of, allowed)
        assert e.due_at == self.at + e.target_ms - e.head_start_ms, "head starts count"
        assert e.give_up_at == self.at + self.own(e.queue_id, "wait")
        if c.customer:
            self.visits.setdefault(c.customer, []).append(self.at)
        self.seen.update(e.reason)
        case = Case(
            e.contact_id, e.source, e.customer, e.queue_id, e.channel, dict(e.skills), e.tier, e.vip, self.position,
            self.at, self.at, e.due_at, e.give_up_at, dict(e.attributes), self.at, customer_class=of, allowed=allowed,
            under=self.version,
        )  # fmt: skip
        case.asked, case.excluded, case.prefer = case.skills, tuple(dict.fromkeys(c.not_agents)), c.prefer
        waits_for_one = c.prefer and self.rules.times.prefer and not self.no_preference(c)
        case.prefer_until = self.at + self.rules.times.prefer * 1000 if waits_for_one else 0
        case.relax_at = self.next_step_at(case)
        assert (e.not_agents, e.prefer, e.prefer_until) == (case.excluded, c.prefer, case.prefer_until)
        assert e.relax_at == case.relax_at
        self.open[case.id] = self.waiting[case.id] = case
        self.freed.add(case.id)

    def contact_taken_over(self, c: m.TakeOver, e: m.ContactQueued) -> None:
        assert e.contact_id == c.contact_id not in self.open and c.errand not in self.taken
        assert (e.channel, e.queue_id, e.source, e.customer) == (c.channel, c.queue_id, c.source, c.customer)
        assert (e.due_at, e.first_queued_at, e.tier) == (c.due_at, c.first_queued_at, c.tier), "place never worse"
        assert (e.errand, e.from_pool, e.hops, e.attributes) == (c.errand, c.from_pool, c.hops, c.attributes)
        assert e.skills == self.needed(c.queue_id, c.skills) and e.reason == (f"tier-{c.tier}", "kept-due")
        assert e.due_at == e.first_queued_at + e.target_ms - e.head_start_ms and min(e.target_ms, e.head_start_ms) == 0
        assert e.give_up_at == self.at + self.own(e.queue_id, "wait")
        assert (e.customer_class, e.vip, e.allowed) == (c.customer_class, c.customer_class == "vip", c.allowed)
        self.seen.update(e.reason)
        case = Case(
            e.contact_id, e.source, e.customer, e.queue_id, e.channel, dict(e.skills), e.tier, e.vip, self.position,
            e.first_queued_at, self.at, e.due_at, e.give_up_at, dict(e.attributes), self.at,
            customer_class=e.customer_class, allowed=e.allowed, under=-1, hops=e.hops, came=(e.errand, e.from_pool),
        )  # fmt: skip
        case.asked = case.skills
        case.relax_at = self.next_step_at(case)
        assert e.relax_at == case.relax_at and not e.prefer_until
        self.taken.add(c.errand)
        self.open[case.id] = self.waiting[case.id] = case
        self.freed.add(case.id)

    def contact_overflowing(self, e: m.ContactOverflowing) -> None:
        assert self.rules is not None
        case = self.waiting.pop(e.contact_id)
        assert type(self.command) is m.Tick and e.queue_id == case.queue and case.hops < 8
        topic = case.attributes.get("topic", "")
        ways = [step for step in self.queues[case.queue].widen if (step.pool, step.queue) == (e.to_pool, e.to_queue_id)]
        assert any(not step.topics or topic in step.topics for step in ways), "limited to its topics"
        assert e.to_pool != self.rules.pool and e.waited_ms == self.at - case.queued_at
        assert all(case.away[:1] != (e.errand,) for case in self.open.values()) and e.errand not in self.left
        assert e.until == self.at + self.rules.times.overflow * 1000
        case.status, case.since, case.deadline_at = "overflowing", self.at, e.until
        case.away, case.prefer_until = (e.errand, e.to_pool, e.to_queue_id), 0
        self.freed.discard(case.id)

    def contact_overflowed(self, e: m.ContactOverflowed) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert type(c) is m.ConfirmOverflow and c.accepted and case.away == (c.errand, e.to_pool, e.to_queue_id)
        assert case.status in ("overflowing", "waiting") and e.waited_ms == self.at - case.queued_at
        if case.status == "waiting":
            self.met["another pool's yes came when the contact waited here again"] += 1
        self.gone(case)
        del self.left[c.errand]

    def contact_returned(self, e: m.ContactReturned) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert case.status == "overflowing" and case.away[1:] == (e.to_pool, e.to_queue_id) and e.queue_id == case.queue
        self.seen[e.reason] += 1
        if type(c) is m.Tick:
            assert e.reason == "no-answer" and case.deadline_at <= self.at
        else:
            assert type(c) is m.ConfirmOverflow and not c.accepted and (c.errand, c.reason) == (case.away[0], e.reason)
        case.status, case.since, case.deadline_at = "waiting", self.at, 0
        self.waiting[case.id] = case
        self.freed.add(case.id)

    def overflow_recalled(self, e: m.OverflowRecalled) -> None:
        c, case = self.command, self.by_errand(e.errand)
        if type(c) is m.ConfirmOverflow:
            assert c.accepted and c.errand == e.errand and e.by == "adapter"
            if case is not None:
                assert case.status in ("talking", "wrap-up"), "an agent here has it"
                self.met["another pool's yes came when an agent here had the contact"] += 1
        else:
            assert case is None and e.errand in self.left, "it has ended here"

    def contact_turned_away(self, e: m.ContactTurnedAway) -> None:
        c, case = self.command, self.open.get(e.contact_id)
        door = (e.queue_id, e.channel)
        if type(c) is m.RouteContact:
            assert case is None and (e.contact_id, *door, e.customer) == (
                c.contact_id,
                c.queue_id,
                c.channel,
                c.customer,
            )
            assert e.reason == self.unwelcome(c) and (e.source, e.waited_ms, e.tier) == (self.source, 0, c.tier)
            self.finished[e.contact_id] = self.at
        else:
            assert type(c) is m.Tick and case is not None and case.status == "waiting", "no one admitted is dropped"
            assert (case.queue, case.channel, case.source, case.customer) == (*door, e.source, e.customer)
            assert e.reason == "closing" and self.rule(e.queue_id, "on_close") == "tell" and not self.is_open(door)
            shown = self.doors[door]
            assert shown.open and shown.next_at <= self.at
            assert (e.waited_ms, e.tier) == (self.at - case.queued_at, case.tier)
            ahead = [c for c in self.waiting.values() if (c.queue, c.channel) == door and c.id not in self.freed]
            assert all((case.due_at, case.seq) <= (c.due_at, c.seq) for c in ahead), "the earliest due is told first"
            self.gone(case)
        if e.reason in ("blocked", "too-often"):
            assert self.rules is not None and not e.alternatives and not e.opens_at
            doors = self.rules.doors
            assert e.action == (doors.blocked if e.reason == "blocked" else doors.too_often)
            assert e.welcome_at == (0 if e.reason == "blocked" else self.welcome_at(e.customer))
            assert e.reason == "blocked" or e.welcome_at > self.at
        else:
            assert e.action == self.rule(e.queue_id, "full" if e.reason == "full" else "closed")
            assert e.opens_at == (0 if e.reason == "full" else self.next_edge(door))
            assert e.alternatives == self.alternatives(*door)
        if e.alternatives:
            self.met["who was turned away was told what is open"] += 1
        self.seen.update((e.reason, e.action))

    def contact_kept(self, e: m.ContactKept) -> None:
        case = self.open[e.contact_id]
        assert type(self.command) is m.Tick and case.give_up_at <= self.at and e.queue_id == case.queue
        assert self.keeps_at(case, case.give_up_at), "only a limit that comes while it is closed moves"
        edges = self.edges((case.queue, case.channel)) or []
        closed_at = max([case.queued_at, *(edge for edge in edges if edge <= case.give_up_at)])
        opens_at = min([edge for edge in edges if edge > case.give_up_at], default=0)
        left_ms = case.give_up_at - closed_at
        assert e.give_up_at == (opens_at + left_ms if opens_at else self.at + self.own(case.queue, "wait"))
        assert e.give_up_at > case.give_up_at
        case.give_up_at = e.give_up_at

    def contact_updated(self, e: m.ContactUpdated) -> None:
        c, case = self.command, self.waiting[e.contact_id]
        assert type(c) is m.UpdateContact and c.contact_id == e.contact_id
        assert e.queue_id == case.queue
        was = case.asked
        case.asked, attributes = self.updated(case, c)
        if case.asked != was:
            if case.step:
                self.met["what a contact needs changed after its match had been relaxed"] += 1
            case.needs(case.queue, self.relaxed(case))
        assert e.skills == case.skills and e.attributes == attributes
        assert e.asked == (case.asked if case.step and case.asked != was else None)
        case.attributes = dict(e.attributes)
        self.freed.add(case.id)

    def steps_of(self, case: Case, step: int) -> list[Any]:
        return list(self.queues[case.queue].widen[:step])

    def relaxed(self, case: Case) -> dict[str, int]:
        """The skills it needs after the steps it has gone."""
        needs = dict(case.asked)
        for step in self.steps_of(case, case.step):
            for skill in step.drop:
                needs.pop(skill, None)
            for skill, level in step.lower.items():
                if skill in needs:
                    needs[skill] = min(level, needs[skill])
        return needs

    def next_step_at(self, case: Case) -> int:
        times = [case.queued_at + step.after * 1000 for step in self.queues[case.queue].widen]
        return min([at for at in times if at > self.at], default=0)

    def contact_match_relaxed(self, e: m.ContactMatchRelaxed) -> None:
        case = self.open[e.contact_id]
        assert type(self.command) is m.Tick and 0 < case.relax_at <= self.at, "no match is relaxed before its time"
        assert case.status in QUEUEING and e.queue_id == case.queue
        step = sum(case.queued_at + each.after * 1000 <= self.at for each in self.queues[case.queue].widen)
        held = [i for i, each in enumerate(self.queues[case.queue].widen) if case.step <= i < step and each.pool]
        until = case.deadline_at if case.status == "offered" else 0
        if until and held:
            step = held[0]
            self.met["a step to another pool came while the contact was offered"] += 1
        if step > case.step + 1:
            self.met["several steps of widening were due at once"] += 1
        if step < case.step:
            self.met["new rules took steps of widening back"] += 1
        had, also, was = case.skills, set(case.also), case.step
        waits_on = until > 0 and step == case.step
        reason = ["rules-changed"] if step <= case.step and not waits_on else []
        case.step = step
        gone = self.steps_of(case, step)
        queues = sorted({queue for each in gone for queue in each.queues if queue != case.queue})
        teams = sorted({team for each in gone for team in each.teams})
        case.also = (*("\n" + team for team in teams), *queues)
        case.needs(case.queue, self.relaxed(case))
        assert (e.step, e.skills, e.queues, e.teams) == (step, case.skills, tuple(queues), tuple(teams))
        reason += ["skills-dropped"] * bool(had.keys() - case.skills.keys())
        reason += ["skills-lowered"] * any(level < had.get(skill, 0) for skill, level in case.skills.items())
        reason += ["queues-added"] * bool(set(queues) - also)
        reason += ["teams-added"] * bool({"\n" + team for team in teams} - also)
        reason += ["other-pool"] * any(each.pool for each in gone[was:])
        assert e.reason == tuple(reason or ["as-before"])
        self.seen.update(e.reason)
        case.relax_at = until if until and held else self.next_step_at(case)
        assert e.next_at == case.relax_at
        if case.status == "waiting":
            self.freed.add(case.id)

    def preference_lapsed(self, e: m.PreferenceLapsed) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert (e.queue_id, e.agent_id) == (case.queue, case.prefer)
        self.seen[e.reason] += 1
        if type(c) is m.RouteContact:
            assert e.reason == self.no_preference(c) != "" and not case.prefer_until
            return
        assert case.prefer_until, "it waits for its agent once"
        if e.reason == "time":
            assert type(c) is m.Tick and case.prefer_until <= self.at, "it waits for its agent as long as the rules say"
        elif e.reason == "no-answer":
            assert type(c) is m.Tick and not self.people[case.prefer].ready
        else:
            assert type(c) is {"declined": m.DeclineOffer, "signed-out": m.SignOutAgent}[e.reason]
            assert c.agent_id == case.prefer
        case.prefer_until = 0
        if case.status == "waiting":
            self.freed.add(case.id)

    def offer_issued(self, e: m.OfferIssued) -> None:
        self.check_choice(e)
        case, person = self.waiting.pop(e.contact_id), self.people[e.agent_id]
        self.check_overtaking(case, person)
        assert e.queue_id == case.queue
        assert e.expires_at == self.at + self.own(case.queue, "offer") > self.at
        assert e.waited_ms == self.at - case.queued_at and e.idle_ms == self.at - person.idle_since
        if case.prefer_until:
            assert e.reason[0] == "preferred" and person.id == case.prefer
        elif e.reason[0] == "room-released":
            assert case.id not in self.freed
        else:
            assert e.reason[0] == ("longest-idle" if case.id in self.freed else "earliest-due")
        assert e.reason[1:] == (("after-decline",) if case.declined else ())
        assert person.id not in case.excluded, "whom the contact must not have is never asked"
        self.seen.update(e.reason)
        case.status, case.since, case.agent, case.deadline_at = "offered", self.at, person.id, e.expires_at
        person.offered = case.id

    def offer_accepted(self, e: m.OfferAccepted) -> None:
        case = self.offered(e, m.AcceptOffer)
        person = self.people[e.agent_id]
        assert self.at < case.deadline_at, "an expired offer is not accepted"
        assert case.channel in self.room(person), "capacity is never exceeded"
        assert e.waited_ms == self.at - case.queued_at
        assert e.talk_until == self.at + self.own(case.queue, "talk") > self.at
        case.status, case.since, case.deadline_at = "talking", self.at, e.talk_until
        case.declined, case.retry_at = [], 0
        case.prefer_until = case.relax_at = 0
        person.offered, person.idle_since = "", self.at
        person.held[case.id] = case.channel

    def offer_declined(self, e: m.OfferDeclined) -> None:
        assert self.rules is not None
        case = self.offered(e, m.DeclineOffer)
        assert e.retry_at == self.at + self.rules.times.decline * 1000
        assert e.reason == self.command.reason
        case.declined.append(e.agent_id)
        case.retry_at = e.retry_at
        self.back(case)

    def offer_expired(self, e: m.OfferExpired) -> None:
        case = self.offered(e, m.Tick)
        assert case.deadline_at <= self.at, "nothing expires before its time"
        self.expired.add(e.agent_id)
        self.back(case)

    def offer_revoked(self, e: m.OfferRevoked) -> None:
        c, case = self.command, self.offered(e, None)
        person = self.people[e.agent_id]
        why = e.reason
        self.seen[why] += 1
        if why in ("customer-left", "adapter-lost"):
            assert type(c) is m.EndContact and c.contact_id == case.id
            assert c.by == {"customer-left": "customer", "adapter-lost": "adapter"}[why]
        elif why == "overflowed":
            assert type(c) is m.ConfirmOverflow and c.accepted and c.errand == case.away[0]
        elif why == "wait-limit":
            assert type(c) is m.Tick and case.give_up_at <= self.at
        elif why == "source-lost":
            assert type(c) is m.Tick
            self.check_lost(case.source)
        elif why == "over-capacity":
            assert type(c) is m.AcceptOffer and case.channel not in self.room(person)
        else:
            asked = {"agent-not-ready": m.SetAgentNotReady, "agent-signed-out": m.SignOutAgent}[why]
            assert type(c) is asked and c.agent_id == e.agent_id
        self.back(case)

    def declines_lapsed(self, e: m.DeclinesLapsed) -> None:
        case = self.open[e.contact_id]
        assert e.queue_id == case.queue and case.declined
        self.seen[e.reason] += 1
        if e.reason == "time":
            assert type(self.command) is m.Tick and case.retry_at <= self.at, "a decline holds until its time"
        else:
            assert e.reason == "all-declined" and type(self.command) is m.DeclineOffer
        case.declined, case.retry_at = [], 0
        if case.status == "waiting":
            self.freed.add(case.id)

    def contact_transferred(self, e: m.ContactTransferred) -> None:
        assert self.rules is not None
        c, case = self.command, self.open[e.contact_id]
        assert type(c) is m.TransferContact and case.status == "talking" and case.agent == e.agent_id == c.agent_id
        assert (e.from_queue_id, e.queue_id, e.talked_ms) == (case.queue, c.queue_id, self.at - case.since)
        assert e.target_ms == self.target(e.queue_id, case.tier)
        assert (e.head_start_ms, e.reason) == self.favour(case.tier, case.customer_class, case.allowed)
        if case.step:
            self.met["a contact was transferred after its match had been relaxed"] += 1
        assert e.skills == self.needed(e.queue_id, case.asked if c.skills is None else c.skills)
        assert e.due_at == case.first_queued_at + e.target_ms - e.head_start_ms, "it keeps the time it first queued"
        if case.queued_at > case.first_queued_at:
            self.met["a contact was transferred twice"] += 1
        assert e.give_up_at == self.at + self.own(e.queue_id, "wait")
        self.rid(case)
        case.step, case.also, case.asked, case.queued_at = 0, (), dict(e.skills), self.at
        case.needs(e.queue_id, dict(e.skills))
        case.relax_at = self.next_step_at(case)
        assert e.relax_at == case.relax_at, "widening begins anew in the new queue"
        others = [p for p in self.able(case) if p.ready and p.id not in (e.agent_id, *case.excluded)]
        assert e.retry_at == (self.at + self.rules.times.decline * 1000 if others else 0), "to others first"
        case.declined, case.retry_at = [e.agent_id] if others else [], e.retry_at
        case.since = self.at
        case.under = self.version
        case.due_at, case.give_up_at = e.due_at, e.give_up_at
        case.status, case.agent, case.deadline_at = "waiting", "", 0
        self.waiting[case.id] = case
        self.freed.add(case.id)

    def contact_abandoned(self, e: m.ContactAbandoned) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert case.status in ("waiting", "overflowing")
        assert e.queue_id == case.queue and e.waited_ms == self.at - case.queued_at
        if type(c) is m.EndContact:
            assert c.contact_id == case.id and e.by == c.by
        else:
            assert type(c) is m.Tick and e.by == "adapter"
            self.check_lost(case.source)
        self.gone(case)

    def contact_timed_out(self, e: m.ContactTimedOut) -> None:
        case = self.open[e.contact_id]
        assert case.status in ("waiting", "overflowing")
        assert type(self.command) is m.Tick and case.give_up_at <= self.at, "nobody is sent away before the limit"
        assert e.queue_id == case.queue and e.waited_ms == self.at - case.queued_at
        assert not self.keeps_at(case, case.give_up_at), "no wait runs out while its place is kept"
        action = self.rule(case.queue, "waited")
        assert e.action == ("" if action == "end" else action)
        assert e.alternatives == (self.alternatives(case.queue, case.channel) if e.action else ())
        self.gone(case)

    def contact_ended(self, e: m.ContactEnded) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert case.status == "talking" and e.agent_id == case.agent and e.queue_id == case.queue
        assert e.talked_ms == self.at - case.since
        if type(c) is m.EndContact:
            assert e.by == c.by and c.contact_id == case.id
        elif e.by == "limit":
            assert type(c) is m.Tick and case.deadline_at <= self.at, "no talk is cut before its limit"
        else:
            assert type(c) is m.Tick and e.by == "adapter"
            self.check_lost(case.source)
        assert e.wrap_up == (self.own(case.queue, "wrap_up") > 0)
        self.seen[f"by-{e.by}"] += 1
        if e.wrap_up:
            case.status, case.since, case.deadline_at = "wrap-up", self.at, 0
        else:
            self.rid(case)
            self.gone(case)

    def wrap_up_started(self, e: m.WrapUpStarted) -> None:
        case = self.open[e.contact_id]
        assert case.status == "wrap-up" and not case.deadline_at, "a wrap-up follows the end at once"
        assert (e.agent_id, e.queue_id) == (case.agent, case.queue)
        assert e.until == self.at + self.own(case.queue, "wrap_up") > self.at
        case.deadline_at = e.until

    def wrap_up_ended(self, e: m.WrapUpEnded) -> None:
        c, case = self.command, self.open[e.contact_id]
        assert case.status == "wrap-up" and (e.agent_id, e.queue_id) == (case.agent, case.queue)
        assert e.wrapped_ms == self.at - case.since
        self.seen[e.reason] += 1
        if e.reason == "limit":
            assert type(c) is m.Tick and case.deadline_at <= self.at, "no wrap-up is cut before its limit"
        else:
            assert type(c) is {"done": m.CompleteWrapUp, "signed-out": m.SignOutAgent}[e.reason]
            assert c.agent_id == e.agent_id
        self.rid(case)
        self.gone(case)

    # ---- events: agents

    def agent_signed_in(self, e: m.AgentSignedIn) -> None:
        assert self.rules is not None
        c = self.command
        assert type(c) is m.SignInAgent and c.agent_id == e.agent_id not in self.people
        said: Any = e
        if self.rules.roster == "rules":
            listed = self.listed(e.agent_id)
            assert listed is not None and profile_of(said) == profile_of(listed)
        else:
            limits = {name: getattr(self.rules.limits, name) for name in CHANNELS} | (c.limits or {})
            assert profile_of(said) == (tuple(sorted(set(c.queues or ()))), c.skills or {}, limits, c.team, c.addresses)
        self.people[e.agent_id] = Person(
            e.agent_id, e.queues, dict(e.skills), dict(e.limits), e.team, dict(e.addresses), self.at, self.at
        )

    def agent_profile_changed(self, e: m.AgentProfileChanged) -> None:
        assert type(self.command) is m.PublishRules
        listed, person = self.listed(e.agent_id), self.people[e.agent_id]
        assert listed is not None
        said: Any = e
        assert profile_of(said) == profile_of(listed) != profile_of(person)
        person.queues, person.skills, person.limits = e.queues, dict(e.skills), dict(e.limits)
        person.team, person.addresses = e.team, dict(e.addresses)
        person.known = {}

    def agent_became_ready(self, e: m.AgentBecameReady) -> None:
        person = self.people[e.agent_id]
        assert type(self.command) in (m.SetAgentReady, m.SignInAgent) and not person.ready
        assert self.command.agent_id == person.id
        person.ready, person.reason, person.since, person.idle_since = True, "", self.at, self.at

    def agent_became_not_ready(self, e: m.AgentBecameNotReady) -> None:
        c, person = self.command, self.people[e.agent_id]
        if type(c) is m.Tick:
            assert e.reason == "no-answer" and person.id in self.expired
            self.expired.discard(person.id)
            self.seen[e.reason] += 1
        else:
            assert type(c) is m.SetAgentNotReady and c.agent_id == person.id and e.reason == c.reason
        assert not person.offered, "the offer is taken back first"
        person.ready, person.reason, person.since = False, e.reason, self.at

    def agent_signed_out(self, e: m.AgentSignedOut) -> None:
        assert type(self.command) is m.SignOutAgent and self.command.agent_id == e.agent_id
        person = self.people.pop(e.agent_id)
        assert not person.held and not person.offered, "nobody leaves with a contact"

    # ---- events: customers

    def customer_blocked(self, e: m.CustomerBlocked) -> None:
        c = self.command
        assert type(c) is m.BlockCustomer and e.customer == c.customer
        self.lists(e, c.for_ms)

    def customer_allowed(self, e: m.CustomerAllowed) -> None:
        c = self.command
        assert type(c) is m.AllowCustomer and e.customer == c.customer
        self.lists(e, c.for_ms)

    def lists(self, e: Any, for_ms: int | None) -> None:
        assert e.until == (self.at + for_ms if for_ms else 0)
        self.on_lists[e.customer] = (type(e) is m.CustomerBlocked, e.until)

    def customer_unlisted(self, e: m.CustomerUnlisted) -> None:
        _, until = self.on_lists.pop(e.customer)
        self.seen[e.reason] += 1
        if type(self.command) is m.Tick:
            assert e.reason == "time" and 0 < until <= self.at, "nobody is unlisted before the time"
        else:
            assert e.reason == "lifted" and type(self.command) is m.UnlistCustomer

    # ---- events: doors

    def queue_opened(self, e: m.QueueOpened) -> None:
        door = (e.queue_id, e.channel)
        shown = self.doors[door]
        assert type(self.command) is m.Tick and shown.next_at <= self.at and self.is_open(door)
        assert e.closes_at == self.next_edge(door)
        if not e.closes_at:
            del self.doors[door]
            return
        if shown.open:
            self.met["a queue closed and opened between two ticks"] += 1
        self.doors[door] = Shown(True, e.closes_at)

    def queue_closed(self, e: m.QueueClosed) -> None:
        door = (e.queue_id, e.channel)
        shown = self.doors[door]
        assert type(self.command) is m.Tick and shown.next_at <= self.at and not self.is_open(door)
        assert e.opens_at == self.next_edge(door) and e.on_close == self.rule(e.queue_id, "on_close")
        left = [case for case in self.waiting.values() if (case.queue, case.channel) == door]
        if e.on_close == "tell" and shown.open:
            assert all(case.agent == "" and case.id in self.freed for case in left), "everybody has been told"
        if left and e.on_close == "keep":
            self.met["a queue closed and kept places"] += 1
        self.doors[door] = Shown(False, e.opens_at, e.on_close == "keep")

    # ---- events: sources, rules, failures

    def source_heard(self, e: m.SourceHeard) -> None:
        assert self.rules is not None
        c = self.command
        assert type(c) is m.SourceHeartbeat and e.source == self.source
        assert e.silent_at == self.at + (c.silence_ms or self.rules.times.silence * 1000) > self.at
        self.sources[e.source] = (e.silent_at, False)

    def source_fell_silent(self, e: m.SourceFellSilent) -> None:
        assert self.rules is not None
        deadline_at, silent = self.sources[e.source]
        assert type(self.command) is m.Tick and not silent and deadline_at <= self.at
        assert e.lost_at == self.at + self.rules.times.lost * 1000 > self.at
        self.sources[e.source] = (e.lost_at, True)

    def source_lost(self, e: m.SourceLost) -> None:
        self.check_lost(e.source)
        for case in self.open.values():
            if case.source == e.source:
                overdue = case.status == "talking" and case.deadline_at <= self.at  # ended as such by the next tick
                assert case.status == "wrap-up" or overdue, f"{case.id} outlives its source"
        del self.sources[e.source]

    def check_lost(self, source: str) -> None:
        deadline_at, silent = self.sources[source]
        assert type(self.command) is m.Tick and silent and deadline_at <= self.at, "only a lost source's are given up"

    def rules_published(self, e: m.RulesPublished) -> None:
        assert type(self.command) is m.PublishRules and e.rules == self.command.rules
        assert e.version == self.version + 1 and e.hash == hash_of(e.rules)
        if self.rules is not None and self.rules.doors.repeats != e.rules.doors.repeats:
            self.visits.clear()
        self.rules, self.hash, self.version = e.rules, e.hash, e.version
        former, self.queues = self.queues, {queue.id: queue for queue in e.rules.queues}
        for case in self.open.values():
            if case.status in QUEUEING and former[case.queue].widen != self.queues[case.queue].widen:
                case.relax_at = self.at
        self.weights = {name: getattr(e.rules.weights, name) for name in CHANNELS}
        self.bounds = {
            (each.of.queue_id, each.of.channel, each.of.tier, each.of.standing): each.bound_s * 1000
            for each in bounds(e.rules)
        }
        self.overtaken.append((0, 1))
        with_hours = {(q, c) for q in self.queues for c in self.queues[q].channels if self.edges((q, c)) is not None}
        for door in [*self.doors, *with_hours]:
            shown = self.doors.get(door) or Shown(True, 0)
            if door[0] not in self.queues or (door not in with_hours and shown.open):
                self.doors.pop(door, None)
                continue
            shown.next_at = self.at
            if door in with_hours and shown.open == self.is_open(door):
                shown.next_at = self.next_edge(door)
            if shown.open and not shown.next_at:
                self.doors.pop(door, None)
            else:
                self.doors[door] = shown
        for person in self.people.values():
            if sum(self.weights[channel] for channel in person.held.values()) > FULL:
                self.met["new rules left an agent with more than they should have"] += 1

    def command_refused(self, e: m.CommandRefused) -> None:
        self.seen[e.reason] += 1

    def command_failed(self, e: m.CommandFailed) -> None:
        assert e.error

    # ---- helpers

    def offered(self, e: Any, by: type[m.Command] | None) -> Case:
        case = self.open[e.contact_id]
        assert by is None or type(self.command) is by
        assert case.status == "offered" and case.agent == e.agent_id and e.queue_id == case.queue
        assert self.people[e.agent_id].offered == case.id
        return case

    def back(self, case: Case) -> None:
        """An offered contact waits again, and its agent is free of it."""
        self.people[case.agent].offered = ""
        case.status, case.since, case.agent, case.deadline_at = "waiting", self.at, "", 0
        self.waiting[case.id] = case
        self.freed.add(case.id)

    def rid(self, case: Case) -> None:
        """Its agent has done with the contact."""
        person = self.people[case.agent]
        del person.held[case.id]
        person.idle_since = self.at

    def gone(self, case: Case) -> None:
        del self.open[case.id]
        self.waiting.pop(case.id, None)
        self.finished[case.id] = self.at
        if case.away:
            self.left[case.away[0]] = self.at


@dataclass(slots=True)
class Listed:
    """What the rules' roster says of an agent, the team's share included."""

    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    team: str
    addresses: dict[str, str]


def listed_in(rules: Rules, agent_id: str) -> Listed | None:
    agent = next((agent for agent in rules.agents if agent.id == agent_id), None)
    if agent is None:
        return None
    team = next((team for team in rules.teams if team.id == agent.team), None)
    limits = agent.limits or rules.limits
    return Listed(
        tuple(sorted(set(agent.queues) | set(team.queues if team else ()))),
        {**(team.skills if team else {}), **agent.skills},
        {name: getattr(limits, name) for name in CHANNELS},
        agent.team,
        dict(agent.addresses),
    )


def profile_of(said: Listed | Person) -> tuple[Any, ...]:
    return tuple(said.queues), said.skills, said.limits, said.team, said.addresses


def subject_of(command: Any) -> str:
    if type(command) is m.PublishRules:
        return command.rules.pool
    if isinstance(command, m.BlockCustomer | m.AllowCustomer | m.UnlistCustomer):
        return command.customer
    if type(command) is m.ConfirmOverflow:
        return command.errand
    agents = (m.SignInAgent, m.SetAgentReady, m.SetAgentNotReady, m.SignOutAgent)
    return command.agent_id if isinstance(command, agents) else command.contact_id


FORESEE: dict[type[m.Command], Callable[[Witness, Any], Foreseen]] = {
    m.RouteContact: Witness.route,
    m.UpdateContact: Witness.update,
    m.AcceptOffer: Witness.accept,
    m.DeclineOffer: Witness.decline,
    m.EndContact: Witness.end,
    m.CompleteWrapUp: Witness.complete,
    m.TransferContact: Witness.transfer,
    m.TakeOver: Witness.take_over,
    m.ConfirmOverflow: Witness.confirm,
    m.BlockCustomer: Witness.block,
    m.AllowCustomer: Witness.allow,
    m.UnlistCustomer: Witness.unlist,
    m.SignInAgent: Witness.sign_in,
    m.SetAgentReady: Witness.become_ready,
    m.SetAgentNotReady: Witness.become_not_ready,
    m.SignOutAgent: Witness.sign_out,
    m.SourceHeartbeat: Witness.heartbeat,
    m.PublishRules: Witness.publish,
}
HANDLERS: dict[type[m.Event], Callable[[Witness, Any], None]] = {
    kind: getattr(Witness, name.replace("-", "_")) for name, kind in m.EVENTS.items()
}

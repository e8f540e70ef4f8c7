"""Recorded calls through the engine: they arrive, leave and last as recorded, and the engine alone decides who is next.

Data: "Anonymous Bank" call-centre data, documented by Ilan Guedj and Avishai Mandelbaum (Technion, 2000), free for use
with acknowledgement of the source (bank.py reads it). Everything goes the way of real traffic: JSON commands with
recorded time, decided one after another by a partition, written with their turns into a log. What the report says of
the engine is read back from the accepted turns of that log (route_seen.py).
"""

import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from heapq import heappop, heappush
from pathlib import Path

from engine.core import messages as m
from engine.core.deadlines import NONE
from engine.core.rules import FULL, Queue, Rules
from engine.streams.codec import Envelope, envelope_of, read_command, write_command
from engine.streams.journal import Marker, write_marker
from engine.streams.log import Entry, Log, Record
from engine.streams.memory_log import MemoryLog
from engine.streams.partition import Partition, tick_for

from .bank import KINDS, Call, Month, Shift, read_month, shifts
from .bank_figures import quantile
from .route_report import Report, Run, gap_of, report_of
from .route_seen import Seen

SOURCE = "recorded"
BATCH = 500  # commands and their turns in one append
PROGRESS_STEP = 200  # calls

Progress = Callable[[int, int], None]


class ReplayError(Exception):
    """The replay cannot be done as asked: said in a sentence for a person."""


# ---- driving


class Order(IntEnum):
    """What comes first of what happens in one second, for the record has whole seconds: who has run out of patience is
    gone before an agent comes free, and who is there in the last second of a stay may still be given a call in it."""

    LEAVE = 0
    END = 1
    WRAPPED = 2
    COME = 3
    ARRIVE = 4
    GO = 5


class Person:
    """An agent of the record. talking: with a caller now; next_shift: begins when yesterday's last call has ended."""

    __slots__ = ("going_home", "next_shift", "signed_in", "talking")

    def __init__(self) -> None:
        self.signed_in = False
        self.going_home = False
        self.talking = False
        self.next_shift: Shift | None = None


class Desk:
    """The host of a replay: what it is given is decided at that time, and stands in the log with its turn."""

    def __init__(self, log: Log, pool: str, at: int) -> None:
        if log.ends() != (0, 0):
            raise ReplayError("the log is not empty: a replay begins a log of its own")
        self.log = log
        self.pool = pool
        self.partition = Partition()
        self.partition.owner = 0
        self.entries: list[Entry] = []
        marker = Marker(worker="route-log", log=f"{pool}-recorded", time="recorded", at=at)
        self.records: list[Record] = [Record(0, None, write_marker(marker))]
        self.position = 0
        self.offset = 0
        self.flush()

    def submit(self, at: int, command: m.Command) -> list[m.Event]:
        return self._decide(at, envelope_of(command, str(self.position), SOURCE, self.pool))

    def tick(self, at: int) -> list[m.Event]:
        return self._decide(at, tick_for(self.pool, self.position)[0])

    def _decide(self, at: int, written: Envelope) -> list[m.Event]:
        body = write_command(written)
        envelope, command = read_command(body)
        decided = self.partition.decide(envelope, command, self.position, at)
        self.entries.append(Entry(self.position, at, body))
        if decided.record is not None:
            self.records.append(Record(self.offset + len(self.records), self.position, decided.record))
        self.position += 1
        if len(self.entries) >= BATCH:
            self.flush()
        return decided.events

    def flush(self) -> None:
        self.log.append(self.offset, self.entries, self.records)
        self.offset += len(self.records)
        self.entries, self.records = [], []


class Replay:
    """The people of the record: callers who arrive and run out of patience, agents who come, accept, talk and go."""

    def __init__(self, desk: Desk, rules: Rules, calls: list[Call], present: list[Shift], wrap_up_s: int = 0) -> None:
        self.desk = desk
        self.queue_of = queues_by_kind(rules)
        self.wrap_up_ms = wrap_up_s * 1000
        self.calls = {call.contact_id: call for call in calls}
        self.typical_ms = typical_service_ms(calls)
        self.people = {shift.agent_id: Person() for shift in present}
        self.waiting: set[str] = set()  # only asked, never iterated
        self.talking: set[str] = set()  # likewise
        self.wrapping: dict[str, str] = {}  # contact -> the agent who works after it; never iterated
        self.routed = 0
        self.plans = 0
        self.agenda: list[tuple[int, Order, int, Call | Shift | str]] = []
        for call in calls:
            self.plan(call.arrives_at, Order.ARRIVE, call)
        for shift in present:
            for start, end in shift.stays:
                self.plan(start, Order.COME, shift)
                self.plan(end, Order.GO, shift)

    def plan(self, at: int, order: Order, what: Call | Shift | str) -> None:
        heappush(self.agenda, (at, order, self.plans, what))
        self.plans += 1

    def run(self, progress: Progress | None) -> None:
        told = 0
        while True:
            due_at, _ = self.desk.partition.next_due()
            if self.agenda and self.agenda[0][0] < due_at:
                at, order, _, what = heappop(self.agenda)
                if isinstance(what, Call):
                    self.arrives(at, what)
                elif isinstance(what, Shift):
                    self.comes(at, what) if order is Order.COME else self.goes(at, what)
                elif order is Order.LEAVE:
                    self.leaves(at, what)
                elif order is Order.END:
                    self.ends(at, what)
                else:
                    self.wrapped(at, what)
            elif due_at != NONE:
                assert self.react(due_at, self.desk.tick(due_at)), "a deadline that is due fires"
            else:
                break
            if progress is not None and self.routed >= told + PROGRESS_STEP:
                told = self.routed
                progress(told, len(self.calls))
        self.desk.flush()
        if progress is not None:
            progress(len(self.calls), len(self.calls))

    def tell(self, at: int, command: m.Command) -> None:
        self.react(at, self.desk.submit(at, command))

    def react(self, at: int, events: list[m.Event]) -> bool:
        """Agents accept at once, and go home when a call is over if it was time; who is given up waits no more."""
        for event in events:
            match event:
                case m.OfferIssued(contact_id=contact_id, agent_id=agent_id):
                    self.tell(at, m.AcceptOffer(contact_id, agent_id))
                case m.OfferAccepted(contact_id=contact_id, agent_id=agent_id):
                    call = self.calls[contact_id]
                    self.waiting.discard(contact_id)
                    self.talking.add(contact_id)
                    self.people[agent_id].talking = True
                    lasts_ms = call.service_s * 1000 if call.outcome == "answered" else self.typical_ms[call.kind]
                    self.plan(at + lasts_ms, Order.END, contact_id)
                case m.ContactEnded(contact_id=contact_id, agent_id=agent_id):
                    self.talking.discard(contact_id)
                    self.people[agent_id].talking = False
                    self.freed(at, agent_id)
                case m.WrapUpStarted(contact_id=contact_id, agent_id=agent_id) if not self.people[agent_id].going_home:
                    self.wrapping[contact_id] = agent_id
                    if self.wrap_up_ms:
                        self.plan(at + self.wrap_up_ms, Order.WRAPPED, contact_id)
                    else:
                        self.wrapped(at, contact_id)
                case m.WrapUpEnded(contact_id=contact_id):
                    self.wrapping.pop(contact_id, None)
                case m.ContactAbandoned(contact_id=contact_id) | m.ContactTimedOut(contact_id=contact_id):
                    self.waiting.discard(contact_id)
        return bool(events)

    def arrives(self, at: int, call: Call) -> None:
        self.routed += 1
        self.waiting.add(call.contact_id)
        if call.outcome == "abandoned":
            self.plan(at + call.wait_s * 1000, Order.LEAVE, call.contact_id)
        self.tell(
            at,
            m.RouteContact(
                call.contact_id,
                "call",
                self.queue_of[call.kind].id,
                call.customer,
                {call.kind: 1},
                vip=call.priority == 2,
            ),
        )

    def leaves(self, at: int, contact_id: str) -> None:
        if contact_id in self.waiting:
            self.tell(at, m.EndContact(contact_id, "customer"))

    def ends(self, at: int, contact_id: str) -> None:
        if contact_id in self.talking:  # unless the rules' backstop on talks has ended it
            self.tell(at, m.EndContact(contact_id, "customer"))

    def wrapped(self, at: int, contact_id: str) -> None:
        agent_id = self.wrapping.get(contact_id)
        if agent_id is not None:  # unless the rules' limit has ended it, or the agent has gone
            self.tell(at, m.CompleteWrapUp(contact_id, agent_id))

    def comes(self, at: int, shift: Shift) -> None:
        person = self.people[shift.agent_id]
        if person.going_home:
            person.next_shift = shift
        elif person.signed_in:
            self.tell(at, m.SetAgentReady(shift.agent_id))
        else:
            person.signed_in = True
            queues = tuple(dict.fromkeys(self.queue_of[kind].id for kind in shift.kinds))
            skills = dict.fromkeys(shift.kinds, 1)
            self.tell(at, m.SignInAgent(shift.agent_id, True, queues, skills))

    def goes(self, at: int, shift: Shift) -> None:
        person = self.people[shift.agent_id]
        last = at == shift.stays[-1][1]
        if person.next_shift is shift:  # came back and is to go again while yesterday's last call goes on
            person.next_shift = None
        elif last and not person.talking:
            self.signs_out(at, shift.agent_id)
        else:
            person.going_home = last
            self.tell(at, m.SetAgentNotReady(shift.agent_id, "gone" if last else "away"))

    def freed(self, at: int, agent_id: str) -> None:
        person = self.people[agent_id]
        if not person.going_home:
            return
        self.signs_out(at, agent_id)
        if person.next_shift is not None:
            shift, person.next_shift = person.next_shift, None
            self.comes(at, shift)

    def signs_out(self, at: int, agent_id: str) -> None:
        person = self.people[agent_id]
        person.signed_in = person.going_home = False
        self.tell(at, m.SignOutAgent(agent_id))


def queues_by_kind(rules: Rules) -> dict[str, Queue]:
    """The queue of each type of call: the one named after the type, else `bank`, else the only one. Raises ReplayError
    where the rules do not fit recorded people."""
    queues = {queue.id: queue for queue in rules.queues}
    common = queues.get("bank") or (rules.queues[0] if len(rules.queues) == 1 else None)
    found: dict[str, Queue] = {}
    for kind in KINDS:
        queue = queues.get(kind) or queues.get(kind.lower()) or common
        if queue is None:
            raise ReplayError(
                f"the rules have no queue for calls of type {kind}: name one '{kind}', or one for all 'bank'"
            )
        if "call" not in queue.channels:
            raise ReplayError(f"queue '{queue.id}' takes no calls")
        for skill, level in queue.skills.items():
            if skill not in KINDS or level > 1:
                raise ReplayError(
                    f"queue '{queue.id}' asks for skill '{skill}' of level {level}, "
                    "but a recorded agent has the types that they served, at level 1"
                )
        found[kind] = queue
    if rules.roster != "sign-in":
        raise ReplayError('the rules name the agents (roster = "rules"), but in a replay they come from the record')
    if min(rules.limits.call, FULL // rules.weights.call) != 1:
        raise ReplayError(
            f"the rules give an agent room for other than one call (limits.call {rules.limits.call}, "
            f"weights.call {rules.weights.call} of {FULL}), but a recorded person talks to one caller at a time"
        )
    return found


def typical_service_ms(calls: list[Call]) -> dict[str, int]:
    """The median recorded service of each type, of those that had a length; of a type never served, that of all."""
    lengths = sorted((call.service_s, call.kind) for call in calls if call.service_s > 0)
    overall = quantile([length for length, _ in lengths], 50) or 0
    by_kind = {kind: quantile([length for length, other in lengths if other == kind], 50) for kind in KINDS}
    return {kind: (overall if median is None else median) * 1000 for kind, median in by_kind.items()}


# ---- the whole


def route_log(
    path: Path,
    rules: Rules,
    gap_s: int = 300,
    progress: Progress | None = None,
    *,
    wrap_up_s: int = 0,
    compare_gaps_s: Sequence[int] = (),
    log: Log | None = None,
) -> Report:
    """Replays the month in `path` by `rules`, and says beside it what the engine does with other gaps where asked for.

    wrap_up_s: how long agents work after each call, up to the limit of the rules. progress: is told (calls so far, of
    how many). log: an empty one, in which the replay is kept. Raises BankFileError for a file of another shape and
    ReplayError for rules that do not fit; what must not happen in a replay is in the report's `violations`.
    """
    month = read_month(path)
    others = [other for other in sorted(set(compare_gaps_s)) if other != gap_s]
    tell = progress or (lambda done, total: None)
    total = len(month.calls) * (1 + len(others))

    def part(number: int) -> Progress:
        return lambda done, _: tell(number * len(month.calls) + done, total)

    run = replay(month, rules, gap_s, wrap_up_s, part(0), MemoryLog() if log is None else log)
    gaps = [gap_of(gap_s, month, run)]
    for number, other in enumerate(others, 1):
        gaps.append(gap_of(other, month, replay(month, rules, other, wrap_up_s, part(number), MemoryLog())))
    gaps.sort(key=lambda gap: gap.gap_s)
    return report_of(path, rules, gap_s, wrap_up_s, month, run, gaps)


def replay(month: Month, rules: Rules, gap_s: int, wrap_up_s: int, progress: Progress, log: Log) -> Run:
    queue_of = queues_by_kind(rules)
    for queue in queue_of.values():
        limit_s = rules.times.wrap_up if queue.wrap_up is None else queue.wrap_up
        if wrap_up_s > limit_s:
            raise ReplayError(
                f"work of {wrap_up_s} s after a call is more than queue '{queue.id}' allows ({limit_s} s)"
            )
    present = shifts(month.services, gap_s)
    first_at = min(month.calls[0].arrives_at, min((shift.stays[0][0] for shift in present), default=NONE))
    began = time.perf_counter()
    desk = Desk(log, rules.pool, first_at)
    people = Replay(desk, rules, month.calls, present, wrap_up_s)
    people.tell(first_at, m.PublishRules(rules))
    people.run(progress)
    run_s = time.perf_counter() - began
    seen = Seen(month.calls, {kind: queue.service_level * 1000 for kind, queue in queue_of.items()})
    seen.read(log)
    if seen.place.chain != desk.partition.chain:
        seen.wrong("the chain of the journal is not the chain that was decided")
    return Run(present, seen, desk.position, desk.partition.chain, run_s)

"""What is counted of a month of calls, recorded or replayed, in the same way for both; and what tells them apart.

A quantile is by nearest rank: the shortest wait that at least so many percent did not exceed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from .bank import KINDS, PRIORITIES, Call, Service, Shift, by_agent_day, overlaps

QUANTILES = (50, 90, 95)
ORDER_SLACK_S = 5


class Fate(NamedTuple):
    """What became of one call. wait_ms: until an agent had it, or until it left; threshold_ms: the T of its queue."""

    kind: str
    priority: int
    outcome: Literal["answered", "abandoned", "timed-out"]
    wait_ms: int
    service_ms: int
    threshold_ms: int


class ServiceLevel(Struct, frozen=True):
    """Answered within T / (answered + abandoned after T); timed out after T counts as abandoned after T.

    threshold_s: None where the calls' queues differ in T; percent: None where nobody is counted."""

    answered_within: int
    answered: int
    abandoned_after: int
    threshold_s: int | None
    percent: float | None


class Figures(Struct, frozen=True):
    """waited: calls that waited more than 0 s, whatever became of them; mean and quantiles are theirs.

    mean_service_s: of answered calls whose service had a length; present_s: presence of the agents who could take these
    calls; occupancy: service_s of it, in percent."""

    calls_in: int
    answered: int
    abandoned: int
    timed_out: int
    waited: int
    mean_wait_s: float | None
    wait_quantiles_s: dict[str, float | None]
    service_level: ServiceLevel
    mean_service_s: float | None
    service_s: int
    present_s: int | None
    occupancy_percent: float | None


class Side(Struct, frozen=True):
    """All figures of one side. by_type: in the order of bank.KINDS, those that occur; by_priority likewise."""

    total: Figures
    by_type: dict[str, Figures]
    by_priority: dict[str, Figures]


class BesideIdle(Struct, frozen=True):
    """Recorded waits during which, by the presence rule, an agent with the skill was there and on no recorded call."""

    calls: int
    of_calls: int
    waited_s: int
    of_waited_s: int
    percent: float | None


class Pickup(Struct, frozen=True):
    """From the end of a recorded service to the agent's next, while somebody whom they could serve waited all along."""

    times: int
    mean_s: float | None
    median_s: float | None
    p90_s: float | None


class OutOfOrder(Struct, frozen=True):
    """Recorded calls that were answered although another of their type, due earlier by the rules, was not. The record's
    clocks differ by seconds, so both differences must be more than `slack_s`."""

    answered: int
    of_answered: int
    slack_s: int


def quantile(ordered: Sequence[int], percent: int) -> int | None:
    """By nearest rank, of numbers in order; None of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


def seconds(ms: int | None) -> float | None:
    return None if ms is None else round(ms / 1000, 1)


def share(part: int, whole: int) -> float | None:
    """In percent, to a tenth; None of nothing."""
    return round(100 * part / whole, 1) if whole else None


def figures(fates: Sequence[Fate], present_ms: int | None) -> Figures:
    waits = sorted(fate.wait_ms for fate in fates if fate.wait_ms > 0)
    answered = [fate for fate in fates if fate.outcome == "answered"]
    within = sum(fate.wait_ms <= fate.threshold_ms for fate in answered)
    after = sum(fate.outcome != "answered" and fate.wait_ms > fate.threshold_ms for fate in fates)
    thresholds = {fate.threshold_ms for fate in fates}
    service_ms = sum(fate.service_ms for fate in answered)
    lengths = sum(fate.service_ms > 0 for fate in answered)
    return Figures(
        calls_in=len(fates),
        answered=len(answered),
        abandoned=sum(fate.outcome == "abandoned" for fate in fates),
        timed_out=sum(fate.outcome == "timed-out" for fate in fates),
        waited=len(waits),
        mean_wait_s=seconds(sum(waits) // len(waits)) if waits else None,
        wait_quantiles_s={f"p{percent}": seconds(quantile(waits, percent)) for percent in QUANTILES},
        service_level=ServiceLevel(
            within,
            len(answered),
            after,
            next(iter(thresholds)) // 1000 if len(thresholds) == 1 else None,
            share(within, len(answered) + after),
        ),
        mean_service_s=seconds(service_ms // lengths) if lengths else None,
        service_s=service_ms // 1000,
        present_s=None if present_ms is None else present_ms // 1000,
        occupancy_percent=None if present_ms is None else share(service_ms, present_ms),
    )


def side(fates: Sequence[Fate], present_ms: Callable[[str | None], int | None]) -> Side:
    """present_ms: presence of the agents who could take a kind, or of all for None."""
    by_kind: dict[str, list[Fate]] = {kind: [] for kind in KINDS}
    by_priority: dict[int, list[Fate]] = {priority: [] for priority in PRIORITIES}
    for fate in fates:
        by_kind[fate.kind].append(fate)
        by_priority[fate.priority].append(fate)
    return Side(
        figures(fates, present_ms(None)),
        {kind: figures(those, present_ms(kind)) for kind, those in by_kind.items() if those},
        {str(priority): figures(those, present_ms(None)) for priority, those in by_priority.items() if those},
    )


def stays_ms(shifts: Iterable[Shift], kind: str | None = None) -> int:
    return sum(end - start for shift in shifts if kind is None or kind in shift.kinds for start, end in shift.stays)


# ---- what tells the record from the replay


class Steps:
    """A number that changes with time: how many of these intervals hold a moment."""

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        changes: dict[int, int] = {}
        for start, end in intervals:
            if start < end:
                changes[start] = changes.get(start, 0) + 1
                changes[end] = changes.get(end, 0) - 1
        self.times = sorted(changes)
        self.counts: list[int] = []
        self.covered: list[int] = []  # up to times[i], for how long some interval held
        count = covered = before = 0
        for time in self.times:
            covered += (time - before) * (count > 0)
            count += changes[time]
            before = time
            self.counts.append(count)
            self.covered.append(covered)

    def covered_until(self, time: int) -> int:
        i = bisect_right(self.times, time) - 1
        return 0 if i < 0 else self.covered[i] + (time - self.times[i]) * (self.counts[i] > 0)

    def hold_throughout(self, start: int, end: int) -> bool:
        return self.covered_until(end) - self.covered_until(start) == end - start


def beside_idle(calls: Iterable[Call], services: Sequence[Service], shifts: Iterable[Shift]) -> BesideIdle:
    idle: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    stays = {(shift.agent_id, shift.day_at): shift for shift in shifts}
    for day in by_agent_day(services):
        shift = stays.get((day[0].agent_id, day[0].day_at))
        if shift is None:
            continue
        free = gaps_between(((each.from_at, each.until_at) for each in day), shift.stays)
        for kind in shift.kinds:
            idle[kind] += free
    steps = {kind: Steps(free) for kind, free in idle.items()}
    met = waited = beside = waiting = 0
    for call in calls:
        if call.wait_s <= 0:
            continue
        until_at = call.arrives_at + call.wait_s * 1000
        there = steps[call.kind].covered_until(until_at) - steps[call.kind].covered_until(call.arrives_at)
        waiting += 1
        met += there > 0
        waited += call.wait_s * 1000
        beside += there
    return BesideIdle(met, waiting, beside // 1000, waited // 1000, share(beside, waited))


def gaps_between(busy: Iterable[tuple[int, int]], stays: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of the stays that no busy interval covers; busy in order of their beginnings."""
    taken = list(busy)
    free: list[tuple[int, int]] = []
    for start, end in stays:
        at = start
        for begins, ends in taken:
            if begins >= end:
                break
            if begins > at:
                free.append((at, begins))
            at = max(at, ends)
        if at < end:
            free.append((at, end))
    return free


def pickup(calls: Iterable[Call], services: Sequence[Service], gap_s: int) -> Pickup:
    """Only pauses in which the presence rule keeps the agent there."""
    waiting: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for call in calls:
        waiting[call.kind].append((call.arrives_at, call.arrives_at + max(call.wait_s, 0) * 1000))
    steps = {kind: Steps(those) for kind, those in waiting.items()}
    pauses = []
    for day in by_agent_day(services):
        kinds = [kind for kind in KINDS if any(service.kind == kind for service in day)]
        free_at = day[0].until_at
        for service in day[1:]:
            pause = service.from_at - free_at
            if 0 < pause <= gap_s * 1000 and any(
                steps[kind].hold_throughout(free_at, service.from_at) for kind in kinds
            ):
                pauses.append(pause)
            free_at = max(free_at, service.until_at)
    pauses.sort()
    mean = sum(pauses) // len(pauses) if pauses else None
    return Pickup(len(pauses), seconds(mean), seconds(quantile(pauses, 50)), seconds(quantile(pauses, 90)))


def out_of_order(calls: Iterable[Call], head_start_s: int) -> OutOfOrder:
    """calls: by arrival."""
    waiting: dict[str, list[tuple[int, int, int]]] = {kind: [] for kind in KINDS}  # arrives, due, leaves the line
    answered: list[tuple[str, int, int]] = []
    for call in calls:
        if call.wait_s <= 0:
            continue
        due_at = call.arrives_at - (head_start_s * 1000 if call.priority == 2 else 0)
        leaves_at = call.arrives_at + call.wait_s * 1000
        waiting[call.kind].append((call.arrives_at, due_at, leaves_at))
        if call.outcome == "answered":
            answered.append((call.kind, due_at, leaves_at))
    longest = {kind: max((line[2] - line[0] for line in lines), default=0) for kind, lines in waiting.items()}
    found = 0
    for kind, due_at, served_at in answered:
        lines = waiting[kind]
        first = bisect_left(lines, served_at - longest[kind], key=lambda line: line[0])
        last = bisect_left(lines, served_at, key=lambda line: line[0])
        found += any(
            other_due_at < due_at - ORDER_SLACK_S * 1000 and left_at > served_at + ORDER_SLACK_S * 1000
            for _, other_due_at, left_at in lines[first:last]
        )
    return OutOfOrder(found, len(answered), ORDER_SLACK_S)


def on_two_calls_s(services: Sequence[Service]) -> int:
    """For how long agents are on two recorded calls at once."""
    return sum(overlaps(services)) // 1000

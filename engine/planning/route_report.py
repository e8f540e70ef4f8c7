"""What a replay of recorded calls comes to: the record beside the engine, and what explains the distance."""

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from engine.core.rules import Rules, hash_of

from .bank import ACKNOWLEDGEMENT, Call, Month, Shift
from .bank_figures import (
    BesideIdle,
    Fate,
    OutOfOrder,
    Pickup,
    Side,
    beside_idle,
    on_two_calls_s,
    out_of_order,
    pickup,
    quantile,
    seconds,
    side,
    stays_ms,
)
from .route_seen import Seen

DAY_MS = 86_400_000


class Recorded(Struct, frozen=True):
    """What the whole file says by its outcomes alone: AGENT is answered, HANG with a queue time is abandoned.

    waited: those of them with a queue time; mean_service_s: of AGENT rows whose service had a length."""

    rows: int
    answered: int
    abandoned: int
    waited: int
    mean_wait_s: float | None
    median_wait_s: float | None
    mean_service_s: float | None


class Censored(Struct, frozen=True):
    """Calls that were answered in the record. They never leave: what the longer waits would have cost is not known."""

    calls: int
    waited_longer: int
    mean_longer_s: float | None
    waited_shorter: int
    mean_shorter_s: float | None


class Abandoned(Struct, frozen=True):
    """Calls that hung up in the record: what became of them in the engine. beside_idle: of those served, how many had
    waited in the record while the presence rule shows an able agent free; service_s: what serving them took."""

    calls: int
    also_in_engine: int
    served_in_engine: int
    beside_idle: int
    service_s: int
    median_patience_s: float | None
    median_wait_in_engine_s: float | None


class Gap(Struct, frozen=True):
    """What a gap gives: hours of presence in the record, and the engine's figures with it."""

    gap_s: int
    present_h: float
    abandoned: int
    timed_out: int
    mean_wait_s: float | None


class Distance(Struct, frozen=True):
    """What explains the distance between the record and the engine, as far as the table shows it. overtime_s: agents
    finishing a call when their recorded presence had ended; on_two_calls_s: of agents, in the record."""

    beside_idle: BesideIdle
    pickup: Pickup
    abandoned: Abandoned
    out_of_order: OutOfOrder
    overtime_s: int
    on_two_calls_s: int
    gaps: list[Gap]


class Report(Struct, frozen=True):
    """One replay. recorded and engine: the same calls. violations: must be empty."""

    acknowledgement: str
    file: str
    first_day: str
    last_day: str
    days: int
    kept: int
    dropped: dict[str, int]
    handled: dict[str, int]
    damage: str
    gap_s: int
    wrap_up_s: int
    pool: str
    rules_hash: str
    head_start_s: int
    whole_file: Recorded
    recorded: Side
    engine: Side
    censored: Censored
    distance: Distance
    commands: int
    turns: int
    events: int
    run_s: float
    commands_per_s: int
    chain: str
    violations: list[str]


# ---- making it


class Run(NamedTuple):
    """One replay done. run_s: of driving it, reading back not counted."""

    present: list[Shift]
    seen: Seen
    commands: int
    chain: bytes
    run_s: float


def gap_of(gap_s: int, month: Month, run: Run) -> Gap:
    total = run.seen.side(month.calls).total
    present_h = round(stays_ms(run.present) / 3_600_000, 1)
    return Gap(gap_s, present_h, total.abandoned, total.timed_out, total.mean_wait_s)


def report_of(path: Path, rules: Rules, gap_s: int, wrap_up_s: int, month: Month, run: Run, gaps: list[Gap]) -> Report:
    calls, seen = month.calls, run.seen
    recorded = [
        Fate(
            call.kind,
            call.priority,
            call.outcome,
            call.wait_s * 1000,
            call.service_s * 1000,
            seen.thresholds_ms[call.kind],
        )
        for call in calls
    ]
    days = sorted({call.arrives_at // DAY_MS for call in calls})
    return Report(
        acknowledgement=ACKNOWLEDGEMENT,
        file=path.name,
        first_day=day_of(days[0]),
        last_day=day_of(days[-1]),
        days=len(days),
        kept=len(calls),
        dropped={reason: count for reason, count in month.dropped.items() if count},
        handled={reason: count for reason, count in month.handled.items() if count},
        damage=month.damage,
        gap_s=gap_s,
        wrap_up_s=wrap_up_s,
        pool=rules.pool,
        rules_hash=hash_of(rules),
        head_start_s=rules.head_starts.vip,
        whole_file=whole_file(month),
        recorded=side(recorded, lambda kind: stays_ms(run.present, kind)),
        engine=seen.side(calls),
        censored=censored(calls, seen.fates),
        distance=Distance(
            beside_idle=beside_idle(calls, month.services, run.present),
            pickup=pickup(calls, month.services, gap_s),
            abandoned=abandoned(month, run),
            out_of_order=out_of_order(calls, rules.head_starts.vip),
            overtime_s=seen.overtime_ms // 1000,
            on_two_calls_s=on_two_calls_s(month.services),
            gaps=gaps,
        ),
        commands=run.commands,
        turns=seen.turns,
        events=seen.events,
        run_s=round(run.run_s, 2),
        commands_per_s=round(run.commands / run.run_s),
        chain=run.chain.hex(),
        violations=seen.violations,
    )


def day_of(number: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(number)).isoformat()


def whole_file(month: Month) -> Recorded:
    waits = sorted(wait for _, wait, _ in month.raw if wait)
    services = [service for outcome, _, service in month.raw if outcome == "answered" and service]
    return Recorded(
        rows=month.rows,
        answered=sum(outcome == "answered" for outcome, _, _ in month.raw),
        abandoned=sum(outcome == "abandoned" for outcome, _, _ in month.raw),
        waited=len(waits),
        mean_wait_s=mean(waits),
        median_wait_s=quantile(waits, 50),
        mean_service_s=mean(services),
    )


def mean(numbers: list[int]) -> float | None:
    return round(sum(numbers) / len(numbers), 1) if numbers else None


def censored(calls: list[Call], fates: dict[str, Fate]) -> Censored:
    differences = [
        fates[call.contact_id].wait_ms - call.wait_s * 1000
        for call in calls
        if call.outcome == "answered" and call.contact_id in fates
    ]
    longer = [difference for difference in differences if difference > 0]
    shorter = [-difference for difference in differences if difference < 0]
    return Censored(
        len(differences),
        len(longer),
        seconds(sum(longer) // len(longer)) if longer else None,
        len(shorter),
        seconds(sum(shorter) // len(shorter)) if shorter else None,
    )


def abandoned(month: Month, run: Run) -> Abandoned:
    fates = run.seen.fates
    left = [call for call in month.calls if call.outcome == "abandoned" and call.contact_id in fates]
    served = [call for call in left if fates[call.contact_id].outcome == "answered"]
    return Abandoned(
        len(left),
        len(left) - len(served),
        len(served),
        beside_idle(served, month.services, run.present).calls,
        sum(fates[call.contact_id].service_ms for call in served) // 1000,
        quantile(sorted(call.wait_s for call in served), 50),
        seconds(quantile(sorted(fates[call.contact_id].wait_ms for call in served), 50)),
    )

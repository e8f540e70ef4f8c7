"""Whether hours and doors make sense: texts that say hours, calendars that exist, doors that open some time.

As in rules_checks.py, each check answers with all that it finds.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from engine.core.rules import way_of
from engine.core.words import CHANNELS

from .hours import DAYS, BadHours, SaidHours, calendar, dates, edges_of, gaps, horizon, opening, week
from .rules_checks import Checked, numbered_queues, unknown, zone_unknown
from .rules_shape import Found, Said, as_toml
from .toml_lines import Path


def doors_checks(seen: Checked, at: int) -> list[Found]:
    """at: now, in milliseconds since the epoch; what is said of holidays depends on it."""
    broken = list(texts(seen))
    found = [
        *broken,
        *hours_are_known(seen),
        *holidays_are_named(seen),
        *doors_fit(seen),
        *ways(seen),
        *lists_agree(seen),
    ]
    if not broken:
        found += [*overlaps(seen), *openings(seen, at), *calendars(seen, at)]
    return found


def numbered_hours(seen: Checked) -> Iterator[tuple[int, SaidHours]]:
    yield from zip(seen.numbers["hours"], seen.rules.hours, strict=True)


# ---- texts


def texts(seen: Checked) -> Iterator[Found]:
    for number, hours in numbered_hours(seen):
        path: Path = ("hours", number)
        yield from bad(seen, (*path, "weekly"), hours.weekly, week, "write-weekly")
        yield from bad(seen, (*path, "closed"), hours.closed, lambda text: list(dates(text)), "")
        yield from bad(seen, (*path, "open"), hours.open, opening, "write-opening")
        if hours.time_zone:
            yield from zone_unknown((*path, "time_zone"), hours.time_zone)
        if hours.holidays:
            try:
                calendar(hours.holidays, ())
            except BadHours as problem:
                yield Found((*path, "holidays"), problem.code, {"found": as_toml(problem.text)})
    for number, each in zip(seen.numbers["holidays"], seen.rules.holidays, strict=True):
        for key in ("closed", "workdays"):
            said = getattr(each, key)
            yield from bad(seen, ("holidays", number, key), said, lambda text: list(dates(text)), "")


def bad(seen: Checked, path: Path, said: Iterable[str], read: Callable[[str], object], form: str) -> Iterator[Found]:
    for i, text in enumerate(said):
        try:
            read(text)
        except BadHours as problem:
            suggestion = form if problem.code == "hours-form" else ""
            yield Found((*path, i), problem.code, {"found": as_toml(problem.text)}, suggestion)


def lists_agree(seen: Checked) -> Iterator[Found]:
    """A day is said once: open or closed, a day off or a workday."""
    pairs: list[tuple[Path, tuple[str, ...], tuple[str, ...]]] = []
    for number, hours in numbered_hours(seen):
        pairs.append(
            (("hours", number, "open"), tuple(text.strip().partition(" ")[0] for text in hours.open), hours.closed)
        )
    for number, each in zip(seen.numbers["holidays"], seen.rules.holidays, strict=True):
        pairs.append((("holidays", number, "workdays"), each.workdays, each.closed))
    for path, ones, others in pairs:
        try:
            both = {day for text in others for day in dates(text)}
            for i, text in enumerate(ones):
                twice = sorted(both & set(dates(text)))
                if twice:
                    yield Found((*path, i), "open-and-closed", {"day": twice[0].isoformat()})
        except BadHours:
            continue  # said already


# ---- what hours come to


def overlaps(seen: Checked) -> Iterator[Found]:
    for number, hours in numbered_hours(seen):
        by_day: dict[int, list[tuple[int, int]]] = {}
        for text in hours.weekly:
            days, spans = week(text)
            for day in days:
                by_day.setdefault(day, []).extend(spans)
        for day in sorted(by_day):
            if any(begins < ended for (_, ended), (begins, _) in pairwise(sorted(by_day[day]))):
                yield Found(("hours", number, "weekly"), "hours-overlap", {"day": DAYS[day]}, severity="warning")
                break


def openings(seen: Checked, at: int) -> Iterator[Found]:
    if ("time_zone",) in seen.torn:
        return
    for number, hours in numbered_hours(seen):
        if ("hours", number) not in seen.torn:
            try:
                edges = edges_of(hours, seen.rules.holidays, seen.rules.time_zone, at).edges
            except (KeyError, ValueError, OSError):  # an unknown zone, said already
                continue
            if len(edges) < 2 and edges != (horizon(at)[0],):  # one edge at the very beginning: it never closes
                severe = not hours.weekly and not hours.open
                yield Found(
                    ("hours", number, "id"),
                    "hours-never",
                    {"id": as_toml(hours.id)},
                    severity="error" if severe else "warning",
                )


def calendars(seen: Checked, at: int) -> Iterator[Found]:
    for number, hours in numbered_hours(seen):
        if hours.holidays:
            for code, year in gaps(hours, seen.rules.holidays, at):
                numbers: Said = {"country": hours.holidays, "year": str(year)}
                yield Found(("hours", number, "holidays"), code, numbers, severity="warning")


# ---- queues and their doors


def hours_are_known(seen: Checked) -> Iterator[Found]:
    known = tuple(hours.id for hours in seen.rules.hours)
    if not seen.whole("hours"):
        return
    named: set[str] = set()
    for number, queue in numbered_queues(seen):
        path: Path = ("queues", number, "hours")
        said = queue.hours if isinstance(queue.hours, dict) else {"": queue.hours} if queue.hours else {}
        for channel, id in said.items():
            place = (*path, channel) if channel else path
            named.add(id)
            if id not in known:
                yield unknown(place, "unknown-hours", id, known)
            if channel and channel not in queue.channels:
                yield Found(place, "hours-channel", {"channel": as_toml(channel)}, severity="warning")
    if seen.whole("queues"):
        for number, hours in numbered_hours(seen):
            if hours.id not in named:
                yield Found(("hours", number, "id"), "hours-unused", {"id": as_toml(hours.id)}, severity="warning")


def holidays_are_named(seen: Checked) -> Iterator[Found]:
    named = {hours.holidays for hours in seen.rules.hours}
    for number, each in zip(seen.numbers["holidays"], seen.rules.holidays, strict=True):
        if each.id not in named and seen.whole("hours"):
            yield Found(("holidays", number, "id"), "holidays-unused", {"id": as_toml(each.id)}, severity="warning")


def doors_fit(seen: Checked) -> Iterator[Found]:
    """What is said of doors that can never come to it."""
    doors = seen.rules.doors
    for number, queue in numbered_queues(seen):
        path: Path = ("queues", number)
        if path in seen.torn:
            continue
        for key in ("on_close", "closed"):
            if getattr(queue, key) is not None and not queue.hours:
                yield Found((*path, key), "needs-hours", {"key": key}, severity="warning")
        if queue.full is not None and not queue.most_waiting and not doors.most_waiting:
            yield Found((*path, "full"), "needs-most-waiting", severity="warning")
        if queue.most_waiting and doors.most_waiting and queue.most_waiting > doors.most_waiting:
            numbers: Said = {"most": queue.most_waiting, "pools": doors.most_waiting}
            yield Found((*path, "most_waiting"), "most-above-pool", numbers, severity="warning")


def ways(seen: Checked) -> Iterator[Found]:
    if not seen.whole("queues"):
        return
    queues = {queue.id: queue for queue in seen.rules.queues}
    for number, queue in numbered_queues(seen):
        for i, said in enumerate(queue.alternatives):
            place: Path = ("queues", number, "alternatives", i)
            queue_id, channel = way_of(said, set(queues))
            other = queues.get(queue_id)
            if other is None:
                yield unknown(place, "unknown-queue", queue_id, tuple(queues))
            elif other is queue and not channel:
                yield Found(place, "alternative-itself", {"channels": tuple(f"{queue_id}/{each}" for each in CHANNELS)})
            elif not set(other.channels) & ({channel} if channel else set(queue.channels)):
                yield Found(place, "alternative-not-served", {"found": as_toml(said)})

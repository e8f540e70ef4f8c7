"""Opening hours: from days of the week, holidays and exceptions to the UTC seconds at which doors open and close.

They are worked out before they enter the log, since what they depend on (time zones, holidays) changes outside; for a
horizon of whole quarters, so that an unchanged file gives the same rules throughout a quarter. At the end of the
horizon the doors open: nobody is turned away because nobody has worked out more.

A day's hours are those that begin on it; past midnight they run into the next day, whatever that is. Where clocks are
put forward, doors open or close at the moment of the leap if their time is skipped; where clocks are put back, they
open at the first and close at the last of two equal times.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from engine.core.rules import Hours, Rule, Rules
from engine.core.words import Id, Key, Text

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
QUARTERS = 3  # the present one and two more: the horizon is half a year away at least
DATES_MOST = 4_000  # days that one list may name
WARN_DAYS = 30  # before what is known of a calendar ends

Spans = tuple[tuple[int, int], ...]  # (from, to) in minutes after midnight; `to` is the later, past 24:00 if need be


class SaidHours(Rule, frozen=True):
    """Opening hours as people write them. weekly: `mon-fri 09:00-12:00, 13:00-17:30`; closed: `2026-12-24` or
    `2026-12-24..2026-12-31`; open: `2026-12-20 10:00-16:00`, which that day has instead of its own. holidays: a country
    (`CN`), perhaps with a subdivision (`DE-BY`), whose holidays are closed. time_zone: the pool's by default."""

    id: Id
    weekly: tuple[Text, ...] = ()
    time_zone: Key = ""
    holidays: Key = ""
    closed: tuple[Text, ...] = ()
    open: tuple[Text, ...] = ()


class SaidHolidays(Rule, frozen=True):
    """What a country's calendar does not know, or has wrong: further days off, and days that are workdays after all.
    Stands best in a file of its own, which rules include."""

    id: Id
    closed: tuple[Text, ...] = ()
    workdays: tuple[Text, ...] = ()


class SaidRules(Rules, frozen=True):
    """A pool's rules as its file says them; `worked_out` makes those of the log."""

    hours: tuple[SaidHours, ...] = ()  # type: ignore[assignment]
    holidays: tuple[SaidHolidays, ...] = ()


class BadHours(ValueError):
    """A text that does not say hours or days. code: what is wrong with it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


# ---- what people write


def week(text: str) -> tuple[tuple[int, ...], Spans]:
    """`mon-wed,fri 09:00-17:30` -> (days, Monday is 0; spans). BadHours."""
    said = re.fullmatch(r"\s*([A-Za-z]+(?:\s*[-,]\s*[A-Za-z]+)*)\s+(\d.*)", text)
    if said is None:
        raise BadHours("hours-form", text)
    days: list[int] = []
    for part in said[1].split(","):
        if part.strip().casefold() == "daily":
            days += range(7)
            continue
        ends = [day_number(each) for each in part.split("-")]
        if len(ends) > 2:
            raise BadHours("hours-form", text)
        days += [(ends[0] + i) % 7 for i in range((ends[-1] - ends[0]) % 7 + 1)]
    return tuple(dict.fromkeys(days)), spans(said[2])


def day_number(text: str) -> int:
    name = text.strip().casefold()
    if name not in DAYS:
        raise BadHours("hours-day", text.strip())
    return DAYS.index(name)


def spans(text: str) -> Spans:
    """`09:00-12:00, 22:00-02:00` -> minutes after midnight; an end that is not after its start is the next day's."""
    found = []
    for part in text.split(","):
        said = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", part)
        if said is None:
            raise BadHours("hours-form", text)
        h, m, until_h, until_m = map(int, said.groups())
        begin, end = h * 60 + m, until_h * 60 + until_m
        if m > 59 or until_m > 59 or begin >= DAY_MIN or end > DAY_MIN:
            raise BadHours("hours-time", part.strip())
        if begin == end:
            raise BadHours("hours-empty", part.strip())
        found.append((begin, end if end > begin else end + DAY_MIN))
    return tuple(found)


def dates(text: str) -> Iterator[date]:
    """`2026-12-24` or `2026-12-24..2026-12-31`. BadHours."""
    first, _, last = text.partition("..")
    begin = day(first)
    end = day(last) if last else begin
    if not 0 <= (end - begin).days < DATES_MOST:
        raise BadHours("hours-days", text)
    for i in range((end - begin).days + 1):
        yield begin + timedelta(i)


def day(text: str) -> date:
    if re.fullmatch(r"\s*\d{4}-\d{2}-\d{2}\s*", text):
        try:
            return date.fromisoformat(text.strip())
        except ValueError:
            pass
    raise BadHours("hours-date", text.strip())


def opening(text: str) -> tuple[list[date], Spans]:
    """`2026-12-20 10:00-16:00`. BadHours."""
    said, _, rest = text.strip().partition(" ")
    return list(dates(said)), spans(rest)


# ---- calendars


class Calendar(NamedTuple):
    """A country's days off, and the workdays that make up for some of them, in some years."""

    off: frozenset[date]
    workdays: frozenset[date]


@lru_cache(64)
def calendar(country: str, years: tuple[int, ...]) -> Calendar:
    """BadHours: there is no such country, or no such subdivision of it."""
    import holidays  # takes a moment, and few rules need it

    code, _, part = country.partition("-")
    try:
        known = holidays.country_holidays(code, subdiv=part or None, years=years)
    except NotImplementedError:
        supported = holidays.list_supported_countries()
        raise BadHours("hours-subdivision" if code in supported else "hours-country", country) from None
    workdays: Any = getattr(known, "weekend_workdays", ())
    return Calendar(frozenset(known), frozenset(each for each in workdays if each.year in years))


def gaps(said: SaidHours, also: Sequence[SaidHolidays], at: int) -> Iterator[tuple[str, int]]:
    """(code, year) of what the calendar does not tell of the days to come, from 30 days before it matters on."""
    now = datetime.fromtimestamp(at / 1000, UTC)
    for year in sorted({now.year, (now + timedelta(WARN_DAYS)).year}):
        known = calendar(said.holidays, (year,))
        if not known.off:
            yield "hours-no-holidays", year
            continue
        makes_up = any(calendar(said.holidays, (before,)).workdays for before in range(year - 3, year))
        added = any(each.startswith(str(year)) for more in also if more.id == said.holidays for each in more.workdays)
        if makes_up and not known.workdays and not added:
            yield "hours-no-workdays", year


# ---- worked out


def horizon(at: int) -> tuple[int, int]:
    """(first, last + 1) second of the quarter in which `at` (milliseconds) falls and of those to come."""
    now = datetime.fromtimestamp(at / 1000, UTC)
    months = now.year * 12 + (now.month - 1) // 3 * 3

    def first(month: int) -> int:
        return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())

    return first(months), first(months + 3 * QUARTERS)


def worked_out(said: SaidRules, at: int) -> Rules:
    """The rules as they stand in the log, their hours for the horizon of `at` (milliseconds since the epoch)."""
    fields = {name: getattr(said, name) for name in Rules.__struct_fields__}
    return Rules(**fields | {"hours": tuple(edges_of(each, said.holidays, said.time_zone, at) for each in said.hours)})


def edges_of(said: SaidHours, also: Sequence[SaidHolidays], time_zone: str, at: int) -> Hours:
    """BadHours: a text in it says no hours."""
    begin, until = horizon(at)
    zone = ZoneInfo(said.time_zone or time_zone)
    days = Days(said, also, begin, until)
    found: list[tuple[int, int]] = []
    today = datetime.fromtimestamp(begin, UTC).date() - timedelta(2)
    last = datetime.fromtimestamp(until, UTC).date() + timedelta(2)
    while today <= last:
        for from_min, to_min in days.spans(today):
            found.append((opens_at(today, from_min, zone), closes_at(today, to_min, zone)))
        today += timedelta(1)
    edges: list[int] = []
    for opens, closes in sorted(found):
        opens, closes = max(opens, begin), min(closes, until)
        if opens >= closes:
            continue
        if edges and opens <= edges[-1]:
            edges[-1] = max(edges[-1], closes)
        else:
            edges += [opens, closes]
    if edges and edges[-1] == until:
        edges.pop()
    else:
        edges.append(until)
    return Hours(said.id, tuple(edges))


class Days:
    """What hours each day has."""

    def __init__(self, said: SaidHours, also: Sequence[SaidHolidays], begin: int, until: int) -> None:
        self.week: list[list[tuple[int, int]]] = [[] for _ in DAYS]
        for text in said.weekly:
            numbers, found = week(text)
            for number in numbers:
                self.week[number] += found
        self.extra: dict[date, list[tuple[int, int]]] = {}
        for text in said.open:
            on, found = opening(text)
            for each in on:
                self.extra.setdefault(each, []).extend(found)
        self.closed = {each for text in said.closed for each in dates(text)}
        self.off: set[date] = set()
        self.workdays: set[date] = set()
        if said.holidays:
            first, last = (datetime.fromtimestamp(each, UTC).year for each in (begin, until))
            known = calendar(said.holidays, tuple(range(first, last + 1)))
            self.off, self.workdays = set(known.off), set(known.workdays)
            for more in also:
                if more.id == said.holidays:
                    closed = {each for text in more.closed for each in dates(text)}
                    working = {each for text in more.workdays for each in dates(text)}
                    self.off = (self.off | closed) - working
                    self.workdays = (self.workdays | working) - closed

    def spans(self, on: date) -> list[tuple[int, int]]:
        """A make-up workday at a weekend has the hours of the first day from Monday to Friday that has any."""
        if on in self.extra:
            return self.extra[on]
        if on in self.closed or on in self.off:
            return []
        if on in self.workdays and on.weekday() >= 5:
            return next((found for found in self.week[:5] if found), [])
        return self.week[on.weekday()]


def opens_at(on: date, minutes: int, zone: ZoneInfo) -> int:
    """The first second at which clocks there show so many minutes after that midnight, or have skipped it."""
    first, last = instants(on, minutes, zone)
    return first if first <= last else leap(last, first, zone)


def closes_at(on: date, minutes: int, zone: ZoneInfo) -> int:
    """The end of the last minute in which clocks there show a time before so many minutes after that midnight."""
    first, last = instants(on, minutes - 1, zone)
    return last + 60 if first <= last else leap(last, first, zone)


def instants(on: date, minutes: int, zone: ZoneInfo) -> tuple[int, int]:
    """The seconds at which clocks there show that time for the first and the last time; where they skip it, the first
    is the later."""
    wall = datetime.combine(on, time()) + timedelta(minutes=minutes)
    first, last = (int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    return first, last


def leap(low: int, high: int, zone: ZoneInfo) -> int:
    """The second between these at which clocks there are put forward."""
    offset = datetime.fromtimestamp(low - 1, zone).utcoffset()
    while low < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle + 1
        else:
            high = middle
    return low


# ---- hosts


class Renewal:
    """The rules of a host's pools, worked out anew whenever a quarter begins; those that come as the log holds them
    stay as they are."""

    def __init__(self, said: Sequence[Rules]) -> None:
        self.said = tuple(said)
        self.horizon = (0, 0)

    def due(self, at: int) -> list[Rules]:
        """What has to be published at `at` (log time, milliseconds): all at first, then in each new quarter those
        with hours."""
        if horizon(at) == self.horizon:
            return []
        first = self.horizon == (0, 0)
        self.horizon = horizon(at)
        said = [each for each in self.said if first or (isinstance(each, SaidRules) and each.hours)]
        return [worked_out(each, at) if isinstance(each, SaidRules) else each for each in said]

    def forget(self) -> None:
        """What was due could not be published: all is due again."""
        self.horizon = (0, 0)


def ends_at(rules: Rules) -> int | None:
    """The last second for which the rules' hours are worked out; None where they hold none."""
    return max((hours.edges[-1] for hours in rules.hours if hours.edges), default=None)

"""Hours are worked out as people mean them: minute by minute, over midnight, holidays and changing clocks."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.doors import is_open, next_edge
from engine.core.rules import Rules, hash_of
from engine.streams.hours import (
    BadHours,
    Renewal,
    SaidHolidays,
    SaidHours,
    calendar,
    dates,
    edges_of,
    ends_at,
    gaps,
    horizon,
    opening,
    week,
    worked_out,
)
from engine.streams.rules_file import parse_rules

ZONES = (
    "Europe/Amsterdam",
    "America/New_York",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
)
DAY_S = 86_400
DESK = """pool = "desk"
[[queues]]
id = "a"
hours = "day"
[[hours]]
id = "day"
weekly = ["mon-fri 09:00-17:00"]
"""


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def open_at(said: SaidHours, text: str, zone: str = "UTC", also: tuple[SaidHolidays, ...] = ()) -> bool:
    """Whether it is open at that time of the zone's clocks."""
    at = ms(text, zone)
    return is_open(tuple(edge * 1000 for edge in edges_of(said, also, zone, at).edges), at)


def shown(said: SaidHours, on: str, zone: str = "UTC", also: tuple[SaidHolidays, ...] = ()) -> str:
    """When doors open and close within a day and a half of the zone's clocks, in UTC."""
    begin = ms(on, zone) // 1000
    edges = edges_of(said, also, zone, begin * 1000).edges
    seen = [datetime.fromtimestamp(edge, UTC) for edge in edges if begin <= edge < begin + DAY_S * 3 // 2]
    return " ".join(f"{edge:%dT%H:%M}" for edge in seen)


# ---- what people write


def test_weeks_are_read():
    assert week("mon-fri 09:00-17:30") == ((0, 1, 2, 3, 4), ((540, 1050),))
    assert week("Sat,sun 10:00-12:00, 13:00-14:00") == ((5, 6), ((600, 720), (780, 840)))
    assert week("fri-mon 0:00-24:00") == ((4, 5, 6, 0), ((0, 1440),))
    assert week("daily 22:00-02:00") == ((0, 1, 2, 3, 4, 5, 6), ((1320, 1560),))
    assert week("mon,mon 09:00-10:00") == ((0,), ((540, 600),))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nine to five", "hours-form"),
        ("mon", "hours-form"),
        ("mon 09:00", "hours-form"),
        ("mon-tue-wed 09:00-10:00", "hours-form"),
        ("moon 09:00-10:00", "hours-day"),
        ("mon 24:00-25:00", "hours-time"),
        ("mon 09:60-10:00", "hours-time"),
        ("mon 10:00-10:00", "hours-empty"),
    ],
)
def test_what_says_no_hours_is_named(text: str, code: str):
    with pytest.raises(BadHours) as problem:
        week(text)
    assert problem.value.code == code


def test_days_are_read():
    assert list(dates("2026-12-24")) == [date(2026, 12, 24)]
    assert [day.day for day in dates("2026-12-30..2027-01-02")] == [30, 31, 1, 2]
    assert opening("2026-12-20 10:00-16:00") == ([date(2026, 12, 20)], ((600, 960),))
    for text, code in {
        "2026-02-30": "hours-date",
        "2026-2-3": "hours-date",
        "2026-12-24..2026-12-23": "hours-days",
    }.items():
        with pytest.raises(BadHours) as problem:
            list(dates(text))
        assert problem.value.code == code


# ---- days


def test_hours_that_run_past_midnight_belong_to_the_day_on_which_they_begin():
    said = SaidHours(
        "night", ("fri 22:00-02:00",), closed=("2026-11-28",)
    )  # that Saturday is closed, but not its night
    assert shown(said, "2026-11-27T12:00") == "27T22:00 28T02:00"
    assert shown(SaidHours("night", ("fri 22:00-02:00",), closed=("2026-11-27",)), "2026-11-27T12:00") == ""


def test_spans_that_touch_at_midnight_are_one():
    assert shown(SaidHours("all", ("fri 12:00-24:00", "sat 00:00-03:00")), "2026-11-27T00:00") == "27T12:00 28T03:00"
    always = edges_of(SaidHours("all", ("daily 00:00-24:00",)), (), "Asia/Kolkata", ms("2026-11-25T00:00"))
    assert always.edges == (horizon(ms("2026-11-25T00:00"))[0],)


def test_an_extra_opening_replaces_the_days_own_hours_and_outdoes_a_holiday():
    said = SaidHours(
        "day", ("mon-fri 09:00-17:00",), "", "DE", ("2026-11-26",), ("2026-11-27 12:00-13:00", "2026-12-25 10:00-11:00")
    )
    assert shown(said, "2026-11-26T00:00") == ""  # closed on that Thursday; until noon of Friday
    assert shown(said, "2026-11-27T00:00") == "27T12:00 27T13:00"
    assert shown(said, "2026-12-25T00:00") == "25T10:00 25T11:00"


def test_holidays_are_closed_and_a_country_may_have_parts():
    corpus_christi = "2026-06-04T10:00"  # a holiday in Bavaria, not in Berlin
    assert not open_at(SaidHours("day", ("mon-fri 09:00-17:00",), holidays="DE-BY"), corpus_christi)
    assert open_at(SaidHours("day", ("mon-fri 09:00-17:00",), holidays="DE-BE"), corpus_christi)
    for country, code in {"Atlantis": "hours-country", "DE-ZZ": "hours-subdivision"}.items():
        with pytest.raises(BadHours) as problem:
            calendar(country, (2026,))
        assert problem.value.code == code


def test_chinas_make_up_workdays_are_workdays_with_the_hours_of_the_first_weekday_that_has_any():
    said = SaidHours("day", ("mon 10:00-16:00", "tue-fri 09:00-17:00", "sat 08:00-08:30"), holidays="CN")
    zone = "Asia/Shanghai"
    assert not open_at(said, "2026-02-17T11:00", zone)  # spring festival
    assert date(2026, 2, 14) in calendar("CN", (2026,)).workdays  # a Saturday that is worked for it
    assert shown(said, "2026-02-14T00:00", zone) == "14T02:00 14T08:00"
    assert shown(said, "2026-11-28T00:00", zone) == "28T00:00 28T00:30"  # any other Saturday


def test_a_file_of_ones_own_outdoes_the_calendar():
    said = SaidHours("day", ("mon-fri 09:00-17:00",), holidays="CN")
    also = (SaidHolidays("CN", closed=("2026-02-14", "2026-11-27"), workdays=("2026-02-17", "2026-11-28")),)
    zone = "Asia/Shanghai"
    assert open_at(said, "2026-02-17T11:00", zone, also) and not open_at(said, "2026-02-14T11:00", zone, also)
    assert open_at(said, "2026-11-28T11:00", zone, also) and not open_at(said, "2026-11-27T11:00", zone, also)
    assert not open_at(said, "2026-11-28T11:00", zone, (SaidHolidays("DE", workdays=("2026-11-28",)),))


# ---- what calendars do not know


def test_a_year_without_make_up_workdays_is_warned_of_thirty_days_before():
    said = SaidHours("day", ("mon-fri 09:00-17:00",), holidays="CN")
    assert calendar("CN", (2040,)).off and not calendar("CN", (2040,)).workdays
    years = range(2020, 2040)
    unknown = next(
        year for year in years if calendar("CN", (year - 1,)).workdays and not calendar("CN", (year,)).workdays
    )
    assert list(gaps(said, (), ms(f"{unknown - 1}-11-30T00:00"))) == []
    assert list(gaps(said, (), ms(f"{unknown - 1}-12-02T00:00"))) == [("hours-no-workdays", unknown)]
    assert list(gaps(said, (), ms(f"{unknown}-05-02T00:00"))) == [("hours-no-workdays", unknown)]
    also = (SaidHolidays("CN", workdays=(f"{unknown}-02-20",)),)
    assert list(gaps(said, also, ms(f"{unknown}-05-02T00:00"))) == []
    assert list(gaps(SaidHours("day", holidays="DE"), (), ms(f"{unknown}-05-02T00:00"))) == []


def test_a_year_without_holidays_is_warned_of():
    reading = parse_rules(DESK + 'holidays = "CN"\n', "pool.toml", ms("2200-05-01T00:00"))
    assert [(each.line, each.code, each.severity) for each in reading.mistakes] == [(8, "hours-no-holidays", "warning")]
    assert reading.rules is not None


# ---- clocks that change


def test_where_clocks_are_put_forward_doors_open_or_close_at_the_leap():
    zone = "Europe/Amsterdam"  # 2027-03-28: 01:59 is followed by 03:00, which is 01:00 in UTC
    assert shown(SaidHours("a", ("sun 02:30-05:00",)), "2027-03-28T00:00", zone) == "28T01:00 28T03:00"
    assert shown(SaidHours("a", ("sat 20:00-02:30",)), "2027-03-28T00:00", zone) == "28T01:00"
    assert shown(SaidHours("a", ("sun 02:10-02:50",)), "2027-03-28T00:00", zone) == ""


def test_where_clocks_are_put_back_doors_open_at_the_first_and_close_at_the_last_of_two_equal_times():
    zone = "Europe/Amsterdam"  # 2026-10-25: 02:00 to 03:00 comes twice, from 00:00 and from 01:00 in UTC
    assert shown(SaidHours("a", ("sun 02:30-05:00",)), "2026-10-25T00:00", zone) == "25T00:30 25T04:00"
    assert shown(SaidHours("a", ("sat 20:00-02:30",)), "2026-10-25T00:00", zone) == "25T01:30"
    assert shown(SaidHours("a", ("sun 02:10-02:50",)), "2026-10-25T00:00", zone) == "25T00:10 25T01:50"
    assert shown(SaidHours("a", ("sat 20:00-02:00",)), "2026-10-25T00:00", zone) == "25T00:00"


def test_hours_have_a_time_zone_of_their_own_where_they_say_one():
    said = SaidHours("a", ("fri 09:00-10:00",), time_zone="Asia/Kolkata")  # half an hour off, and no summer time
    assert shown(said, "2026-11-27T00:00", "Europe/Amsterdam") == "27T03:30 27T04:30"


# ---- minute by minute


@lru_cache(2)
def local_minutes(zone: str, begin: int, count: int) -> list[datetime]:
    there = ZoneInfo(zone)
    return [datetime.fromtimestamp(begin + 60 * i, there).replace(tzinfo=None, fold=0) for i in range(count)]


def by_minutes(said: SaidHours, zone: str, begin: int, days: int) -> list[bool]:
    """For each minute from `begin` whether it is open: a span opens in the first minute at which clocks show its begin
    or later, and closes after the last minute at which they show a time before its end."""
    shift = 3 * 1440  # looked at before, so that no span is missed
    minutes = local_minutes(zone, begin - shift * 60, days * 1440 + 2 * shift)
    first, last = minutes[0].date(), minutes[-1].date()
    found = [False] * len(minutes)
    extra = {day: spans_ for text in said.open for day in opening(text)[0] for spans_ in [opening(text)[1]]}
    closed = {day for text in said.closed for day in dates(text)}
    on = first + timedelta(1)
    while on < last - timedelta(1):
        mine: list[tuple[int, int]] = []
        if on in extra:
            mine += extra[on]
        elif on not in closed:
            for text in said.weekly:
                numbers, of_week = week(text)
                mine += of_week if on.weekday() in numbers else ()
        for from_min, to_min in mine:
            opens = datetime.combine(on, time()) + timedelta(minutes=from_min)
            closes = datetime.combine(on, time()) + timedelta(minutes=to_min)
            after = next(i for i, shown_ in enumerate(minutes) if shown_ >= opens)
            until = [i for i, shown_ in enumerate(minutes) if shown_ < closes][-1]
            found[after : until + 1] = [True] * max(0, until + 1 - after)
        on += timedelta(1)
    return found[shift : shift + days * 1440]


times = st.tuples(st.integers(0, 47), st.integers(1, 47)).map(
    lambda x: (
        f"{x[0] // 2:02}:{x[0] % 2 * 30 + 7 * (x[1] % 3):02}-{(x[0] + x[1]) // 2 % 24:02}:{(x[0] + x[1]) % 2 * 30:02}"
    )
)
weeklies = st.lists(
    st.tuples(
        st.lists(st.sampled_from(("mon", "tue", "fri", "sat", "sun")), min_size=1, max_size=3, unique=True), times
    ),
    max_size=4,
).map(lambda each: tuple(f"{','.join(days)} {span}" for days, span in each))


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    weekly=weeklies,
    turn=st.sampled_from(("2026-10-25", "2026-11-01", "2027-03-28", "2027-03-14", "2027-04-04", "2026-12-24")),
    closed=st.booleans(),
    extra=st.one_of(st.none(), times),
)
def test_hours_are_what_they_are_minute_by_minute(
    zone: str, weekly: tuple[str, ...], turn: str, closed: bool, extra: str | None
):
    day = date.fromisoformat(turn)
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) - 2 * DAY_S
    said = SaidHours(
        "a",
        weekly,
        closed=((day + timedelta(1)).isoformat(),) if closed else (),
        open=(f"{turn} {extra}",) if extra else (),
    )
    edges = tuple(edge * 1000 for edge in edges_of(said, (), zone, begin * 1000).edges)
    assert [is_open(edges, (begin + 60 * i) * 1000) for i in range(5 * 1440)] == by_minutes(said, zone, begin, 5)
    assert list(edges) == sorted(set(edges)), "they open and close by turns"


# ---- the horizon


def rules_at(text: str) -> Rules:
    said = (
        'pool = "desk"\n[[queues]]\nid = "a"\nhours = "day"\n[[hours]]\nid = "day"\nweekly = ["mon-fri 09:00-17:00"]\n'
    )
    rules = parse_rules(said, "pool.toml", ms(text)).rules
    assert rules is not None
    return rules


def test_an_unchanged_file_gives_the_same_rules_throughout_a_quarter_and_others_in_the_next():
    first, last, after = (
        hash_of(rules_at(each)) for each in ("2026-10-01T00:00", "2026-12-31T23:59", "2027-01-01T00:00")
    )
    assert first == last != after


def test_the_horizon_is_half_a_year_away_at_least_and_there_the_doors_open():
    rules = rules_at("2026-12-31T23:59")
    assert ends_at(rules) == ms("2027-07-01T00:00") // 1000
    edges = tuple(edge * 1000 for edge in rules.hours[0].edges)
    assert is_open(edges, ms("2027-07-01T00:00")) and is_open(edges, ms("2031-01-01T00:00"))
    assert next_edge(edges, ms("2027-07-01T00:00")) == 0


def test_rules_are_worked_out_again_when_a_quarter_begins_and_only_those_with_hours():
    with_hours = parse_rules(DESK, "a", 0).said
    without = parse_rules('pool = "b"\n[[queues]]\nid = "a"\n', "b", 0).said
    assert with_hours is not None and without is not None
    renewal = Renewal([with_hours, without])
    assert [rules.pool for rules in renewal.due(ms("2026-11-25T00:00"))] == ["desk", "b"]
    assert renewal.due(ms("2026-12-31T23:59")) == []
    assert renewal.due(ms("2027-01-01T00:00")) == [worked_out(with_hours, ms("2027-01-01T00:00"))]
    assert renewal.due(ms("2027-01-01T00:01")) == []


def test_rules_that_come_as_the_log_holds_them_are_due_once_as_they_are():
    rules = rules_at("2026-11-25T00:00")
    renewal = Renewal([rules])
    assert renewal.due(ms("2026-11-25T00:00")) == [rules]
    assert renewal.due(ms("2027-02-01T00:00")) == []
    renewal.forget()
    assert renewal.due(ms("2027-02-01T00:00")) == [rules], "what could not be published is due again"

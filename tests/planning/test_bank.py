"""A month of the Anonymous Bank is read as its documentation says, and whatever is odd in it is counted."""

import gzip
from pathlib import Path

import pytest

from engine.planning.bank import (
    DROPPED,
    FIELDS,
    HANDLED,
    BankFileError,
    Month,
    Service,
    Shift,
    read_month,
    shifts,
)
from engine.planning.bank_figures import Steps, beside_idle, gaps_between, out_of_order, pickup, quantile

MIDNIGHT = 915_148_800_000  # 1999-01-01
PLAIN = {
    "vru+line": "AA0101",
    "call_id": "1",
    "customer_id": "c1",
    "priority": "0",
    "type": "PS",
    "date": "990101",
    "vru_entry": "9:00:00",
    "vru_exit": "9:00:10",
    "vru_time": "10",
    "q_start": "0:00:00",
    "q_exit": "0:00:00",
    "q_time": "0",
    "outcome": "AGENT",
    "ser_start": "9:00:09",
    "ser_exit": "9:01:09",
    "ser_time": "60",
    "server": "ann",
}
SERVED: dict[str, str] = {}
WAITED = {"q_start": "9:00:10", "q_exit": "9:00:40", "q_time": "30", "ser_start": "9:00:39", "ser_exit": "9:01:39"}
UNSERVED = {"outcome": "HANG", "ser_start": "0:00:00", "ser_exit": "0:00:00", "ser_time": "0", "server": "NO_SERVER"}
HUNG_UP = UNSERVED | {"q_start": "9:00:10", "q_exit": "9:00:40", "q_time": "30"}
LATE = {"vru_entry": "23:59:40", "vru_exit": "23:59:50"}


def ms(clock: str, day: int = 0) -> int:
    hours, minutes, seconds = map(int, clock.split(":"))
    return MIDNIGHT + (day * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1000


def lines(*rows: dict[str, str]) -> str:
    """Rows that differ from PLAIN in these fields; their ids are told apart unless a row says its own."""
    said = [PLAIN | {"call_id": str(number)} | row for number, row in enumerate(rows, 1)]
    return "\n".join(["\t".join(PLAIN), *("\t".join(row.values()) for row in said)]) + "\n"


@pytest.fixture
def reading(tmp_path):
    """A month of these rows, read."""

    def read(*rows: dict[str, str]) -> Month:
        path = tmp_path / "month.tsv"
        path.write_text(lines(*rows))
        return read_month(path)

    return read


def counted(month: Month) -> dict[str, int]:
    return {reason: count for reason, count in (month.dropped | month.handled).items() if count}


# ---- calls


def test_a_call_that_never_queued_arrives_when_it_leaves_the_voice_unit(reading):
    (call,) = reading(SERVED).calls
    assert (call.arrives_at, call.outcome, call.wait_s, call.service_s) == (ms("9:00:10"), "answered", 0, 60)
    assert (call.contact_id, call.agent_id, call.customer) == ("990101-AA0101-1", "ann", "c1")


def test_a_call_that_queued_arrives_at_the_queue(reading):
    (call,) = reading(WAITED | {"vru_exit": "9:00:05", "priority": "2", "customer_id": "0"}).calls
    assert (call.arrives_at, call.wait_s, call.priority, call.customer) == (ms("9:00:10"), 30, 2, "")


def test_who_hung_up_while_queued_has_the_recorded_patience_and_no_agent(reading):
    (call,) = reading(HUNG_UP).calls
    assert (call.outcome, call.wait_s, call.service_s, call.agent_id) == ("abandoned", 30, 0, "")


def test_calls_come_in_order_of_arrival_and_those_of_one_second_in_the_order_of_the_file(reading):
    early = {"vru_entry": "8:00:00", "vru_exit": "8:00:10", "ser_start": "8:00:10", "ser_exit": "8:01:10"}
    assert [call.contact_id[-1] for call in reading(SERVED, SERVED, early).calls] == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("phantom", {"outcome": "PHANTOM"}),
        ("outcome-unknown", {"outcome": "RING"}),
        ("type-unknown", {"type": "AA"}),
        ("priority-unknown", {"priority": "3"}),
        ("no-agent", {"server": "NO_SERVER"}),
        ("no-agent", {"server": ""}),
        ("runs-backwards", WAITED | {"q_exit": "9:00:05", "q_time": "-5"}),
        ("runs-backwards", WAITED | {"q_start": "9:00:02", "q_exit": "9:00:32"}),
        ("runs-backwards", {"ser_start": "8:59:00", "ser_exit": "9:00:00"}),
        ("runs-backwards", {"ser_exit": "9:00:05", "ser_time": "4"}),
        ("runs-backwards", {"vru_exit": "8:59:00"}),
        ("runs-backwards", {"ser_exit": "9:00:09", "ser_time": "-1"}),
        ("clocks-contradict-duration", WAITED | {"q_time": "33"}),
        ("clocks-contradict-duration", {"ser_time": "57"}),
        ("hung-up-before-queue", UNSERVED),
        ("hung-up-on-joining", HUNG_UP | {"q_exit": "9:00:10", "q_time": "0"}),
        ("unreadable-field", {"date": "990231"}),
        ("unreadable-field", {"date": "99010"}),
        ("unreadable-field", {"vru_exit": "9:60:10"}),
        ("unreadable-field", {"ser_start": "48:00:00"}),
        ("unreadable-field", {"ser_time": "6O"}),
        ("unreadable-field", {"server": "ann\x00"}),
        ("unreadable-field", {"call_id": "7" * 41}),
        ("row-shape", {"server": "ann\tbob"}),
    ],
)
def test_a_row_that_is_no_call_is_left_out_and_counted_by_reason(reading, reason, row):
    month = reading(HUNG_UP, HUNG_UP, row)
    assert len(month.calls) == 2
    assert counted(month) == {reason: 1}


def test_the_same_row_again_is_left_out(reading):
    month = reading({"call_id": "7"}, {"call_id": "7"})
    assert (len(month.calls), counted(month)) == (1, {"duplicate": 1})


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("past-midnight", LATE | {"ser_start": "23:59:50", "ser_exit": "0:00:50"}),
        ("past-midnight", LATE | {"ser_start": "23:59:50", "ser_exit": "24:00:50"}),
        ("type-tidied", {"type": " ps?"}),
        ("voice-unit-runs-backwards", WAITED | {"vru_entry": "9:00:30"}),
        ("clocks-disagree", WAITED | {"ser_start": "9:00:30", "ser_exit": "9:01:30"}),
        ("service-of-no-length", {"ser_exit": "9:00:09", "ser_time": "0"}),
        ("service-without-clock", {"ser_start": "0:00:00", "ser_exit": "0:00:00", "ser_time": "0"}),
        ("hung-up-with-service", HUNG_UP | {"ser_start": "9:00:40", "ser_exit": "9:01:40", "ser_time": "60"}),
    ],
)
def test_a_row_that_is_odd_is_a_call_and_counted(reading, reason, row):
    month = reading(HUNG_UP, row)
    assert (len(month.calls), counted(month)) == (2, {reason: 1})


def test_every_reason_has_been_seen_in_these_tests():
    said = Path(__file__).read_text()
    assert [reason for reason in (*DROPPED, *HANDLED) if f'"{reason}"' not in said] == []


def test_a_wait_and_a_service_past_midnight_go_on_in_the_next_day(reading):
    row = LATE | {"q_start": "23:59:50", "q_exit": "0:00:20", "q_time": "30", "ser_start": "0:00:20"}
    month = reading(row | {"ser_exit": "0:01:20"})
    assert (month.calls[0].arrives_at, month.calls[0].wait_s) == (ms("23:59:50"), 30)
    assert (month.services[0].from_at, month.services[0].until_at) == (ms("0:00:20", 1), ms("0:01:20", 1))


def test_a_call_id_that_was_used_before_makes_another_contact(reading):
    month = reading({"call_id": "7"}, {"call_id": "7", "server": "bob"})
    assert [call.contact_id for call in month.calls] == ["990101-AA0101-7", "990101-AA0101-7-again-2"]
    assert counted(month) == {"id-used-twice": 1}


def test_a_service_without_clock_tells_nothing_of_presence(reading):
    month = reading(SERVED, {"ser_start": "0:00:00", "ser_exit": "0:00:00", "ser_time": "0", "server": "bob"})
    assert [service.agent_id for service in month.services] == ["ann"]


def test_what_the_whole_file_says_is_counted_before_any_row_is_left_out(reading):
    month = reading(WAITED, {"server": "NO_SERVER"}, HUNG_UP | {"type": "AA"}, UNSERVED, {"outcome": "PHANTOM"})
    assert month.raw == [("answered", 30, 60), ("answered", 0, 60), ("abandoned", 30, 0)]


# ---- files


def test_a_packed_file_reads_like_a_plain_one_whatever_its_name(tmp_path):
    plain, packed = tmp_path / "plain.tsv.gz", tmp_path / "packed.tsv"
    plain.write_text(lines(SERVED, HUNG_UP))
    packed.write_bytes(gzip.compress(lines(SERVED, HUNG_UP).encode()))
    assert read_month(plain) == read_month(packed)


def test_windows_line_ends_a_byte_order_mark_and_another_order_of_columns_are_understood(tmp_path):
    columns = [line.split("\t") for line in lines(SERVED, HUNG_UP).splitlines()]
    turned = "\ufeff" + "".join("\t".join(reversed(cells)) + "\r\n" for cells in columns)
    (tmp_path / "turned.tsv").write_bytes(turned.encode())
    (tmp_path / "plain.tsv").write_text(lines(SERVED, HUNG_UP))
    assert read_month(tmp_path / "turned.tsv") == read_month(tmp_path / "plain.tsv")


@pytest.mark.parametrize("field", FIELDS)
def test_a_file_without_a_field_is_refused_by_its_name(tmp_path, field):
    path = tmp_path / "month.tsv"
    path.write_text(lines(SERVED).replace(field, "other", 1))
    with pytest.raises(BankFileError, match=rf"line 1: the field '{field.replace('+', '.')}' is missing"):
        read_month(path)


def test_a_file_of_which_most_cannot_be_read_is_refused_with_line_and_field(reading):
    with pytest.raises(BankFileError, match=r"line 3: field 'q_time': '1\.5' is not a number of seconds \(2 of 3 rows"):
        reading(SERVED, {"q_time": "1.5"}, {"q_time": "1.5"})


def test_the_first_damaged_row_is_told_with_line_and_field(reading):
    month = reading(SERVED, SERVED, SERVED, {"date": "today"}, {"server": "ann\tbob"})
    assert month.damage == "line 5: field 'date': 'today' is not yymmdd"


def test_a_file_without_any_call_is_refused(reading):
    with pytest.raises(BankFileError, match=r"line 2: no row .* \(of 2: phantom 2\)"):
        reading({"outcome": "PHANTOM"}, {"outcome": "PHANTOM"})
    with pytest.raises(BankFileError, match="line 2: there is no row"):
        reading()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00", b"\x00\xff\xfe" * 999, b"a,b,c\n1,2,3\n"])
def test_a_file_of_another_kind_is_refused_in_words(tmp_path, content):
    path = tmp_path / "month.tsv"
    path.write_bytes(content)
    with pytest.raises(BankFileError, match=r"line 1: the field 'vru.line' is missing|packed file is damaged"):
        read_month(path)


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "month.tsv.gz"
    path.write_bytes(gzip.compress(lines(*[SERVED] * 500).encode())[:-200])
    with pytest.raises(BankFileError, match="cut off"):
        read_month(path)


# ---- agents


def service(agent: str, start: str, end: str, kind: str = "PS", day: int = 0, end_day: int | None = None) -> Service:
    at_end = ms(end, day if end_day is None else end_day)
    return Service(agent, MIDNIGHT + day * 86_400_000, ms(start, day), at_end, kind)


def test_an_agent_is_away_in_gaps_longer_than_the_given_one_and_there_in_shorter_ones():
    services = [service("ann", "9:00:00", "9:01:00"), service("ann", "9:06:00", "9:07:00", "IN")]
    assert shifts(services, 300) == [Shift("ann", MIDNIGHT, ("PS", "IN"), ((ms("9:00:00"), ms("9:07:00")),))]
    assert shifts(services, 299)[0].stays == (
        (ms("9:00:00"), ms("9:01:00")),
        (ms("9:06:00"), ms("9:07:00")),
    )


def test_a_short_service_within_a_long_one_does_not_shorten_the_stay():
    services = [service("ann", "9:00:00", "9:30:00"), service("ann", "9:05:00", "9:06:00")]
    assert shifts(services, 0)[0].stays == ((ms("9:00:00"), ms("9:30:00")),)


def test_skills_are_those_of_the_day():
    services = [service("ann", "9:00:00", "9:01:00", "NW"), service("ann", "9:00:00", "9:01:00", "PE", day=1)]
    assert [shift.kinds for shift in shifts(services, 300)] == [("NW",), ("PE",)]


def test_a_day_that_reaches_into_the_agents_next_day_is_cut_there(reading):
    late = LATE | {"ser_start": "23:59:50", "ser_exit": "0:10:00", "ser_time": "610"}
    early = {"date": "990102", "vru_entry": "0:00:00", "vru_exit": "0:05:00", "ser_start": "0:05:00"}
    month = reading(late, early | {"ser_exit": "0:06:00"})
    assert month.handled["agent-in-two-days"] == 1
    assert [shift.stays for shift in shifts(month.services, 300)] == [
        ((ms("23:59:50"), ms("0:05:00", 1) - 1),),
        ((ms("0:05:00", 1), ms("0:06:00", 1)),),
    ]


def test_an_agent_on_two_calls_at_once_is_counted_beyond_two_seconds(reading):
    month = reading(
        SERVED, {"ser_start": "9:01:07", "ser_exit": "9:02:07"}, {"ser_start": "9:02:00", "ser_exit": "9:03:00"}
    )
    assert month.handled["agent-on-two-calls"] == 1


# ---- figures


def test_a_quantile_is_the_shortest_that_so_many_percent_did_not_exceed():
    assert [quantile(range(1, 11), percent) for percent in (0, 10, 11, 50, 90, 95, 100)] == [1, 1, 2, 5, 9, 10, 10]
    assert quantile([], 50) is None


def test_steps_know_how_long_some_interval_held():
    steps = Steps([(10, 20), (15, 30), (40, 50), (60, 60)])
    assert [steps.covered_until(time) for time in (5, 10, 18, 30, 35, 45, 99)] == [0, 0, 8, 20, 20, 25, 30]
    assert steps.hold_throughout(12, 29)
    assert not steps.hold_throughout(29, 41)


def test_free_time_is_what_no_call_covers_of_a_stay():
    assert gaps_between([(0, 5), (3, 4), (8, 20), (12, 15)], [(0, 10), (18, 30)]) == [(5, 8), (20, 30)]


def test_a_wait_beside_an_agent_who_is_free_by_the_presence_rule_is_found(reading):
    # Ann's two calls leave 90 s between them; the caller waits for the last 30 of those.
    waits = {"vru_exit": "9:02:09", "q_start": "9:02:09", "q_exit": "9:03:39", "q_time": "90"} | UNSERVED
    month = reading(SERVED, {"ser_start": "9:02:39", "ser_exit": "9:12:39", "ser_time": "600"}, waits)
    found = beside_idle(month.calls, month.services, shifts(month.services, 300))
    assert (found.calls, found.of_calls, found.waited_s, found.of_waited_s) == (1, 1, 30, 90)
    assert beside_idle(month.calls, month.services, shifts(month.services, 60)).calls == 0


def test_a_pause_counts_as_picking_up_only_while_somebody_waits_all_along(reading):
    waits = {"vru_exit": "9:01:00", "q_start": "9:01:00", "q_exit": "9:01:19", "q_time": "19"}
    month = reading(SERVED, waits | {"ser_start": "9:01:19", "ser_exit": "9:02:19"})
    assert pickup(month.calls, month.services, 300).mean_s == 10.0
    month = reading(
        SERVED, waits | {"ser_start": "9:01:19", "ser_exit": "9:02:19", "q_start": "9:01:10", "q_time": "9"}
    )
    assert pickup(month.calls, month.services, 300).times == 0


def test_a_call_answered_before_one_of_its_type_that_is_due_earlier_is_out_of_order(reading):
    first = WAITED | {"q_exit": "9:02:10", "q_time": "120", "ser_start": "9:02:10", "ser_exit": "9:03:10"}
    second = WAITED | {"vru_exit": "9:00:20", "q_start": "9:00:20", "q_exit": "9:00:50", "ser_start": "9:00:50"}
    second |= {"ser_exit": "9:01:50", "server": "bob"}
    assert out_of_order(reading(first, second).calls, 90).answered == 1
    assert out_of_order(reading(first, second | {"priority": "2"}).calls, 90).answered == 0
    assert out_of_order(reading(first, second | {"type": "NW"}).calls, 90).answered == 0


# ---- the month that is known


def test_january_is_what_is_known_of_it(shared):
    month = read_month(shared / "data/anonymous-bank/january-1999.tsv.gz")
    waits = sorted(wait for _, wait, _ in month.raw if wait)
    services = [length for outcome, _, length in month.raw if outcome == "answered" and length]
    assert month.rows == 31_599
    assert sum(outcome == "answered" for outcome, _, _ in month.raw) == 27_060
    assert sum(outcome == "abandoned" for outcome, _, _ in month.raw) == 3_080
    assert (round(sum(waits) / len(waits), 1), quantile(waits, 50)) == (68.2, 46)
    assert round(sum(services) / len(services), 1) == 185.3


def test_of_january_every_row_is_a_call_or_counted(shared):
    month = read_month(shared / "data/anonymous-bank/january-1999.tsv.gz")
    assert len(month.calls) + sum(month.dropped.values()) == month.rows
    assert counted(month) == {
        "phantom": 240,
        "type-unknown": 2,
        "no-agent": 490,
        "hung-up-before-queue": 1_196,
        "hung-up-on-joining": 21,
        "past-midnight": 24,
        "voice-unit-runs-backwards": 32,
        "clocks-disagree": 124,
        "service-of-no-length": 196,
        "service-without-clock": 42,
        "hung-up-with-service": 83,
        "agent-on-two-calls": 405,
    }

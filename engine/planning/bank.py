"""Recorded calls of the Anonymous Bank: from a month's table to calls and agents' presence, what is left out counted.

Source: the "Anonymous Bank" call-centre data, documented by Ilan Guedj and Avishai Mandelbaum (Technion, 2000),
free for use with acknowledgement of the source. Any month of it can be read; nothing here is fitted to one.

The table's clocks name no zone. They are read as UTC, so that a log shows the times that stand in the table.
"""

import datetime as dt
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

ACKNOWLEDGEMENT = (
    'Data: "Anonymous Bank" call-centre data, documented by Ilan Guedj and Avishai Mandelbaum (Technion, 2000); '
    "free for use with acknowledgement of the source."
)

KINDS = {
    "PS": "regular activity",
    "PE": "regular activity in English",
    "IN": "internet help",
    "NE": "stock exchange",
    "NW": "prospective customer",
    "TT": "call returned on request",
}
PRIORITIES = (0, 1, 2)
FIELDS = (
    "vru+line",
    "call_id",
    "customer_id",
    "priority",
    "type",
    "date",
    "vru_entry",
    "vru_exit",
    "q_start",
    "q_exit",
    "q_time",
    "outcome",
    "ser_start",
    "ser_exit",
    "ser_time",
    "server",
)

# Why a row is no call of the replay. The order is that in which a row is asked.
DROPPED = (
    "row-shape",
    "duplicate",
    "unreadable-field",
    "phantom",
    "outcome-unknown",
    "type-unknown",
    "priority-unknown",
    "no-agent",
    "runs-backwards",
    "clocks-contradict-duration",
    "hung-up-before-queue",
    "hung-up-on-joining",
)
# What was odd about a row that is a call of the replay.
HANDLED = (
    "past-midnight",
    "type-tidied",
    "id-used-twice",
    "voice-unit-runs-backwards",
    "clocks-disagree",
    "service-of-no-length",
    "service-without-clock",
    "hung-up-with-service",
    "agent-on-two-calls",
    "agent-in-two-days",
)

DAY_S = 86_400
SLACK_S = 2  # clocks of different machines; the data's documentation speaks of one second, rounding adds another
DISAGREE_S = 5
CLOCK = re.compile(r"(\d{1,2}):([0-5]\d):([0-5]\d)")
PLAIN = re.compile(r"[\x21-\x7e]{1,40}")

Outcome = Literal["answered", "abandoned"]


class BankFileError(Exception):
    """The file is not of this shape. Says the line and the field, for a person."""


class Call(NamedTuple):
    """A recorded call that is replayed. service_s and agent_id are those of the record; 0 and "" where it hung up."""

    contact_id: str
    customer: str
    kind: str
    priority: int
    arrives_at: int
    outcome: Outcome
    wait_s: int
    service_s: int
    agent_id: str


class Service(NamedTuple):
    """An agent was with a call of this kind, on a day (its midnight), as the record has it."""

    agent_id: str
    day_at: int
    from_at: int
    until_at: int
    kind: str


class Shift(NamedTuple):
    """One agent's day: the kinds they served, and the stays [from_at, until_at] in which they were there."""

    agent_id: str
    day_at: int
    kinds: tuple[str, ...]
    stays: tuple[tuple[int, int], ...]


class Month(NamedTuple):
    """A file read. calls: those kept, by arrival. raw: outcome, wait and service in seconds of every AGENT row and of
    every HANG row with a queue time, also of those dropped. damage: the first unreadable row, said in words."""

    rows: int
    calls: list[Call]
    services: list[Service]
    dropped: dict[str, int]
    handled: dict[str, int]
    raw: list[tuple[Outcome, int, int]]
    damage: str


class Rejected(Exception):
    """This row is no call of the replay: a reason of DROPPED, and for a person where it is damaged."""

    def __init__(self, reason: str, damage: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.damage = damage


def read_month(path: Path) -> Month:
    """Reads a .tsv or .tsv.gz. Raises BankFileError for a file that is not of this shape; damaged rows are counted."""
    lines = enumerate(read_lines(path), 1)
    header = [name.strip() for name in next(lines, (1, ""))[1].lstrip("\ufeff").split("\t")]
    for field in FIELDS:
        if field not in header:
            found = ", ".join(header)[:200].encode("ascii", "replace").decode()
            raise BankFileError(f"line 1: the field '{field}' is missing; the line holds: {found or 'nothing'}")
    columns = [(field, header.index(field)) for field in FIELDS]
    dropped = dict.fromkeys(DROPPED, 0)
    handled = dict.fromkeys(HANDLED, 0)
    month = Month(0, [], [], dropped, handled, [], "")
    seen: set[str] = set()
    ids: dict[str, int] = {}
    rows, damaged, damage = 0, 0, ""
    for number, line in lines:
        if not line.strip():
            continue
        rows += 1
        try:
            cells = line.split("\t")
            if len(cells) != len(header):
                raise Rejected("row-shape", f"{len(cells)} fields where the header names {len(header)}")
            if line in seen:
                raise Rejected("duplicate")
            seen.add(line)
            row = {field: cells[column].strip() for field, column in columns}
            note_raw(row, month.raw)
            call, service, oddities = read_call(row)
        except Rejected as rejected:
            dropped[rejected.reason] += 1
            if rejected.damage:
                damaged += 1
                damage = damage or f"line {number}: {rejected.damage}"
            continue
        ids[call.contact_id] = uses = ids.get(call.contact_id, 0) + 1
        if uses > 1:
            handled["id-used-twice"] += 1
            call = call._replace(contact_id=f"{call.contact_id}-again-{uses}")
        for oddity in oddities:
            handled[oddity] += 1
        month.calls.append(call)
        if service is not None:
            month.services.append(service)
    if not rows:
        raise BankFileError("line 2: there is no row after the header")
    if damaged * 2 > rows:
        raise BankFileError(f"{damage} ({damaged} of {rows} rows cannot be read)")
    if not month.calls:
        counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise BankFileError(f"line 2: no row up to the end is a call that can be replayed (of {rows}: {counts})")
    month.calls.sort(key=lambda call: call.arrives_at)  # stable: rows of one second stay in the order of the file
    month.services.sort()
    handled["agent-on-two-calls"] = sum(1 for _ in overlaps(month.services, SLACK_S * 1000))
    handled["agent-in-two-days"] = two_days(month.services)
    return month._replace(rows=rows, damage=damage)


def read_lines(path: Path) -> Iterator[str]:
    """Lines without their ends, unpacked where the file is packed, whatever its name."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as data:
            yield from (line.rstrip("\r\n") for line in io.TextIOWrapper(data, "utf-8", errors="replace", newline="\n"))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BankFileError(f"the packed file is damaged or cut off: {error}") from error
    except OSError as error:
        raise BankFileError(f"cannot be read: {error.strerror or error}") from error


def note_raw(row: dict[str, str], raw: list[tuple[Outcome, int, int]]) -> None:
    """What the record says by its outcomes alone, before anything is asked of the row."""
    if row["outcome"] == "AGENT":
        raw.append(("answered", lenient(row["q_time"]), lenient(row["ser_time"])))
    elif row["outcome"] == "HANG" and lenient(row["q_time"]):
        raw.append(("abandoned", lenient(row["q_time"]), 0))


def lenient(text: str) -> int:
    """A number of seconds above 0, else 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def read_call(row: dict[str, str]) -> tuple[Call, Service | None, list[str]]:
    """A row's call, its agent's time with it, and what was odd (of HANDLED). Raises Rejected."""
    oddities: list[str] = []
    outcome = row["outcome"]
    if outcome == "PHANTOM":
        raise Rejected("phantom")
    if outcome not in ("AGENT", "HANG"):
        raise Rejected("outcome-unknown")
    kind = row["type"]
    if kind not in KINDS:
        kind = "".join(c for c in kind.upper() if c.isascii() and c.isalpha())
        if kind not in KINDS:
            raise Rejected("type-unknown")
        oddities.append("type-tidied")
    if row["priority"] not in {str(priority) for priority in PRIORITIES}:
        raise Rejected("priority-unknown")
    server = row["server"]
    if outcome == "AGENT" and server in ("", "NO_SERVER"):
        raise Rejected("no-agent")

    day_at = read_date(row)
    entry, leaves_unit, q_start, q_exit, ser_start, ser_exit = (
        read_clock(row, field) for field in ("vru_entry", "vru_exit", "q_start", "q_exit", "ser_start", "ser_exit")
    )
    q_time, ser_time = read_number(row, "q_time"), read_number(row, "ser_time")
    queued = bool(q_start or q_exit or q_time)
    served = outcome == "AGENT" and bool(ser_start or ser_exit or ser_time)

    leaves_unit = after(entry, leaves_unit, slack=DAY_S)
    if leaves_unit < entry:
        if not queued:
            raise Rejected("runs-backwards")
        oddities.append("voice-unit-runs-backwards")  # the queue's and the service's times are sound in such rows
    arrives = leaves_unit
    if queued:
        arrives = q_start = after(leaves_unit, q_start, SLACK_S)
        q_exit = after(q_start, q_exit)
        agree(q_exit - q_start, q_time)
    elif outcome == "HANG":
        raise Rejected("hung-up-before-queue")
    last = max(arrives, q_exit)
    if served:
        ser_start = after(min(entry, leaves_unit), ser_start, SLACK_S)
        ser_exit = after(ser_start, ser_exit)
        agree(ser_exit - ser_start, ser_time)
        if abs(ser_start - (q_exit if queued else leaves_unit)) > DISAGREE_S:
            oddities.append("clocks-disagree")
        last = max(last, ser_exit)
    if outcome == "HANG" and q_time == 0:
        raise Rejected("hung-up-on-joining")
    if outcome == "HANG" and (ser_start or ser_exit or ser_time):
        oddities.append("hung-up-with-service")
    if outcome == "AGENT" and ser_time == 0:
        oddities.append("service-of-no-length" if served else "service-without-clock")
    if last >= DAY_S:
        oddities.append("past-midnight")

    for field in ("vru+line", "call_id", "customer_id", "server"):
        if not PLAIN.fullmatch(row[field]):
            raise damaged(row, field, "a plain code")
    call = Call(
        contact_id=f"{row['date']}-{row['vru+line']}-{row['call_id']}",
        customer="" if row["customer_id"] == "0" else row["customer_id"],
        kind=kind,
        priority=int(row["priority"]),
        arrives_at=day_at + arrives * 1000,
        outcome="answered" if outcome == "AGENT" else "abandoned",
        wait_s=q_time,
        service_s=ser_time if outcome == "AGENT" else 0,
        agent_id=server if outcome == "AGENT" else "",
    )
    if not served:
        return call, None, oddities
    from_at = day_at + ser_start * 1000
    return call, Service(server, day_at, from_at, from_at + ser_time * 1000, kind), oddities


def damaged(row: dict[str, str], field: str, wanted: str) -> Rejected:
    return Rejected("unreadable-field", f"field '{field}': {row[field][:40]!a} is not {wanted}")


def read_date(row: dict[str, str]) -> int:
    """yymmdd, of 1970 to 2069: midnight in milliseconds since the epoch."""
    text = row["date"]
    try:
        if not (text.isascii() and text.isdigit() and len(text) == 6):
            raise ValueError
        year = int(text[:2])
        day = dt.date(year + (1900 if year >= 70 else 2000), int(text[2:4]), int(text[4:]))
    except ValueError:
        raise damaged(row, "date", "yymmdd") from None
    return (day - dt.date(1970, 1, 1)).days * DAY_S * 1000


def read_clock(row: dict[str, str], field: str) -> int:
    """h:mm:ss in seconds of the day; hours of 24 and more, up to 47, are of the next day."""
    match = CLOCK.fullmatch(row[field])
    if match is None or int(match[1]) > 47:
        raise damaged(row, field, "h:mm:ss")
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])


def read_number(row: dict[str, str], field: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,6}", row[field]):
        raise damaged(row, field, "a number of seconds")
    return int(row[field])


def after(earlier: int, later: int, slack: int = 0) -> int:
    """The later of two clock times, on the next day where it seems half a day or more before the earlier one."""
    if later < earlier - DAY_S // 2:
        later += DAY_S
    if later < earlier - slack:
        raise Rejected("runs-backwards")
    return later


def agree(by_clocks: int, duration: int) -> None:
    if duration < 0:
        raise Rejected("runs-backwards")
    if abs(by_clocks - duration) > SLACK_S:
        raise Rejected("clocks-contradict-duration")


# ---- agents


def by_agent_day(services: Sequence[Service]) -> Iterator[list[Service]]:
    """Services in order of agent, day and time, as lists of one agent's day."""
    day: list[Service] = []
    for service in services:
        if day and (service.agent_id, service.day_at) != (day[0].agent_id, day[0].day_at):
            yield day
            day = []
        day.append(service)
    if day:
        yield day


def overlaps(services: Sequence[Service], slack_ms: int = 0) -> Iterator[int]:
    """For each service that begins while the agent's former ones of that day last: for how many ms they overlap."""
    for day in by_agent_day(services):
        until_at = day[0].until_at
        for service in day[1:]:
            overlap = min(until_at, service.until_at) - service.from_at
            if overlap > slack_ms:
                yield overlap
            until_at = max(until_at, service.until_at)


def two_days(services: Sequence[Service]) -> int:
    """How often an agent's day had not ended when their next day began."""
    spans = [(day[0].agent_id, day[0].from_at, max(each.until_at for each in day)) for day in by_agent_day(services)]
    return sum(a[0] == b[0] and a[2] >= b[1] for a, b in pairwise(spans))


def shifts(services: Sequence[Service], gap_s: int) -> list[Shift]:
    """The presence rule: from the first service of a day to the end of the last, away in gaps longer than `gap_s`.

    services: in order, as a Month has them. A day that had not ended when the agent's next began is cut there, so that
    stays of one agent never overlap.
    """
    found: list[Shift] = []
    for day in by_agent_day(services):
        stays: list[tuple[int, int]] = []
        for service in day:
            if stays and service.from_at - stays[-1][1] <= gap_s * 1000:
                stays[-1] = (stays[-1][0], max(stays[-1][1], service.until_at))
            else:
                stays.append((service.from_at, service.until_at))
        kinds = tuple(kind for kind in KINDS if any(service.kind == kind for service in day))
        found.append(Shift(day[0].agent_id, day[0].day_at, kinds, tuple(stays)))
    for i, (this, following) in enumerate(pairwise(found)):
        begins_at = following.stays[0][0]
        if this.agent_id == following.agent_id and this.stays[-1][1] >= begins_at:
            cut = tuple((start, min(end, begins_at - 1)) for start, end in this.stays if start < begins_at)
            found[i] = this._replace(stays=cut)
    return [shift for shift in found if shift.stays]

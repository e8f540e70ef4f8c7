"""One readable line per log entry, both ways: for stories that are tests, and for people who read a log.

    # The caller hangs up while the phone rings at Ann's desk: Ann is free again, nobody is lost.
        3.0 > route-contact contact_id=c1 channel=call queue_id=sales
        3.0 < contact-queued contact_id=c1 due_at=63.0 give_up_at=603.0 target=60.0 reason=tier-now

`>` is a command, `<` an event of its turn, `=` says that a command repeats an earlier one, `*` that an owner takes the
log, `!` marks what does not count or cannot be read, `#` begins a comment. Times are seconds; in a real log they are
times of day under a line that says the date. `_ms` fields are shown as seconds without that suffix. An event leaves
out what is empty, what its own command has just said, and (but where it is news) the queue; `full` shows it all.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct, inspect

from engine.core import messages as m
from engine.core.rules import Rules, hash_of

from .codec import BadCommand, Envelope, envelope_of, read_command
from .journal import JournalBroken, Marker, Place, Reader, Void, split_turn
from .log import HOLE, Log, Record
from .partition import QUIET_MOST, Decided, Partition
from .rules_file import parse_rules

SOURCE = "story"  # who sends a story's commands, where it does not say
DAY_MS = 86_400_000
HASH = 12  # digits of a hash that are shown
ENTERS_QUEUE = (m.ContactQueued, m.ContactTransferred, m.QueueOpened, m.QueueClosed)  # events whose queue is news
NO_COMMAND = "it had expired when this copy was made, or was none"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class TranscriptError(ValueError):
    """A line that is no transcript's; the text says which and why."""


# ---- times


def seconds(ms: int) -> str:
    """12500 -> 12.5: at most three decimals, at least one."""
    whole, rest = divmod(abs(ms), 1000)
    return f"{'-' if ms < 0 else ''}{whole}.{f'{rest:03d}'.rstrip('0') or '0'}"


def milliseconds(text: str) -> int:
    """The reverse of `seconds`. ValueError: not a number of seconds with at most three decimals."""
    match = re.fullmatch(r"(-?)(\d{1,15})(?:\.(\d{1,3}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a number of seconds")
    ms = int(match[2]) * 1000 + int((match[3] or "").ljust(3, "0"))
    return -ms if match[1] else ms


class Seconds:
    """Times as seconds since `zero` (milliseconds since the epoch)."""

    def __init__(self, zero: int = 0) -> None:
        self.zero = zero

    def begin(self, at: int) -> str:
        return f"{seconds(at - self.zero):>7}"

    def point(self, at: int) -> str:
        return seconds(at - self.zero)

    def heading(self, at: int) -> str | None:
        return None


class Clock:
    """Times of day in `zone`, with the date where it is not that of the last heading."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self.day = ""

    def begin(self, at: int) -> str:
        return f"{_moment(at, self.zone):%H:%M:%S}.{at % 1000:03d}"

    def point(self, at: int) -> str:
        moment = _moment(at, self.zone)
        date = "" if _day(moment) == self.day else f"{moment:%Y-%m-%dT}"
        return f"{date}{moment:%H:%M:%S}{seconds(at % 1000)[1:]}"

    def heading(self, at: int) -> str | None:
        """The line that says the date, where it has changed (or the zone's distance from UTC has)."""
        day = _day(_moment(at, self.zone))
        if day == self.day:
            return None
        self.day = day
        return f"# {day}"


Scale = Seconds | Clock
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADING = re.compile(r"# [A-Z][a-z]+day (\d{4}-\d\d-\d\d), UTC([+-])(\d\d):(\d\d)")


def _moment(at: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)


def _day(moment: datetime) -> str:
    return _day_named(moment.date(), moment.utcoffset() or timedelta())


@lru_cache(maxsize=64)
def _day_named(day: date, offset: timedelta) -> str:
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    return f"{DAYS[day.weekday()]} {day:%Y-%m-%d}, UTC{'-' if offset < timedelta() else '+'}{hours:02d}:{minutes:02d}"


# ---- values


def _bare(text: str, more: str = "") -> bool:
    return text.isprintable() and _BARE.fullmatch(text) is not None and not any(c in text for c in more)


def quoted(text: str, more: str = "") -> str:
    """As it is, or as a JSON string where it would be misread (more: further signs that make it so). Nothing in it
    reaches a terminal raw."""
    if _bare(text, more):
        return text
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else json.dumps(c)[1:-1] for c in text) + '"'


def _written(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quoted(key)}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):
        return ",".join(map(_written, value)) or "[]"
    assert isinstance(value, int), f"a value of a kind that no message has: {value!r}"
    return str(value)


def _is_point(name: str) -> bool:
    return name.endswith(("_at", "until"))


def _field(name: str, value: Any, scale: Scale) -> str:
    if isinstance(value, Rules):
        return f"rules={hash_of(value)[:HASH]}"
    if name == "hash":
        return f"hash={quoted(value[:HASH])}"
    if _is_point(name):
        return f"{name}={scale.point(value)}"
    if name.endswith("_ms"):
        return f"{name[:-3]}={seconds(value)}"
    return f"{name}={_written(value)}"


_BARE = re.compile(r"[^\s,:{}\[\]\"=\\]+")


class Said(Struct, frozen=True):
    """A command as a transcript holds it. position: in its log, -1 where that is not shown."""

    at: int
    command: m.Command
    pool: str = ""
    source: str = SOURCE
    id: str = ""
    actor: str = ""
    position: int = -1


def command_text(said: Said, scale: Scale, *, names: Mapping[str, str] = {}) -> str:
    """Without its time: `> route-contact contact_id=c1 …`. What has its default is left out. names: of rules, by
    hash."""
    command = said.command
    parts = [">", m.TYPE_OF[type(command)]]
    for name, default in _defaults(type(command)):
        value = getattr(command, name)
        if isinstance(value, Rules) and (known := names.get(hash_of(value))):
            parts.append(f"rules={quoted(known)}")
        elif value != default:
            parts.append(_field(name, value, scale))
    if said.id:
        parts.append(f"@{quoted(said.source, '/')}/{quoted(said.id)}")
    elif said.source != SOURCE:
        parts.append(f"@{quoted(said.source, '/')}")
    if said.pool:
        parts.append(f"pool={quoted(said.pool)}")
    if said.actor:
        parts.append(f"actor={quoted(said.actor)}")
    if said.position >= 0:
        parts.append(f"#{said.position}")
    return " ".join(parts)


def event_text(
    event: m.Event,
    scale: Scale,
    said: Said | None = None,
    *,
    names: Mapping[str, str] = {},
    full: bool = False,
) -> str:
    """Without its time: `< offer-issued contact_id=c1 …`. said: the command of its turn, which need not be repeated."""
    parts = ["<", m.TYPE_OF[type(event)]]
    for name, default in _defaults(type(event)):
        value = getattr(event, name)
        if isinstance(value, Rules) or value == default or (value in (0, "", (), {}) and not _is_point(name)):
            continue
        if name == "hash" and value in names:
            continue
        if not full and said is not None and _known(event, name, value, said):
            continue
        parts.append(_field(name, value, scale))
    return " ".join(parts)


def _known(event: m.Event, name: str, value: Any, said: Said) -> bool:
    if name in ("contact_id", "agent_id"):
        return False
    if name == "queue_id" and not isinstance(event, ENTERS_QUEUE):
        return True
    if name == "source":
        return isinstance(event, m.ContactQueued) and value == said.source
    if name == "command":
        return bool(value == m.TYPE_OF[type(said.command)])
    return bool(getattr(said.command, name, None) == value)


def _defaults(kind: type[Struct]) -> list[tuple[str, Any]]:
    found = _DEFAULTS.get(kind)
    if found is None:
        found = _DEFAULTS[kind] = [
            (field.name, {} if field.default_factory is dict else field.default)
            for field in msgspec.structs.fields(kind)
        ]
    return found


_DEFAULTS: dict[type[Struct], list[tuple[str, Any]]] = {}


def render(
    said: Said, events: Iterable[m.Event] = (), *, scale: Scale | None = None, names: Mapping[str, str] = {},
    full: bool = False,
) -> str:  # fmt: skip
    """The lines of one turn. scale: how times are shown (as seconds since 0)."""
    scale = scale or Seconds()
    begin = scale.begin(said.at)
    lines = [command_text(said, scale, names=names)]
    lines += (event_text(event, scale, said, names=names, full=full) for event in events)
    return "\n".join(f"{begin} {line}" for line in lines)


# ---- reading


class Note(Struct, frozen=True):
    """A line that is no entry, as it stands."""

    text: str


class Story(Struct, frozen=True):
    """A transcript, read. promise: its first comment. rules: those that it holds itself, by name; known: those and
    all that were given. What had come of the commands is not kept: that is what running them again tells.
    """

    promise: str
    lines: list[Note | Said]
    rules: dict[str, Rules]
    known: dict[str, Rules]

    @property
    def commands(self) -> list[Said]:
        return [line for line in self.lines if isinstance(line, Said)]


_RULES_HEAD = re.compile(r"rules ([\w-]+):")
_ENTRY = re.compile(r" *(\S+) ([><=*!])(?: (.*))?")


def parse(text: str, rules: Mapping[str, Rules] = {}, zero: int = 0) -> Story:
    """zero: when the story begins, for the hours in its rules. rules: what `publish-rules rules=NAME` may name, besides
    the rules that the text holds itself:

        rules busy:
        | pool = "desk"
        | [[queues]]
        | id = "sales"

    TranscriptError: what is wrong, and on which line.
    """
    known = dict(rules)
    own: dict[str, Rules] = {}
    lines: list[Note | Said] = []
    promise = ""
    midnight: int | None = None
    name, toml = "", ""

    def close_rules() -> None:
        nonlocal name, toml
        if name:
            reading = parse_rules(toml, f"rules {name}", zero)
            if reading.rules is None:
                raise TranscriptError(f"rules {name}: {reading.mistakes[0].code}, line {reading.mistakes[0].line}")
            known[name] = own[name] = reading.rules
        name, toml = "", ""

    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if name and line.startswith("|"):
            toml += line[1:].removeprefix(" ") + "\n"
            lines.append(Note(line))
            continue
        close_rules()
        stripped = line.strip()
        if match := _RULES_HEAD.fullmatch(stripped):
            name = match[1]
        elif match := _HEADING.fullmatch(stripped):
            offset = timedelta(hours=int(match[3]), minutes=int(match[4])) * (-1 if match[2] == "-" else 1)
            moment = datetime.fromisoformat(match[1]).replace(tzinfo=timezone(offset))
            midnight = (moment - _EPOCH) // timedelta(milliseconds=1)
        elif stripped and not stripped.startswith("#"):
            entry = _ENTRY.fullmatch(line)
            if entry is None:
                raise TranscriptError(f"line {number}: neither an entry, nor a comment, nor rules: {line[:80]!r}")
            if entry[2] == ">":
                try:
                    lines.append(_said(_at(entry[1], midnight), entry[3] or "", known, (midnight, zero)))
                except (ValueError, msgspec.ValidationError) as problem:
                    raise TranscriptError(f"line {number}: {problem}") from None
            continue
        promise = promise or stripped.removeprefix("#").strip()
        lines.append(Note(line))
    close_rules()
    return Story(promise, lines, own, known)


def _at(text: str, midnight: int | None) -> int:
    if ":" not in text:
        return milliseconds(text)
    if midnight is None:
        raise ValueError("a time of day, and no line above that says the date")
    hours, minutes, rest = text.split(":")
    return midnight + int(hours) * 3_600_000 + int(minutes) * 60_000 + milliseconds(rest)


def _point(text: str, scale: tuple[int | None, int]) -> int:
    """A moment that a command names, as milliseconds since the epoch; the reverse of `point`. scale: the midnight that
    the last heading says, and when the story begins."""
    midnight, zero = scale
    date, dated, time = text.rpartition("T")
    if dated and midnight is not None:  # another day, on clocks that stand as those of the heading do
        day = (datetime.fromisoformat(date).replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
        return _at(time, day + midnight - round(midnight / DAY_MS) * DAY_MS)
    return _at(time, midnight) if ":" in time else zero + milliseconds(time)


def _said(at: int, text: str, known: Mapping[str, Rules], scale: tuple[int | None, int]) -> Said:
    scan = _Scan(text)
    type_name = scan.atom("")
    kind = m.COMMANDS.get(type_name)
    if kind is None:
        raise ValueError(f"there is no command {type_name!r}")
    shapes = _shapes(kind)
    fields: dict[str, Any] = {}
    address: dict[str, Any] = {}
    while scan.more():
        if scan.took("@"):
            address["source"] = scan.atom("/")
            if scan.took("/"):
                address["id"] = scan.atom("")
        elif scan.took("#"):
            address["position"] = int(scan.atom(""))
        else:
            name = scan.atom("")
            scan.need("=")
            if name in ("pool", "actor"):
                address[name] = scan.atom("")
            elif name in shapes:
                field, read = shapes[name]
                if field in fields:
                    raise ValueError(f"{name} is said twice")
                fields[field] = _point(scan.word(), scale) if _is_point(field) else read(scan)
            else:
                raise ValueError(f"{type_name} has no field {name!r}")
    if kind is m.PublishRules:
        said = fields.get("rules")
        found = next((each for name, each in known.items() if said in (name, hash_of(each)[:HASH])), None)
        if found is None:
            raise ValueError(f"no rules are known by the name {said!r}")
        return Said(at, m.PublishRules(found), **address)
    return Said(at, msgspec.convert(fields, kind), **address)


class _Scan:
    """Reads values off one line. ValueError: what was expected instead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def more(self) -> bool:
        """Whether something follows; it must be set off by a space."""
        rest = self.text[self.at :].strip(" ")
        if rest and self.at and self.text[self.at] != " ":
            raise ValueError(f"unexpected {rest[:20]!r}")
        self.at = len(self.text) - len(self.text[self.at :].lstrip(" "))
        return bool(rest)

    def word(self) -> str:
        """Whatever stands before the next space."""
        found = self.text[self.at :].partition(" ")[0]
        self.at += len(found)
        return found

    def took(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += 1
            return True
        return False

    def need(self, sign: str) -> None:
        if not self.took(sign):
            raise ValueError(f"{sign!r} is missing before {self.rest()}")

    def rest(self) -> str:
        return repr(self.text[self.at :][:20]) if self.at < len(self.text) else "the end of the line"

    def atom(self, more: str) -> str:
        if self.text.startswith('"', self.at):
            value, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
            return str(value)
        end = self.at
        while end < len(self.text) and _bare(self.text[end], more):
            end += 1
        if end == self.at:
            raise ValueError(f"a value is missing before {self.rest()}")
        text, self.at = self.text[self.at : end], end
        return text

    def list_of(self, read: "Read") -> list[Any]:
        if self.text.startswith("[]", self.at):
            self.at += 2
            return []
        values = [read(self)]
        while self.took(","):
            values.append(read(self))
        return values

    def dict_of(self, read: "Read") -> dict[str, Any]:
        self.need("{")
        values: dict[str, Any] = {}
        while not self.took("}"):
            if values:
                self.need(",")
            key = self.atom("")
            self.need(":")
            values[key] = read(self)
        return values


Read = Callable[[_Scan], Any]


def _bool(scan: _Scan) -> bool:
    text = scan.atom("")
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _shape(kind: inspect.Type, name: str) -> Read:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.BoolType):
        return _bool
    if isinstance(kind, inspect.IntType):
        return lambda scan: (milliseconds if name.endswith("_ms") else int)(scan.atom(""))
    if isinstance(kind, inspect.VarTupleType):
        item = _shape(kind.item_type, "")
        return lambda scan: scan.list_of(item)
    if isinstance(kind, inspect.DictType):
        value = _shape(kind.value_type, "")
        return lambda scan: scan.dict_of(value)
    return lambda scan: scan.atom("")


def _shapes(kind: type[m.Command]) -> dict[str, tuple[str, Read]]:
    """As it is written -> (the field, how it is read)."""
    found = _SHAPES.get(kind)
    if found is None:
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType), "every command is a struct"
        found = _SHAPES[kind] = {
            field.name.removesuffix("_ms"): (field.name, _shape(field.type, field.name)) for field in info.fields
        }
    return found


_SHAPES: dict[type[m.Command], dict[str, tuple[str, Read]]] = {}


# ---- stories


class Told(Struct, frozen=True):
    """A command of a story, and what came of it. body: its bytes as they go into a log; repeats: the time of the
    command that it repeats; bad: why it was not taken at all."""

    said: Said
    body: bytes
    decided: Decided
    repeats: int | None = None
    bad: str = ""


def tell(story: Story, partition: Partition | None = None, *, zero: int = 0) -> Iterator[Told]:
    """Runs a story's commands one after the other, as a host would. Those that say no id are numbered; the pool is
    that of the first rules."""
    partition = partition or Partition()
    partition.owner = max(partition.owner, 0)
    pool = next((said.command.rules.pool for said in story.commands if isinstance(said.command, m.PublishRules)), "")
    times: list[int] = []
    for said in story.commands:
        position = len(times)
        times.append(said.at)
        id, source = said.id or str(position), said.source
        if isinstance(said.command, m.Tick) and not said.id:
            id, source = f"tick-{position}", "waitline"
        envelope = envelope_of(said.command, id, source, said.pool or pool, said.actor)
        body = msgspec.json.encode(envelope)
        try:
            envelope, command = read_command(body)
            decided = partition.decide(envelope, command, position, zero + said.at)
        except BadCommand as bad:
            yield Told(said, body, Decided(None, []), None, str(bad))
            continue
        yield Told(said, body, decided, None if decided.repeats is None else times[decided.repeats])


def retold(story: Story, zero: int = 0) -> str:
    """The story's text as it should stand: its own comments and commands, and what comes of them today."""
    scale = Seconds(zero)
    names = {hash_of(rules): name for name, rules in story.known.items()}
    told = tell(story, zero=zero)
    lines = []
    for line in story.lines:
        if isinstance(line, Note):
            lines.append(line.text)
            continue
        each = next(told)
        line = msgspec.structs.replace(line, at=zero + line.at)
        lines.append(render(line, each.decided.events, scale=scale, names=names))
        if each.bad:
            lines.append(f"{scale.begin(line.at)} ! {each.bad}")
        if each.repeats is not None:
            lines.append(f"{scale.begin(line.at)} = the same command as at {scale.point(each.repeats)}")
    return "\n".join(lines) + "\n"


# ---- logs


class Shown(Struct, frozen=True, omit_defaults=True):
    """An entry of a log. kind `command`: with what came of it, nothing where it was quiet (or has not been decided
    yet); `marker`: an owner takes the log; `void`: a journal record that does not count. problem: why it is void, or
    no command (of a copy's hole, the envelope is then what its turn says of it, and the events are there).
    """

    kind: Literal["command", "marker", "void"]
    at: int
    position: int = -1
    offset: int = -1
    envelope: Envelope | None = None
    command: m.AnyCommand | None = None
    events: list[m.AnyEvent] = []
    marker: Marker | None = None
    problem: str = ""


def entries(
    log: Log, *, from_position: int = 0, pool: str | None = None, contact: str | None = None
) -> Iterator[Shown]:
    """Commands and journal in step, streamed. pool, contact: only what is about them (of a contact: each turn with
    an event of theirs, and of that turn those events only). JournalBroken: the journal cannot be read on."""
    total, end = log.ends()  # what is written meanwhile is left alone: commands and journal are to end together
    commands = log.commands(from_position)
    following = next(commands, None)
    at = following.at if following else 0

    def until(position: int) -> Iterator[Shown]:
        nonlocal following, at
        while following is not None and following.position <= position and following.position < total:
            entry, at = following, following.at
            following = next(commands, None)
            yield _shown(entry.position, entry.at, entry.body)

    everything = pool is None and contact is None
    for record, reader in _following(log, from_position):
        if record.offset >= end:
            break
        said = reader.read(record)
        if isinstance(said, Marker):
            if everything:
                yield Shown("marker", said.at, offset=record.offset, marker=said)
        elif isinstance(said, Void):
            if not everything:
                continue
            alarm = ", which its own owner wrote" if said.alarm else ""
            yield Shown("void", at, offset=record.offset, problem=f"{said.why}{alarm}")
        elif said.position >= from_position:
            for shown in until(said.position):
                if shown.position == said.position:
                    shown = msgspec.structs.replace(shown, events=said.events, offset=record.offset)
                    if shown.problem == NO_COMMAND:
                        ref = said.command
                        envelope = Envelope(ref.id, ref.source, ref.pool, ref.type, actor=ref.actor)
                        shown = msgspec.structs.replace(shown, envelope=envelope)
                if chosen := _chosen(shown, pool, contact):
                    yield chosen
    for shown in until(total):
        if chosen := _chosen(shown, pool, contact):
            yield chosen


def _shown(position: int, at: int, body: bytes) -> Shown:
    if body == HOLE:
        return Shown("command", at, position, problem=NO_COMMAND)
    try:
        envelope, command = read_command(body)
    except BadCommand as bad:
        return Shown("command", at, position, problem=str(bad))
    return Shown("command", at, position, envelope=envelope, command=command)  # type: ignore[arg-type]


def _chosen(shown: Shown, pool: str | None, contact: str | None) -> Shown | None:
    if pool is None and contact is None:
        return shown
    if shown.envelope is None or (pool is not None and shown.envelope.pool != pool):
        return None
    if contact is None:
        return shown
    theirs = [event for event in shown.events if contact in (_subject(event), getattr(event, "contact_id", None))]
    if not theirs and getattr(shown.command, "contact_id", None) != contact:
        return None
    return msgspec.structs.replace(shown, events=theirs)


def _subject(event: m.Event) -> str | None:
    return event.subject if isinstance(event, m.CommandRefused) else None


def _following(log: Log, from_position: int) -> Iterator[tuple[Record, Reader]]:
    """Journal records with the reader that judges them: from the start, or from the last turn before `from_position`,
    whose chain is then believed. (It may be a record that does not count: if nothing continues it, all is read.)"""
    earlier = range(from_position - 1, max(from_position - 1 - QUIET_MOST, -1), -1)
    last = next((record for record in map(log.turn, earlier) if record is not None), None)
    if last is not None and last.position is not None:
        owner, chain, _ = split_turn(last.body)
        reader = Reader(Place(last.offset, owner, last.position, chain))
        records = log.journal(last.offset + 1)
        first = next(records, None)
        if first is None:
            return
        owner_or_marker = first.position is None
        if owner_or_marker or _continues(first, owner, chain):
            yield first, reader
            yield from ((record, reader) for record in records)
            return
    reader = Reader()
    yield from ((record, reader) for record in log.journal(0))


def _continues(record: Record, owner: int, chain: bytes) -> bool:
    try:
        its_owner, its_chain, body = split_turn(record.body)
    except (ValueError, msgspec.MsgspecError):
        return False
    return its_owner == owner and sha256(chain + body).digest() == its_chain


def show(
    log: Log, *, from_position: int = 0, pool: str | None = None, contact: str | None = None, limit: int | None = None,
    zone: tzinfo | None = None, relative: bool = False, full: bool = False,
) -> Iterator[str]:  # fmt: skip
    """The log as lines to read, streamed. limit: at most so many commands. Times are of the day in `zone` (that of the
    pool's rules, or UTC), under a line that says the date; `relative`: seconds since the first entry."""
    zone = zone or zone_of(log, pool)
    scale: Scale = Clock(zone)
    usual: str | None = None
    headed = False
    left = limit
    for shown in entries(log, from_position=from_position, pool=pool, contact=contact):
        if shown.kind == "command" and left is not None:
            if not left:
                return
            left -= 1
        if not headed:
            headed = True
            if relative:
                scale = Seconds(shown.at)
                yield f"# Seconds since {_moment(shown.at, zone).isoformat(timespec='milliseconds')}"
            else:
                yield f"# Times of day in {zone}"
        if usual is None and shown.envelope is not None:
            usual = shown.envelope.pool
            yield f"# Pool {quoted(usual)}, where no other is named"
        if heading := scale.heading(shown.at):
            yield heading
        yield from _lines(shown, scale, full, usual or "")


def _lines(shown: Shown, scale: Scale, full: bool, usual_pool: str) -> Iterator[str]:
    begin = scale.begin(shown.at)
    if shown.marker is not None:
        said = shown.marker
        by = f"worker={quoted(said.worker)} engine={quoted(said.engine)} format={said.format}"
        yield f"{begin} * marker owner={shown.offset} {by} time={said.time} log={quoted(said.log)}"
    elif shown.envelope is None or shown.command is None:
        what = f"journal record {shown.offset} is void" if shown.kind == "void" else f"no command #{shown.position}"
        yield f"{begin} ! {what}: {shown_safely(shown.problem)}"
        yield from (f"{begin} {event_text(event, scale, full=full)}" for event in shown.events)
    else:
        envelope = shown.envelope
        said_so = Said(
            shown.at,
            shown.command,
            "" if envelope.pool == usual_pool else envelope.pool,
            envelope.source,
            envelope.id,
            envelope.actor,
            shown.position,
        )
        yield from render(said_so, shown.events, scale=scale, full=full).split("\n")


def shown_safely(text: str) -> str:
    """A sentence that may hold what a sender wrote: nothing in it reaches a terminal raw."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text[:200])


def zone_of(log: Log, pool: str | None = None) -> tzinfo:
    """The time zone of the first rules (of `pool`); UTC where none are found near the log's start."""
    reader = Reader()
    try:
        for record in islice(log.journal(0), 1000):
            turn = reader.read(record)
            if isinstance(turn, m.Turn) and pool in (None, turn.command.pool):
                for event in turn.events:
                    if isinstance(event, m.RulesPublished):
                        return ZoneInfo(event.rules.time_zone)
    except (JournalBroken, KeyError, ValueError):
        pass
    return UTC

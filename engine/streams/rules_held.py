"""Which rules held at a position of a log and who is signed in there; a pool's rules as TOML to be published again."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from engine.core.messages import AgentProfileChanged, AgentSignedIn, AgentSignedOut, RulesPublished, Turn
from engine.core.rules import Hours, Rules

from .hours import DAY_MIN
from .journal import Reader
from .log import Log


class Held(Struct, frozen=True):
    """Rules in force. version: counted by the pool; position, at: of the command that published them."""

    rules: Rules
    version: int
    hash: str
    position: int
    at: int


def held_at(log: Log, position: int | None = None) -> dict[str, Held]:
    """By pool, what held after the turn of that position; after the last one where none is said. Only turns that count
    are looked at. JournalBroken: the journal cannot be read on."""
    held: dict[str, Held] = {}
    reader = Reader()
    for record in log.journal():
        turn = reader.read(record)
        if not isinstance(turn, Turn):
            continue
        if position is not None and turn.position > position:
            break
        for event in turn.events:
            if type(event) is RulesPublished:
                held[event.rules.pool] = Held(event.rules, event.version, event.hash, turn.position, turn.at)
    return held


class SignedIn(NamedTuple):
    """What somebody who is signed in serves."""

    queues: tuple[str, ...]
    skills: dict[str, int]


def signed_in(log: Log) -> dict[str, list[SignedIn]]:
    """By pool of the log, who is signed in after its last turn. JournalBroken: the journal cannot be read on."""
    pools: dict[str, dict[str, SignedIn]] = {}
    reader = Reader()
    for record in log.journal():
        turn = reader.read(record)
        if not isinstance(turn, Turn):
            continue
        for event in turn.events:
            if isinstance(event, AgentSignedIn | AgentProfileChanged):
                pools[turn.command.pool][event.agent_id] = SignedIn(event.queues, event.skills)
            elif type(event) is AgentSignedOut:
                del pools[turn.command.pool][event.agent_id]
            elif type(event) is RulesPublished:
                pools.setdefault(turn.command.pool, {})
    return {pool: list(agents.values()) for pool, agents in pools.items()}


# ---- TOML


def as_toml_file(rules: Rules) -> str:
    """A rules file that gives these rules. Opening hours stand in it as the log holds them: day by day, in UTC, up to
    where they were worked out."""
    said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(rules))
    lines = [f"{key} = {inline(value)}" for key, value in said.items() if isinstance(value, str | int)]
    for key, value in said.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *pairs(value)]
    for key, value in said.items():
        if key == "hours":
            for each in rules.hours:
                lines += ["", "[[hours]]", *hours_lines(each)]
        elif isinstance(value, list):
            for each in value:
                lines += ["", f"[[{key}]]", *pairs(each)]
    return "\n".join(lines) + "\n"


def pairs(table: dict[str, Any]) -> Iterator[str]:
    """What is not said (a default that is nothing) is left out."""
    for key, value in table.items():
        if value not in (None, "", [], {}):
            yield f"{bare(key)} = {inline(value)}"


def inline(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return "[" + ", ".join(map(inline, value)) + "]"
        case dict():
            inner = ", ".join(f"{bare(key)} = {inline(each)}" for key, each in value.items() if each is not None)
            return "{ " + inner + " }" if inner else "{}"
    raise AssertionError(f"rules hold a value that TOML does not know: {value!r}")


def bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else inline(key)


def hours_lines(hours: Hours) -> Iterator[str]:
    yield f"id = {inline(hours.id)}"
    yield 'time_zone = "UTC"'
    edges = hours.edges
    if len(edges) == 1:  # open from the first moment on
        yield 'weekly = ["daily 00:00-24:00"]'
        return
    if len(edges) % 2:  # open at the end of what was worked out: a quarter's
        edges = (*edges, quarter_after(edges[-1]))
    days: dict[date, list[str]] = {}
    for opens, closes in zip(edges[::2], edges[1::2], strict=True):
        for day, text in spans_of(opens, closes):
            days.setdefault(day, []).append(text)
    if days:
        yield "open = ["
        yield from (f"    {inline(f'{day} ' + ', '.join(spans))}," for day, spans in days.items())
        yield "]"


def quarter_after(second: int) -> int:
    """The end of the quarter in which it lies; the second itself where one begins with it."""
    day = datetime.fromtimestamp(second - 1, UTC)
    months = day.year * 12 + (day.month - 1) // 3 * 3 + 3
    return int(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp())


def spans_of(opens: int, closes: int) -> Iterator[tuple[date, str]]:
    """Seconds since the epoch -> days with a span of each, in UTC."""
    day = datetime.fromtimestamp(opens, UTC).date()
    while True:
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        begin, end = (max(opens, midnight) - midnight) // 60, (min(closes, midnight + 86_400) - midnight) // 60
        if begin < end:
            yield day, f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
        if midnight + DAY_MIN * 60 >= closes:
            return
        day += timedelta(1)

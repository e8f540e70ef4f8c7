"""What changes between two rule sets, as codes with values and as sentences that a supervisor understands.

Rules are walked as they stand: tables by key, lists of tables by id, other lists by what is in them. A change has a
sentence of its own in rules_told.json where its key has one there, and else says the key, what it is and what it was:
so no change goes unsaid.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from engine.core.rules import Hours, Rules

from .hours import horizon
from .mistakes import Lang, catalog, printable
from .rules_told import span, told

Where = tuple[str, ...]


class Change(NamedTuple):
    """where: keys and ids, as ("queues", "repairs", "channels"). kind: an element or entry that is new or gone (then in
    `new` or `old`), or a value that is another. Values as JSON has them; None: not said, the pool's own holds."""

    where: Where
    kind: Literal["new", "gone", "changed"]
    old: Any = None
    new: Any = None


def differences(old: Rules, new: Rules) -> list[Change]:
    """In the order of the rules' fields."""
    return list(_tables((), _builtins(old), _builtins(new))) + list(_hours(old, new))


def _builtins(rules: Rules) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(rules))
    return {key: value for key, value in said.items() if key != "hours"}


def _tables(where: Where, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        if key not in old:
            yield Change((*where, key), "new", new=new[key])
        elif key not in new:
            yield Change((*where, key), "gone", old=old[key])
        elif old[key] != new[key]:
            yield from _values((*where, key), old[key], new[key])


def _values(where: Where, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _tables(where, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        if all(isinstance(each, dict) and "id" in each for each in (*old, *new)):
            yield from _tables(where, {each["id"]: each for each in old}, {each["id"]: each for each in new})
            return
        gone = [each for each in old if each not in new]
        added = [each for each in new if each not in old]
        yield from (Change(where, "gone", old=each) for each in gone)
        yield from (Change(where, "new", new=each) for each in added)
        if not gone and not added:  # only their order
            yield Change(where, "changed", old, new)
    else:
        yield Change(where, "changed", old, new)


def _hours(old: Rules, new: Rules) -> Iterator[Change]:
    """Of hours that both have: the first second from which on they differ, and until when they are worked out."""
    before, after = ({each.id: each for each in rules.hours} for rules in (old, new))
    for id in dict.fromkeys((*before, *after)):
        if id not in after:
            yield Change(("hours", id), "gone")
        elif id not in before:
            yield Change(("hours", id), "new")
        elif before[id] != after[id]:
            yield from _edges(before[id], after[id])


def _edges(old: Hours, new: Hours) -> Iterator[Change]:
    if not old.edges or not new.edges:
        yield Change(("hours", old.id), "changed")
        return
    begin = max(horizon(each.edges[0] * 1000)[0] for each in (old, new))
    until = min(old.edges[-1], new.edges[-1])
    other = [edge for edge in set(old.edges) ^ set(new.edges) if begin <= edge < until]
    if other:
        yield Change(("hours", old.id), "changed", new=min(other))
    if old.edges[-1] != new.edges[-1]:
        yield Change(("hours", old.id, "until"), "changed", old.edges[-1], new.edges[-1])


# ---- in words


def sentence(change: Change, lang: Lang = "en") -> str:
    """One sentence, of which nothing reaches a terminal as a command."""
    words = told(lang)["diff"]
    where, key = change.where, change.where[-1]
    said = {
        "key": printable(told(lang)["channels-many"].get(key, key)),
        "id": printable(where[1]) if len(where) > 1 else "",
        "old": _shown(change.old, where, lang),
        "new": _shown(change.new, where, lang),
        "what": _shown(change.old if change.kind == "gone" else change.new, where, lang),
    }
    for code in _codes(change):
        if code in words:
            text = words[code].format_map(said)
            break
    else:
        return words[f"any {change.kind}"].format_map(said | {"key": printable(".".join(where))})
    whose = f"of {where[0]}"
    return words[whose].format(id=said["id"], text=text) if whose in words and len(where) > 2 else text


def _codes(change: Change) -> Iterator[str]:
    """What its sentence may stand under, the most special first. What a queue says for itself is said like the
    pool's."""
    where, kind = change.where, change.kind
    if len(where) == 2 and where[0] in OWNERS:
        yield f"row {where[0]} {kind}"
        return
    of = where[2:] if where[0] in OWNERS else where
    if len(of) == 2:
        yield f"{of[0]} {of[1]}"
        yield of[0] if kind == "changed" else f"{of[0]} {kind}"
    elif len(of) == 1:
        yield f"{of[0]} {kind}"
        yield from (f"{table} {of[0]}" for table in ("times", "doors"))
        yield of[0]


OWNERS = ("queues", "teams", "agents", "hours")  # lists of tables with an id
SECONDS = frozenset(
    {"targets", "head_starts", "offer", "wrap_up", "wait", "talk", "decline", "silence", "lost", "grace", "window"}
    | {"service_level", "prefer", "after"}
)


def _shown(value: Any, where: Where, lang: Lang) -> str:
    words = told(lang)["diff"]
    match value:
        case None:
            return words["as in the pool" if where[0] == "queues" else "no rule"]
        case bool():
            return words["yes" if value else "no"]
        case int() if where[0] == "hours":
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
        case int() if SECONDS & {*where}:
            return span(value, lang)
        case list():
            return catalog()[lang]["marks"]["comma"].join(_shown(each, where, lang) for each in value) or words["none"]
        case dict():
            parts = [
                f"{printable(key)} {_shown(each, (*where, key), lang)}"
                for key, each in value.items()
                if key != "id" and each not in (None, "", [], {})
            ]
            between = words["between"] if len(where) == 2 and where[0] in OWNERS else catalog()[lang]["marks"]["comma"]
            return between.join(parts) or words["none"]
        case str() if where[-1] == "channels":
            return told(lang)["channels-many"].get(value, value)
    return printable(str(value)) or words["none"]

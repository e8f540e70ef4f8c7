"""What a table of the rules file may hold, taken from the structs of core/rules.py and hours.py: every departure is
found.

msgspec itself stops at the first; so each value is held against the described type, and what does not fit is left out
of what is handed on. Nothing here knows what the keys mean; rules_checks.py does.
"""

import datetime
import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import inspect

from engine.core.rules import FULL

from .hours import SaidRules
from .mistakes import Parameter, Severity
from .toml_lines import Path

LATER = frozenset(["callbacks", "waits", "outbound", "overflow", "texts", "experiments"])
LATER_VALUES = frozenset(["callback", "overflow"])  # of keys that say what is done instead
INCLUDE = "include"

BAD: Any = object()  # stands for a value that does not fit


class At(NamedTuple):
    """A place in the rules, to be named by file and line where a sentence mentions it."""

    path: Path


Said = dict[str, Parameter | At]


class Found(NamedTuple):
    """A mistake whose line is not known yet. path: in the rules with all includes merged."""

    path: Path
    code: str
    parameters: Mapping[str, Parameter | At] = MappingProxyType({})
    suggestion: str = ""
    severity: Severity = "error"


def struct(kind: inspect.Type) -> inspect.StructType:
    assert isinstance(kind, inspect.StructType), kind
    return kind


def element(kind: inspect.Type) -> inspect.StructType | None:
    """The table that an array of tables is made of; None for any other type."""
    if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType):
        return kind.item_type
    return None


SHAPE = struct(inspect.type_info(SaidRules))
ARRAYS = tuple(field.encode_name for field in SHAPE.fields if element(field.type))
SCALARS = frozenset(
    field.encode_name for field in SHAPE.fields if not isinstance(field.type, inspect.StructType | inspect.VarTupleType)
) | {INCLUDE}


def _owners() -> dict[str, tuple[str, ...]]:
    owners: dict[str, list[str]] = {}
    for field in SHAPE.fields:
        header = f"[[{field.encode_name}]]" if element(field.type) else f"[{field.encode_name}]"
        table = element(field.type) or (field.type if isinstance(field.type, inspect.StructType) else None)
        for each in table.fields if table else ():
            owners.setdefault(each.encode_name, []).append(header)
    return {key: tuple(sorted(tables, key=lambda table: table.startswith("[["))) for key, tables in owners.items()}


OWNERS = _owners()  # key -> the tables that have it, as their headers are written


def shaped(value: Any, kind: inspect.Type, path: Path, report: Callable[[Found], None]) -> Any:
    """The value as far as it fits, BAD where nothing is left of it; `report` hears of everything that does not fit."""
    match kind:
        case inspect.StructType():
            return _table(value, kind, path, report)
        case inspect.VarTupleType():
            return _list(value, kind, path, report)
        case inspect.DictType():
            return _map(value, kind, path, report)
        case inspect.UnionType():  # TOML has no null, so the other half is always meant
            present = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            if len(present) > 1:  # a name, or names by channel
                present = [each for each in present if isinstance(each, inspect.DictType) == isinstance(value, dict)]
            assert len(present) == 1, kind
            return shaped(value, present[0], path, report)
        case inspect.LiteralType():
            allowed = tuple(str(each) for each in kind.values)
            if value in kind.values:
                return value
            if isinstance(value, str) and value in LATER_VALUES and "message" in kind.values:
                report(Found(path, "not-yet", {"key": str(value)}))
                return BAD
            guess = guessed(value, allowed) if isinstance(value, str) else ""
            report(
                Found(
                    path,
                    "not-one-of",
                    {"allowed": tuple(map(as_toml, allowed)), "found": as_toml(value), "guess": as_toml(guess)},
                    "did-you-mean-value" if guess else "",
                )
            )
            return BAD
        case inspect.IntType():
            return _number(value, kind, path, report)
        case inspect.StrType():
            return _text(value, kind, path, report)
    raise AssertionError(f"rules hold a type that this file does not know: {kind}")


def _table(value: Any, kind: inspect.StructType, path: Path, report: Callable[[Found], None]) -> Any:
    if not isinstance(value, dict):
        suggestion = "single-brackets" if isinstance(value, list) and len(path) == 1 else ""
        name = str(path[-1])
        report(Found(path, "not-a-table", {"found": as_toml(value), "name": name}, suggestion))
        return BAD
    fields = {field.encode_name: field for field in kind.fields}
    fit = {}
    for key, each in value.items():
        if key not in fields:
            report(unknown_key((*path, key), tuple(fields)))
        elif (well := shaped(each, fields[key].type, (*path, key), report)) is not BAD:
            fit[key] = well
    for key, field in fields.items():
        if field.required and key not in value:
            report(Found((*path, key), "missing-key", {"key": key}))
    return fit if all(key in fit for key, field in fields.items() if field.required) else BAD


def _list(value: Any, kind: inspect.VarTupleType, path: Path, report: Callable[[Found], None]) -> Any:
    if not isinstance(value, list):
        name = str(path[-1])
        if element(kind):
            suggestion = "double-brackets"
        else:
            suggestion = "write-list" if isinstance(value, str) else ""
        report(Found(path, "not-a-list", {"found": as_toml(value), "name": name}, suggestion))
        return BAD
    fit = [shaped(each, kind.item_type, (*path, i), report) for i, each in enumerate(value)]
    return [each for each in fit if each is not BAD]


def _map(value: Any, kind: inspect.DictType, path: Path, report: Callable[[Found], None]) -> Any:
    if not isinstance(value, dict):
        name = str(path[-1])
        suggestion = "write-levels" if isinstance(value, list) and isinstance(kind.value_type, inspect.IntType) else ""
        report(Found(path, "not-a-table", {"found": as_toml(value), "name": name}, suggestion))
        return BAD
    if kind.max_length is not None and len(value) > kind.max_length:
        report(Found(path, "too-many", {"limit": kind.max_length, "count": len(value)}))
        return BAD
    fit = {}
    for key, each in value.items():
        place = (*path, key)
        well_key = shaped(key, kind.key_type, place, report)
        well = shaped(each, kind.value_type, place, report)
        if well_key is not BAD and well is not BAD:
            fit[key] = well
    return fit


def _number(value: Any, kind: inspect.IntType, path: Path, report: Callable[[Found], None]) -> Any:
    low, high = kind.ge or 0, kind.le
    assert high is not None, "every number of the rules has a greatest value"
    if not isinstance(value, int) or isinstance(value, bool):
        seconds = seconds_of(value) if high > 1_000 else None
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
            number, suggestion = int(value), "without-quotes"
        elif seconds is not None:
            number, suggestion = seconds, "write-seconds"
        else:
            number, suggestion = 0, ""
        report(Found(path, "not-a-number", {"found": as_toml(value), "number": number}, suggestion))
        return BAD
    if path[0] == "weights":  # the struct allows more, but such a contact would fit nobody
        high = FULL
        if value > high:
            report(Found(path, "weight-over-100", {"found": as_toml(value)}))
            return BAD
    if not low <= value <= high:
        report(Found(path, "out-of-range", {"low": low, "high": high, "found": as_toml(value)}))
        return BAD
    return value


def _text(value: Any, kind: inspect.StrType, path: Path, report: Callable[[Found], None]) -> Any:
    if not isinstance(value, str):
        simple = isinstance(value, int | float) and not isinstance(value, bool)
        parameters: Said = {"found": as_toml(value), "quoted": as_toml(as_toml(value))}
        report(Found(path, "not-a-text", parameters, "write-quotes" if simple else ""))
    elif kind.min_length and len(value) < kind.min_length:
        report(Found(path, "empty"))
    elif kind.max_length is not None and len(value) > kind.max_length:
        report(Found(path, "too-long", {"limit": kind.max_length, "count": len(value)}))
    elif control := re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        report(Found(path, "control-character", {"found": f"U+{ord(control.group()):04X}"}))
    else:
        return value
    return BAD


def unknown_key(path: Path, known: tuple[str, ...]) -> Found:
    """What to say of a key that the table at path[:-1] does not have."""
    key = str(path[-1])
    if key in LATER:
        return Found(path, "not-yet", {"key": key})
    parameters: Said = {"key": key, "known": known}
    if guess := guessed(key, known):
        return Found(path, "unknown-key", parameters | {"guess": guess}, "did-you-mean")
    if key in SCALARS:
        return Found(path, "unknown-key", parameters, "belongs-at-top")
    if key in OWNERS:
        return Found(path, "unknown-key", parameters | {"owners": OWNERS[key]}, "belongs-in")
    return Found(path, "unknown-key", parameters, "known-are")


@lru_cache(maxsize=4096)
def guessed(word: str, known: tuple[str, ...]) -> str:
    """The one of `known` that `word` may have been meant to be, or "". Long words and lists are not worth the time."""
    if len(word) > 64 or len(known) > 2_000:
        return ""
    plain = {each.casefold(): each for each in reversed(known)}
    close = difflib.get_close_matches(word.casefold().replace("-", "_"), plain, 1, 0.7)
    close = close or difflib.get_close_matches(word.casefold(), plain, 1, 0.7)
    return plain[close[0]] if close else ""


def seconds_of(value: Any) -> int | None:
    """Seconds, where a person has written a duration as a text or a time of day: "15s", "2 min", "1.5 h"; else None."""
    if not isinstance(value, str):
        return None
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*([a-z]+)\.?\s*", value.casefold())
    if not match:
        return None
    for unit, names in {
        1: "s sec secs second seconds",
        60: "m min mins minute minutes",
        3600: "h hr hrs hour hours",
        86_400: "d day days",
    }.items():
        if match.group(2) in names.split():
            return round(float(match.group(1)) * unit)
    return None


def as_toml(value: Any, depth: int = 0) -> str:
    """The value much as it stands in the file, on one line and shortened."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if value.bit_length() <= 128 else hex(value)[:24] + "…"
        case str():
            return json.dumps(value if len(value) <= 48 else value[:47] + "…", ensure_ascii=False)
        case dict():
            return (
                "{"
                + _some((f"{dotted((k,))} = {as_toml(v, depth + 1)}" for k, v in value.items()), len(value), depth)
                + "}"
            )
        case list():
            return "[" + _some((as_toml(each, depth + 1) for each in value), len(value), depth) + "]"
        case datetime.date() | datetime.time():
            return value.isoformat()
    return repr(value)


def _some(parts: Iterator[str], count: int, depth: int) -> str:
    if count and depth >= 2:
        return "…"
    first = [each for each, _ in zip(parts, range(3), strict=False)]
    return ", ".join([*first, "…"] if count > 3 else first)


def dotted(path: Path) -> str:
    """The path as it is written in TOML, with the indexes of elements: queues[2].skills."two words"."""
    said = ""
    for part in path:
        if isinstance(part, int):
            said += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
            said += f".{name}" if said else name
    return said

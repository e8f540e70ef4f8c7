"""From a TOML file, or a folder of them, to the rules of pools: with every mistake at its line, never with a traceback.

One file is one pool. It may include files beside or below it (`include = ["agents.toml"]`, paths relative to the file
that says so), whose tables are merged in: arrays of tables are appended, anything else may stand only once. What a
table may hold is in rules_shape.py, what must make sense in rules_checks.py, the sentences in rules_words.json.
"""

import os
import re
import stat
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.core.rules import Limits, Rules, Targets

from . import toml_lines
from .doors_checks import doors_checks
from .hours import SaidRules, worked_out
from .mistakes import Mistake, Parameter, render
from .rules_checks import Checked, checks
from .rules_held import SignedIn
from .rules_shape import ARRAYS, BAD, INCLUDE, SHAPE, At, Found, Said, as_toml, dotted, shaped, unknown_key
from .sense_checks import live_checks, sense_checks
from .widening_checks import between_pools, widening_checks

__all__ = ["Mistake", "Reading", "parse_rules", "read_pools", "read_rules", "render"]

GREATEST = 16_000_000  # bytes of one file: a pool of 100,000 agents needs ten
DEEPEST_INCLUDE = 8
MOST_FILES = 1_000


class Reading(Struct, frozen=True):
    """What reading one pool gave.

    file: as it was asked for. pool: its id, "" where that could not be read. rules: None if there is an error among the
    mistakes. mistakes: all that were found, in the order of files and lines. included: the files it includes, resolved.
    said: what the rules were worked out of, their hours for the time at which the file was read.
    """

    file: str
    pool: str
    rules: Rules | None
    mistakes: list[Mistake]
    included: tuple[Path, ...] = ()
    said: SaidRules | None = None


Live = Mapping[str, Sequence[SignedIn]]  # by pool, who is signed in


def read_rules(path: Path, at: int | None = None, live: Live | None = None) -> Reading:
    """The rules of the pool in this file. at: the time for which hours are worked out, in milliseconds since the epoch;
    now where none is said. live: where it is known, the rules are held against it, too."""
    return _Pool(str(path), at, live).read(path)


def parse_rules(text: str, name: str, at: int | None = None) -> Reading:
    """The rules in this text; `name` stands in mistakes where a file's name would. It cannot include files."""
    return _Pool(name, at).parse(text)


def read_pools(path: Path, at: int | None = None, live: Live | None = None) -> list[Reading]:
    """The pools of a file, or of the files *.toml right in a folder, in the order of their names.

    A file that another one includes is no pool of its own. Two files with one pool id are an error of the second.
    """
    try:
        is_folder = path.is_dir()
        found = sorted(each for each in path.iterdir() if _may_be_pool(each)) if is_folder else []
    except (OSError, ValueError) as problem:
        return [_about_all(path, "unreadable", {"reason": _reason(problem)})]
    if not is_folder:
        return [read_rules(path, at, live)]
    pools = {resolved(each): _Pool(str(each), at, live) for each in found}
    readings = {resolved(each): pools[resolved(each)].read(each) for each in found}

    def is_part(file: Path) -> bool:
        """Included by another. Of files that include each other none is left out: somebody must hear of the circle."""
        own = readings[file].included
        return any(
            file in reading.included and other not in own for other, reading in readings.items() if other != file
        )

    kept = [file for file in readings if not is_part(file)]
    if not kept:
        return [_about_all(path, "no-pools", {})]
    first: dict[str, Path] = {}
    for file in kept:
        reading = readings[file]
        if reading.pool in first and file not in readings[first[reading.pool]].included:
            place = pools[first[reading.pool]].place_of(("pool",))
            twice = pools[file].mistake(Found(("pool",), "pool-twice", {"pool": as_toml(reading.pool), "first": place}))
            readings[file] = msgspec.structs.replace(reading, rules=None, mistakes=[*reading.mistakes, twice])
        if reading.pool:
            first.setdefault(reading.pool, file)
    whole = {readings[file].pool: rules for file in kept if (rules := readings[file].rules) is not None}
    wrong = list(between_pools(whole)) if len(whole) == len(kept) else []  # else what is missing may be in the others
    for pool, found_there in wrong:
        file = first[pool]
        mistakes = [*readings[file].mistakes, pools[file].mistake(found_there)]
        readings[file] = msgspec.structs.replace(readings[file], rules=None, mistakes=mistakes)
    return [readings[file] for file in kept]


def resolved(path: Path) -> Path:
    """The path without links. Unlike Path.resolve, links in a circle are no exception: reading the file will tell."""
    return Path(os.path.realpath(path))


def _may_be_pool(path: Path) -> bool:
    return path.suffix == ".toml" and not path.name.startswith(".") and not path.is_dir()


def _about_all(path: Path, code: str, parameters: dict[str, Parameter]) -> Reading:
    return Reading(str(path), "", None, [Mistake(str(path), 0, "", code, parameters=parameters)])


def _reason(problem: Exception) -> str:
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)


class _Unreadable(Exception):
    """A file that cannot be taken as TOML at all, and why. line: 0 for the file as a whole."""

    def __init__(self, code: str, line: int = 0, **parameters: Parameter) -> None:
        super().__init__(code)
        self.code = code
        self.line = line
        self.parameters = parameters


class _File:
    """One TOML text. name: as mistakes name it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.table = parsed(text)
        self._lines: dict[toml_lines.Path, int] | None = None

    def line(self, path: toml_lines.Path) -> int:
        """Where the path, or the innermost table around it that was written, stands."""
        if self._lines is None:  # only files with mistakes are looked through
            self._lines = toml_lines.key_lines(self.text)
        return next((self._lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self._lines), 1)


class _Pool:
    """Files on their way to rules."""

    def __init__(self, name: str, at: int | None = None, live: Live | None = None) -> None:
        self.name = name
        self.live = live or {}
        self.at = time.time_ns() // 1_000_000 if at is None else at
        self.files: list[_File] = []
        self.mistakes: list[Mistake] = []
        self.complete = True  # false once a file could not be read: then nothing is said to be missing
        self.merged: dict[str, Any] = {}
        self.origin: dict[str, int] = {}  # key at the top -> which file says it
        self.elements: dict[str, list[tuple[int, int]]] = {name: [] for name in ARRAYS}  # -> file, index there
        self.included: list[Path] = []

    # ---- files

    def read(self, path: Path) -> Reading:
        number = self.load(path, self.name)
        if number is not None:
            self.add(number, resolved(path.parent), path, [resolved(path)])
        return self.reading()

    def parse(self, text: str) -> Reading:
        number = self.load(text, self.name)
        if number is not None:
            self.add(number, None, Path(), [])
        return self.reading()

    def load(self, source: Path | str, name: str) -> int | None:
        """The number of the file, once it has been read as TOML."""
        try:
            self.files.append(_File(name, source if isinstance(source, str) else text_of(source)))
            return len(self.files) - 1
        except _Unreadable as problem:
            self.complete = False
            self.mistakes.append(Mistake(name, problem.line, "", problem.code, parameters=problem.parameters))
            return None

    def add(self, number: int, folder: Path | None, path: Path, chain: list[Path]) -> None:
        """Merges the file in, then those it includes. folder: no include leaves it; chain: who includes it."""
        file = self.files[number]
        for key, value in file.table.items():
            if key == INCLUDE:
                continue
            if key in ARRAYS and isinstance(value, list):
                self.origin.setdefault(key, number)
                self.merged.setdefault(key, [])
                if isinstance(self.merged[key], list):
                    self.elements[key] += [(number, index) for index in range(len(value))]
                    self.merged[key] += value
            elif key in self.merged:
                first = self.place_of((key,))
                self.here(number, Found((key,), "given-twice", {"key": key, "first": first}))
            else:
                self.origin[key] = number
                self.merged[key] = value
        includes = file.table.get(INCLUDE, [])
        if not isinstance(includes, list):
            self.complete = False
            self.here(
                number, Found((INCLUDE,), "not-a-list", {"found": as_toml(includes), "name": INCLUDE}, "write-list")
            )
            return
        for index, each in enumerate(includes):
            if isinstance(each, str):
                problem = self.include(each, folder, path, chain)
            else:
                problem = Found((), "not-a-text", {"found": as_toml(each), "quoted": as_toml(as_toml(each))})
            if problem:
                self.complete = False
                self.here(number, problem._replace(path=(INCLUDE, index)))

    def include(self, each: str, folder: Path | None, path: Path, chain: list[Path]) -> Found | None:
        """Reads an included file; what keeps it from being read, if anything does."""
        said: Said = {"file": as_toml(each)}
        if folder is None:
            return Found((), "include-needs-file", said)
        try:
            target = path.parent / each
            real = resolved(target)
            there = real.exists()
        except (OSError, ValueError) as problem:  # a NUL in the path, a name of a thousand letters
            return Found((), "unreadable", {"reason": _reason(problem)})
        if os.path.isabs(each) or not real.is_relative_to(folder):
            return Found((), "include-outside", said)
        if real in chain:
            return Found((), "include-cycle", said)
        if real in self.included:
            return Found((), "include-twice", said)
        if not there:
            return Found((), "include-missing", said)
        if len(chain) >= DEEPEST_INCLUDE or len(self.included) >= MOST_FILES:
            return Found((), "include-too-many", {"deep": DEEPEST_INCLUDE, "files": MOST_FILES})
        self.included.append(real)
        number = self.load(target, str(target))
        if number is not None:
            self.add(number, folder, target, [*chain, real])
        return None

    # ---- places

    def origin_of(self, path: toml_lines.Path) -> tuple[int, toml_lines.Path]:
        """Which file a path in the merged rules comes from, and the path there."""
        key = path[0] if path else ""
        if key in ARRAYS and len(path) > 1 and isinstance(path[1], int):
            number, index = self.elements[str(key)][path[1]]
            return number, (key, index, *path[2:])
        return self.origin.get(str(key), 0), path

    def place_of(self, path: toml_lines.Path) -> str:
        number, local = self.origin_of(path)
        return f"{self.files[number].name}:{self.files[number].line(local)}"

    def mistake(self, found: Found) -> Mistake:
        return self.located(*self.origin_of(found.path), found)

    def located(self, number: int, local: toml_lines.Path, found: Found) -> Mistake:
        file = self.files[number]
        said = {
            name: self.place_of(each.path) if isinstance(each, At) else each for name, each in found.parameters.items()
        }
        return Mistake(file.name, file.line(local), dotted(local), found.code, found.severity, found.suggestion, said)

    def here(self, number: int, found: Found) -> None:
        """A mistake in one file rather than in the merged rules."""
        self.mistakes.append(self.located(number, found.path, found))

    # ---- rules

    def reading(self) -> Reading:
        found: list[Found] = []
        fit, numbers = self.shape(found.append)
        torn = {each.path[:end] for each in found for end in range(len(each.path) + 1)}
        rules: Rules | None = None
        said: SaidRules | None = None
        if self.files:
            try:
                said = msgspec.convert({"pool": "?", "queues": [], **fit}, SaidRules)
            except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as problem:
                found.append(Found((), "not-understood", {"message": str(problem)}))
        if said is not None:
            seen = Checked(said, self.merged, numbers, torn, self.complete)
            found += [*checks(seen), *doors_checks(seen, self.at), *widening_checks(seen)]
            if not self.mistakes:
                found += sense_checks(seen, found)
            if said.pool in self.live and not torn:
                found += live_checks(seen, self.live[said.pool])
        self.mistakes += map(self.mistake, found)
        order = {file.name: number for number, file in enumerate(self.files)}
        self.mistakes.sort(key=lambda each: (order.get(each.file, len(order)), each.line, each.where))
        pool = fit.get("pool", "")
        if any(each.severity == "error" for each in self.mistakes):
            said = None
        if said is not None:
            rules = worked_out(said, self.at)
        return Reading(self.name, pool, rules, self.mistakes, tuple(self.included), said)

    def shape(self, report: Callable[[Found], None]) -> tuple[dict[str, Any], dict[str, list[int]]]:
        """The merged rules as far as they fit, and of each array the merged indexes of the elements that are left."""
        fit: dict[str, Any] = {}
        numbers: dict[str, list[int]] = {name: [] for name in ARRAYS}
        fields = {field.encode_name: field for field in SHAPE.fields}
        for key, value in self.merged.items():
            if key not in fields:
                report(unknown_key((key,), (*fields, INCLUDE)))
                continue
            kind = fields[key].type
            if key in ARRAYS and isinstance(value, list):
                assert isinstance(kind, msgspec.inspect.VarTupleType), kind
                well = [shaped(each, kind.item_type, (key, number), report) for number, each in enumerate(value)]
                numbers[key] = [number for number, each in enumerate(well) if each is not BAD]
                fit[key] = [each for each in well if each is not BAD]
            elif (single := shaped(value, kind, (key,), report)) is not BAD:
                fit[key] = single
        if self.complete:
            for key, field in fields.items():
                if field.required and key not in self.merged:
                    report(Found((key,), "missing-key", {"key": key}))
        inherit(fit)
        return fit, numbers


def inherit(fit: dict[str, Any]) -> None:
    """A queue's targets and an agent's limits change what they name; the rest is the pool's, not a default."""
    for array, key, table in (("queues", "targets", Targets), ("agents", "limits", Limits)):
        pools = fit.get(key, {})
        assert isinstance(pools, dict), f"[{key}] should have been left out: it is no table of {table.__name__}"
        for each in fit.get(array, ()):
            if key in each:
                each[key] = {**pools, **each[key]}


# ---- bytes and TOML


def text_of(path: Path) -> str:
    """The file's text. _Unreadable says why there is none."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _Unreadable("folder")
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting
            raise _Unreadable("not-a-file")
        with path.open("rb") as stream:
            data = stream.read(GREATEST + 1)
    except FileNotFoundError:
        raise _Unreadable("missing-file") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise _Unreadable("unreadable", reason=_reason(problem)) from None
    if len(data) > GREATEST:
        raise _Unreadable("too-large", limit=GREATEST // 1_000_000)
    if b"\0" in data:
        raise _Unreadable("nul", 1 + data.count(b"\n", 0, data.index(b"\0")))
    try:
        return data.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as problem:
        last = data.rfind(b"\n", 0, problem.start)
        line = 1 + data.count(b"\n", 0, problem.start)
        raise _Unreadable("not-utf8", line, byte=problem.start - last, found=f"0x{data[problem.start]:02x}") from None


# What tomllib says -> our code. Groups named as parameters are handed on.
SYNTAX = [
    (r"Cannot overwrite a value", "toml-twice"),
    (r"Duplicate inline table key '(?P<key>.*)'", "toml-twice"),
    (r"Cannot (?:declare|redefine namespace) .*", "toml-table-twice"),
    (r"Cannot mutate immutable namespace .*", "toml-closed-table"),
    (r"Invalid value", "toml-value"),
    (r"Invalid date or datetime", "toml-date"),
    (r"Expected '=' after a key in a key/value pair", "toml-equals"),
    (r"Expected newline or end of document after a statement", "toml-after-value"),
    (r"Expected '\]\]?' at the end of an? (?:table|array) declaration", "toml-header"),
    (r"Invalid statement", "toml-statement"),
    (r"Invalid initial character for a key part", "toml-key"),
    (r"Unclosed array", "toml-unclosed-list"),
    (r"Unclosed inline table", "toml-unclosed-table"),
    (
        r"Unterminated string|Illegal character '\\n'|Found invalid character '\\n'|Expected [\"']+",
        "toml-unclosed-text",
    ),
    (r"Unescaped '\\' in a string|Invalid hex value|Escaped character is not a Unicode scalar value", "toml-escape"),
]


def parsed(text: str) -> dict[str, Any]:
    """The TOML text as tables. _Unreadable says where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        message, _, place = str(problem).rpartition(" (at ")
        numbers = re.findall(r"\d+", place)
        line = int(numbers[0]) if numbers else text.rstrip().count("\n") + 1
        for pattern, code in SYNTAX:
            if match := re.fullmatch(pattern, message):
                raise _Unreadable(code, line) from None
        raise _Unreadable("toml", line, message=message) from None
    except ValueError:  # Python refuses to make a number of more than 4300 digits
        match = re.search(r"\d(?:_?\d){4299,}", text)
        raise _Unreadable("toml-number", text.count("\n", 0, match.start()) + 1 if match else 0) from None
    except RecursionError:
        raise _Unreadable("toml-too-deep") from None

"""Every key and every element has the line on which it was written."""

import datetime
import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.streams.toml_lines import DEEPEST, Path, key_lines


def paths(value: Any, path: Path = ()) -> set[Path]:
    """All paths that tomllib sees."""
    found = {path} if path else set()
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in parts:
        found |= paths(each, (*path, key))
    return {each for each in found if len(each) <= DEEPEST}


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("\n\n  # a = 1\n  a = 1", ("a",), 4),
        ("[[q]]\nid = 1\n[[q]]\nid = 2", ("q", 1, "id"), 4),
        ("[[q]]\n[[q]]\n", ("q", 1), 2),
        ("[[q]]\n[[q]]\n", ("q",), 1),
        ("[[q]]\n[q.s]\nx = 1\n[[q]]\n[q.s]\nx = 2", ("q", 1, "s", "x"), 6),
        ("[[q]]\n[[q.r]]\n[[q.r]]\n[[q]]\n[[q.r]]\nx = 1", ("q", 1, "r", 0, "x"), 6),
        ("[a.b.c]\nx = 1", ("a", "b"), 1),
        ("[a.b]\n[a]\nx = 1", ("a", "x"), 3),
        ("[a.b]\n[a]\nx = 1", ("a",), 1),
        ("a.b.c = 1\na.b.d = 2", ("a", "b", "d"), 2),
        ("a = { b = 1, c = { d = [1, 2] } }", ("a", "c", "d", 1), 1),
        ("a = [\n  1,\n  # 2,\n  3,\n]\nb = 1", ("a", 1), 4),
        ("a = [\n  { x = 1 },\n  { x = 2 } , ]", ("a", 1, "x"), 3),
        ('a = """\nb = 1\n"""\nc = 1', ("c",), 4),
        ("a = '''\nb = 1\n\\'''\nc = 1", ("c",), 4),
        ('a = """"quoted""""\nc = 1', ("c",), 2),
        ('a = """x\\"""\n"""""\nc = 1', ("c",), 3),
        ("a = '''''x'''''\nc = 1", ("c",), 2),
        ('a = "# no \\" comment" # b = 1\nc = 1', ("c",), 2),
        ("a = 'C:\\' # x\nc = 1", ("c",), 2),
        ('"two words" = 1\n"a.b" = 2', ("a.b",), 2),
        ("'q'.\"\\u0041\" . c = 1", ("q", "A", "c"), 1),
        ("[ 'x' . y ] # [z]\nc = 1", ("x", "y", "c"), 2),
        ('"" = 1\n\n[z]\n"" = 2', ("z", ""), 4),
        ("a = 1979-05-27 07:32:00\nc = 1", ("c",), 2),
        ("a = [1979-05-27T07:32:00Z, inf, -1_000.5e3,\n0xff]\nc = 1", ("a", 3), 2),
        ("a = 1\r\n\r\nb = 2\r\n", ("b",), 3),
        ("a = [[], [\n[]]]\nc = 1", ("a", 1, 0), 2),
        ("a = {}\nb = []\nc = 1", ("c",), 3),
        ("1 = 1\n2026-11-22 = 2", ("2026-11-22",), 2),
    ],
)
def test_a_key_has_its_line(text, path, line):
    lines = key_lines(text)
    assert lines.keys() == paths(tomllib.loads(text))
    assert lines[path] == line


def test_a_text_that_is_too_deep_keeps_what_was_found():
    text = "a = 1\nb = " + "[" * 300 + "]" * 300 + "\nc = 1"
    lines = key_lines(text)
    assert (lines[("a",)], lines[("b",)], lines[("c",)]) == (1, 2, 3)
    assert max(map(len, lines)) == DEEPEST


def test_a_long_dotted_key_costs_little():
    lines = key_lines("a." * 100_000 + "b = 1\nc = 1")
    assert lines[("c",)] == 2


# A document is written line by line, and what is written where is noted down: the scanner must find the same.

NAMES = st.sampled_from(["a", "b", "id", "follow-up", "two words", "a.b", "", "#", 'say "x"', "'", "=", "日", "1"])
BLANKS = st.sampled_from(["", " ", "\t", "  "])
SCALARS = st.sampled_from(
    [1, -7, 1.5, True, False, "", "#[x]", 'a "b"', "l1\nb = 1\n[x]\n", "it's", "\\", "''' \"\"\"", "}", "]", ","]
) | st.just(datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC))
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3),
    max_leaves=6,
)


class Writer:
    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def note(self, path: Path) -> None:
        if len(path) <= DEEPEST:
            self.lines.setdefault(path, self.text.count("\n") + 1)

    def key(self, name: str) -> str:
        ways = [json.dumps(name, ensure_ascii=False), json.dumps(name)]
        if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
            ways.append(name)
        if "'" not in name:
            ways.append(f"'{name}'")
        return self.draw(st.sampled_from(ways))

    def blank(self) -> None:
        self.text += self.draw(BLANKS)

    def gap(self) -> None:
        """What may stand between the parts of an array."""
        self.text += self.draw(st.sampled_from(["", " ", "\n", " # a = [1, {\n\t", "\n\n"]))

    def value(self, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, (name, each) in enumerate(value.items()):
                self.text += "," if number else ""
                self.blank()
                self.pair(name, each, path)
                self.blank()
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            self.gap()
            for number, each in enumerate(value):
                self.note((*path, number))
                self.value(each, (*path, number))
                self.gap()
                self.text += "," if number + 1 < len(value) or self.draw(st.booleans()) else ""
                self.gap()
            self.text += "]"
        elif isinstance(value, str):
            ways = [json.dumps(value)]
            if "'''" not in value and not value.endswith("'"):
                ways.append(f"'''\n{value}'''")
            if "\\" not in value and '"""' not in value:
                ways.append(f'"""\n{value}"""')  # up to two more quotation marks before the end are part of the text
            if "'" not in value and "\n" not in value:
                ways.append(f"'{value}'")
            self.text += self.draw(st.sampled_from(ways))
        elif isinstance(value, datetime.datetime):
            self.text += value.isoformat(self.draw(st.sampled_from([" ", "T"])))
        else:
            self.text += json.dumps(value)

    def pair(self, name: str, value: Any, path: Path) -> None:
        """`name = value`, or, for a table of one key, perhaps name.key = value."""
        self.note((*path, name))
        self.text += self.key(name)
        if isinstance(value, dict) and len(value) == 1 and self.draw(st.booleans()):
            self.blank()
            self.text += "."
            self.blank()
            ((inner, each),) = value.items()
            self.pair(inner, each, (*path, name))
            return
        self.blank()
        self.text += "="
        self.blank()
        self.value(value, (*path, name))

    def end(self) -> None:
        self.text += self.draw(st.sampled_from(["\n", " # c = 1\n", "\n\n", "\n  # [[x]]\n"]))

    def body(self, table: dict[str, Any], path: Path) -> None:
        for name, each in table.items():
            self.blank()
            self.pair(name, each, path)
            self.end()

    def header(self, names: tuple[str, ...], brackets: int) -> None:
        self.text += "[" * brackets + ".".join(map(self.key, names)) + "]" * brackets
        self.end()


BODIES = st.dictionaries(NAMES, VALUES, max_size=3)


@settings(deadline=None)
@given(st.data())
def test_whatever_is_written_is_found_where_it_was_written(data):
    writer = Writer(data.draw)
    top = data.draw(BODIES)
    writer.body(top, ())
    for number in range(data.draw(st.integers(0, 3))):
        table = f"t{number}"
        names = (table, data.draw(NAMES)) if data.draw(st.booleans()) else (table,)
        if data.draw(st.booleans()):
            for end in range(1, len(names) + 1):
                writer.note(names[:end])
            writer.header(names, 1)
            writer.body(data.draw(BODIES), names)
            continue
        for index in range(data.draw(st.integers(1, 3))):
            for end in range(1, len(names) + 1):
                writer.note(names[:end])
            writer.note((*names, index))
            writer.header(names, 2)
            writer.body(data.draw(BODIES), (*names, index))
            if data.draw(st.booleans()):
                writer.note((*names, index, "below"))
                writer.header((*names, "below"), 1)
                writer.body(data.draw(BODIES), (*names, index, "below"))
    assert paths(tomllib.loads(writer.text)) == writer.lines.keys()
    assert key_lines(writer.text) == writer.lines

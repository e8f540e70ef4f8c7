"""On which line each key of a TOML text stands: tomllib reads values, but does not say where they were.

Only texts that tomllib has accepted are looked through, so nothing is checked here. A path is the keys from the top,
with 0-based indexes for the elements of arrays and of arrays of tables: ("queues", 2, "offer").
"""

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress

Path = tuple[str | int, ...]

DEEPEST = 8  # longer paths are not kept: rules are never that deep, and a key of a thousand dots must cost nothing

BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
BARE = re.compile(r"[A-Za-z0-9_-]++")
TEXT = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'  # up to two quotes may stand right before the three that close it
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
SCALAR = re.compile(r"[^,\]}#\n]++")


def key_lines(text: str) -> dict[Path, int]:
    """path -> line, counted from 1, of every key, table and element. Of several mentions the first."""
    found = _Scan(text)
    with suppress(RecursionError):  # what was found by then is right
        found.document()
    return found.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.elements: dict[Path, int] = {}  # array of tables -> index of the one that is being written

    def document(self) -> None:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.blank()

    def header(self) -> Path:
        start = self.at
        is_element = self.text.startswith("[[", start)
        self.at += 2 if is_element else 1
        keys = self.keys()
        self.at += 2 if is_element else 1
        path: Path = ()
        for key in keys[:-1]:
            path = self.opened((*path[:DEEPEST], key), start)
        path = (*path[:DEEPEST], keys[-1])
        if not is_element:
            return self.opened(path, start)
        self.keep(path, start)
        self.elements[path] = self.elements.get(path, -1) + 1
        return self.opened(path, start)

    def opened(self, path: Path, start: int) -> Path:
        """The table that `path` means here: of an array of tables, its newest element."""
        self.keep(path, start)
        if path in self.elements:
            path = (*path, self.elements[path])
            self.keep(path, start)
        return path

    def pair(self, table: Path) -> None:
        start = self.at
        path = table
        for key in self.keys():
            path = (*path[:DEEPEST], key)
            self.keep(path, start)
        self.at += 1  # =
        self.value(path)

    def keys(self) -> list[str]:
        """A dotted key, up to what follows it."""
        keys = []
        while True:
            self.blank()
            if bare := BARE.match(self.text, self.at):
                keys.append(bare.group())
                self.at = bare.end()
            else:
                quoted = self.match(TEXT)
                keys.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            self.blank()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def value(self, path: Path) -> None:
        self.blank()
        first = self.text[self.at]
        if first == "[":
            self.at += 1
            self.blank()
            index = 0
            while self.text[self.at] != "]":
                element = (*path[:DEEPEST], index)
                self.keep(element, self.at)
                self.value(element)
                index += 1
                self.comma()
            self.at += 1
        elif first == "{":
            self.at += 1
            self.blank()
            while self.text[self.at] != "}":
                self.pair(path)
                self.comma()
            self.at += 1
        elif first in "\"'":
            self.match(TEXT)
        else:
            self.match(SCALAR)

    def comma(self) -> None:
        self.blank()
        if self.text[self.at] == ",":
            self.at += 1
            self.blank()

    def blank(self) -> None:
        self.match(BLANK)

    def match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"tomllib accepted what is not TOML, at character {self.at}"
        self.at = match.end()
        return match.group()

    def keep(self, path: Path, at: int) -> None:
        if len(path) <= DEEPEST and path not in self.lines:
            self.lines[path] = bisect_left(self.breaks, at) + 1

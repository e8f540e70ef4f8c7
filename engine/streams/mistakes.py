"""What is wrong in a file that somebody wrote: as codes for programs, as sentences in en and zh-CN for people.

The sentences stand in rules_words.json: by language, `problems` and `suggestions` by code, with {placeholders} that the
mistake's parameters fill. A problem without a suggestion of its own has the one of the same code, where there is one.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

Lang = Literal["en", "zh-CN"]
Severity = Literal["error", "warning"]
Parameter = str | int | tuple[str, ...]

BOLD, RED, YELLOW, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Mistake(Struct, frozen=True, omit_defaults=True):
    """One mistake; rules with a `warning` hold, rules with an `error` do not.

    line: counted from 1; 0 means the file as a whole. where: the dotted key, indexes counted from 0, as
    `queues[2].offer`; empty where the file is not read that far.
    """

    file: str
    line: int
    where: str
    code: str
    severity: Severity = "error"
    suggestion: str = ""
    parameters: dict[str, Parameter] = {}

    def problem(self, lang: Lang = "en") -> str:
        """What is wrong, in one sentence."""
        return self._sentence(catalog()[lang]["problems"][self.code], lang)

    def advice(self, lang: Lang = "en") -> str:
        """What to do instead, in one sentence; empty where there is nothing to say."""
        return self._sentence(catalog()[lang]["suggestions"].get(self.suggestion or self.code, ""), lang)

    def in_words(self, lang: Lang = "en") -> dict[str, Any]:
        """The mistake for JSON: its fields, `problem` and `suggestion` as sentences."""
        return {
            "file": self.file,
            "line": self.line,
            "where": self.where,
            "severity": self.severity,
            "code": self.code,
            "parameters": self.parameters,
            "problem": self.problem(lang),
            "suggestion": self.advice(lang),
        }

    def _sentence(self, template: str, lang: Lang) -> str:
        comma = catalog()[lang]["marks"]["comma"]
        said = {name: shown(each, comma) for name, each in self.parameters.items()}
        return template.format_map(said)


@cache
def catalog() -> dict[str, dict[str, dict[str, str]]]:
    """language -> `problems`, `suggestions` or `marks` -> code -> sentence."""
    words: dict[str, dict[str, dict[str, str]]] = json.loads(Path(__file__).with_name("rules_words.json").read_bytes())
    return words


def shown(parameter: Parameter, comma: str) -> str:
    if isinstance(parameter, tuple):
        return comma.join(printable(each) for each in parameter)
    return printable(str(parameter))


def printable(text: str) -> str:
    """The text without anything that a terminal would obey: such characters are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def render(mistakes: Sequence[Mistake], lang: Lang = "en", stream_is_terminal: bool = False) -> str:
    """One line each, `file:line  where: problem suggestion`, without a newline at the end. Coloured for a terminal."""
    marks = catalog()[lang]["marks"]
    places = [printable(each.file) + (f":{each.line}" if each.line else "") for each in mistakes]
    width = max(map(len, places), default=0)
    lines = []
    for place, each in zip(places, mistakes, strict=True):
        where = printable(each.where) + marks["colon"] if each.where else ""
        warning = marks["warning"] if each.severity == "warning" else ""
        said = marks["space"].join(filter(None, [each.problem(lang), each.advice(lang)]))
        place = place.ljust(width)
        if stream_is_terminal:
            place = f"{BOLD}{place}{PLAIN}"
            where = f"{YELLOW if warning else RED}{where}{PLAIN}"
        lines.append(f"{place}  {warning}{where}{said}")
    return "\n".join(lines)

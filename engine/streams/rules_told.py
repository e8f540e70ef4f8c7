"""What rules that hold mean, in en and zh-CN: the sentences stand in rules_told.json, by language, part and code."""

import json
from functools import cache
from pathlib import Path

from .mistakes import Lang


@cache
def told(lang: Lang) -> dict[str, dict[str, str]]:
    """part -> code -> sentence with {placeholders}."""
    words: dict[str, dict[str, dict[str, str]]] = json.loads(Path(__file__).with_name("rules_told.json").read_bytes())
    return words[lang]


def span(seconds: int, lang: Lang) -> str:
    """5410 -> 1 h 30 min 10 s."""
    units = told(lang)["units"]
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(units[unit].format(count=count))
    return units["between"].join(parts)

"""The report on a replay for people, in en or zh-CN: tables for a terminal, plain columns for a pipe."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .bank import DROPPED, HANDLED
from .bank_figures import QUANTILES, Figures
from .route_report import Report

Lang = Literal["en", "zh-CN"]
VIOLATIONS_SHOWN = 20


@cache
def catalog() -> dict[str, dict[str, str]]:
    """language -> key -> sentence with places."""
    words: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("route_words.json").read_bytes())
    return words


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def signed(value: float | None) -> str:
    return "" if not value else ("+" if value > 0 else "−") + number(abs(value))


def in_hours(seconds: int | None) -> float | None:
    return None if seconds is None else round(seconds / 3600, 1)


def hours(seconds: int | None) -> str:
    return number(in_hours(seconds))


def difference(after: float | None, before: float | None) -> float | None:
    if after is None or before is None:
        return None
    both_whole = isinstance(after, int) and isinstance(before, int)
    return after - before if both_whole else round(after - before, 1)


class Page:
    """What is written where: one console, one language."""

    def __init__(self, console: Console, lang: Lang) -> None:
        self.console = console
        self.words = catalog()[lang]
        self.plain = not console.is_terminal

    def say(self, key: str, **places: str) -> str:
        return self.words[key].format_map(places)

    def line(self, text: str = "", style: str = "") -> None:
        self.console.print(Text(text, style=style))

    def heading(self, key: str) -> None:
        self.line()
        self.line(self.say(key), "bold")

    def table(self, names: Iterable[str]) -> Table:
        """The first column is text, the others are numbers."""
        shape = None if self.plain else box.SIMPLE_HEAD
        gap = (0, 2 if self.plain else 1, 0, 0)
        table = Table(box=shape, show_edge=False, pad_edge=False, padding=gap, header_style="bold")
        for i, name in enumerate(names):
            table.add_column(name, justify="right" if i else "left", vertical="bottom", no_wrap=True)
        return table

    def sentence(self, key: str, **places: str) -> None:
        bullet = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        bullet.add_row("-" if self.plain else "•", Text(self.say(key, **places)))
        self.console.print(bullet)


def render(report: Report, console: Console, lang: Lang = "en") -> None:
    page = Page(console, lang)
    page.line(page.say("title"), "bold")
    page.line(
        page.say(
            "what",
            file=report.file,
            rows=number(report.whole_file.rows),
            first_day=report.first_day,
            last_day=report.last_day,
            kept=number(report.kept),
            days=number(report.days),
        )
    )
    page.line(
        page.say(
            "how",
            gap=number(report.gap_s),
            wrap_up=number(report.wrap_up_s),
            pool=report.pool,
            hash=report.rules_hash[:12],
            head_start=number(report.head_start_s),
        )
    )
    page.line()
    overall(page, report)
    page.heading("by-type")
    by(page, report.recorded.by_type, report.engine.by_type)
    page.heading("by-priority")
    by(page, report.recorded.by_priority, report.engine.by_priority)
    page.line(page.say("notes"), "dim")
    counted(page, "dropped", "why", DROPPED, report.dropped)
    if report.damage:
        page.line(page.say("first-damage", damage=report.damage))
    counted(page, "handled", "odd", HANDLED, report.handled)
    distance(page, report)
    gaps(page, report)
    run(page, report)


def overall(page: Page, report: Report) -> None:
    file, before, after = report.whole_file, report.recorded.total, report.engine.total
    table = page.table(["", page.say("file"), page.say("recorded"), page.say("engine"), page.say("difference")])

    def row(name: str, whole: float | None, old: float | None, new: float | None) -> None:
        shown = "" if whole is None else number(whole)
        table.add_row(name, shown, number(old), number(new), signed(difference(new, old)))

    row(page.say("calls-in"), file.answered + file.abandoned, before.calls_in, after.calls_in)
    row(page.say("answered"), file.answered, before.answered, after.answered)
    row(page.say("abandoned"), file.abandoned, before.abandoned, after.abandoned)
    if after.timed_out:
        row(page.say("timed-out"), None, before.timed_out, after.timed_out)
    row(page.say("waited"), file.waited, before.waited, after.waited)
    row(page.say("mean-wait"), file.mean_wait_s, before.mean_wait_s, after.mean_wait_s)
    for each in QUANTILES:
        name = page.say("quantile", percent=str(each))
        whole = file.median_wait_s if each == 50 else None
        row(name, whole, before.wait_quantiles_s[f"p{each}"], after.wait_quantiles_s[f"p{each}"])
    level, new_level = before.service_level, after.service_level
    threshold = level.threshold_s
    t = "T" if threshold is None else f"{threshold} s"
    row(page.say("answered-within", threshold=t), None, level.answered_within, new_level.answered_within)
    row(page.say("abandoned-after", threshold=t), None, level.abandoned_after, new_level.abandoned_after)
    row(page.say("service-level"), None, level.percent, new_level.percent)
    row(page.say("presence"), None, in_hours(before.present_s), in_hours(after.present_s))
    row(page.say("occupancy"), None, before.occupancy_percent, after.occupancy_percent)
    row(page.say("mean-service"), file.mean_service_s, before.mean_service_s, after.mean_service_s)
    page.console.print(table)


def by(page: Page, before: dict[str, Figures], after: dict[str, Figures]) -> None:
    timed_out = any(figures.timed_out for figures in after.values())
    keys = ["calls", "answered", "abandoned", *(["timed-out"] if timed_out else []), "waited", "mean"]
    table = page.table(
        [
            "",
            "",
            *(page.say(f"col-{key}") for key in keys),
            *(f"p{each}" for each in QUANTILES),
            page.say("col-level"),
            page.say("col-occupancy"),
        ]
    )
    table.columns[1].justify = "left"
    for key, recorded in before.items():
        for label, figures in ((key, recorded), ("", after[key])):
            table.add_row(
                label,
                page.say("record-row" if label else "engine-row"),
                number(figures.calls_in),
                number(figures.answered),
                number(figures.abandoned),
                *([number(figures.timed_out)] if timed_out else []),
                number(figures.waited),
                number(figures.mean_wait_s),
                *(number(round(wait)) if wait is not None else "–" for wait in figures.wait_quantiles_s.values()),
                number(figures.service_level.percent),
                number(figures.occupancy_percent),
            )
    page.console.print(table)


def counted(page: Page, heading: str, prefix: str, order: tuple[str, ...], counts: dict[str, int]) -> None:
    if not counts:
        return
    page.heading(heading)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    for reason in order:
        if reason in counts:
            table.add_row(number(counts[reason]), page.say(f"{prefix}-{reason}"))
    page.console.print(Padding(table, (0, 0, 0, 2)))


def distance(page: Page, report: Report) -> None:
    page.heading("distance")
    far, waits = report.distance, report.censored
    idle, picked, left, order = far.beside_idle, far.pickup, far.abandoned, far.out_of_order
    page.sentence(
        "why-idle",
        calls=number(idle.calls),
        of_calls=number(idle.of_calls),
        waited=hours(idle.waited_s),
        of_waited=hours(idle.of_waited_s),
        percent=number(idle.percent),
    )
    page.sentence(
        "why-pickup",
        times=number(picked.times),
        mean=number(picked.mean_s),
        median=number(picked.median_s),
        p90=number(picked.p90_s),
    )
    page.sentence(
        "why-abandoned",
        calls=number(left.calls),
        also=number(left.also_in_engine),
        served=number(left.served_in_engine),
        beside=number(left.beside_idle),
        patience=number(left.median_patience_s),
        wait=number(left.median_wait_in_engine_s),
        service=hours(left.service_s),
    )
    page.sentence(
        "why-censored",
        calls=number(waits.calls),
        longer=number(waits.waited_longer),
        mean_longer=number(waits.mean_longer_s),
        shorter=number(waits.waited_shorter),
        mean_shorter=number(waits.mean_shorter_s),
    )
    page.sentence(
        "why-out-of-order",
        answered=number(order.answered),
        of_answered=number(order.of_answered),
        slack=number(order.slack_s),
    )
    page.sentence("why-overtime", hours=hours(far.overtime_s))
    page.sentence("why-two-calls", hours=hours(far.on_two_calls_s))


def gaps(page: Page, report: Report) -> None:
    page.heading("gaps")
    table = page.table(
        [page.say("col-gap"), page.say("col-presence"), page.say("col-abandoned-gap"), page.say("col-mean-wait")]
    )
    for gap in report.distance.gaps:
        table.add_row(
            number(gap.gap_s),
            number(gap.present_h),
            number(gap.abandoned),
            number(gap.mean_wait_s),
            style="bold" if gap.gap_s == report.gap_s else "",
        )
    table.columns[0].justify = "right"
    page.console.print(table)


def run(page: Page, report: Report) -> None:
    page.heading("run")
    page.line(
        page.say(
            "speed",
            commands=number(report.commands),
            turns=number(report.turns),
            events=number(report.events),
            seconds=number(report.run_s),
            rate=number(report.commands_per_s),
        )
    )
    page.line(page.say("chain", chain=report.chain))
    if report.violations:
        page.line(page.say("violations", count=number(len(report.violations))), "bold red")
        for sentence in report.violations[:VIOLATIONS_SHOWN]:
            page.line(f"  {sentence}")
        if len(report.violations) > VIOLATIONS_SHOWN:
            page.line("  " + page.say("more", count=number(len(report.violations) - VIOLATIONS_SHOWN)))
    else:
        page.line(page.say("sound"), "green")
    page.line()
    page.line(report.acknowledgement, "dim")

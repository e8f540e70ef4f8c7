"""The command `waitline route-log`; `engine/__main__.py` mounts it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .bank import ACKNOWLEDGEMENT, DAY_S, BankFileError

if TYPE_CHECKING:  # the rest is imported when asked for, so that `waitline --help` is quick
    from engine.core.rules import Rules
    from engine.streams.log import Log

    from .route_log import Progress

PIPE_WIDTH = 110

HELP = f"""Route a recorded month of calls through the engine.

FILE is a month of the "Anonymous Bank" data, .tsv or .tsv.gz. Callers arrive, lose patience and talk as they did;
agents are there as they were; the engine alone decides who is served next. The report sets the record beside the
engine, and says what explains the distance.

\b
Rules of the replay
  Calls     A call arrives at q_start, or at vru_exit where it never queued.
            It asks for its type as a skill. It goes to the queue named after
            its type, else to the one named "bank", else to the only one.
            Priority 2 is a VIP and has the head start of the rules.
  Patience  Who hung up while queued (HANG, q_time above 0) leaves after
            q_time, unless served before: then the service lasts the median
            of its type. Who was served in the record never leaves, for their
            patience is not known (censored): how many wait longer than they
            did is counted. The rules' own limit (times.wait) holds for all.
  Service   It lasts ser_time, 0 s included. Agents accept at once, and are
            free again at once unless --wrap-up says otherwise.
  Agents    They have the types that they served that day, and room for one
            call. They are present from the first service of the day to the
            end of the last, and away in gaps between two services that are
            longer than --gap. Who is talking then finishes first.
  Seconds   The record has whole seconds. What falls into one comes in this
            order: patience ends, talks end, agents come, calls arrive,
            agents go.
  Time      The record's clocks name no zone and are read as UTC. What runs
            past midnight goes on in the next day.

\b
Left out, each counted by reason
  - PHANTOM
  - services without an agent (NO_SERVER)
  - who hung up in the voice unit and never queued, or in the very second of
    joining the queue
  - times that run backwards, or contradict a duration by more than 2 s
  - outcomes, types and priorities that the source does not know
  - the same row again; rows that cannot be read

\b
Kept, and counted as odd
  - past midnight; a call id used before; a type with stray characters
  - a voice unit whose clock runs backwards while the queue's does not
  - service and queue clocks more than 5 s apart: each is used for its own
  - services of 0 s; a service of someone who hung up: ignored
  - agents on two calls at once: both kept, the engine gives one at a time
  - an agent's day that reaches into their next: cut there

\b
What is counted
  Whole file  Answered are its AGENT rows, abandoned its HANG rows with a
              queue time.
  Waits       Of calls that waited more than 0 s; quantiles by nearest rank.
  Service     Answered within T / (answered + abandoned or given up after T),
  level       T = service_level of the queue.
  Occupancy   Time with calls / presence of the agents who could take them.

Every call kept must reach exactly one final state, no agent may have two calls, no command may be refused. This is
read back from the replay's log; a violation is shown and makes the exit status 1. The same file, rules and options
give the same final chain on every machine.

{ACKNOWLEDGEMENT}

Exit status: 0 done, 1 violations, or a file or rules that cannot be used, 2 wrong use of the command.
"""


def seconds_listed(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    numbers = [part.strip() for part in value.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and int(part) <= DAY_S for part in numbers):
        raise click.BadParameter("seconds up to a day, with commas between them, as in 60,1800")
    return tuple(map(int, numbers))


@click.command("route-log", help=HELP, short_help="Route a recorded month of calls through the engine.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--rules",
    "rules_path",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rules of the pool, TOML (deploy/desks/anonymous-bank.toml is the bank's).",
)
@click.option(
    "--gap",
    type=click.IntRange(0, DAY_S),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Agents are away in gaps between two services that are longer than this.",
)
@click.option(
    "--compare",
    callback=seconds_listed,
    default="60,1800",
    show_default=True,
    metavar="SECONDS,…",
    help="Replay with these gaps as well and show what they change; '' for none.",
)
@click.option(
    "--wrap-up",
    type=click.IntRange(0, 3600),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="Work after each call, up to the rules' limit (wrap_up). The record shows none.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, for programs.")
@click.option(
    "--log",
    "log_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the replay's log in this new or empty folder, for `waitline log show` and `waitline log verify`.",
)
@click.option(
    "--lang", type=click.Choice(["en", "zh-CN"]), default="en", show_default=True, help="Language of the report."
)
@click.pass_context
def route_log_command(
    context: click.Context,
    file: Path,
    rules_path: Path,
    gap: int,
    compare: tuple[int, ...],
    wrap_up: int,
    as_json: bool,
    log_folder: Path | None,
    lang: str,
) -> None:
    import msgspec
    from rich.console import Console

    from .route_log import ReplayError, route_log
    from .route_render import render

    rules = rules_in(rules_path, lang)
    try:
        with progress_bar() as progress, kept_in(log_folder) as log:
            report = route_log(file, rules, gap, progress, wrap_up_s=wrap_up, compare_gaps_s=compare, log=log)
    except BankFileError as error:
        raise click.ClickException(f"{file}: {error}") from None
    except ReplayError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        piped = not sys.stdout.isatty()
        console = Console(width=PIPE_WIDTH if piped else None, highlight=False)
        with console.capture() as captured:
            render(report, console, "zh-CN" if lang == "zh-CN" else "en")
        shown = captured.get()
        click.echo("\n".join(line.rstrip() for line in shown.splitlines()) if piped else shown.rstrip("\n"), color=True)
    if report.violations:
        context.exit(1)


def rules_in(path: Path, lang: str) -> "Rules":
    """The rules of the file; its mistakes are shown as `waitline check` shows them."""
    from engine.streams.rules_file import read_rules, render

    reading = read_rules(path)
    if reading.mistakes:
        words = render(reading.mistakes, "zh-CN" if lang == "zh-CN" else "en", sys.stderr.isatty())
        click.echo(words, err=True)
    if reading.rules is None:
        raise click.ClickException(f"the rules in {path} cannot be used")
    return reading.rules


@contextmanager
def progress_bar() -> "Iterator[Progress | None]":
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calls", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def kept_in(folder: Path | None) -> "Iterator[Log | None]":
    """The log in that folder, which must be empty or missing; None is memory."""
    if folder is None:
        yield None
        return
    from engine.streams.log import LogProblem
    from engine.streams.sqlite_log import SqliteLog

    try:
        log = SqliteLog.open(folder)
    except LogProblem as problem:
        raise click.ClickException(str(problem)) from None
    try:
        yield log
    except LogProblem as problem:
        raise click.ClickException(str(problem)) from None
    finally:
        log.close()

"""`waitline log`: what stands in a log, line by line, and whether it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from engine.streams.audit import Progress, Verified, verify
from engine.streams.journal import JournalBroken
from engine.streams.log import LogProblem
from engine.streams.sqlite_log import SqliteLog
from engine.streams.transcript import Shown, entries, show, shown_safely

folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@click.group("log")
def log_command() -> None:
    """Read a log and check it.

    DIR is the folder that `waitline serve --data DIR` writes. Both commands only read, and work while a server writes.
    """


@log_command.command("show")
@folder
@click.option("--pool", metavar="ID", help="Only what belongs to this pool.")
@click.option("--contact", metavar="ID", help="Only the life of this contact: each turn in which it appears.")
@click.option(
    "--from", "from_position", metavar="POSITION", type=click.IntRange(0), default=0, help="Begin at this command."
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="End after so many commands.")
@click.option(
    "--zone", metavar="NAME", help="Time zone of the times, such as Asia/Shanghai. Default: that of the rules."
)
@click.option("--relative", is_flag=True, help="Times as seconds since the first line, as in the stories of the tests.")
@click.option("--full", is_flag=True, help="Every field that is not empty, also what the line above has just said.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line: a command with its events, a marker.")
def log_show(
    folder: Path,
    pool: str | None,
    contact: str | None,
    from_position: int,
    limit: int | None,
    zone: str | None,
    relative: bool,
    full: bool,
    as_json: bool,
) -> None:
    """Print the log as a transcript, one line per entry.

    \b
        10:03:05.250 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/42 #17
        10:03:05.250 < contact-queued contact_id=c1 due_at=10:04:05.25 target=60.0 reason=tier-now
        10:03:05.250 < offer-issued contact_id=c1 agent_id=ann expires_at=10:03:20.25 reason=longest-idle

    > is a command: type, fields, who sent it (@source/id), its position in the log (#17). < is an event of its turn.
    * is an owner's marker: who took the log to write it. ! is what does not count or cannot be read. Durations are
    seconds. A command without events changed nothing, or repeats an earlier one.
    """
    try:
        times = None if zone is None else UTC if zone == "UTC" else ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise click.BadParameter(f"there is no time zone {shown_safely(zone or '')}", param_hint="--zone") from None
    log = opened(folder)
    chosen: dict[str, Any] = {"from_position": from_position, "pool": pool, "contact": contact}
    try:
        if as_json:
            for line in as_documents(entries(log, **chosen), limit):
                click.echo(line)
        else:
            for line in show(log, **chosen, limit=limit, zone=times, relative=relative, full=full):
                click.echo(line)
    except (LogProblem, JournalBroken) as problem:
        raise click.ClickException(str(problem)) from None
    finally:
        log.close()


@log_command.command("verify")
@folder
@click.option("--redecide", is_flag=True, help="Also decide every command again, and compare the turns byte by byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of sentences.")
def log_verify(folder: Path, redecide: bool, as_json: bool) -> None:
    """Check that a log is whole and unchanged.

    Checked are the file itself; that commands and journal have no gaps and time never runs backwards; that each turn
    continues the chain (SHA-256 over all turns before it: a changed, missing or foreign turn breaks it), has its
    command, and stands under its owner's marker. With --redecide each command is decided again from the log alone: the
    same bytes must come out. (Turns of another engine version are not decided again, only folded.)

    The chain that is printed stands for the whole past: two logs with the same chain hold the same turns.

    Exit status: 0 whole, 1 problems, 2 wrong use of the command.
    """
    log = opened(folder)
    try:
        faults = log.verify()
        verified = with_progress(log, redecide)
        seal = log.seal.said if log.seal else ""
    except LogProblem as problem:
        raise click.ClickException(str(problem)) from None
    finally:
        log.close()
    sound = verified.sound and not faults
    if as_json:
        document = {"sound": sound, "file": faults, **msgspec.to_builtins(verified), "sealed": seal}
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
    else:
        click.echo("\n".join(sentences(verified, faults)))
        if seal:
            click.echo(shown_safely(seal))
    sys.exit(0 if sound else 1)


def opened(folder: Path) -> SqliteLog:
    try:
        return SqliteLog.open(folder, create=False, read_only=True)
    except LogProblem as problem:
        raise click.ClickException(str(problem)) from None


def as_documents(found: Iterator[Shown], limit: int | None) -> Iterator[str]:
    for shown in found:
        if shown.kind == "command" and limit is not None:
            if not limit:
                return
            limit -= 1
        yield msgspec.json.encode(document_of(shown)).decode()


def document_of(shown: Shown) -> dict[str, Any]:
    """{"position", "at", "command": the envelope, "events"} or {"offset", "at", "marker"} or {"offset", "void"}."""
    if shown.marker is not None:
        return {"offset": shown.offset, "at": shown.at, "marker": shown.marker}
    if shown.kind == "void":
        return {"offset": shown.offset, "void": shown.problem}
    if shown.envelope is None or shown.command is None:
        events = {"events": shown.events} if shown.events else {}
        return {"position": shown.position, "at": shown.at, "problem": shown.problem} | events
    envelope = {
        name: value for name, value in msgspec.structs.asdict(shown.envelope).items() if value not in ("", False)
    }
    data = {name: value for name, value in msgspec.to_builtins(shown.command).items() if name != "type"}
    return {"position": shown.position, "at": shown.at, "command": envelope | {"data": data}, "events": shown.events}


def with_progress(log: SqliteLog, redecide: bool) -> Verified:
    with progress_bar("Deciding again" if redecide else "Reading") as progress:
        return verify(log, progress, redecide=redecide)


@contextmanager
def progress_bar(doing: str) -> Iterator[Progress | None]:
    """To be called with (done, in all); None where nobody sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(doing, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def sentences(verified: Verified, faults: list[str]) -> Iterator[str]:
    for problem in (*faults, *verified.problems):
        yield f"PROBLEM  {shown_safely(problem)}"
    untold = verified.problem_count - len(verified.problems)
    if untold:
        yield f"PROBLEM  … and {untold} more."
    if verified.commands:
        positions = f"positions {verified.first_position} to {verified.last_position}"
        turns = f"{verified.turns} with a turn, {verified.quiet} that said nothing"
        yield f"{counted(verified.commands, 'command')}, {positions}, {turns}"
    owners = ", ".join(shown_safely(engine) for engine in verified.engines)
    yield f"{counted(verified.markers, 'owner')} (engine {owners or 'none'}), {counted(verified.voids, 'void record')}"
    if verified.log:
        pools = ", ".join(map(shown_safely, verified.pools)) or "none"
        yield f"log {shown_safely(verified.log)}, {verified.time} time, pools: {pools}"
    if verified.holes:
        yield (
            f"{counted(verified.holes, 'position')} without a command, since this is a copy: turns there are chained "
            "and folded, and cannot be decided again"
        )
    if verified.redecided or verified.folded:
        yield f"{counted(verified.redecided, 'command')} decided again, {counted(verified.folded, 'turn')} only folded"
    yield f"chain {verified.chain}"
    yield "The log is whole." if verified.sound and not faults else "The log is NOT whole."


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""`waitline rules`: publish a pool's rules, show those that held, say in words what changes between two of them."""

import asyncio
import getpass
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from engine.agents.connection import Connection
from engine.commands_options import json_option, kafka_options, write_json
from engine.core.messages import CommandRefused, PublishRules
from engine.core.rules import Rules, hash_of
from engine.embedded import Embedded
from engine.streams.codec import envelope_of, write_command
from engine.streams.host import Outcome
from engine.streams.journal import JournalBroken
from engine.streams.log import Log, LogProblem
from engine.streams.mistakes import Lang, render
from engine.streams.rules_diff import differences, sentence
from engine.streams.rules_file import read_rules
from engine.streams.rules_held import Held, as_toml_file, held_at
from engine.streams.rules_told import told
from engine.streams.sqlite_log import SqliteLog
from engine.streams.topics import DEVELOPMENT
from engine.streams.transcript import shown_safely

lang_option = click.option(
    "--lang", type=click.Choice(["en", "zh-CN"]), default="en", show_default=True, help="Language of sentences."
)


class RulesProblem(Exception):
    """Why it cannot be done, in a sentence for a person."""


def answering(command: Callable[..., Any]) -> Callable[..., Any]:
    """Problems are said as sentences: exit status 1, or 3 where Kafka is the cause."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (RulesProblem, LogProblem, JournalBroken) as problem:
            click.echo(str(problem), err=True)
            sys.exit(3 if kwargs.get("connection") is not None and not isinstance(problem, RulesProblem) else 1)

    return guarded


@click.group("rules")
def rules_command() -> None:
    """Publish a pool's rules, show those that held, and say what changes.

    Rules stand in the log: what was decided yesterday is judged by yesterday's rules. `waitline check FILE` says
    whether a file holds.
    """


# ---- publish


@rules_command.command("publish")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The log that `waitline serve --data DIR` writes; nobody may be serving it meanwhile.",
)
@partial(kafka_options, needed=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@lang_option
@json_option
@answering
def publish_command(
    file: Path, data: Path | None, connection: Connection | None, prefix: str, yes: bool, lang: Lang, as_json: bool
) -> None:
    """Publish the rules in FILE to its pool's log, after saying in words what changes.

    With --data into an embedded log, which must exist and must not be served meanwhile. With --broker into a log on
    Kafka, whose workers go on: the command takes its turn like all others, and the answer is awaited. Contacts that
    wait keep the time at which they are due; what comes from now on goes by the new rules.

    Whoever starts `serve` or `worker` with --config publishes that file again: change it there, too.

    Exit status: 0 published, or the rules are the same; 1 not published (mistakes, refused, or answered with no);
    2 wrong use; 3 Kafka cannot be reached, or it is not known what became of it.
    """
    if (data is None) == (connection is None):
        raise click.UsageError("Say which log: --data DIR, or --broker HOST:PORT.")
    if as_json and not yes:
        raise click.UsageError("With --json nobody is asked: add --yes.")
    rules = checked(file, lang)

    def agreed(old: Rules | None) -> None:
        if not as_json:
            click.echo("\n".join(news(old, rules, lang)))
        if not yes and (old is None or hash_of(old) != hash_of(rules)) and not click.confirm("Publish?"):
            raise RulesProblem("Not published.")

    if data is not None:
        old, outcome = into_file(data, rules, agreed)
    else:
        assert connection is not None
        old, outcome = asyncio.run(into_kafka(connection, prefix, rules, agreed))
    why = [f"{each.reason} ({', '.join(each.seen)})" for each in outcome.events if isinstance(each, CommandRefused)]
    reason = ", ".join(why) or (str(outcome.problem) if outcome.problem else "")
    pool = shown_safely(rules.pool)
    if as_json:
        said = {"pool": rules.pool, "status": outcome.status, "position": outcome.position, "reason": reason}
        write_json({**said, "changes": news(old, rules, lang)})
    elif outcome.status == "accepted":
        click.echo(f"The pool {pool} goes by these rules since position {outcome.position}.")
    elif outcome.status == "logged":
        click.echo(f"It stands in the log at position {outcome.position}; no worker has decided it yet.", err=True)
    elif outcome.status != "unchanged":
        reason = shown_safely(reason or outcome.status)
        click.echo(f"Not published: {reason}. The pool goes on under the rules it had.", err=True)
    sys.exit({"accepted": 0, "unchanged": 0, "logged": 3}.get(outcome.status, 1))


def checked(file: Path, lang: Lang) -> Rules:
    reading = read_rules(file)
    if reading.mistakes:
        click.echo(render(reading.mistakes, lang, sys.stderr.isatty()), err=True)
    if reading.rules is None:
        raise RulesProblem("Not published: rules with mistakes do not hold.")
    return reading.rules


def into_file(folder: Path, rules: Rules, agreed: Callable[[Rules | None], None]) -> tuple[Rules | None, Outcome]:
    with closing(SqliteLog.open(folder, create=False)) as log:  # its lock is held while somebody thinks it over
        held = held_at(log).get(rules.pool)
        old = held.rules if held else None
        agreed(old)
        if held and held.hash == hash_of(rules):
            return old, Outcome(held.position, held.at, "unchanged", [])
        return old, Embedded(log, lambda: time.time_ns() // 1_000_000, worker="rules-publish").publish(rules, actor())


async def into_kafka(
    connection: Connection, prefix: str, rules: Rules, agreed: Callable[[Rules | None], None]
) -> tuple[Rules | None, Outcome]:
    from engine.agents.door_host import KafkaHost  # takes a moment to import

    host = KafkaHost(connection, msgspec.structs.replace(DEVELOPMENT, prefix=prefix))
    try:
        await host.start()
        board = host.boards.get(rules.pool)
        if board is None:
            raise RulesProblem(
                f"There is no pool {shown_safely(rules.pool)} in this log. A worker begins it: put the file into its "
                "--config."
            )
        old = board.rules
        await asyncio.to_thread(agreed, old)
        command = PublishRules(rules)
        envelope = envelope_of(command, f"publish-{time.time_ns()}", "waitline", rules.pool, actor())
        return old, (await host.submit([(envelope, command, write_command(envelope))], decided=True))[0]
    finally:
        await host.close()


def actor() -> str:
    """Who publishes, as this machine knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user: a container may have numbers only
        return ""


def news(old: Rules | None, new: Rules, lang: Lang) -> list[str]:
    """What changes, in words."""
    if old is None:
        return [told(lang)["diff"]["new pool"].format(pool=shown_safely(new.pool))]
    return [sentence(each, lang) for each in differences(old, new)] or [told(lang)["diff"]["same"]]


# ---- show


@rules_command.command("show")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A log, of `waitline serve` or a copy by `waitline export`. It may be served meanwhile.",
)
@click.option("--pool", metavar="ID", default="", help="Which, where the log has several.")
@click.option("--at", metavar="POSITION", type=click.IntRange(0), help="After this command. Default: the last one.")
@json_option
@answering
def show_command(data: Path, pool: str, at: int | None, as_json: bool) -> None:
    """Print the rules that held at a position, as a file that can be checked and published again.

    Everything is written out, defaults too. Opening hours stand day by day in UTC, as they were worked out; write them
    as weekly hours before they end.

    Exit status: 0 printed, 1 not possible (said why), 2 wrong use.
    """
    held = of_log(data, pool, at)
    if as_json:
        return write_json(held)
    zone = ZoneInfo(held.rules.time_zone)
    when = datetime.fromtimestamp(held.at / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
    click.echo(f"# Version {held.version}, published at position {held.position}, {when} {zone}.")
    click.echo(f"# SHA-256 {held.hash}")
    click.echo(as_toml_file(held.rules), nl=False)


@contextmanager
def reading(folder: Path) -> Iterator[Log]:
    with closing(SqliteLog.open(folder, create=False, read_only=True)) as log:
        yield log


def of_log(folder: Path, pool: str, position: int | None) -> Held:
    with reading(folder) as log:
        last = log.ends()[0] - 1
        if position is not None and position > last:
            raise RulesProblem(f"The log ends at position {last}.")
        held = held_at(log, position)
    if pool and pool in held:
        return held[pool]
    if not held:
        raise RulesProblem("No rules had been published then." if position is not None else "The log holds no rules.")
    names = ", ".join(map(shown_safely, held))
    if pool:
        raise RulesProblem(f"There is no pool {shown_safely(pool)} then; there are {names}.")
    if len(held) > 1:
        raise RulesProblem(f"The log has the pools {names}: say --pool.")
    return next(iter(held.values()))


# ---- diff


@rules_command.command("diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option("--pool", metavar="ID", default="", help="Which, where a log has several. Default: that of the file.")
@lang_option
@json_option
@answering
def diff_command(old: str, new: str, pool: str, lang: Lang, as_json: bool) -> None:
    """Say in words what changes from A to B.

    Each is a rules file, a log (DIR: its newest rules) or a log at a position (DIR@POSITION).

    \b
        VIP customers are now due 2 min earlier (was 1 min 30 s)
        queue repairs: takes chats no more

    Exit status: 0 the same, 1 they differ, 2 wrong use or not possible (said why).
    """
    try:
        known = pool or next((checked(Path(each), lang).pool for each in (old, new) if Path(each).is_file()), "")
        before, after = (side(each, known, lang) for each in (old, new))
    except (RulesProblem, LogProblem, JournalBroken) as problem:
        click.echo(str(problem), err=True)
        sys.exit(2)
    changes = differences(before, after)
    if as_json:
        write_json([{**each._asdict(), "sentence": sentence(each, lang)} for each in changes])
    else:
        click.echo("\n".join(news(before, after, lang)))
    sys.exit(1 if changes else 0)


def side(said: str, pool: str, lang: Lang) -> Rules:
    path = Path(said)
    if path.is_file():
        reading = read_rules(path)
        if reading.rules is None:
            raise RulesProblem(f"{said} has mistakes: `waitline check` shows them.")
        return reading.rules
    folder, at, position = said.rpartition("@")
    if path.is_dir() or not (at and position.isdecimal()):
        return of_log(path, pool, None).rules
    return of_log(Path(folder), pool, int(position)).rules

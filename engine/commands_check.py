"""`waitline check`: what is wrong in rules, at which line, and what to write instead."""

import os
import sys
from contextlib import closing
from pathlib import Path

import click
import msgspec

from engine.streams.journal import JournalBroken
from engine.streams.log import LogProblem
from engine.streams.mistakes import Lang, catalog, printable, render
from engine.streams.rules_bound import as_documents, explained
from engine.streams.rules_file import Reading, read_pools
from engine.streams.rules_held import signed_in
from engine.streams.sqlite_log import SqliteLog


@click.command("check")
@click.argument("path", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document instead of sentences.")
@click.option(
    "--lang", type=click.Choice(["en", "zh-CN"]), default="en", show_default=True, help="Language of sentences."
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A log: also say what nobody can do who is signed in there at present.",
)
def check_command(path: Path, as_json: bool, lang: Lang, data: Path | None) -> None:
    """Check the rules of a pool, or of all pools in a folder.

    FILE is one pool, with the files that it includes; FOLDER is one pool for each *.toml right in it. All mistakes are
    shown at once, each with its line, the dotted key (indexes counted from 0), what is wrong and what to do instead:

    \b
        desk.toml:14  queues[1].offfer: no such key. Did you mean `offer`?

    A warning points at what is allowed but hardly meant; rules with nothing but warnings hold.

    Of rules that hold it says how far anybody can be overtaken: for each tier, how much later somebody may first come
    and still be served before, by an agent who could have had both. This is proved from targets, head starts and the
    grace; `--json` has it for every queue and channel.

    Exit status: 0 clean or warnings only, 1 mistakes, 2 wrong use of the command.
    """
    live = None
    if data is not None:
        try:
            with closing(SqliteLog.open(data, create=False, read_only=True)) as log:
                live = signed_in(log)
        except (LogProblem, JournalBroken) as problem:
            raise click.UsageError(str(problem)) from None
    readings = read_pools(path, live=live)
    mistakes = [mistake for reading in readings for mistake in reading.mistakes]
    errors = sum(mistake.severity == "error" for mistake in mistakes)
    if as_json:
        document = {
            "pools": [pool_for_json(reading, lang) for reading in readings],
            "errors": errors,
            "warnings": len(mistakes) - errors,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
    else:
        is_terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo("\n".join(lines(readings, lang, is_terminal)))
    sys.exit(1 if errors else 0)


def pool_for_json(reading: Reading, lang: Lang) -> dict[str, object]:
    rules = reading.rules
    return {
        "file": reading.file,
        "pool": reading.pool,
        "accepted": rules is not None,
        "queues": len(rules.queues) if rules else None,
        "teams": len(rules.teams) if rules else None,
        "agents": len(rules.agents) if rules else None,
        "bounds": as_documents(rules) if rules else None,
        "mistakes": [mistake.in_words(lang) for mistake in reading.mistakes],
    }


def lines(readings: list[Reading], lang: Lang, is_terminal: bool) -> list[str]:
    marks = catalog()[lang]["marks"]
    said = []
    mistakes = []
    for reading in readings:
        mistakes += reading.mistakes
        if reading.rules and not reading.mistakes:
            counts = {"queues": reading.rules.queues, "teams": reading.rules.teams, "agents": reading.rules.agents}
            numbers = {name: len(each) for name, each in counts.items()}
            said.append(marks["clean"].format(file=printable(reading.file), pool=printable(reading.pool), **numbers))
        if reading.rules:
            said += explained(reading.rules, lang)
    if mistakes:
        errors = sum(mistake.severity == "error" for mistake in mistakes)
        said.append(render(mistakes, lang, is_terminal))
        if any(mistake.code.startswith("toml") for mistake in mistakes):
            said.append(marks["not-all"])
        said.append(marks["summary"].format(errors=errors, warnings=len(mistakes) - errors))
    return said

"""`waitline kafka`: a development broker on this machine, started, stopped and looked at."""

import asyncio
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click
from msgspec.structs import replace

from engine.agents.broker import KAFKA_VERSION, Broker, BrokerProblem, fetch_jars
from engine.agents.connection import Connection
from engine.commands_options import json_option, kafka_options, write_json
from engine.streams.topics import DEVELOPMENT

FOLLOW_S = 0.2  # between two looks at the log


@click.group("kafka")
def kafka_command() -> None:
    """A development broker: Apache Kafka on this machine, without Docker.

    One node in KRaft mode on 127.0.0.1, without security, one copy of everything: for trying out and developing. It
    needs Java 17 or newer, and Maven for the first start, which fetches 43 MB of jars.

    \b
        waitline kafka up
        waitline kafka down

    Exit status of each: 0 done, 1 not possible (said why), 2 wrong use; `status` has more.
    """


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/kafka"),
    show_default=True,
    metavar="DIR",
    help="Folder of the broker's data; one broker a folder.",
)


def answering(command: Callable[..., Any]) -> Callable[..., Any]:
    """With --json, and a problem said as a sentence."""

    @json_option
    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except BrokerProblem as problem:
            if kwargs.get("as_json"):
                write_json({"problem": str(problem)})
            else:
                click.echo(str(problem), err=True)
            sys.exit(1)

    return guarded


def say_aside(sentence: str) -> None:
    """Progress; standard output is for the answer."""
    click.echo(sentence, err=True)


@kafka_command.command("up")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one. The one of the last time by default, at first 9092.",
)
@data_option
@answering
def up_command(data: Path, port: int | None, as_json: bool) -> None:
    """Start the broker, and return when it answers. One that runs is left alone."""
    running = Broker(data).up(port, say_aside)
    if as_json:
        write_json({"broker": running.address, "pid": running.pid, "data": running.data})
    else:
        click.echo(f"Apache Kafka {KAFKA_VERSION} answers on {running.address} (process {running.pid}).")


@kafka_command.command("down")
@data_option
@answering
def down_command(data: Path, as_json: bool) -> None:
    """Stop the broker: kindly, and after 20 s without mercy. Its data stays."""
    stopped = Broker(data).down()
    if as_json:
        write_json({"stopped": stopped})
    else:
        click.echo("Stopped." if stopped else f"No broker of {data} runs.")


@kafka_command.command("status")
@data_option
@answering
def status_command(data: Path, as_json: bool) -> None:
    """Say whether the broker runs and answers.

    Exit status: 0 it answers, 1 its process is there and does not answer (starting, stopped or stuck), 2 wrong use of
    the command, 3 it does not run.
    """
    running = Broker(data).running()
    if as_json:
        write_json(
            {"state": "answers" if running.answers else "silent"}
            | {"broker": running.address, "pid": running.pid, "data": running.data}
            if running
            else {"state": "down", "data": str(data.resolve())}
        )
    elif running is None:
        click.echo(f"No broker of {data} runs. Start it with: waitline kafka up --data {data}")
    elif running.answers:
        click.echo(f"Apache Kafka {KAFKA_VERSION} answers on {running.address} (process {running.pid}).")
    else:
        click.echo(f"Process {running.pid} is there and does not answer on {running.address}; see waitline kafka logs.")
    sys.exit(3 if running is None else 0 if running.answers else 1)


@kafka_command.command("logs")
@click.option("--lines", "-n", type=click.IntRange(1), default=40, show_default=True, help="How many of the last.")
@click.option("--follow", "-f", is_flag=True, help="Go on as the broker writes, until Ctrl-C.")
@data_option
@answering
def logs_command(data: Path, lines: int, follow: bool, as_json: bool) -> None:
    """Show the end of what the broker has written: warnings and worse."""
    broker = Broker(data)
    if not broker.output.exists():
        raise BrokerProblem(f"No broker has run in {data}: there is no {broker.output}.")
    with broker.output.open(errors="replace") as output:
        last = output.read().splitlines()[-lines:]
        if as_json:
            return write_json({"lines": last})
        click.echo("\n".join(last))
        while follow:
            more = output.read()
            click.echo(more, nl=False) if more else time.sleep(FOLLOW_S)


@kafka_command.command("fetch")
@answering
def fetch_command(as_json: bool) -> None:
    """Fetch the jars and start nothing: for images, and for machines that have no network later."""
    folder = fetch_jars(say_aside)
    if as_json:
        write_json({"jars": str(folder)})
    else:
        click.echo(f"Apache Kafka {KAFKA_VERSION} is in {folder}.")


@kafka_command.command("rebuild-tables")
@kafka_options
@click.option("--group", default="", help="Kafka group of the projections; PREFIXprojections.")
@click.option("--force", is_flag=True, help="Also while projections run: they stumble, and start anew.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rebuild_tables_command(
    connection: Connection, prefix: str, group: str, force: bool, yes: bool, as_json: bool
) -> None:
    """Throw the projections' tables away; at their next start they are made again from the journal.

    The changelog topics of the tables are deleted and made anew, and the snapshots of the views are let go, so that the
    journal is folded from its start. Events and statuses that have been published are not published again. Stop the
    projections first.

    Exit status: 0 done, 1 not done (said why), 2 wrong use, 3 Kafka cannot be reached or refuses.
    """
    from aiokafka.errors import KafkaError

    from engine.agents import admin, rebuild

    shape = replace(DEVELOPMENT, prefix=prefix)
    group = group or f"{prefix}projections"

    async def work(plan: rebuild.Plan | None) -> rebuild.Plan | None:
        async with admin.admin_of(connection) as client:
            if plan is not None:
                await rebuild.rebuild(connection, client, shape, plan)
                return plan
            partitions = admin.partitions_there(await admin.look(client, shape), shape)
            return await rebuild.plan(client, group, partitions) if partitions else None

    try:
        plan = asyncio.run(work(None))
        if plan is None:
            refuse(f"There are no topics that begin with {prefix}. Make them: waitline topics apply.", as_json)
        elif plan.members and not force:
            refuse(
                f"The projections run ({plan.members} in the group {group}). Stop them first, or say --force.", as_json
            )
        else:
            doing = [f"Deleted and made anew: {', '.join(plan.changelogs) or 'no changelog, as there is none'}."]
            doing.append(
                f"The journal's {plan.partitions} partitions are folded from their start by the next projections."
            )
            if not yes:
                if as_json:
                    raise click.UsageError("With --json nobody is asked: say --yes.")
                click.echo("\n".join(doing), err=True)
                click.confirm("Go on?", abort=True, err=True)
            asyncio.run(work(plan))
            if as_json:
                write_json({"changelogs": list(plan.changelogs), "partitions": plan.partitions})
            else:
                click.echo("\n".join([*(doing if yes else ()), "Done. Start `waitline projections`."]))
    except (admin.Unreachable, KafkaError, TimeoutError) as problem:
        refuse(str(problem) or "Kafka has not done it in time. Try it again.", as_json, 3)


def refuse(said: str, as_json: bool, code: int = 1) -> NoReturn:
    if as_json:
        write_json({"problem": said})
    else:
        click.echo(said, err=True)
    sys.exit(code)

"""`waitline kafka`: a development broker on this machine, started, stopped and looked at."""

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from engine.agents.broker import KAFKA_VERSION, Broker, BrokerProblem, fetch_jars
from engine.commands_options import json_option, write_json

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

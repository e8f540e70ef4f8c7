"""`waitline worker`: one of the processes that share the partitions of a log on Kafka."""

import asyncio
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import structlog
from msgspec.structs import replace

from engine.agents.connection import Connection
from engine.commands_options import kafka_options
from engine.logs import set_up_logs
from engine.service import run
from engine.streams.hours import SaidRules
from engine.streams.mistakes import render
from engine.streams.rules_file import read_pools
from engine.streams.topics import DEVELOPMENT, Shape

AGAIN_S = 2.0  # between two tries to reach a cluster that does not answer

log_ = structlog.get_logger("waitline.worker")


@click.command("worker")
@kafka_options
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE|FOLDER",
    help="Rules: one pool's file, or a folder with a file a pool. All workers should have the same.",
)
@click.option("--name", default="", help="As it stands in the journal and in logs; HOST-PID by default.")
@click.option("--group", default="", help="Kafka group of the workers that share the partitions; PREFIXworker.")
@click.option("--development", is_flag=True, help="One copy of everything is enough: a broker that nobody relies on.")
@click.option(
    "--with-projections",
    is_flag=True,
    help="Start `waitline projections` too, as a process of its own that ends with this one: for one machine alone.",
)
def worker_command(
    connection: Connection,
    prefix: str,
    config: Path,
    name: str,
    group: str,
    development: bool,
    with_projections: bool,
) -> None:
    """Route the pools of a log on Kafka: commands in, turns out.

    Start as many as you like, on as many machines: Kafka shares the partitions out among them, and each partition is
    decided by one worker at a time. One may be stopped or killed at any moment; within ten seconds others go on with
    what it had. Rules that differ from those in the log are published by whoever has the pool's partition.

    \b
        waitline topics apply --broker localhost:9092 --development
        waitline worker       --broker localhost:9092 --development --config deploy/desks/shop.toml

    A worker says in its log which partitions it takes and loses, and why. SIGTERM and Ctrl-C stop it cleanly: what it
    has read is decided, and a snapshot is written. While the brokers are away it waits for them.

    Exit status: 0 stopped by a signal, 1 the topics or the rules do not allow a start, 2 wrong use of the command.
    """
    set_up_logs()
    rules = _rules(config)
    usual = DEVELOPMENT if development else Shape()
    shape = Shape(prefix, replication=usual.replication, min_insync=usual.min_insync)
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    try:
        sys.exit(run(_work(connection, shape, rules, name, group, with_projections)))
    except KeyboardInterrupt:
        sys.exit(0)  # before it had started


async def _work(
    connection: Connection, shape: Shape, rules: list[SaidRules], name: str, group: str, with_projections: bool
) -> int:
    from engine.agents.app import RoutingWorker  # Faust takes a second to import, and is not needed for --help
    from engine.commands_projections import beside

    partitions = await checked(connection, shape)
    if not partitions:
        return 1
    log_.info("worker-started", name=name, brokers=connection.brokers, prefix=shape.prefix, partitions=partitions)
    shape = replace(shape, partitions=partitions)
    with beside(connection, shape) if with_projections else nullcontext():
        await RoutingWorker(connection, shape, rules, name=name, group=group).run()
    log_.info("worker-stopped", name=name)
    return 0


async def checked(connection: Connection, shape: Shape) -> int:
    """How many partitions the log has; 0 where the topics are not such that it could be relied on, which is said."""
    from engine.agents.admin import Unreachable, admin_of, differences, look, partitions_there

    said = ""
    while True:
        try:
            async with admin_of(connection) as admin:
                cluster = await look(admin, shape)
        except Unreachable as problem:
            if str(problem) != said:
                log_.warning("broker-away", reason=str(problem), again_every_s=AGAIN_S)
            said = str(problem)
            await asyncio.sleep(AGAIN_S)
            continue
        partitions = partitions_there(cluster, shape) or 0
        blocking = [each for each in differences(cluster, replace(shape, partitions=partitions or 1)) if each.blocks]
        for each in blocking:
            click.echo(each.text, err=True)
        if not blocking:
            return partitions
        click.echo("\n`waitline topics plan` says all that differs, and `topics apply` mends what it can.", err=True)
        return 0


def _rules(path: Path) -> list[SaidRules]:
    """Rules with mistakes are said and left out: the pool goes on under those that the log has."""
    readings = read_pools(path)
    mistakes = [mistake for reading in readings for mistake in reading.mistakes]
    if mistakes:
        click.echo(render(mistakes, "en", sys.stderr.isatty()), err=True)
    rules = [reading.said for reading in readings if reading.said is not None]
    if not rules:
        click.echo("No pool has rules that hold: nothing can be routed by this worker alone.", err=True)
        sys.exit(1)
    return rules

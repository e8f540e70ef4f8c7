"""`waitline projections`: one of the processes that publish what happens on a log on Kafka."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import click
import structlog
from msgspec.structs import replace

from engine.agents.connection import Connection
from engine.commands_options import kafka_options
from engine.commands_worker import checked
from engine.logs import set_up_logs
from engine.service import run
from engine.streams.topics import DEVELOPMENT, Shape

log_ = structlog.get_logger("waitline.projections")


@click.command("projections")
@kafka_options
@click.option("--group", default="", help="Kafka group of those who share the partitions; PREFIXprojections.")
@click.option("--development", is_flag=True, help="One copy of everything is enough: a broker that nobody relies on.")
def projections_command(connection: Connection, prefix: str, group: str, development: bool) -> None:
    """Publish what happens: turns in; topics `events` and `status`, and Faust's tables, out.

    Beside the workers, never in their way. Start as many as you like: Kafka shares the partitions out among them, and
    what one had when it was stopped or killed, others go on with. Every accepted event is published at least once and
    in order; receivers drop repeats by id.

    \b
        waitline projections --broker localhost:9092 --development

    Exit status: 0 stopped by a signal, 1 the topics do not allow a start, 2 wrong use of the command.
    """
    set_up_logs()
    usual = DEVELOPMENT if development else Shape()
    shape = Shape(prefix, replication=usual.replication, min_insync=usual.min_insync)
    try:
        sys.exit(run(_work(connection, shape, group)))
    except KeyboardInterrupt:
        sys.exit(0)  # before it had started


@contextmanager
def beside(connection: Connection, shape: Shape) -> Iterator[None]:
    """The same in a process beside this one, for as long as this one lives."""
    process = multiprocessing.get_context("spawn").Process(target=_publish, args=(connection, shape), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _publish(connection: Connection, shape: Shape) -> None:
    from engine.agents.projections import Projections

    set_up_logs()
    Thread(target=_end_with_parent, daemon=True).start()
    run(Projections(connection, shape).run())


def _end_with_parent() -> None:
    """Also where that one was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


async def _work(connection: Connection, shape: Shape, group: str) -> int:
    from engine.agents.projections import Projections  # Faust takes a second to import, and is not needed for --help

    partitions = await checked(connection, shape)
    if not partitions:
        return 1
    log_.info("projections-started", brokers=connection.brokers, prefix=shape.prefix, partitions=partitions)
    await Projections(connection, replace(shape, partitions=partitions), group).run()
    log_.info("projections-stopped")
    return 0

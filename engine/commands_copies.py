"""`waitline export` and `waitline migrate`: a partition into a file, a log into a partition."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from engine.agents.connection import Connection
from engine.commands_log import counted, progress_bar
from engine.commands_options import json_option, kafka_options, write_json
from engine.core.messages import TYPE_OF, Tick
from engine.embedded import Embedded
from engine.streams.codec import Envelope, write_command
from engine.streams.journal import JournalBroken
from engine.streams.log import LogProblem
from engine.streams.sqlite_log import SqliteLog
from engine.streams.topics import DEVELOPMENT, JOURNAL, Shape

if TYPE_CHECKING:
    from engine.agents.copies import Moved


def answering(command: Callable[..., Any]) -> Callable[..., Any]:
    """With --json, and problems said as sentences: exit status 1, or 3 where Kafka is the cause."""

    @json_option
    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from aiokafka.errors import KafkaError  # takes a moment to import, and `--help` can do without

        from engine.agents.admin import Unreachable
        from engine.agents.copies import CopyProblem

        try:
            command(*args, **kwargs)
            return
        except (CopyProblem, LogProblem, JournalBroken) as problem:
            said, code = str(problem), 1
        except Unreachable as problem:
            said, code = str(problem), 3
        except KafkaError as error:
            said, code = f"Kafka does not do what is asked: {type(error).__name__}: {error}. Try it again.", 3
        if kwargs.get("as_json"):
            write_json({"problem": said})
        else:
            click.echo(said, err=True)
        sys.exit(code)

    return guarded


@click.command("export")
@kafka_options
@click.option("--partition", type=click.IntRange(0), required=True, metavar="N", help="Which one.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder that is made; nothing is overwritten.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="An earlier export, or the log that was moved here: commands that the topic no longer has are taken from it.",
)
@answering
def export_command(
    connection: Connection, prefix: str, partition: int, folder: Path, archive: Path | None, as_json: bool
) -> None:
    """Copy a partition into a file that `waitline log show DIR` and `waitline log verify DIR --redecide` read.

    Copied are the turns that count, up to the last one, each with its chain, and their commands with position and log
    time. Where a command has expired the copy has a hole: its turn is there, and cannot be decided again. Workers may
    go on meanwhile. The copy is sealed: nobody writes it by mistake.

    Exit status: 0 copied, 1 not possible (said why), 2 wrong use, 3 Kafka cannot be reached or refuses.
    """

    from engine.agents.copies import CopyProblem, export

    async def work() -> Any:
        shape = await there(connection, prefix)
        if partition >= shape.partitions:
            raise CopyProblem(f"The topics have the partitions 0 to {shape.partitions - 1}.")
        opened = closing(SqliteLog.open(archive, create=False, read_only=True)) if archive else nullcontext()
        with opened as older, progress_bar("Copying") as progress:
            return await export(connection, shape, partition, folder, archive=older, progress=progress)

    done = asyncio.run(work())
    if as_json:
        return write_json(done)
    click.echo(f"{counted(done.turns, 'turn')} and {counted(done.commands, 'command')} are in {folder}.")
    if done.holes:
        click.echo(f"{counted(done.holes, 'position')} without a command: expired, in an archive, or never used.")
    if done.behind:
        click.echo(f"{counted(done.behind, 'command')} behind the last turn left out: quiet, or not yet decided.")
    if done.voids:
        click.echo(f"{counted(done.voids, 'void record')} left out, {done.alarms} of them alarming.")
    click.echo(f"chain {done.chain}")


@click.command("migrate")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
@kafka_options
@click.option("--give-up", "giving_up", is_flag=True, help="Take back a move that has not come to its end.")
@answering
def migrate_command(connection: Connection, prefix: str, folder: Path, giving_up: bool, as_json: bool) -> None:
    """Move an embedded log, or an export, into an empty partition, where workers go on with it.

    All pools of the log must belong to one partition. What the log has left undecided is decided, its turns are copied
    and read back, and the log is sealed: it can be shown and verified, and no longer served. New commands get positions
    from there on, and the chain goes on.

    Stop the server of the log first, and start workers only afterwards. If it breaks off, run it again: it goes on. No
    worker takes a partition in which only a part has arrived; --give-up opens the log for serving again until then.

    Exit status: 0 moved, 1 not possible (said why), 2 wrong use, 3 Kafka cannot be reached or refuses.
    """
    from engine.agents.copies import give_up

    with closing(SqliteLog.open(folder, create=False, sealed=True)) as log:
        if giving_up:
            give_up(log)
            if as_json:
                return write_json({"given_up": True})
            return click.echo(f"{folder} can be served again. What has reached Kafka stays there, and nobody takes it.")
        moved = asyncio.run(_migrate(connection, prefix, log))
    if as_json:
        return write_json(moved)
    journal = f"partition {moved.partition} of {prefix}{JOURNAL.kind}"
    click.echo(f"{counted(moved.turns, 'turn')} copied into {journal}; {folder} is sealed.")
    click.echo(f"New commands get positions from {moved.base} on. Start the workers now.\nchain {moved.chain}")


async def _migrate(connection: Connection, prefix: str, log: SqliteLog) -> "Moved":
    from engine.agents.copies import Move, home_of, sealed_of, survey

    shape = await there(connection, prefix)
    if sealed_of(log) is None:
        close_for_good(log)
    found = survey(log)
    with progress_bar("Moving") as progress:
        return await Move(connection, shape, log, found, home_of(found.pools, shape.partitions)).run(progress)


def close_for_good(log: SqliteLog) -> None:
    """Decides what was left undecided, and asks for a last turn, which is written also where it says nothing."""
    engine = Embedded(log, lambda: time.time_ns() // 1_000_000, "real", worker=f"migrate-{os.getpid()}")
    for pool in list(engine.partition.pools)[:1]:
        tick = Envelope(f"close-{engine.position + 1}", "waitline", pool, TYPE_OF[Tick], answer=True)
        engine.submit([(tick, Tick(), write_command(tick))])


async def there(connection: Connection, prefix: str) -> Shape:
    """The topics as they are. CopyProblem: they are not fit to hold a log."""
    from engine.agents.admin import admin_of, differences, look, partitions_there
    from engine.agents.copies import CopyProblem

    shape = replace(DEVELOPMENT, prefix=prefix)  # how many copies there must be is for the worker to say
    async with admin_of(connection) as admin:
        cluster = await look(admin, shape)
    partitions = partitions_there(cluster, shape)
    if partitions is None:
        raise CopyProblem(f"There are no topics that begin with {prefix}. Make them: waitline topics apply.")
    shape = replace(shape, partitions=partitions)
    blocking = [each.text for each in differences(cluster, shape) if each.blocks]
    if blocking:
        raise CopyProblem("\n".join([*blocking, "See `waitline topics plan`."]))
    return shape

"""`waitline topics`: what the cluster's topics are beside what they should be, and what can be done about it."""

import asyncio
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from msgspec.structs import replace

from engine.agents.access import ROLES, Role, grants
from engine.agents.connection import Connection
from engine.commands_options import json_option, kafka_options, write_json
from engine.streams.topics import DEVELOPMENT, PREFIX, RETENTION_DAYS, TOPICS, Shape


@click.group("topics")
def topics_command() -> None:
    """The topics on Kafka: planned, created, checked.

    \b
        waitline topics plan  --broker localhost:9092 --development
        waitline topics apply --broker localhost:9092 --development
    """


def shaped(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is wanted; the command gets `shape`, and whether the partitions were given."""

    @click.option(
        "--partitions",
        type=click.IntRange(1, 10_000),
        help="Of every topic; as many as there are already, else 12 (4 in development). Cannot be changed later.",
    )
    @click.option("--replication", type=click.IntRange(1, 9), help="Copies of each partition; 3 (1 in development).")
    @click.option(
        "--min-insync",
        type=click.IntRange(1, 9),
        help="Copies that must have a record before it counts as written; 2 (1 in development).",
    )
    @click.option(
        "--retention-days",
        type=click.IntRange(1, 36_500),
        default=RETENTION_DAYS,
        show_default=True,
        help="How long commands are kept; the journal is kept for ever.",
    )
    @click.option("--development", is_flag=True, help="One copy of everything, on one broker.")
    @wraps(command)
    def with_shape(
        prefix: str,
        partitions: int | None,
        replication: int | None,
        min_insync: int | None,
        retention_days: int,
        development: bool,
        **rest: Any,
    ) -> Any:
        usual = DEVELOPMENT if development else Shape()
        shape = Shape(
            prefix,
            partitions or usual.partitions,
            replication or usual.replication,
            min_insync or min(usual.min_insync, replication or usual.replication),
            retention_days,
        )
        if shape.min_insync > shape.replication:
            raise click.UsageError(
                f"--min-insync {shape.min_insync} with --replication {shape.replication}: nothing could be written."
            )
        return command(shape=shape, partitions_given=partitions is not None, **rest)

    return with_shape


@topics_command.command("plan")
@kafka_options
@shaped
@json_option
def plan_command(connection: Connection, shape: Shape, partitions_given: bool, as_json: bool) -> None:
    """Say what differs from what is wanted, topic by topic, and change nothing.

    Wanted: the log's own time everywhere, the journal kept for ever, no unclean election, as many partitions in each
    topic, enough copies. Longer retention, larger records and more copies than wanted are left alone.

    Exit status: 0 all is as wanted, 1 something differs, 2 wrong use, 3 the cluster cannot be reached or refuses.
    """
    _run(connection, shape, partitions_given, as_json, change=False)


@topics_command.command("apply")
@kafka_options
@shaped
@json_option
def apply_command(connection: Connection, shape: Shape, partitions_given: bool, as_json: bool) -> None:
    """Create topics that are missing and alter settings that differ.

    Nothing is ever shrunk, deleted or given other partitions: where that would be needed, it says what a person must
    do. May be repeated; the second time it finds nothing to do.

    Exit status: 0 all is as wanted now, 1 something is left for a person, 2 wrong use, 3 the cluster cannot be reached
    or refuses.
    """
    _run(connection, shape, partitions_given, as_json, change=True)


@topics_command.command("acl")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the principal is to do; see above.")
@click.option(
    "--principal",
    required=True,
    metavar="User:NAME",
    help="Who gets the rights: a SCRAM user, or the subject of a client's certificate (User:CN=crm).",
)
@click.option(
    "--group",
    metavar="TEXT",
    help="What the names of a reader's groups begin with; the user's name and a dot by default.",
)
@click.option("--prefix", default=PREFIX, show_default=True, help="What the names of all topics begin with.")
@click.option(
    "--broker", metavar="HOST:PORT", default="localhost:9092", show_default=True, help="For the commands shown."
)
@json_option
def acl_command(role: Role, principal: str, group: str | None, prefix: str, broker: str, as_json: bool) -> None:
    """Write the access rights that a role needs, and no more, as commands of Kafka's own kafka-acls.sh.

    Nothing is changed: an administrator of the cluster runs them, with how they connect in admin.properties. They hold
    on a cluster with an authorizer; without one everybody may do everything.

    \b
        adapter   writes commands
        engine    workers and doors: reads and writes all topics of this prefix, and has its groups
        reader    CRMs, wallboards: reads events and status, in groups of its own
        auditor   reads everything, settings too, and writes nothing

    Exit status: 0, or 2 wrong use.
    """
    kind, _, name = principal.partition(":")
    if kind != "User" or not name:
        raise click.UsageError(f"{principal!r} is no principal: write User:NAME.")
    try:
        found = grants(role, principal, prefix, group or f"{name}.")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        write_json({"role": role, "grants": found, "commands": [each.command(broker) for each in found]})
    else:
        click.echo("\n".join(each.command(broker) for each in found))


def _run(connection: Connection, shape: Shape, partitions_given: bool, as_json: bool, change: bool) -> None:
    from engine.agents import admin as cluster_admin  # imports aiokafka

    async def work() -> tuple[Shape, list[Any], list[Any]]:
        async with cluster_admin.admin_of(connection) as admin:
            cluster = await cluster_admin.look(admin, shape)
            there = None if partitions_given else cluster_admin.partitions_there(cluster, shape)
            wanted = replace(shape, partitions=there or shape.partitions)
            found = cluster_admin.differences(cluster, wanted)
            if not change or any(each.what == "brokers" for each in found):
                return wanted, [], found
            after = await cluster_admin.apply(admin, wanted, found)
            return wanted, found, cluster_admin.differences(after, wanted)

    try:
        wanted, before, left = asyncio.run(work())
    except cluster_admin.Unreachable as problem:
        if as_json:
            write_json({"problem": str(problem)})
        else:
            click.echo(str(problem), err=True)
        sys.exit(3)
    done = [each for each in before if each.remedy != "person" and each not in left]
    if as_json:
        write_json({"wanted": wanted, "done": done, "differences": left})
    else:
        click.echo("\n".join([*(f"Done: {each.text}" for each in done), *_said(wanted, left)]))
    sys.exit(1 if left else 0)


def _said(shape: Shape, left: list[Any]) -> list[str]:
    names = [each.topic for each in left]
    kept = [name for topic in TOPICS if (name := shape.named(topic)) not in names]
    said = [each.text for each in left]
    if kept:
        said.append(f"As wanted: {', '.join(kept)}.")
    return said

"""`waitline doctor`: how a log on Kafka stands, and what to do about it."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from engine.agents.connection import Connection
from engine.commands_options import json_option, kafka_options, write_json
from engine.streams.topics import DEVELOPMENT, Shape

if TYPE_CHECKING:
    from engine.agents.doctor import Finding, Report, Seen


@click.command("doctor")
@kafka_options
@click.option("--group", default="", help="Kafka group of the workers; PREFIXworker.")
@click.option("--development", is_flag=True, help="One copy of everything is enough.")
@click.option(
    "--records", type=click.IntRange(1), default=1000, show_default=True, help="Of each journal's end are judged."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="For looking at deadlines, which takes a fold of what follows the newest snapshot.",
)
@click.option(
    "--watch",
    "watch_s",
    type=click.FloatRange(0, 600),
    default=3.0,
    show_default=True,
    help="Seconds in which what waits must move.",
)
@json_option
def doctor_command(
    connection: Connection,
    prefix: str,
    group: str,
    development: bool,
    records: int,
    seconds: float,
    watch_s: float,
    as_json: bool,
) -> None:
    """Look at everything that a log on Kafka needs, and say what is wrong and what to do.

    Looked at are, per partition: commands that wait, the last turn and its owner, the newest snapshot, deadlines that
    have passed, records that do not count; and the topics' settings, the workers' group, the clocks. It changes
    nothing; to see the brokers' clock, it deletes the key doctor/clock from `snapshots`, where it never was.

    What is wrong names a runbook: a file of deploy/runbooks.

    Exit status: 0 all is well, 1 something is not, 2 wrong use, 3 Kafka cannot be reached or refuses.
    """
    from aiokafka.errors import KafkaError  # takes a moment to import, and `--help` can do without

    from engine.agents.admin import Unreachable
    from engine.agents.doctor import examine

    shape = replace(DEVELOPMENT if development else Shape(), prefix=prefix)
    try:
        report = asyncio.run(examine(connection, shape, group, records=records, seconds=seconds, watch_s=watch_s))
    except (Unreachable, KafkaError) as problem:
        said = str(problem) or type(problem).__name__
        if as_json:
            write_json({"problem": said})
        else:
            click.echo(said, err=True)
        sys.exit(3)
    if as_json:
        write_json(report)
    else:
        click.echo("\n".join([*(_line(seen, report.at) for seen in report.partitions), *_said(report)]))
    sys.exit(1 if any(each.severity != "ok" for each in report.findings) else 0)


def _line(seen: "Seen", now: int) -> str:
    """partition 0: last turn 1203 12 s ago; w1 (engine 0.2.0) since 10:03:05; no command waits; snapshot at 1000"""
    parts = []
    if seen.position >= 0:
        parts.append(f"last turn {seen.position} {_ago(seen.position_at, now)}")
    else:
        parts.append("no turn yet")
    if seen.marker is not None:
        since = datetime.fromtimestamp(seen.marker.at / 1000, UTC)
        parts.append(f"{seen.marker.worker} (engine {seen.marker.engine}) since {since:%Y-%m-%d %H:%M:%S} UTC")
    parts.append(f"{seen.lag} commands wait" if seen.lag else "no command waits")
    if seen.snapshot_position >= 0:
        parts.append(
            f"snapshot at {seen.snapshot_position} {_ago(seen.snapshot_at, now)}, {seen.restart} records behind"
        )
    else:
        parts.append("no snapshot")
    return f"partition {seen.partition}: {'; '.join(parts)}"


def _ago(at: int, now: int) -> str:
    seconds = max(now - at, 0) // 1000
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds} s ago"


def _said(report: "Report") -> list[str]:
    order = {"alarm": 0, "warning": 1, "ok": 2}
    lines = [_sentence(each) for each in sorted(report.findings, key=lambda each: order[each.severity])]
    if not any(each.severity != "ok" for each in report.findings):
        lines.append("All is well.")
    return lines


def _sentence(finding: "Finding") -> str:
    where = f"partition {finding.partition}: " if finding.partition >= 0 else ""
    runbook = f" (runbook {finding.runbook})" if finding.runbook and finding.severity != "ok" else ""
    remedy = f" {finding.remedy}" if finding.remedy else ""
    return f"{finding.severity.upper() if finding.severity != 'ok' else 'ok':8} {where}{finding.text}{remedy}{runbook}"

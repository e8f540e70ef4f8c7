"""Options and answers that several commands share, said once."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.agents.connection import ConnectionProblem, read_connection
from engine.streams.topics import PREFIX

Command = Callable[..., Any]


def kafka_options(command: Command, *, needed: bool = True) -> Command:
    """--broker, --kafka-config and --prefix; the command gets `connection` and `prefix`. Where they are not needed and
    not given, `connection` is None."""

    @click.option(
        "--broker", metavar="HOST:PORT[,…]", default="", help="Kafka's brokers: one is enough to find the rest."
    )
    @click.option(
        "--kafka-config",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML: brokers, protocol, mechanism, username, password_file, ca_file, cert_file, key_file. "
        "The password may come from WAITLINE_KAFKA_PASSWORD.",
    )
    @click.option("--prefix", default=PREFIX, show_default=True, help="What the names of all topics begin with.")
    @wraps(command)
    def with_connection(broker: str, kafka_config: Path | None, **rest: Any) -> Any:
        if not (needed or broker or kafka_config):
            return command(connection=None, **rest)
        try:
            connection = read_connection(broker, kafka_config)
        except ConnectionProblem as problem:
            raise click.UsageError(str(problem)) from None
        return command(connection=connection, **rest)

    return with_connection


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Write one JSON document instead of sentences.")(
        command
    )


def write_json(document: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document)))

"""Accepted events as others get them: CloudEvents 1.0, structured in JSON for HTTP, in binary mode for Kafka.

An event has the same attributes either way. Its id, `{partition}/{position of its command}/{ordinal}`, is unique for
ever, so receivers drop repeats by it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from engine.core.messages import TYPE_OF, Event, Turn

from .codec import json_encode

CONTENT_TYPE = "application/json"
Headers = list[tuple[str, bytes]]


def event_id(partition: int, position: int, ordinal: int) -> str:
    return f"{partition}/{position}/{ordinal}"


def attributes(partition: int, pool: str, position: int, ordinal: int, at: int, kind: str) -> dict[str, str | int]:
    """All that is said about an event, beside its data. kind: its type as in the journal; pool, position and at are
    extension attributes of ours."""
    return {
        "specversion": "1.0",
        "id": event_id(partition, position, ordinal),
        "source": f"/waitline/{pool}",
        "type": f"waitline.{kind}",
        "time": time_of(at),
        "pool": pool,
        "position": position,
        "at": at,
    }


def structured(partition: int, pool: str, position: int, ordinal: int, at: int, event: dict[str, Any]) -> bytes:
    """One event as a JSON document. `event` is as it stands in the turn."""
    said = attributes(partition, pool, position, ordinal, at, event["type"])
    data = {name: value for name, value in event.items() if name != "type"}
    return orjson.dumps(said | {"datacontenttype": CONTENT_TYPE, "data": data})


def binary(partition: int, turn: Turn) -> Iterator[tuple[Headers, bytes]]:
    """(headers, value) of each event of a turn. A value is never empty, or a record would be a tombstone."""
    pool = turn.command.pool
    for ordinal, event in enumerate(turn.events):
        kind = TYPE_OF[type(event)]
        said = attributes(partition, pool, turn.position, ordinal, turn.at, kind)
        headers = [(f"ce_{name}", str(value).encode()) for name, value in said.items()]
        headers.append(("content-type", b"application/json"))
        yield headers, data_of(kind, event)


def data_of(kind: str, event: Event) -> bytes:
    """The event in JSON without its type, which the attributes have said. The tag stands first in what msgspec
    writes."""
    body, tag = json_encode(event), len(kind) + 10  # `{"type":"` and `"`
    return b"{" + body[tag + (body[tag] == 0x2C) :]  # and the comma, where something follows


@lru_cache(maxsize=1024)  # all events of a turn have the same, and most turns of a moment
def time_of(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

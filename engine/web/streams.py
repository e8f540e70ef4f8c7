"""Server-sent events: what happened, one event after another; and what the live page shows, whole, a few times a
second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import orjson

from engine.streams.cloud_events import structured
from engine.streams.host import Host
from engine.streams.journal import read_turn, split_turn
from engine.streams.log import LogProblem

PAGE = 256  # turns read at a time
ALIVE_S = 15.0  # a comment is sent when nothing else has been for so long
VIEWS_S = 0.25  # between two views


class BadPlace(ValueError):
    """Not an event id."""


def place_of(event_id: str, partition: int) -> tuple[int, int]:
    """(position, ordinal) of an event id `partition/position/ordinal` of that partition."""
    try:
        own, position, ordinal = map(int, event_id.split("/"))
    except ValueError:
        raise BadPlace(f"{event_id[:64]!r} is not an event id; one looks like {partition}/12/0") from None
    if own != partition or position < 0 or ordinal < 0 or position > 1 << 62:
        raise BadPlace(f"{event_id[:64]!r} is not an event id of this pool's partition, which is {partition}")
    return position, ordinal


async def events(
    host: Host, pool: str, after: tuple[int, int], wanted: Callable[[dict[str, Any]], bool]
) -> AsyncIterator[bytes]:
    """Every accepted event of the pool after that place, without loss or repetition, for as long as somebody listens.

    It is read from the log page by page as the listener takes it: one who is slow costs no memory and holds up nobody.
    """
    partition = host.partition_of(pool)
    position, ordinal = after[0] - 1, after[1]  # the rest of that turn first
    yield b": waitline\nretry: 1000\n\n"
    while not host.closing.is_set():
        try:
            records = await host.turns(partition, position, PAGE)
        except LogProblem:
            return  # the listener comes back by itself
        for record in records:
            turn = turn_data(record)
            position = turn["position"]
            skip = ordinal if position == after[0] else -1
            if turn["command"]["pool"] != pool:
                continue
            at = turn["at"]
            for number, event in enumerate(turn["events"]):
                if number > skip and wanted(event):
                    data = structured(partition, pool, position, number, at, event)
                    yield b"id: %d/%d/%d\ndata: %s\n\n" % (partition, position, number, data)
        if len(records) < PAGE:
            while host.stand(partition).position <= position and not await host.news(partition, ALIVE_S):
                if host.closing.is_set():
                    return
                yield b": alive\n\n"
        else:
            await asyncio.sleep(0)  # others first


def turn_data(record: bytes) -> dict[str, Any]:
    """A turn record as plain data."""
    _, _, body = split_turn(record)
    if body[:1] == b"{":
        data: dict[str, Any] = orjson.loads(body)
        return data
    found: dict[str, Any] = msgspec.to_builtins(read_turn(record))
    return found


async def views(host: Host, partition: int, view: Callable[[], tuple[int, bytes]]) -> AsyncIterator[bytes]:
    """The whole view, again whenever something has happened, at most four times a second; and now and then when nothing
    has, since time goes on and a day may end."""
    yield b": waitline\nretry: 1000\n\n"
    while not host.closing.is_set():
        position, data = view()
        yield b"event: view\nid: %d\ndata: %s\n\n" % (position, data)
        await asyncio.sleep(VIEWS_S)
        if host.stand(partition).position == position:
            await host.news(partition, ALIVE_S)

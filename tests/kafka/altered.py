"""A worker to which something happens at a chosen point of its work. It runs in place of `waitline worker`, whose code
knows nothing of it: functions of the product are wrapped here, in a process of their own.

    python -m tests.kafka.altered '{"at": "after an append", "passes": 20, "signal": "STOP"}' --broker …
"""

import asyncio
import functools
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

Point = Literal[
    "before its marker",
    "between marker and fold",
    "before an append",
    "between two appends",
    "after an append",
    "within a snapshot",
    "before a snapshot's manifest",
]
POINTS: tuple[Point, ...] = Point.__args__  # type: ignore[attr-defined]


class Altered(Struct, frozen=True, omit_defaults=True):
    """session_s: how long it may say nothing before it has lost its partitions; snapshot_turns: how often it writes a
    snapshot; at, passes, signal: what it sends itself when it comes to the point for the so many and first time;
    poison: its engine cannot end the contact `poison`; blind_s: for so long its client knows no topic's partitions, as
    when a broker has just come back."""

    session_s: int = 3
    snapshot_turns: int = 100_000
    at: Point | None = None
    passes: int = 0
    signal: Literal["KILL", "STOP"] = "KILL"
    poison: bool = False
    blind_s: int = 0

    @property
    def program(self) -> list[str]:
        """What Python runs."""
        return ["-m", "tests.kafka.altered", msgspec.json.encode(self).decode()]


def alter(altered: Altered) -> None:
    from aiokafka import AIOKafkaProducer
    from aiokafka.cluster import ClusterMetadata

    from engine.agents import app, routing, taking
    from engine.agents.routing import Owner
    from engine.core import decide
    from engine.core.messages import EndContact
    from engine.streams.ownership import Ownership

    app.SESSION_S = altered.session_s
    app.RoutingWorker = functools.partial(  # type: ignore[misc, assignment]
        app.RoutingWorker, snapshot_turns=altered.snapshot_turns
    )
    if altered.poison:
        sound = decide.DECIDE[EndContact]

        def faulty(view: Any, command: EndContact, source: Any) -> Any:
            assert command.contact_id != "poison", "a planted fault"
            return sound(view, command, source)

        decide.DECIDE[EndContact] = faulty

    if altered.blind_s:
        seeing_at, seeing = time.monotonic() + altered.blind_s, ClusterMetadata.partitions_for_topic

        def blind(cluster: ClusterMetadata, topic: str) -> set[int] | None:
            return seeing(cluster, topic) if time.monotonic() >= seeing_at else None

        ClusterMetadata.partitions_for_topic = blind

    def strike() -> None:
        os.kill(os.getpid(), signal.Signals[f"SIG{altered.signal}"])

    def at(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        """Strikes as the function is called, if it is called so."""
        sound, passes = getattr(owner, name), itertools.count()

        @functools.wraps(sound)
        def struck(*arguments: Any, **named: Any) -> Any:
            if when(*arguments) and next(passes) == altered.passes:
                strike()
            return sound(*arguments, **named)

        setattr(owner, name, struck)

    def in_snapshot(parts: Iterable[bytes]) -> Iterator[bytes]:
        for number, part in enumerate(parts):
            if number == 1 and altered.at == "within a snapshot":
                strike()
            yield part
        if altered.at == "before a snapshot's manifest":
            strike()

    match altered.at:
        case "before its marker":
            at(Ownership, "marker")
        case "between marker and fold":
            at(Ownership, "marked")
        case "before an append":
            at(Owner, "_append", lambda _, records, *of: bool(records))
        case "between two appends":
            routing.FEW = 0  # the storm's few commands would else wait for the append before them
            answer_slowly(AIOKafkaProducer)  # and a quick broker would have answered before the next one
            at(Ownership, "decide", lambda ownership, batch: bool(ownership.flight))
        case "after an append":
            at(Ownership, "appended")
        case "within a snapshot" | "before a snapshot's manifest":
            write = taking.write_snapshot

            async def torn(producer: Any, shape: Any, number: int, kind: str, generation: str, parts: Any) -> int:
                return await write(producer, shape, number, kind, generation, in_snapshot(parts))

            taking.write_snapshot = torn


def answer_slowly(producers: Any) -> None:
    sound = producers.send_batch

    async def send_batch(producer: Any, *arguments: Any, **named: Any) -> Any:
        appended = await sound(producer, *arguments, **named)

        async def answered() -> Any:
            said = await appended
            await asyncio.sleep(0.2)
            return said

        return asyncio.ensure_future(answered())

    producers.send_batch = send_batch


if __name__ == "__main__":
    alter(msgspec.json.decode(sys.argv.pop(1), type=Altered))
    from engine.commands_worker import worker_command

    worker_command()

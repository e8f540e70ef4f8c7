"""From command to offer, in the process, at 1,000 commands/s: durable and told to a listener.

Bar: p99 5 ms. Commands come at fixed moments, whatever became of those before (open loop); the delay counts from the
moment a command should have come. Beside it: an fsync of one page, alone.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.core import messages as m
from engine.core.rules import Queue, Rules
from engine.embedded import Embedded
from engine.live import Live
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.host import Asked
from engine.streams.sqlite_log import SqliteLog

RATE, SECONDS, WARM_S, AGENTS = 1_000, 12, 2, 500
POOL = "bench"


def asked(command: m.Command, id: str) -> Asked:
    body = write_command(envelope_of(command, id, "bench", POOL))
    return *read_command(body), body


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else float("nan")


async def drive(host: Embedded) -> list[float]:
    """Delays in ms of the offers: each contact is routed, accepted, ended and wrapped up, 250 a second."""
    live = Live(host)
    running = asyncio.ensure_future(live.run())
    for i in range(AGENTS):
        await live.submit([asked(m.SignInAgent(f"agent-{i}", True, ("sales",)), f"in-{i}")])
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    should: dict[str, float] = {}
    todo: list[m.Command] = []

    def look(turns: list[m.Turn]) -> None:
        now = loop.time()
        for turn in turns:
            for event in turn.events:
                if type(event) is m.OfferIssued:
                    if event.contact_id in should:
                        delays.append((now - should.pop(event.contact_id)) * 1000)
                    todo.append(m.AcceptOffer(event.contact_id, event.agent_id))
                elif type(event) is m.OfferAccepted:
                    todo.append(m.EndContact(event.contact_id, "agent"))
                elif type(event) is m.WrapUpStarted:
                    todo.append(m.CompleteWrapUp(event.contact_id, event.agent_id))

    host.listeners.append(look)
    began = loop.time()
    tasks = set()
    for n in range(RATE * SECONDS):
        moment = began + n / RATE
        while loop.time() < moment:
            await asyncio.sleep(max(0, moment - loop.time()))
        if n % 4 == 0 or not todo:
            command: m.Command = m.RouteContact(f"c{n}", "call", "sales")
            if moment - began > WARM_S:
                should[f"c{n}"] = moment
        else:
            command = todo.pop(0)
        task = asyncio.ensure_future(live.submit([asked(command, str(n))]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    live.closing.set()
    await running
    return delays


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    with tempfile.TemporaryDirectory() as folder:
        syncs = []
        with open(Path(folder) / "page", "wb", buffering=0) as file:
            for _ in range(300):
                started = time.perf_counter()
                file.write(bytes(4096))
                os.fsync(file.fileno())
                syncs.append((time.perf_counter() - started) * 1000)
        host = Embedded(SqliteLog.open(Path(folder) / "log"), lambda: time.time_ns() // 1_000_000, name="bench")
        host.publish(Rules(POOL, (Queue("sales"),)))
        delays = asyncio.run(drive(host))
        host.close()
    p50, p99, longest = quantile(delays, 0.5), quantile(delays, 0.99), max(delays)
    sync = quantile(syncs, 0.99)
    say(f"{len(delays)} offers at {RATE:,} commands/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms (bar 5)")
    say(f"longest {longest:.1f} ms; an fsync alone p99 {sync:.2f} ms")
    return {
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "longest_ms": round(longest, 2),
        "fsync_p99_ms": round(sync, 3),
    }

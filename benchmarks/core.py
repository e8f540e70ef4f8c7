"""JSON decode, step, JSON turn record with chain, on one core: 10,000 agents, 200 needs, 300 profiles, all rules and
reasons.

Bars: 60,000 commands/s with 100,000 waiting; with 1,000,000 at most 1.5 times the cost of 1,000; no turn above 50 ms.
The bare loop beside it decodes and encodes the same bytes and chains them, and decides nothing. Time is of the thread
alone (what others do on the machine is not the core's fault), but beside the prototype, which looks at the wall.
"""

import gc
import re
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from engine.service import spare_the_collector
from engine.streams.codec import read_command
from engine.streams.journal import read_turn, write_turn
from engine.streams.partition import Partition

from .world import Timed, Traffic, World

WARM, MEASURED, ROUNDS = 60_000, 100_000, 3
BARE = 20_000  # turns of the bare loop
PROTOTYPE = Path(__file__).parent.parent.parent / "shared" / "prototype" / "core" / "speed.py"


def run(partition: Partition, log: list[Timed], position: int) -> tuple[int, float, float]:
    """(the next position, seconds, seconds of this thread alone)."""
    decide = partition.decide
    started, busy = time.perf_counter(), time.thread_time()
    for at, body in log:
        decide(*read_command(body), position, at)
        position += 1
    return position, time.perf_counter() - started, time.thread_time() - busy


def measured(waiting: int) -> tuple[float, float, float, float, str]:
    """(microseconds a command, the same by the clock on the wall, the longest turn in ms, microseconds of the bare
    loop, chain)."""
    traffic = Traffic(World())
    log = [*traffic.fill(waiting), *traffic.go_on(WARM)]
    rounds = [list(traffic.go_on(MEASURED)) for _ in range(ROUNDS)]
    slowest_log = list(traffic.go_on(MEASURED))
    del traffic
    partition = Partition()
    partition.owner = 0
    position, _, _ = run(partition, log, 0)
    spare_the_collector()  # as the host does
    best = best_busy = float("inf")
    for part in rounds:
        position, spent, busy = run(partition, part, position)
        best, best_busy = min(best, spent), min(best_busy, busy)
    slowest = 0.0
    made: list[tuple[bytes, bytes]] = []
    for at, body in slowest_log:
        started = time.thread_time()  # of this thread alone: what others do on the machine is not the turn's fault
        decided = partition.decide(*read_command(body), position, at)
        slowest = max(slowest, time.thread_time() - started)
        position += 1
        if len(made) < BARE and decided.record is not None:
            made.append((body, decided.record))
    turns = [(body, read_turn(record)) for body, record in made]
    gc.freeze()
    started, chain = time.thread_time(), bytes(32)
    for body, turn in turns:
        read_command(body)
        _, chain = write_turn(0, chain, turn)
    bare = (time.thread_time() - started) / len(turns)
    gc.unfreeze()
    each, on_the_wall = best_busy / MEASURED * 1e6, best / MEASURED * 1e6
    return each, on_the_wall, slowest * 1000, bare * 1e6, sha256(partition.chain).hexdigest()[:12]


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    figures: dict[str, float | int | str] = {}
    costs, on_the_wall = {}, {}
    for waiting in (1_000, 100_000, 1_000_000):
        cost, on_the_wall[waiting], slowest, bare, chain = measured(waiting)
        costs[waiting] = cost
        say(f"{waiting:>9,} waiting: {cost:5.1f} us a command, {1e6 / cost:7,.0f} commands/s")
        say(
            f"          {cost / bare:.1f} x the bare loop ({bare:.1f} us); longest turn {slowest:.1f} ms; chain {chain}"
        )
        figures[f"us_{waiting}"] = round(cost, 2)
        figures[f"bare_us_{waiting}"] = round(bare, 2)
        figures[f"longest_turn_ms_{waiting}"] = round(slowest, 2)
    growth = costs[1_000_000] / costs[1_000]
    figures["growth"] = round(growth, 2)
    say(f"1,000,000 waiting cost {growth:.2f} times what 1,000 cost (bar 1.5)")
    say(f"commands/s with 100,000 waiting: {1e6 / costs[100_000]:,.0f} (bar 60,000)")
    if PROTOTYPE.exists():
        said = subprocess.run(
            [sys.executable, str(PROTOTYPE), "100000"], capture_output=True, text=True, check=True, cwd=PROTOTYPE.parent
        ).stdout
        found = re.search(r"([\d.]+) us a command", said)
        assert found is not None
        prototype = float(found[1])
        figures["prototype_us"] = prototype
        share = prototype / on_the_wall[100_000]  # both by the clock on the wall
        figures["of_prototype"] = round(share, 2)
        say(f"the prototype, with fewer rules, in the same run: {prototype} us; we reach {share:.2f} of its rate")
    return figures

"""5,000 distinct profiles, 10,000 agents, most of them idle: what an arrival costs when nearly everybody could take it.

Bars: mean 20 us, p99 100 us, JSON decode to turn record. Beside it the same arrivals where every bench that can serve
is looked at in turn (a scan), as the previous design did.
"""

import time
from collections.abc import Callable

from engine.core import messages as m
from engine.core.ordered import NEVER
from engine.core.rules import ROOMS_WITH
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.partition import Partition

from .world import POOL, Traffic, World

ARRIVALS = 4_000  # of 10,000 agents


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    world = World(profiles=5_000)
    traffic = Traffic(world)
    partition = Partition()
    partition.owner = 0
    position = 0
    for at, body in traffic.fill(0, "agents"):
        partition.decide(*read_command(body), position, at)
        position += 1
    tables = partition.pools[POOL]
    opening, i = [], 0
    for need in world.needs:  # the pool has met them all before; what meeting one costs is told beside
        queue, channel, wanted = need
        come, go = m.RouteContact(f"w{i}", channel, queue, "", dict(wanted)), m.EndContact(f"w{i}", "customer")  # type: ignore[arg-type]
        for command in (come, go):
            body = write_command(envelope_of(command, f"w{i}", "pbx", POOL))
            started = time.perf_counter()
            partition.decide(*read_command(body), position, at)
            if command is come:
                opening.append(time.perf_counter() - started)
            position += 1
            i += 1
    commands = [write_command(envelope_of(world.contact(), f"a{i}", "pbx", POOL)) for i in range(ARRIVALS)]
    spent, scans, offered = [], [], 0
    for body in commands:
        started = time.perf_counter()
        made = partition.decide(*read_command(body), position, at)
        spent.append(time.perf_counter() - started)
        position += 1
        at += 5
        offered += len(made.events) > 1
        if len(spent) % 20 == 0:
            line = tables.lines[tables.contacts[made.events[0].contact_id].need]  # type: ignore[attr-defined]
            started = time.perf_counter()
            heads: dict[int, tuple[object, ...]] = {}
            for room in ROOMS_WITH[line.need[1]]:
                for entry in tables.lineups[room]:
                    if entry[2] in line.profiles and entry < heads.get(entry[2], NEVER):
                        heads[entry[2]] = entry
            min(heads.values(), default=NEVER)
            scans.append(time.perf_counter() - started)
    spent.sort()
    mean, p99, longest = sum(spent) / len(spent) * 1e6, spent[int(len(spent) * 0.99)] * 1e6, spent[-1] * 1e6
    scan = sum(scans) / len(scans) * 1e6
    say(f"{offered} of {ARRIVALS} arrivals offered at once")
    say(f"an arrival: mean {mean:.1f} us (bar 20), p99 {p99:.1f} (bar 100), longest {longest:.0f}")
    opening.sort()
    first, worst = sum(opening) / len(opening) * 1e6, opening[-1] * 1e6
    say(f"the first arrival ever with its need: mean {first:.0f} us, longest {worst:.0f}")
    say(f"a scan of everybody who stands: {scan:.0f} us, {scan / mean:.0f} times as much")
    return {
        "mean_us": round(mean, 2),
        "p99_us": round(p99, 2),
        "longest_us": round(longest, 1),
        "scan_us": round(scan, 1),
    }

"""Memory of a waiting contact, in the core: with its ids, indexes, deadline and source.

Bar: 1,000 bytes. Beside it: what the ids of the contact and the customer alone take in a plain dictionary.
"""

import gc
from collections.abc import Callable

from engine.core import messages as m
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.partition import Partition

from .world import POOL, START, World

WAITING = 300_000


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    world = World(agents=0)
    partition = Partition()
    partition.owner = 0

    def ask(command: m.Command, position: int) -> None:
        body = write_command(envelope_of(command, f"{position:x}", f"pbx-{position % 7}", POOL))
        partition.decide(*read_command(body), position, START + position * 10)

    ask(m.PublishRules(world.rules()), 0)
    for position in range(1, 1001):
        ask(world.contact(), position)
    gc.collect()
    before = resident()
    for position in range(1001, 1001 + WAITING):
        ask(world.contact(), position)
    gc.collect()
    tables = partition.pools[POOL]
    each = (resident() - before) / WAITING
    before = resident()
    plain = {f"contact-{i:08d}": f"customer-{i:07d}" for i in range(WAITING)}
    bare = (resident() - before) / len(plain)
    kept = len(tables.seen.young) + len(tables.seen.old)
    say(f"{each:.0f} bytes a waiting contact (bar 1,000), the {kept:,} command ids kept to know repeats included")
    say(f"its two ids in a plain dictionary: {bare:.0f} bytes")
    return {"bytes": round(each), "bare_bytes": round(bare)}

"""Fold of a journal (decode, chain, evolve, indexes); a restart with 100,000 open contacts from a snapshot in SQLite.

Bars: 120,000 turns/s; 3 s. Beside the fold: only decoding and chaining the same records.
"""

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.embedded import Embedded
from engine.service import spare_the_collector
from engine.streams.codec import read_command
from engine.streams.journal import Marker, Reader, read_turn, write_marker
from engine.streams.log import Record
from engine.streams.partition import Partition
from engine.streams.sqlite_log import SqliteLog

from .world import START, Traffic, World

WAITING, TURNS = 100_000, 150_000


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    traffic = Traffic(World())
    log = [*traffic.fill(WAITING), *traffic.go_on(TURNS)]
    del traffic
    partition = Partition()
    partition.owner = 0
    records = [Record(0, None, write_marker(Marker("bench", "bench", "simulated", START)))]
    for position, (at, body) in enumerate(log):
        made = partition.decide(*read_command(body), position, at)
        if made.record is not None:
            records.append(Record(len(records), position, made.record))
    chain = partition.chain

    folded, reader = Partition(), Reader()
    spare_the_collector()  # as the host does
    started = time.thread_time()  # of this thread alone
    for record in records:
        turn = reader.read(record)
        if record.position is not None:
            folded.fold(turn, reader.place)  # type: ignore[arg-type]
    folded.next_due()  # by then all indexes stand
    fold_s = time.thread_time() - started
    assert folded.chain == chain, "the fold ends where the turns ended"
    started = time.thread_time()
    for record in records[1:]:
        read_turn(record.body)
    decode_s = time.thread_time() - started
    rate, bare = len(records) / fold_s, len(records) / decode_s
    say(f"fold: {rate:,.0f} turns/s (bar 120,000); decoding alone {bare:,.0f}/s; ratio {rate / bare:.2f}")
    del folded, reader, partition

    with tempfile.TemporaryDirectory() as folder:
        at = log[-1][0]
        host = Embedded(SqliteLog.open(Path(folder)), lambda: at, "simulated", name="bench")
        asked = [(*read_command(body), body) for _, body in log[: WAITING + 10_001]]
        for i in range(0, len(asked), 500):
            host.submit(asked[i : i + 500])
        open_contacts = sum(len(tables.contacts) for tables in host.partition.pools.values())
        ends_at = host.partition.chain
        host.close()
        del host
        gc.collect()
        started = time.perf_counter()
        host = Embedded(SqliteLog.open(Path(folder)), lambda: at, "simulated", name="bench")
        restart_s = time.perf_counter() - started
        assert host.partition.chain == ends_at, "a restart loses nothing"
        host.close()
    say(f"restart with {open_contacts:,} open contacts from a snapshot: {restart_s:.2f} s (bar 3)")
    return {"turns_per_s": round(rate), "decode_only_per_s": round(bare), "restart_s": round(restart_s, 2)}

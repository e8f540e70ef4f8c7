"""Durable: commands through the embedded host into SQLite (WAL, synchronous=FULL), committed in groups of 500.

Bar: 40,000 commands/s. Beside it a bare insert of the same bytes in the same groups, in the same run.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.core.restore import rows_of
from engine.embedded import Embedded
from engine.service import spare_the_collector
from engine.streams.codec import read_command
from engine.streams.sqlite_log import SqliteLog

from .world import POOL, Traffic, World

WAITING, COMMANDS, GROUP = 10_000, 100_000, 500


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    traffic = Traffic(World(), GROUP)
    fill = list(traffic.fill(WAITING))
    fill += traffic.go_on(-len(fill) % GROUP)
    log = list(traffic.go_on(COMMANDS))
    now = 0
    with tempfile.TemporaryDirectory() as folder:
        host = Embedded(
            SqliteLog.open(Path(folder) / "engine"), lambda: now, "simulated", name="bench", snapshot_turns=1 << 60
        )
        for i in range(0, len(fill), GROUP):
            now = fill[i][0]
            host.submit([(*read_command(body), body) for _, body in fill[i : i + GROUP]])
        spare_the_collector()
        began = host.log.ends()
        started, busy = time.perf_counter(), time.process_time()
        for i in range(0, len(log), GROUP):
            now = log[i][0]
            host.submit([(*read_command(body), body) for _, body in log[i : i + GROUP]])
        spent, busy = time.perf_counter() - started, time.process_time() - busy
        assert rows_of(host.partition.pools[POOL]) == rows_of(traffic.tables), "the log did what it was made for"
        entries = list(host.log.commands(began[0]))
        records = list(host.log.journal(began[1]))
        host.log.close()

        bare = SqliteLog.open(Path(folder) / "bare")
        groups = []
        shift = 0
        for i in range(0, len(entries), GROUP):
            group = [entry._replace(position=entry.position - began[0]) for entry in entries[i : i + GROUP]]
            last = entries[i + len(group) - 1].position
            take = shift
            while take < len(records) and (records[take].position or 0) <= last:
                take += 1
            theirs = [
                record._replace(offset=shift + k, position=(record.position or 0) - began[0])
                for k, record in enumerate(records[shift:take])
            ]
            groups.append((shift, group, theirs))
            shift = take
        started = time.perf_counter()
        for offset, group, theirs in groups:
            bare.append(offset, group, theirs)
        bare_s = time.perf_counter() - started
        bare.close()
    rate, bare_rate = COMMANDS / spent, len(entries) / bare_s
    say(f"{rate:,.0f} commands/s durable (bar 40,000); {busy / COMMANDS * 1e6:.1f} us of processor each")
    say(f"a bare insert of the same bytes {bare_rate:,.0f}/s; ratio {rate / bare_rate:.2f}")
    cpu_us = round(busy / COMMANDS * 1e6, 2)
    return {"per_s": round(rate), "cpu_us": cpu_us, "bare_per_s": round(bare_rate), "ratio": round(rate / bare_rate, 3)}

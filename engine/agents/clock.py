"""When a partition's owner sends a tick: a deadline of a pool has passed on the log's clock, and none is on its way.

The log's clock is the broker's. How far it is from ours is measured at every record of ours that is acknowledged.
"""

from collections.abc import Sequence

import structlog

from engine.core.messages import Tick
from engine.core.step import next_due
from engine.streams.codec import Envelope, envelope_of
from engine.streams.log import Entry
from engine.streams.partition import Decided, Partition

SKEW_MS = 2_000  # from here on it is said aloud
AGAIN_MS = 10_000  # after a tick that brought nothing about though it came in time: never a hot loop

log_ = structlog.get_logger("waitline.worker")


class Clock:
    """Of one ownership. All times in milliseconds."""

    def __init__(self, number: int) -> None:
        self.number = number  # of the partition
        self.skew = 0  # log time less ours
        self._warned = False
        self._away: dict[str, int] = {}  # pool -> position of its tick that has yet to be read; -1: not known yet
        self._not_before: dict[str, int] = {}  # pool -> log time

    def measured(self, at: int, sent: int, acknowledged: int) -> None:
        """A record that we sent at one time and that was acknowledged at another got the log's time `at`."""
        self.skew = at - acknowledged if at > acknowledged else min(0, at - sent)
        if abs(self.skew) >= SKEW_MS and not self._warned:
            log_.warning(
                "clocks-differ",
                partition=self.number,
                broker_ahead_ms=self.skew,
                remedy="deadlines go by the broker's clock; have both set by NTP",
            )
        self._warned = abs(self.skew) >= SKEW_MS

    def due(self, partition: Partition, now: int) -> list[tuple[str, Envelope]]:
        """(pool, its tick) for each that is to be sent now; each must be followed by `sent` or `not_sent`."""
        at = now + self.skew
        ticks = []
        for pool, tables in partition.pools.items():
            due = next_due(tables)
            if due <= at and pool not in self._away and self._not_before.get(pool, 0) <= at:
                self._away[pool] = -1
                ticks.append((pool, envelope_of(Tick(), f"tick-{due}", "waitline", pool)))
        return ticks

    def sent(self, pool: str, position: int, partition: Partition) -> None:
        if position > partition.position:
            self._away[pool] = position
        else:  # read before we heard where it stands
            del self._away[pool]

    def not_sent(self, pool: str) -> None:
        self._away.pop(pool, None)

    def read(self, entries: Sequence[Entry], decided: Sequence[Decided], partition: Partition) -> None:
        """What has been read of the commands: ticks that are among them are on their way no more."""
        if not self._away:
            return
        for pool, position in list(self._away.items()):
            if not 0 <= position <= entries[-1].position:
                continue
            del self._away[pool]
            for entry, made in zip(entries, decided, strict=True):
                if entry.position == position and not made.events:
                    self._came_to_nothing(pool, entry.at, partition)

    def _came_to_nothing(self, pool: str, at: int, partition: Partition) -> None:
        """Too early by the log's clock: the difference is waited out. In time: a fault of the engine, not to be asked
        for again and again."""
        due = next_due(partition.pools[pool])
        self._not_before[pool] = due if due > at else at + AGAIN_MS

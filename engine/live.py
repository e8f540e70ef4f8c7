"""The embedded host on an event loop: what arrives together is committed together, ticks come when due, who listens
is told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from engine.core.deadlines import NONE
from engine.core.messages import Turn
from engine.embedded import Embedded
from engine.streams.board import Board
from engine.streams.host import Asked, Outcome, Stand, Standing
from engine.streams.journal import TimeKind
from engine.streams.log import LogProblem

GROUP = 500  # commands in one commit at most, so that nobody waits for a long one
TICK_S = 0.005  # deadlines are looked at no more often than this,
IDLE_S = 1.0  # and no less often than this
AGAIN_S = 2.0  # after trouble with the log, such as a full disk: how long commands are refused before it is tried again

log_ = structlog.get_logger("waitline.live")


class Live:
    """One embedded host, as a door wants it (engine/streams/host.py). `run` must be running for deadlines to fire and
    snapshots to be written."""

    def __init__(self, host: Embedded) -> None:
        self.host = host
        self.time: TimeKind = host.time
        self.closing = asyncio.Event()
        self.trouble: LogProblem | None = None  # why nothing can be written at present
        self._pending: list[tuple[Sequence[Asked], asyncio.Future[list[Outcome]]]] = []
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stirred = asyncio.Event()
        self._snapshot: asyncio.Task[None] | None = None
        host.listeners.append(self._tell)

    async def submit(self, asked: Sequence[Asked], decided: bool = True) -> list[Outcome]:
        """All decided and durable when this returns. LogFull, LogProblem: none of it has happened."""
        loop = asyncio.get_running_loop()
        self._must_be_well()
        future: asyncio.Future[list[Outcome]] = loop.create_future()
        if not self._pending:
            loop.call_soon(self._commit)  # after what else has arrived in this round
        self._pending.append((asked, future))
        return await future

    def _commit(self) -> None:
        group: list[Asked] = []
        futures = []
        while self._pending and (not group or len(group) + len(self._pending[0][0]) <= GROUP):
            asked, future = self._pending.pop(0)
            futures.append((len(asked), future))
            group += asked
        if self._pending:
            asyncio.get_running_loop().call_soon(self._commit)
        try:
            self._must_be_well()
            outcomes = self.host.submit(group)
        except Exception as problem:
            if isinstance(problem, LogProblem):
                self._put_off(problem)
            else:
                log_.exception("commit-failed")
            for _, future in futures:
                if not future.cancelled():
                    future.set_exception(problem)
            return
        start = 0
        for count, future in futures:
            if not future.cancelled():
                future.set_result(outcomes[start : start + count])
            start += count
        self._stirred.set()

    def _must_be_well(self) -> None:
        if self.trouble is not None:
            raise type(self.trouble)(str(self.trouble))

    def _put_off(self, problem: LogProblem) -> None:
        """Nothing is tried for a while: after each failed commit the host has to recover."""
        if self.trouble is None:
            log_.warning("log-trouble", reason=str(problem))
            self.trouble = problem
            asyncio.get_running_loop().call_later(AGAIN_S, self._knock)

    def _knock(self) -> None:
        if self.closing.is_set():
            return
        self.trouble = None
        try:
            self.host.knock()
        except LogProblem as problem:
            self._put_off(problem)
        else:
            log_.info("log-trouble-over")
            self._stirred.set()

    def _tell(self, turns: list[Turn]) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    @property
    def boards(self) -> Mapping[str, Board]:
        return self.host.boards

    def partition_of(self, pool: str) -> int:
        return 0

    def stand(self, partition: int = 0) -> Stand:
        return Stand(self.host.place.position, self.host.at)

    def standings(self) -> list[Standing]:
        position, at = self.stand()
        return [Standing(0, position, at, self.host.worker)]

    async def turns(self, partition: int, after: int, limit: int) -> list[bytes]:
        return [record.body for record in self.host.log.turns(after, limit)]

    async def catch_up(self) -> None:
        """Nobody else writes."""

    async def news(self, partition: int, timeout_s: float) -> bool:
        if self.closing.is_set():
            return False
        news = self._news
        await asyncio.wait({news}, timeout=timeout_s)
        return news.done() and not self.closing.is_set()

    async def run(self) -> None:
        """Ticks when due, snapshots when enough has happened; until `closing` is set."""
        while not self.closing.is_set():
            self._stirred.clear()
            wait_s = IDLE_S
            try:
                self._must_be_well()
                if self.host.tick():
                    wait_s = 0.0
                else:
                    due = self.host.next_due()
                    if due != NONE:
                        wait_s = max(TICK_S, min(IDLE_S, (due - self.host.clock()) / 1000))
            except LogProblem as problem:
                self._put_off(problem)
            self.keep_snapshot()
            if wait_s > TICK_S:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), wait_s)
            await asyncio.sleep(min(wait_s, TICK_S))

    def keep_snapshot(self) -> None:
        """Writes one in another thread where it is due."""
        if self.host.snapshot_due and (self._snapshot is None or self._snapshot.done()):
            self._snapshot = asyncio.ensure_future(self._write_snapshot(self.host.snapshot()))

    async def _write_snapshot(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(write)
        except LogProblem as problem:
            log_.warning("snapshot-not-kept", reason=str(problem))

    def stop(self) -> None:
        """Who listens is let go, and nothing is begun any more."""
        self.closing.set()
        self._tell([])

    async def close(self) -> None:
        self.stop()
        if self._snapshot is not None:
            await self._snapshot
        self.host.close()

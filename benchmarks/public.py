"""Through a real broker: command to the topic `status`, by a worker and the projections, at 2,000 commands/s.

Bar: p99 80 ms. Commands come at fixed moments, whatever became of those before (open loop); the delay counts from the
moment a command should have been sent until its contact's status is read. Beside it, in the same run: until its turn is
read. Broker, worker, projections, load and readers share this machine.
"""

import asyncio
import multiprocessing
from collections.abc import Callable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine import service
from engine.agents.connection import Connection
from engine.streams.topics import TOPICS, Shape

from .brokers import broker_for
from .latency import quantile
from .steady import drive, statuses, turns

SHAPE = Shape("bench.", 1, 1, 1)


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    with broker_for(say) as address:
        if not address:
            return {}
        to_turn, to_status = asyncio.run(_measure(address))
    found = {
        f"{name}_{share}_ms": round(quantile(delays, at), 1)
        for name, delays in (("turn", to_turn), ("status", to_status))
        for share, at in (("p50", 0.5), ("p99", 0.99))
    }
    say(f"command to status: p50 {found['status_p50_ms']} ms, p99 {found['status_p99_ms']} ms (bar 80)")
    say(f"command to accepted turn in the same run: p50 {found['turn_p50_ms']} ms, p99 {found['turn_p99_ms']} ms")
    return dict(found)


async def _measure(address: str) -> tuple[list[float], list[float]]:
    await make_topics(address)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(address,)) for work in (worker, projections)]
    for process in processes:
        process.start()
    try:
        turn, status = turns(SHAPE), statuses(SHAPE)
        await drive(address, SHAPE, turn, status)
        return turn.delays, status.delays
    finally:
        for process in processes:
            process.terminate()
            process.join()


def worker(address: str) -> None:
    """As `waitline worker` runs it."""
    from engine.agents.app import RoutingWorker

    service.run(RoutingWorker(Connection(address), SHAPE, name="bench").run())


def projections(address: str) -> None:
    """As `waitline projections` runs it."""
    from engine.agents.projections import Projections

    service.run(Projections(Connection(address), SHAPE).run())


async def make_topics(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics(
        [NewTopic(SHAPE.named(topic), 1, 1, topic_configs=SHAPE.settings(topic)) for topic in TOPICS]
    )
    await admin.close()
    await asyncio.sleep(1)

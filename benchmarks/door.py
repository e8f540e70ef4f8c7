"""A door over a real broker: command to answer with `wait=decided`, and how much of that is the append alone.

One command each 5 ms at fixed moments (open loop): by turns one whose decision is waited for, and one that is answered
once it is durable. Broker, worker and door share this machine.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from engine.agents.connection import Connection
from engine.agents.door_host import KafkaHost
from engine.core import messages as m
from engine.core.rules import Queue, Rules
from engine.streams.codec import envelope_of, write_command
from engine.streams.topics import COMMANDS

from .brokers import broker_for
from .latency import quantile
from .public import SHAPE, make_topics, worker
from .steady import POOL

COUNT, WARM, GAP_S = 2_000, 200, 0.005


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    with broker_for(say) as address:
        if not address:
            return {}
        delays = asyncio.run(_measure(address))
    found = {
        f"{name}_{share}_ms": round(quantile(delays[decided], at), 1)
        for name, decided in (("decided", True), ("logged", False))
        for share, at in (("p50", 0.5), ("p99", 0.99))
    }
    say(f"command to decided answer: p50 {found['decided_p50_ms']} ms, p99 {found['decided_p99_ms']} ms")
    say(f"command to durable in the same run: p50 {found['logged_p50_ms']} ms, p99 {found['logged_p99_ms']} ms")
    return dict(found)


async def _measure(address: str) -> dict[bool, list[float]]:
    await make_topics(address)
    process = multiprocessing.get_context("spawn").Process(target=worker, args=(address,))
    process.start()
    host = KafkaHost(Connection(address), SHAPE)
    try:
        rules = envelope_of(m.PublishRules(Rules(POOL, (Queue("sales"),))), "rules", "waitline", POOL)
        async with AIOKafkaProducer(bootstrap_servers=address, acks="all") as producer:
            await producer.send_and_wait(SHAPE.named(COMMANDS), write_command(rules), key=POOL.encode(), partition=0)
        await host.start()
        while POOL not in host.boards:
            await host.news(0, 1)
        return await _steady(host)
    finally:
        await host.close()
        process.terminate()
        process.join()


async def _steady(host: KafkaHost) -> dict[bool, list[float]]:
    """Delays in ms, by whether the decision was waited for."""
    delays: dict[bool, list[float]] = {True: [], False: []}

    async def ask(number: int, due: float) -> None:
        command, decided = m.RouteContact(f"c{number}", "call", "sales"), number % 2 == 0
        envelope = envelope_of(command, str(number), "bench", POOL)
        (outcome,) = await host.submit([(envelope, command, write_command(envelope))], decided)
        assert outcome.status == ("accepted" if decided else "logged"), outcome
        if number >= WARM:
            delays[decided].append((time.perf_counter() - due) * 1000)

    begin = time.perf_counter()
    asked = []
    for number in range(COUNT):
        due = begin + number * GAP_S
        await asyncio.sleep(max(0, due - time.perf_counter()))
        asked.append(asyncio.create_task(ask(number, due)))
    await asyncio.gather(*asked)
    return delays

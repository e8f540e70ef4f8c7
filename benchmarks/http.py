"""Through the HTTP door of a real server: batches, and single commands at 1,000/s until the offer is known.

Bars: 10,000 commands/s in batches of 500; p99 10 ms. The load comes from this process over plain sockets, on the same
machine. Beside it: `GET /livez`, which does nothing.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.core import messages as m
from engine.streams.codec import envelope_of, write_command

from .latency import AGENTS, POOL, RATE, SECONDS, WARM_S, quantile

RULES = f'pool = "{POOL}"\n[[queues]]\nid = "sales"\n'
BATCH, BATCHES, LINES = 500, 100, 8


class Line:
    """A kept connection that answers one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Line":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        said = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", said, re.IGNORECASE)
        assert said.startswith(b"HTTP/1.1 200") and length, said
        return await self.reader.readexactly(int(length[1]))


def body_of(command: m.Command, id: str) -> bytes:
    return write_command(envelope_of(command, id, "bench", POOL))


async def batches(port: int) -> float:
    """Commands a second: contacts that are routed and leave again."""
    line = await Line(port).open()
    bodies = []
    for b in range(BATCHES):
        commands = []
        for i in range(BATCH // 2):
            id = f"b{b}-{i}"
            commands += [m.RouteContact(id, "sms", "sales"), m.EndContact(id, "customer")]
        bodies.append(b"[" + b",".join(body_of(c, f"b{b}-{i}") for i, c in enumerate(commands)) + b"]")
    started = time.perf_counter()
    for body in bodies:
        answer = await line.ask("POST", "/v1/commands", body)
    spent = time.perf_counter() - started
    assert all(result["status"] == "accepted" for result in msgspec.json.decode(answer))
    return BATCH * BATCHES / spent


async def singles(port: int) -> list[float]:
    """Delays in ms from when a contact should have been routed until the answer with its offer is here."""
    free: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(LINES):
        free.put_nowait(await Line(port).open())
    line = await free.get()
    sign_ins = [body_of(m.SignInAgent(f"agent-{i}", True, ("sales",)), f"in-{i}") for i in range(AGENTS)]
    await line.ask("POST", "/v1/commands", b"[" + b",".join(sign_ins) + b"]")
    free.put_nowait(line)
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    todo: list[m.Command] = []

    async def send(command: m.Command, id: str, moment: float, counts: bool) -> None:
        line = await free.get()
        answer = msgspec.json.decode(await line.ask("POST", "/v1/commands?wait=decided", body_of(command, id)))
        free.put_nowait(line)
        for event in answer["events"]:
            if event["type"] == "offer-issued":
                if counts:
                    delays.append((loop.time() - moment) * 1000)
                todo.append(m.AcceptOffer(event["contact_id"], event["agent_id"]))
            elif event["type"] == "offer-accepted":
                todo.append(m.EndContact(event["contact_id"], "agent"))
            elif event["type"] == "wrap-up-started":
                todo.append(m.CompleteWrapUp(event["contact_id"], event["agent_id"]))

    began, tasks = loop.time(), set()
    for n in range(RATE * SECONDS):
        moment = began + n / RATE
        while loop.time() < moment:
            await asyncio.sleep(max(0, moment - loop.time()))
        routes = n % 4 == 0 or not todo
        command = m.RouteContact(f"c{n}", "call", "sales") if routes else todo.pop(0)
        task = asyncio.ensure_future(send(command, str(n), moment, routes and moment - began > WARM_S))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return delays


async def nothing(port: int) -> list[float]:
    line = await Line(port).open()
    delays = []
    for _ in range(1_000):
        started = time.perf_counter()
        await line.ask("GET", "/livez")
        delays.append((time.perf_counter() - started) * 1000)
    return delays


def measure(say: Callable[[str], None]) -> dict[str, float | int | str]:
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "bench.toml"
        rules.write_text(RULES)
        serve = [
            sys.executable,
            "-m",
            "engine",
            "serve",
            "--config",
            str(rules),
            "--data",
            f"{folder}/log",
            "--port",
            "0",
        ]
        with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            port = 0
            for said in server.stderr:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)", said):
                    port = int(found[1])
                    break
            idle = asyncio.run(nothing(port))
            rate = asyncio.run(batches(port))
            delays = asyncio.run(singles(port))
            server.terminate()
    p50, p99, longest = quantile(delays, 0.5), quantile(delays, 0.99), max(delays)
    say(f"batches of {BATCH}: {rate:,.0f} commands/s (bar 10,000)")
    say(f"{len(delays)} offers at {RATE:,} single commands/s:")
    say(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms (bar 10), longest {longest:.1f} ms")
    say(f"GET /livez, one after another: p50 {quantile(idle, 0.5):.2f} ms, p99 {quantile(idle, 0.99):.2f} ms")
    return {
        "batch_per_s": round(rate),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "longest_ms": round(longest, 2),
        "idle_p99_ms": round(quantile(idle, 0.99), 3),
    }

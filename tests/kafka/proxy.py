"""A way to the broker that can be harmed: silent, or with single appends to a topic lost, unanswered or refused.

It understands of Kafka's protocol what this takes: the length before each message, the number by which an answer
belongs to its request, and Produce (key 0) in the versions 3 to 8, without its records.
"""

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from collections import deque
from typing import Literal

PRODUCE, API_VERSIONS = 0, 18
REFUSED = 29  # TOPIC_AUTHORIZATION_FAILED: an answer after which no client tries again

Harm = Literal["lost", "unanswered", "refused"]


class Proxy:
    """From a port of ours to the broker's; the broker must advertise ours. topic: whose appends may be harmed."""

    def __init__(self, port: int, behind: int) -> None:
        self.port, self.behind = port, behind
        self.topic = ""
        self.harms: deque[tuple[int, Harm]] = deque()  # (appends to let pass before, what becomes of the next)
        self.done: list[Harm] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in list(self._open):
            transport.abort()  # which ends what is at work between them
        self._flows.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def harm(self, *harms: Harm, after: int = 10) -> None:
        """To be done one after the other, with so many appends in between."""
        self.harms.extend((after, harm) for harm in harms)

    def silence(self) -> None:
        """Nothing comes through any more, in either direction, and no connection is closed: a cable is out."""
        self._flows.clear()

    def speak(self) -> None:
        self._flows.set()

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._flows.wait()
        try:
            broker = await asyncio.open_connection("127.0.0.1", self.behind)
        except OSError:  # it is away
            writer.close()
            return
        both = writer.transport, broker[1].transport
        self._open.update(both)
        answers: dict[int, bytes] = {}  # number of a request -> what is said in place of its answer; empty: nothing
        pumps = [
            asyncio.create_task(self._requests(reader, broker[1], answers)),
            asyncio.create_task(self._answers(broker[0], writer, answers)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in both:
                each.abort()
            self._open.difference_update(both)

    async def _requests(self, client: StreamReader, broker: StreamWriter, answers: dict[int, bytes]) -> None:
        while message := await self._message(client):
            match self._harm_of(message):
                case "lost":
                    return
                case "unanswered":
                    answers[_number_of(message)] = b""
                case "refused":  # another question, so that answers stay in order
                    answers[_number_of(message)] = _refusal(message)
                    message = _harmless(message)
            broker.write(struct.pack(">i", len(message)) + message)
            await broker.drain()

    async def _answers(self, broker: StreamReader, client: StreamWriter, answers: dict[int, bytes]) -> None:
        while message := await self._message(broker):
            message = answers.pop(struct.unpack_from(">i", message)[0], message)
            if not message:
                return
            client.write(struct.pack(">i", len(message)) + message)
            await client.drain()

    async def _message(self, reader: StreamReader) -> bytes:
        """Empty: the other side has closed."""
        try:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            message = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return b""
        await self._flows.wait()
        return message

    def _harm_of(self, message: bytes) -> Harm | None:
        if not self.harms or struct.unpack_from(">h", message)[0] != PRODUCE or _topic_of(message)[0] != self.topic:
            return None
        passes, harm = self.harms[0]
        if passes:
            self.harms[0] = passes - 1, harm
            return None
        self.harms.popleft()
        self.done.append(harm)
        return harm


def _number_of(request: bytes) -> int:
    number: int = struct.unpack_from(">i", request, 4)[0]
    return number


def _string(message: bytes, at: int) -> tuple[str, int]:
    """A string, and where it ends."""
    (size,) = struct.unpack_from(">h", message, at)
    end = at + 2 + max(size, 0)
    return message[at + 2 : end].decode(), end


def _topic_of(produce: bytes) -> tuple[str, int]:
    """Of the one topic and the one partition that a producer of a journal writes: name and number."""
    _, at = _string(produce, 8)  # the client
    _, at = _string(produce, at)  # the transaction
    topic, at = _string(produce, at + 2 + 4 + 4)  # acks, time-out, count of topics
    number: int = struct.unpack_from(">i", produce, at + 4)[0]
    return topic, number


def _refusal(produce: bytes) -> bytes:
    """The answer to it, from version 5 on."""
    (version,) = struct.unpack_from(">h", produce, 2)
    assert 5 <= version <= 8, f"Produce version {version}"
    topic, number = _topic_of(produce)
    name = topic.encode()
    answer = struct.pack(">iih", _number_of(produce), 1, len(name)) + name
    answer += struct.pack(">iihqqq", 1, number, REFUSED, -1, -1, -1)
    if version == 8:
        answer += struct.pack(">ih", 0, -1)  # errors of records, and a text
    return answer + struct.pack(">i", 0)


def _harmless(request: bytes) -> bytes:
    """In its place, with its number: what versions the broker knows."""
    return struct.pack(">hhih", API_VERSIONS, 0, _number_of(request), -1)

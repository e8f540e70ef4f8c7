"""The real server, as a process of its own: started, asked, killed, started again on the same folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

WAIT_S = 20.0
RULES = """
pool = "desk"
time_zone = "Europe/Amsterdam"
roster = "sign-in"

[times]
offer = 600
wrap_up = 600
silence = 3600

[[queues]]
id = "sales"
name = "Sales"

[[queues]]
id = "repairs"
channels = ["call", "chat"]
skills = { technical = 2 }
"""


class Server:
    """`waitline serve` on a free port. said: the lines of its standard error so far, as read from JSON or plain."""

    def __init__(self, data: Path, config: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.config = config
        self.arguments = arguments
        self.env = {key: value for key, value in os.environ.items() if key != "WAITLINE_TOKEN"} | (env or {})
        self.said: list[dict[str, Any]] = []
        self.url = ""
        self.started_as: list[str] = []

    def start(self, wait: bool = True, program: list[str] | None = None) -> Self:
        """program: what stands for `waitline`. wait: until it listens; AssertionError where it does not."""
        before = len(self.said)
        program = program or [sys.executable, "-m", "engine"]
        self.process = subprocess.Popen(
            [*program, "serve", *self.where(), "--port", "0", *self.arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=self.env,
        )
        self._reading = threading.Thread(target=self._read, args=(self.process.stderr, before), daemon=True)
        self._reading.start()
        if wait and not self.listening(before):
            raise AssertionError(f"the server does not listen; it said: {self.said[before:]}")
        return self

    def where(self) -> list[str]:
        """The options that say which log."""
        return ["--config", str(self.config), "--data", str(self.data)]

    def _read(self, stream: Any, before: int) -> None:
        for line in stream:
            try:
                said = json.loads(line)
            except ValueError:
                said = None
            self.said.append(said if isinstance(said, dict) else {"plain": line.rstrip("\n")})
        stream.close()

    def listening(self, before: int = 0) -> bool:
        """Once it serves; False where it ends first."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            for said in self.said[before:]:
                if said.get("event") == "serving":
                    self.url = said["url"].rstrip("/")
                    return True
            if self.process.poll() is not None and not self._reading.is_alive():
                return False
            time.sleep(0.005)
        raise AssertionError(f"the server neither listens nor ends; it said: {self.said[before:]}")

    def told(self, event: str) -> list[dict[str, Any]]:
        return [said for said in self.said if said.get("event") == event]

    def text(self) -> str:
        """All that it said, as lines."""
        return "\n".join(said.get("plain") or json.dumps(said) for said in self.said)

    def client(self, **settings: Any) -> httpx.Client:
        plain: dict[str, Any] = {"trust_env": False, "verify": False}  # reading certificates would take 30 ms
        return httpx.Client(base_url=self.url, timeout=WAIT_S, **plain, **settings)

    def kill(self) -> None:
        """As the power fails: nothing is written any more."""
        self.process.send_signal(signal.SIGKILL)
        self.ended()

    def stop(self) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        status = self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def command(kind: str, id: str, source: str = "pbx", pool: str = "desk", **data: Any) -> dict[str, Any]:
    return {"id": id, "source": source, "pool": pool, "type": kind, "data": data}


class Listener(threading.Thread):
    """Listens to a server's events, and comes back after each break by Last-Event-ID. seen: all that it was told.

    After `rest` events, where given, it breaks off by itself.
    """

    def __init__(self, server: Server, rest: Callable[[], int] | None = None, **params: str) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.params = params
        self.rest = rest
        self.seen: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.breaks = 0
        self.connected = threading.Event()
        self._stopped = False
        self.start()

    def run(self) -> None:
        while not self._stopped:
            with suppress(httpx.TransportError):
                self._listen()
            self.breaks += 1
            time.sleep(0.02)

    def _listen(self) -> None:
        last = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
        left = self.rest() if self.rest else -1
        with (
            self.server.client() as client,
            client.stream("GET", "/v1/events", params=self.params, headers=last, timeout=60) as response,
        ):
            assert response.status_code == 200, response.read()
            for field, value in fields(response):
                if field == "id":
                    id = value
                elif field == "data":
                    self.seen.append(json.loads(value))
                    self.ids.append(id)
                    left -= 1
                    if left == 0 or self._stopped:
                        return
                elif field == "":
                    self.connected.set()

    def has(self, what: Callable[[list[dict[str, Any]]], bool], seconds: float = WAIT_S) -> bool:
        until = time.monotonic() + seconds
        while not what(self.seen):
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def stop(self) -> None:
        self._stopped = True


def fields(response: httpx.Response) -> Iterator[tuple[str, str]]:
    """Of a stream of server-sent events, as they come; comments have no name."""
    for line in response.iter_lines():
        field, colon, value = line.partition(":")
        if colon:
            yield field, value.removeprefix(" ")

"""Doors for tests: processes of `waitline serve --broker`, and workers behind them."""

from pathlib import Path
from typing import Any

import httpx

from engine.streams.topics import Shape
from tests.hosts.server import Server


class KafkaDoor(Server):
    """`waitline serve --broker` on a free port."""

    def __init__(self, broker: str, shape: Shape, *arguments: str, env: dict[str, str] | None = None) -> None:
        super().__init__(Path(), Path(), "--broker", broker, "--prefix", shape.prefix, *arguments, env=env)

    def where(self) -> list[str]:
        return []  # the broker says it

    def client(self, **settings: Any) -> httpx.Client:
        """Waits for what becomes of a command unless it says how it wants to be answered: as an embedded host does."""
        return super().client(event_hooks={"request": [wait_for_it]}, **settings)

    def hasty_client(self, **settings: Any) -> httpx.Client:
        return super().client(**settings)


def wait_for_it(request: httpx.Request) -> None:
    if request.method == "POST" and request.url.path == "/v1/commands" and "wait" not in request.url.params:
        request.url = request.url.copy_add_param("wait", "decided")

"""Workers for tests: processes of `waitline worker`, which can be killed, frozen and asked what they have logged."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.streams.topics import Shape

WORKER = ["-m", "engine", "worker"]
RULES = """
pool = "unused"

[[queues]]
id = "sales"
"""


class WorkerProcess:
    """A worker of a log. program: what Python runs in place of the command line, for workers that are made to fail;
    config: rules that it publishes; within: the program by which Python is started."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        shape: Shape,
        name: str,
        program: list[str] | None = None,
        config: Path | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.errors = folder / f"{name}.log"
        rules = config or folder / "unused.toml"
        if config is None:
            rules.write_text(RULES)
        arguments = ["--broker", broker, "--prefix", shape.prefix, "--development", "--config", str(rules)]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*within, sys.executable, *(program or WORKER), *arguments, "--name", name],
                stdout=errors,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.getcwd()},
            )

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of its log about an event, with these fields."""
        lines = []
        for line in self.errors.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("}\n"):  # a whole one
                found = json.loads(line)
                if found["event"] == event and fields.items() <= found.items():
                    lines.append(found)
        return lines

    def wait(self, event: str, count: int = 1, within_s: float = 30, **fields: Any) -> list[dict[str, Any]]:
        until = time.monotonic() + within_s
        while len(found := self.said(event, **fields)) < count:
            assert time.monotonic() < until, f"{self.name} has not said {event} {fields}:\n{self.errors.read_text()}"
            assert self.process.poll() is None, f"{self.name} has ended:\n{self.errors.read_text()}"
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def struck(self, within_s: float = 60) -> None:
        """Waits until it has been ended or stopped by what was planted in it."""
        until = time.monotonic() + within_s
        any_of = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, self.process.pid, any_of) is None:
            assert time.monotonic() < until, f"nothing has happened to {self.name}:\n{self.errors.read_text()}"
            time.sleep(0.05)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, within_s: float = 30) -> int:
        """A clean stop; the exit status."""
        self.process.terminate()
        return self.process.wait(within_s)

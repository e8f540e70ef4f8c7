"""The real server is killed under load, again and again: nothing acknowledged is lost, nothing is doubled."""

import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.core.messages import CommandRefused, Turn
from engine.streams.audit import verify
from engine.streams.codec import read_command
from engine.streams.journal import Reader
from engine.streams.partition import Partition
from engine.streams.sqlite_log import SqliteLog
from tests.hosts.server import RULES, Listener, Server, command, fields

# Deadlines pass while the test runs: offers expire, wrap-ups end by themselves.
HASTY = RULES.replace("offer = 600", "offer = 1").replace("wrap_up = 600", "wrap_up = 1")
SNAPSHOTS = """
from engine.embedded import Embedded
Embedded.__init__.__kwdefaults__["snapshot_turns"] = 150
from engine.__main__ import main
main()
"""  # the real server, but for a snapshot every 150 turns instead of every 50,000


MET = {"accepted", "refused", "unchanged", "accept-offer", "end-contact", "complete-wrap-up"}


class Load:
    """People and adapters at work. What is not answered is asked again under the same id, until it is."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.over = threading.Event()
        self.sent: list[tuple[str, str]] = []
        self.results: dict[tuple[str, str], dict[str, Any]] = {}
        self.retries = 0
        self.problems: list[str] = []
        self.met: Counter[str] = Counter()  # answers by status, and accepted commands by type
        people = [(self.adapter, "pbx"), (self.adapter, "web"), *((self.agent, f"agent-{i}") for i in range(3))]
        self.threads = [threading.Thread(target=self._at_work, args=each, daemon=True) for each in people]
        for thread in self.threads:
            thread.start()

    def _at_work(self, do: Any, name: str) -> None:
        try:
            do(name, random.Random(f"{self.seed}-{name}"))
        except Exception as problem:
            self.problems.append(f"{name}: {problem!r}")
            raise

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "everybody gets an answer in the end"
        assert not self.problems

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        while True:
            try:
                with self.server.client() as client:
                    return client.request(method, path, **content)
            except httpx.TransportError:
                self.retries += 1
                time.sleep(0.02)

    def send(self, *commands: dict[str, Any]) -> None:
        """All get an answer, once all of them have been kept."""
        names = [(each["source"], each["id"]) for each in commands]
        self.sent += names
        answer = self.ask("POST", "/v1/commands", json=list(commands), params={"wait": "decided"})
        assert answer.status_code == 200, answer.text
        for name, result in zip(names, answer.json(), strict=True):
            assert result["status"] in ("accepted", "refused", "repeated", "unchanged"), result
            assert name not in self.results
            self.results[name] = result
            self.met[result["status"]] += 1
        self.met.update(c["type"] for c in commands if self.results[c["source"], c["id"]]["status"] == "accepted")

    def adapter(self, source: str, dice: random.Random) -> None:
        number, there = 0, []
        while not self.over.is_set():
            batch = []
            for _ in range(dice.choice((1, 1, 1, 4, 20))):
                number += 1
                id = f"{source}-{number}"
                there.append(id)
                route = {"contact_id": id, "channel": dice.choice(("call", "chat")), "queue_id": "sales"}
                batch.append(command("route-contact", f"route-{number}", source, **route))
            while len(there) > 30:
                gone = there.pop(dice.randrange(len(there)))
                batch.append(command("end-contact", f"end-{gone}", source, contact_id=gone, by="customer"))
            if dice.random() < 0.3:
                batch.append(command("update-contact", f"update-{number}", source, contact_id=dice.choice(there)))
            if dice.random() < 0.2:
                batch.append(batch[0] | {"id": f"again-{number}"})  # the same contact once more: refused
            self.send(*batch)
            time.sleep(dice.random() * 0.03)

    def agent(self, me: str, dice: random.Random) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            found = self.ask("GET", "/v1/pools/desk/agents").json()["agents"]
            mine = next((agent for agent in found if agent["agent_id"] == me), None)
            asks: list[tuple[str, dict[str, Any]]] = []
            if mine is None:
                asks.append(("sign-in-agent", {"ready": True, "queues": ["sales"]}))
            elif mine["presence"] == "not-ready":
                asks.append(("set-agent-ready", {}))
            for contact in mine["contacts"] if mine else ():
                about = {"contact_id": contact["contact_id"]}
                if contact["status"] == "offered" and dice.random() < 0.9:
                    asks.append((dice.choice(("accept-offer", "accept-offer", "decline-offer")), about))
                elif contact["status"] == "talking" and dice.random() < 0.7:
                    asks.append(("end-contact", {**about, "by": "agent"}))
                elif contact["status"] == "wrap-up" and dice.random() < 0.5:
                    asks.append(("complete-wrap-up", about))
            batch = []
            for i, (kind, data) in enumerate(asks):
                who = {} if kind == "end-contact" else {"agent_id": me}
                batch.append(command(kind, f"{number}-{i}", me, **data, **who))
            if batch:
                self.send(*batch)
            time.sleep(dice.random() * (3 if me == "agent-2" else 0.02))  # who lets offers and wrap-ups pass


def check(folder: Path, load: Load, heard: list[str]) -> None:
    """What the log says of everything that was asked, answered and heard."""
    log = SqliteLog.open(folder, read_only=True)
    assert log.verify() == []
    found = verify(log, redecide=True)
    assert found.problems == [] and found.redecided == log.ends()[0]

    reader, turns = Reader(), []
    for record in log.journal():
        turn = reader.read(record)
        if isinstance(turn, Turn):
            turns.append(turn)
    replay = Partition()
    for entry in log.commands():
        replay.decide(*read_command(entry.body), entry.position, entry.at)
    assert replay.chain == reader.place.chain, "the accepted journal is the replay of the commands in the log"

    effects = Counter((turn.command.source, turn.command.id) for turn in turns if turn.events)
    assert max(effects.values()) == 1, "nothing is doubled"
    assert set(load.results) == set(load.sent) and len(load.sent) == len(set(load.sent))
    at = {turn.position: turn for turn in turns}
    commands = [read_command(entry.body)[0] for entry in log.commands()]
    assert any(turn.command.type == "tick" for turn in turns)
    for (source, id), result in load.results.items():
        assert (commands[result["position"]].source, commands[result["position"]].id) == (source, id)
        if result["status"] == "unchanged":
            assert effects[source, id] == 0
            continue
        position = result["first"]["position"] if result["status"] == "repeated" else result["position"]
        turn = at[position]
        assert (turn.command.source, turn.command.id) == (source, id), "no acknowledged command is lost"
        assert [event["id"] for event in result["events"]] == [f"0/{position}/{i}" for i in range(len(turn.events))]
        refused = type(turn.events[0]) is CommandRefused
        status = result["first"]["status"] if result["status"] == "repeated" else result["status"]
        assert status == ("refused" if refused else "accepted")
    expected = [f"0/{turn.position}/{i}" for turn in turns for i in range(len(turn.events))]
    assert heard == expected[: len(heard)], "who listens has heard each event once, in order, across all of it"
    assert len(log.snapshots()) == 2
    log.close()


def killed_at_random(folder: Path, seed: int, kills: int) -> None:
    (folder / "desk.toml").write_text(HASTY)
    dice = random.Random(seed)
    program = [sys.executable, "-c", SNAPSHOTS]
    with Server(folder / "data", folder / "desk.toml").start(program=program) as server:
        load = Load(server, seed)
        listener = Listener(server, pool="desk", **{"from": "start"})
        for number in range(kills):
            time.sleep(0.25 + dice.random() * 0.6)
            server.kill()
            if number % 3 == 2:  # once more, while it starts
                server.start(program=program, wait=False)
                time.sleep(dice.random() * 0.8)
                server.kill()
            server.start(program=program)
        until = time.monotonic() + 20
        while not load.met.keys() >= MET and time.monotonic() < until:
            time.sleep(0.05)
        load.end()
        assert load.met.keys() >= MET, load.met
        began = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - began < 5
        assert load.retries, "the server was missed"
        server.start(program=program)  # who was listening hears the end
        log = SqliteLog.open(folder / "data", read_only=True)
        (last,) = log.turns(log.ends()[0] - 1001, 1001)[-1:]
        log.close()
        assert last.position is not None
        assert listener.has(lambda seen: seen[-1]["position"] >= last.position, 10)
        listener.stop()
        server.stop()
        assert "Traceback" not in server.text(), server.text()
        assert not server.told("snapshot-ignored") and not server.told("command-failed")
    check(folder / "data", load, listener.ids)


@pytest.mark.thorough
def test_a_server_killed_at_any_moment_loses_nothing_that_it_acknowledged_and_doubles_nothing(tmp_path):
    killed_at_random(tmp_path, seed=1, kills=6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_server_killed_many_times_loses_and_doubles_nothing_either(tmp_path, seed):
    killed_at_random(tmp_path, seed, kills=25)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order_while_many_listen_and_many_ask(tmp_path, number):
    (tmp_path / "desk.toml").write_text(HASTY)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as server:
        ended: list[str] = []

        def listen(path: str) -> None:
            with server.client() as client, client.stream("GET", path, timeout=60) as stream:
                for field, _ in fields(stream):
                    if field == "":
                        ready.release()
            ended.append(path)  # by the server, as it should be: a stream that is cut off raises

        ready = threading.Semaphore(0)
        paths = ["/v1/events?pool=desk", "/v1/events?pool=desk&from=start", "/v1/pools/desk/live"] * 7
        listeners = [threading.Thread(target=listen, args=(path,), daemon=True) for path in paths]
        for thread in listeners:
            thread.start()
        for _ in paths:
            assert ready.acquire(timeout=20)
        load = Load(server, 1)
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(number)
        assert server.ended() == 0 and time.monotonic() - began < 5
        for thread in listeners:
            thread.join(5)
        assert sorted(ended) == sorted(paths)
        assert "Traceback" not in server.text(), server.text()
        answered = dict(load.results)
        server.start()
        load.end()
        server.stop()
    log = SqliteLog.open(tmp_path / "data", read_only=True)
    names = {(e.source, e.id) for e in (read_command(entry.body)[0] for entry in log.commands())}
    assert answered and set(answered) <= names and log.snapshots()
    assert verify(log, redecide=True).problems == []
    log.close()

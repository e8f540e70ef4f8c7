"""The embedded host: whatever happens to the process or its files, the log alone says what has been decided."""

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from engine import __version__
from engine.core import messages as m
from engine.core.decide import DECIDE
from engine.core.evolve import EVOLVE
from engine.core.rules import Queue, Rules, Times
from engine.embedded import TICK_AGAIN_MS, TICKS_AT_ONCE, Embedded
from engine.live import Live
from engine.streams.audit import verify
from engine.streams.board import FOLD
from engine.streams.codec import envelope_of, read_command, write_command
from engine.streams.journal import FORMAT, Marker, Reader, read_turn, write_marker, write_turn
from engine.streams.log import Entry, Log, LogForeign, Record, Snapshot
from engine.streams.memory_log import MemoryLog
from engine.streams.partition import QUIET_MOST, QUIET_MS, Manifest, Partition, ref_of
from engine.streams.sqlite_log import FILE, SqliteLog
from tests.core.world import START, Day
from tests.hosts.server import RULES, Server, command

DESK = Rules("desk", (Queue("sales"),), times=Times(offer=15, wrap_up=30, wait=600))
NEVER = 1 << 40  # turns between two snapshots: none comes by itself


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now


def host_of(log: Log, clock: Clock, **settings: Any) -> Embedded:
    return Embedded(log, clock, "simulated", name="log-1", worker="test", **settings)


def asked(kind: m.Command, id: str, source: str = "pbx", pool: str = "desk") -> Any:
    envelope = envelope_of(kind, id, source, pool)
    return envelope, kind, write_command(envelope)


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryLog() if request.param == "memory" else SqliteLog.open(tmp_path / "data")
    yield log
    log.close()


# ---- a stretch of a simulated day, as what people and adapters send at their moments


class Stretch(Day):
    """What is sent on a simulated day: false, late and repeated commands among it, and a clock that is set back."""

    def __init__(self, seed: int, contacts: int) -> None:
        super().__init__(seed, contacts)
        self.script: list[tuple[int, bytes]] = []

    def deliver(self, body: bytes) -> None:
        self.script.append((self.now, body))
        super().deliver(body)


Group = tuple[int, list[Any]]


@pytest.fixture(scope="module", params=[3, 11])
def script(request) -> list[Group]:
    """What arrives together, and when."""
    day = Stretch(request.param, 120)
    day.run()
    random, groups, rest = Random(request.param), [], day.script
    while rest:
        size = random.choice((1, 1, 1, 2, 5, 40))
        now, rest = rest[:size], rest[size:]
        groups.append((now[0][0], [(*read_command(body), body) for _, body in now]))
    return groups


def play(host: Embedded, clock: Clock, groups: list[Group]) -> None:
    for at, group in groups:
        while (due := host.next_due()) <= at:
            clock.now = max(clock.now, due)
            host.tick()
        clock.now = at
        host.submit(group)


def replayed(log: Log) -> Partition:
    """The commands as they stand in the log, decided one after another in memory."""
    partition = Partition()
    for entry in log.commands():
        partition.decide(*read_command(entry.body), entry.position, entry.at)
    return partition


def state(host: Embedded) -> tuple[Any, ...]:
    boards = {pool: msgspec.msgpack.encode(board.rows()) for pool, board in host.boards.items()}
    manifest, chunks = host.partition.snapshot(host.place)(b"")
    said = opened(manifest)
    return said.place.chain, said.place.position, said.at, said.pools, list(chunks), boards


def opened(manifest: bytes) -> Manifest:
    return msgspec.msgpack.Decoder(Manifest).decode(manifest[32:])  # behind its seal


@pytest.fixture(scope="module")
def undisturbed(script) -> tuple[Any, ...]:
    log, clock = MemoryLog(), Clock()
    host = host_of(log, clock)
    play(host, clock, script)
    kinds = {type(event) for record in log.turns(-1, NEVER) for event in read_turn(record.body).events}
    assert {m.CommandRefused, m.OfferAccepted, m.OfferExpired, m.WrapUpEnded, m.ContactAbandoned} <= kinds
    return state(host)


def test_memory_and_sqlite_come_to_the_same_chain_which_a_replay_of_the_commands_comes_to_as_well(
    log, script, undisturbed
):
    clock = Clock()
    host = host_of(log, clock)
    play(host, clock, script)
    assert state(host) == undisturbed
    assert replayed(log).chain == host.place.chain
    found = verify(log, redecide=True)
    assert found.problems == [] and found.redecided == log.ends()[0] and found.chain == host.place.chain.hex()


@pytest.mark.parametrize("how", ["as the power fails", "from snapshots", "now so, now so"])
def test_who_is_started_again_and_again_goes_on_as_if_nothing_had_been(log, script, undisturbed, how):
    random, clock = Random(how), Clock()
    host = host_of(log, clock, snapshot_turns=NEVER)
    breaks = sorted(random.sample(range(len(script)), 12))
    for start, end in zip([0, *breaks], [*breaks, len(script)], strict=True):
        play(host, clock, script[start:end])
        if how == "from snapshots" or (how == "now so, now so" and random.random() < 0.4):
            host.snapshot()()
        with capture_logs() as said:
            host = host_of(log, clock, snapshot_turns=NEVER)
        assert said == []
    assert state(host) == undisturbed
    assert replayed(log).chain == host.place.chain
    assert len([record for record in log.journal() if record.position is None]) == 14


def test_a_clean_close_leaves_a_snapshot_and_a_second_one_nothing(tmp_path):
    clock = Clock()
    host = host_of(SqliteLog.open(tmp_path), clock)
    host.publish(DESK)
    host.submit([asked(m.RouteContact("c1", "call", "sales"), "1")])
    host.close()
    log = SqliteLog.open(tmp_path)
    assert len(log.snapshots()) == 1
    host = host_of(log, clock)
    assert list(host.partition.pools["desk"].contacts) == ["c1"] and host.boards["desk"].contact("c1", clock.now)
    host.close()
    log = SqliteLog.open(tmp_path, read_only=True)
    assert len(log.snapshots()) == 1, "nothing has happened since"
    log.close()


def test_commands_of_one_moment_come_to_the_same_however_they_are_committed():
    commands = [asked(m.RouteContact(f"c{i}", "call", "sales"), f"r{i}") for i in range(20)]
    commands += [asked(m.SignInAgent(f"a{i}", True, ("sales",)), f"s{i}") for i in range(5)]
    chains = set()
    for size in (1, 3, 25):
        clock = Clock()
        host = host_of(MemoryLog(), clock)
        host.publish(DESK)
        for start in range(0, len(commands), size):
            host.submit(commands[start : start + size])
        chains.add(host.place.chain)
    assert len(chains) == 1


# ---- snapshots that do not match


def with_contacts(log: Log, clock: Clock, *ids: str) -> Embedded:
    host = host_of(log, clock, snapshot_turns=NEVER)
    host.publish(DESK)
    for id in ids:
        clock.now += 1000
        host.submit([asked(m.RouteContact(id, "call", "sales"), id)])
    return host


def taken(host: Embedded) -> tuple[Manifest, list[bytes]]:
    log = MemoryLog()
    host.log, real = log, host.log
    host.snapshot()()
    host.log = real
    (snapshot,) = log.snapshots()
    return opened(snapshot.manifest), list(snapshot.chunks)


def of_another_journal(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    other = with_contacts(MemoryLog(), Clock(), "x1", "x2", "x3")
    return pack(*taken(other))


def of_a_longer_journal(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    place = replace(manifest.place, offset=99, position=98)
    return pack(replace(manifest, place=place), chunks)


def of_another_owner(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(replace(manifest, place=replace(manifest.place, owner=1)), chunks)


def of_another_chain(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(replace(manifest, place=replace(manifest.place, chain=bytes(32))), chunks)


def of_an_older_engine(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(replace(manifest, engine="0.0.1"), chunks)


def of_a_newer_format(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(replace(manifest, format=FORMAT + 1), chunks)


def that_lacks_a_chunk(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(manifest, chunks[1:])


def with_a_damaged_chunk(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(manifest, [chunks[0][:-1] + bytes([chunks[0][-1] ^ 1]), *chunks[1:]])


def with_rows_that_do_not_fit(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    pools = {pool: replace(rows, profiles=[]) for pool, rows in manifest.pools.items()}
    return pack(replace(manifest, pools=pools), chunks)


def with_damaged_boards(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return pack(replace(manifest, projections=b"\xc1"), chunks)


def with_a_damaged_manifest(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return Snapshot(b"\x93 not a manifest", chunks)


def with_a_broken_seal(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    return Snapshot(bytes(32) + msgspec.msgpack.encode(manifest), chunks)


def pack(manifest: Manifest, chunks: list[bytes]) -> Snapshot:
    body = msgspec.msgpack.encode(manifest)
    return Snapshot(hashlib.sha256(body).digest() + body, chunks)


@pytest.mark.parametrize(
    "spoilt",
    [
        of_another_journal, of_a_longer_journal, of_another_owner, of_another_chain, of_an_older_engine,
        of_a_newer_format, that_lacks_a_chunk, with_a_damaged_chunk, with_rows_that_do_not_fit, with_damaged_boards,
        with_a_damaged_manifest, with_a_broken_seal,
    ],
)  # fmt: skip
@pytest.mark.parametrize("older", ["an older one is there", "there is none"])
def test_a_snapshot_that_does_not_match_is_ignored_aloud_and_nothing_is_lost(log, spoilt, older):
    clock = Clock()
    host = with_contacts(log, clock, "c1", "c2")
    host.submit([asked(m.SignInAgent("ann", True, ("sales",)), "s1")])
    if older == "an older one is there":
        host.snapshot()()
    host.submit([asked(m.RouteContact("c3", "chat", "sales"), "c3")])
    log.keep_snapshot(spoilt(*taken(host)))
    before = state(host)
    with capture_logs() as said:
        again = host_of(log, clock)
    assert [entry["event"] for entry in said] == ["snapshot-ignored"] and said[0]["log_level"] == "warning"
    assert state(again) == before
    assert again.ask(m.EndContact("c3", "customer"), "e1", "pbx", "desk").status == "accepted"


# ---- journals that do not hold together


def change(folder: Path, offset: int, change: Any) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        ((body,),) = connection.execute("SELECT body FROM journal WHERE offset = ?", (offset,)).fetchall()
        connection.execute("UPDATE journal SET body = ? WHERE offset = ?", (change(body), offset))
    connection.close()


def a_word_changed(body: bytes) -> bytes:
    return body.replace(b'"contact_id":"c2"', b'"contact_id":"cX"')


def its_owner_changed(body: bytes) -> bytes:
    return body.replace(b'{"owner":0,', b'{"owner":7,')


def no_record_any_more(body: bytes) -> bytes:
    return b"\x00" * len(body)


def that_of_another_log(body: bytes) -> bytes:
    turn = read_turn(body)
    return write_turn(0, b"\x07" * 32, turn)[0]


@pytest.mark.parametrize("changed", [a_word_changed, its_owner_changed, no_record_any_more, that_of_another_log])
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_changed_record_is_named_and_the_start_refused(tmp_path, changed, snapshot):
    clock = Clock()
    log = SqliteLog.open(tmp_path)
    host = with_contacts(log, clock, "c1", "c2", "c3")
    if snapshot:
        host.snapshot()()
    log.close()
    change(tmp_path, 3, changed)  # the turn of c2: a marker and the rules stand before it
    log = SqliteLog.open(tmp_path)
    ends = log.ends()
    with pytest.raises(LogForeign, match=r"journal offset 3\b"):
        host_of(log, clock)
    assert log.ends() == ends, "it is left as it is"
    log.close()


def test_a_record_that_somebody_else_has_appended_is_named_and_the_start_refused(log):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    position, offset = log.ends()
    envelope, _, body = asked(m.EndContact("c1", "customer"), "e1")
    turn = m.Turn(position, clock.now, ref_of(envelope), [m.ContactAbandoned("c1", "sales", 5, "customer")])
    foreign, _ = write_turn(0, bytes(32), turn)
    log.append(offset, [Entry(position, clock.now, body)], [Record(offset, position, foreign)])
    with pytest.raises(LogForeign, match=rf"journal offset {offset}\b.*chain-broken"):
        host_of(log, clock)
    assert host.position == 1


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (write_marker(Marker("w", "log-1", "simulated", START, "9.9.9", FORMAT + 1)), "9.9.9"),
        (b'{"marker":{"worker":1}}', "cannot be read"),
    ],
)
def test_a_marker_of_an_engine_to_come_is_named_and_the_start_refused(log, record, said):
    with_contacts(log, Clock(), "c1")
    offset = log.ends()[1]
    log.append(offset, [], [Record(offset, None, record)])
    with pytest.raises(LogForeign, match=rf"journal offset {offset}\b.*{said}"):
        host_of(log, Clock())


def test_a_log_of_simulated_time_is_refused_by_a_host_of_real_time_and_left_as_it_is(log):
    with_contacts(log, Clock(), "c1")
    ends = log.ends()
    with pytest.raises(LogForeign, match="holds simulated time"):
        Embedded(log, Clock(), "real")
    assert log.ends() == ends


def test_serve_names_what_is_wrong_with_a_log_and_does_not_start(tmp_path):
    config = tmp_path / "desk.toml"
    config.write_text(RULES)
    simulated, changed = tmp_path / "simulated", tmp_path / "changed"
    for folder in (simulated, changed):
        log = SqliteLog.open(folder)
        with_contacts(log, Clock(), "c1", "c2")
        log.close()
    change(changed, 3, a_word_changed)
    for folder, words in ((simulated, "holds simulated time"), (changed, "journal offset 3")):
        before = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
        with Server(folder, config).start(wait=False) as server:
            assert not server.listening() and server.ended() == 1
            assert words in server.text() and "Traceback" not in server.text()
        assert hashlib.sha256((folder / FILE).read_bytes()).hexdigest() == before


# ---- faults of the engine


def fault_at(monkeypatch, table: Any, kind: type, when: Any) -> None:
    """Plants a fault: what `table` holds for `kind` raises where `when` says so."""
    real = table[kind]

    def faulty(view: Any, message: Any, *rest: Any) -> Any:
        if when(view, message):
            raise ZeroDivisionError("planted")
        return real(view, message, *rest)

    monkeypatch.setitem(table, kind, faulty)


def test_a_command_that_the_engine_fails_on_is_set_aside_and_everything_else_goes_on(log, monkeypatch):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    host.snapshot()()
    fault_at(monkeypatch, DECIDE, m.UpdateContact, lambda view, c: c.contact_id == "c1")
    with capture_logs() as said:
        outcomes = host.submit(
            [
                asked(m.RouteContact("c2", "call", "sales"), "1"),
                asked(m.UpdateContact("c1", {"en": 1}), "2"),
                asked(m.SignInAgent("ann", True, ("sales",)), "3"),
                asked(m.UpdateContact("c1", {"en": 2}), "4"),
                asked(m.EndContact("c1", "customer"), "5"),
            ]
        )
    assert [outcome.status for outcome in outcomes] == ["accepted", "failed", "accepted", "failed", "accepted"]
    assert outcomes[1].events == [m.CommandFailed("update-contact", "ZeroDivisionError: planted")]
    assert [entry["event"] for entry in said] == ["command-failed"] * 2
    assert outcomes[2].events[-1].contact_id == "c1", "who came first is offered first, as if nothing had been"
    monkeypatch.undo()
    again = host.submit([asked(m.UpdateContact("c1", {"en": 1}), "2")])[0]
    assert again.status == "repeated" and again.events == outcomes[1].events
    before = state(host)
    assert state(host_of(log, clock)) == before
    assert verify(log, redecide=True).problems == []


def test_rows_that_a_fault_has_left_half_written_are_made_anew(log, monkeypatch):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    host.submit([asked(m.SignInAgent("ann", True, ("sales",)), "s")])
    before = host.partition.pools["desk"].contacts["c1"]
    assert before.status == "offered"
    fault_at(monkeypatch, EVOLVE, m.ContactAbandoned, lambda view, event: True)  # after OfferRevoked is written
    with capture_logs():
        outcome = host.ask(m.EndContact("c1", "customer"), "e", "pbx", "desk")
    assert outcome.status == "failed"
    assert host.partition.pools["desk"].contacts["c1"] == before
    monkeypatch.undo()
    assert host.ask(m.EndContact("c1", "customer"), "e2", "pbx", "desk").status == "accepted"
    assert verify(log, redecide=True).problems == []


def test_a_command_that_fails_when_it_is_decided_again_at_the_start_does_not_keep_the_host_from_starting(
    log, monkeypatch
):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    assert host.ask(m.UpdateContact("c1"), "quiet-1", "pbx", "desk").status == "unchanged"
    assert host.ask(m.UpdateContact("c1"), "quiet-2", "pbx", "desk").status == "unchanged"
    fault_at(monkeypatch, DECIDE, m.UpdateContact, lambda view, c: True)
    with capture_logs() as said:
        again = host_of(log, clock)
    assert [entry["event"] for entry in said] == ["command-failed"] * 2
    assert again.ask(m.EndContact("c1", "customer"), "e", "pbx", "desk").status == "accepted"
    monkeypatch.undo()
    before = state(again)
    assert state(host_of(log, clock)) == before
    assert verify(log, redecide=True).problems == []


def test_a_turn_that_the_board_fails_on_stops_neither_routing_nor_the_next_start(log, monkeypatch):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    fault_at(monkeypatch, FOLD, m.ContactAbandoned, lambda board, event: True)
    with capture_logs() as said:
        assert host.ask(m.EndContact("c1", "customer"), "e", "pbx", "desk").status == "accepted"
        again = host_of(log, clock)
    assert [entry["event"] for entry in said] == ["board-failed"] * 2
    assert not again.partition.pools["desk"].contacts
    assert again.ask(m.RouteContact("c2", "call", "sales"), "r", "pbx", "desk").status == "accepted"
    assert again.boards["desk"].contact("c2", clock.now), "the board goes on as well"


OTHER = replace(DESK, pool="shop")


def test_a_tick_that_the_engine_fails_on_is_put_off_while_other_pools_keep_their_deadlines(log, monkeypatch):
    clock = Clock()
    host = host_of(log, clock)
    for rules in (DESK, OTHER):
        host.publish(rules)
        host.ask(m.RouteContact("c1", "call", "sales"), "r", "pbx", rules.pool)
        host.ask(m.SignInAgent("ann", True, ("sales",)), "s", "pbx", rules.pool)
    fault_at(monkeypatch, DECIDE, m.Tick, lambda view, c: view.rules.rules.pool == "desk")
    ticked = log.ends()[0]
    clock.now += 15_000
    with capture_logs():
        while host.tick():
            assert log.ends()[0] < ticked + TICKS_AT_ONCE, "a hot loop"
    assert log.ends()[0] == ticked + 2, "one tick for each pool"
    assert host.partition.pools["shop"].agents["ann"].reason == "no-answer"
    assert host.partition.pools["desk"].contacts["c1"].status == "offered"
    assert host.next_due() == clock.now + TICK_AGAIN_MS
    clock.now += TICK_AGAIN_MS - 1
    assert not host.tick() and log.ends()[0] == ticked + 2
    monkeypatch.undo()
    clock.now += 1
    host.tick()
    assert host.partition.pools["desk"].agents["ann"].reason == "no-answer"
    assert host.next_due() > clock.now + TICK_AGAIN_MS, "nothing is put off any more"


async def test_the_loop_does_not_run_hot_on_a_tick_that_fails_and_commands_go_on(tmp_path, monkeypatch):
    log = SqliteLog.open(tmp_path)
    loop = asyncio.get_running_loop()
    host = Embedded(log, lambda: START + int(loop.time() * 1000), "real")
    host.publish(replace(DESK, times=Times(offer=1)))
    host.ask(m.RouteContact("c1", "call", "sales"), "r", "pbx", "desk")
    host.ask(m.SignInAgent("ann", True, ("sales",)), "s", "pbx", "desk")
    fault_at(monkeypatch, DECIDE, m.Tick, lambda view, c: True)
    live = Live(host)
    running = asyncio.ensure_future(live.run())
    with capture_logs() as said:
        await asyncio.sleep(1.6)
        (outcome,) = await live.submit([asked(m.RouteContact("c2", "call", "sales"), "2")])
        await asyncio.sleep(0.2)
    assert [entry["event"] for entry in said] == ["command-failed"]
    assert outcome.status == "accepted" and log.ends()[0] == 5
    live.stop()
    await running
    await live.close()


# ---- a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "waitline-test", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system to fill needs root and leave to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_refuses_commands_and_loses_nothing_and_service_resumes_when_there_is_room(small_disk, tmp_path):
    config = tmp_path / "desk.toml"
    config.write_text(RULES)
    data, ballast = small_disk / "data", small_disk / "ballast"
    acknowledged: list[str] = []

    def post(client, ids):
        batch = [command("route-contact", id, contact_id=id, channel="chat", queue_id="sales") for id in ids]
        answer = client.post("/v1/commands", json=batch)
        if answer.status_code == 200:
            assert {result["status"] for result in answer.json()} <= {"accepted", "repeated"}
            acknowledged.extend(ids)
        return answer

    with Server(data, config).start() as server, server.client() as client:
        assert post(client, ["first"]).status_code == 200
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for i in range(200):
            ids = [f"c{i}-{j}" for j in range(100)]
            answer = post(client, ids)
            if answer.status_code != 200:
                break
        assert answer.status_code == 507 and answer.json()["reason"] == "no-room", answer.text
        assert "no room" in answer.json()["message"] and answer.headers["retry-after"]
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "no-room")
        assert client.get("/livez").status_code == 200
        assert client.get("/v1/pools/desk/contacts/first").json()["contact"]["status"] == "waiting", "views go on"
        assert client.get(f"/v1/pools/desk/contacts/{ids[0]}").status_code == 404, "nothing of it has happened"
        for _ in range(3):
            assert post(client, ids).status_code == 507

        ballast.unlink()
        for _ in range(80):
            answer = post(client, ids)
            if answer.status_code == 200:
                break
            time.sleep(0.1)
        assert {result["status"] for result in answer.json()} == {"accepted"}, "not repeated: it never was"
        assert client.get("/readyz").status_code == 200
        waiting = client.get("/v1/pools/desk/contacts", params={"source": "pbx", "open": ""}).json()["contacts"]
        assert sorted(contact["contact_id"] for contact in waiting) == sorted(acknowledged)
        assert [said["event"] for said in server.said if said.get("level") == "warning"]
        server.kill()
    log = SqliteLog.open(data, read_only=True)
    assert log.verify() == [] and verify(log, redecide=True).problems == []
    routed = [event.contact_id for event in events_of(log) if type(event) is m.ContactQueued]
    assert sorted(routed) == sorted(acknowledged)
    log.close()


def events_of(log: Log) -> list[Any]:
    reader, events = Reader(), []
    for record in log.journal():
        turn = reader.read(record)
        if isinstance(turn, m.Turn):
            events += turn.events
    return events


# ---- quiet stretches


def test_after_so_many_quiet_commands_an_empty_turn_is_written_also_where_somebody_restarts_in_between(log):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    undisturbed_log = MemoryLog()
    undisturbed = with_contacts(undisturbed_log, Clock(), "c1")
    for number in range(QUIET_MOST * 2 + 500):
        quiet = asked(m.UpdateContact("c1"), f"q{number}")
        assert host.submit([quiet])[0].status == undisturbed.submit([quiet])[0].status == "unchanged"
        if number in (300, QUIET_MOST - 1, QUIET_MOST, QUIET_MOST + 700):
            if number == 300:
                host.snapshot()()
            host = host_of(log, clock)
    empty = [turn.position for record in log.turns(-1, NEVER) if not (turn := read_turn(record.body)).events]
    assert empty == [2 + QUIET_MOST - 1, 2 + 2 * QUIET_MOST - 1]
    assert state(host) == state(undisturbed)
    assert verify(log, redecide=True).problems == []


def test_after_so_long_a_quiet_time_an_empty_turn_is_written(log):
    clock = Clock()
    host = with_contacts(log, clock, "c1")
    host.publish(replace(DESK, times=Times(wait=86_400)))
    for _ in range(3):
        clock.now += QUIET_MS // 2
        host.submit([asked(m.UpdateContact("c1"), f"q{clock.now}")])
        host = host_of(log, clock)
    positions = [turn.position for record in log.turns(-1, NEVER) if not (turn := read_turn(record.body)).events]
    assert positions == [4]


def test_the_engine_of_this_version_says_so_in_every_marker_it_writes(log):
    with_contacts(log, Clock(), "c1")
    host_of(log, Clock())
    reader = Reader()
    markers = [found for record in log.journal() if isinstance(found := reader.read(record), Marker)]
    assert [(marker.engine, marker.log, marker.time) for marker in markers] == [(__version__, "log-1", "simulated")] * 2

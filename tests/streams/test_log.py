"""The log contract, one suite over both logs; then what a file can suffer: kills, tears, strangers, a full disk."""

import contextlib
import inspect
import os
import random
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.streams.log import (
    Entry,
    Log,
    LogBusy,
    LogForeign,
    LogFull,
    LogMoved,
    LogProblem,
    LogSealed,
    Record,
    Snapshot,
)
from engine.streams.memory_log import MemoryLog
from engine.streams.sqlite_log import SEALED, Seal, SqliteLog

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made: Log = MemoryLog() if request.param == "memory" else SqliteLog.open(tmp_path / "log")
    yield made
    made.close()


def entry(position: int, at: int | None = None, size: int = 250) -> Entry:
    return Entry(position, 1_000 + position if at is None else at, b"command %d " % position + b"c" * size)


def turn(offset: int, position: int, size: int = 450) -> Record:
    return Record(offset, position, b"turn %d of %d " % (offset, position) + b"t" * size)


def marker(offset: int) -> Record:
    return Record(offset, None, b"marker %d" % offset)


def write(log: Log, commands: int, batch: int = 100) -> None:
    """Goes on with so many commands, each with its turn."""
    while commands > 0:
        position, offset = log.ends()
        count = min(batch, commands)
        log.append(
            offset,
            [entry(position + n) for n in range(count)],
            [turn(offset + n, position + n) for n in range(count)],
        )
        commands -= count


def content(log: Log) -> tuple[list[Entry], list[Record]]:
    return list(log.commands()), list(log.journal())


def test_an_empty_log_begins_at_zero(log: Log) -> None:
    assert log.ends() == (0, 0)
    assert log.last_at() == 0
    assert content(log) == ([], [])
    assert log.turns(-1, 10) == []
    assert log.turn(0) is None
    assert log.snapshots() == []


def test_what_was_appended_is_read_back_in_order(log: Log) -> None:
    log.append(0, [], [marker(0)])
    log.append(1, [entry(0), entry(1), entry(2)], [turn(1, 0), turn(2, 2)])
    log.append(3, [entry(3, at=9_000)], [])
    assert log.ends() == (4, 3)
    assert log.last_at() == 9_000
    assert content(log) == ([entry(0), entry(1), entry(2), entry(3, at=9_000)], [marker(0), turn(1, 0), turn(2, 2)])
    assert list(log.commands(2)) == [entry(2), entry(3, at=9_000)]
    assert list(log.journal(2)) == [turn(2, 2)]
    assert list(log.commands(4)) == []
    assert list(log.journal(-5)) == [marker(0), turn(1, 0), turn(2, 2)]


def test_what_is_read_back_has_the_types_of_the_contract(log: Log) -> None:
    log.append(0, [entry(0)], [turn(0, 0)])
    assert type(next(log.commands())) is Entry
    assert type(next(log.journal())) is Record
    assert type(log.turn(0)) is Record
    assert type(log.turns(-1, 1)[0]) is Record


def test_bodies_are_kept_byte_by_byte(log: Log) -> None:
    bodies = [b"", b"\x00", b"\x00text\x00", "位".encode(), bytes(range(256)) * 20_000]
    log.append(0, [Entry(n, 5, body) for n, body in enumerate(bodies)], [Record(n, n, b) for n, b in enumerate(bodies)])
    assert [body for *_, body in log.commands()] == bodies
    assert [body for *_, body in log.journal()] == bodies


def test_long_logs_and_large_bodies_are_streamed_whole(log: Log) -> None:
    write(log, 2_500)
    log.append(2_500, [entry(2_500 + n, at=9_999, size=1 << 20) for n in range(9)], [])
    assert [found.position for found in log.commands()] == list(range(2_509))
    assert [found.offset for found in log.journal(1_000)] == list(range(1_000, 2_500))


def test_who_is_still_reading_sees_what_is_appended_meanwhile(log: Log) -> None:
    write(log, 3)
    commands, journal = log.commands(), log.journal()
    assert (next(commands), next(journal)) == (entry(0), turn(0, 0))
    write(log, 2)
    assert [found.position for found in commands] == [1, 2, 3, 4]
    assert [found.offset for found in journal] == [1, 2, 3, 4]


def test_a_writer_who_has_missed_a_record_is_told_that_the_log_has_moved(log: Log) -> None:
    log.append(0, [entry(0)], [turn(0, 0)])
    before = content(log)
    for at_offset in (0, 2):
        with pytest.raises(LogMoved):
            log.append(at_offset, [entry(1)], [turn(at_offset, 1)])
    with pytest.raises(LogMoved):
        log.append(0, [entry(1)], [])
    with pytest.raises(LogMoved):
        log.append(0, [], [])
    assert content(log) == before


def test_a_writer_who_has_missed_a_command_is_told_that_the_log_has_moved(log: Log) -> None:
    log.append(0, [entry(0)], [])
    before = content(log)
    for position in (0, 2):
        with pytest.raises(LogMoved):
            log.append(0, [entry(position)], [marker(0)])
    assert content(log) == before
    log.append(0, [entry(1)], [marker(0)])
    assert log.ends() == (2, 1)


@pytest.mark.parametrize(
    ("entries", "records"),
    [
        pytest.param([entry(2), entry(4)], [], id="a gap in the positions"),
        pytest.param([entry(2), entry(2)], [], id="a position twice"),
        pytest.param([entry(2, at=999)], [], id="time before the last command's"),
        pytest.param([entry(2, at=5_000), entry(3, at=4_999)], [], id="time running backwards in a batch"),
        pytest.param([], [marker(2), marker(4)], id="a gap in the offsets"),
        pytest.param([], [marker(3)], id="a first record elsewhere than announced"),
        pytest.param([], [turn(2, 2)], id="a turn without its command"),
        pytest.param([], [turn(2, -1)], id="a turn of no position"),
        pytest.param([entry(2)], [turn(2, 2), turn(3, 1)], id="turns running backwards in a batch"),
        pytest.param([], [turn(2, 0)], id="a turn before the last turn"),
    ],
)
def test_what_does_not_follow_in_itself_is_refused_whole(log: Log, entries: list[Entry], records: list[Record]) -> None:
    log.append(0, [entry(0), entry(1)], [turn(0, 0), turn(1, 1)])
    before = content(log)
    with pytest.raises(ValueError, match=r"."):
        log.append(2, entries, records)
    assert content(log) == before
    write(log, 1)
    assert log.ends() == (3, 3)


def test_time_may_stand_still(log: Log) -> None:
    log.append(0, [entry(0, at=70), entry(1, at=70)], [])
    log.append(0, [entry(2, at=70)], [])
    assert log.last_at() == 70


def test_a_command_may_be_decided_later_and_again(log: Log) -> None:
    log.append(0, [entry(0), entry(1)], [])
    log.append(0, [], [turn(0, 0), turn(1, 0)])
    assert log.turn(0) == turn(1, 0)
    assert log.turns(-1, 10) == [turn(0, 0), turn(1, 0)]


@pytest.mark.parametrize("seed", range(3))
def test_turns_are_found_among_markers_and_quiet_commands(log: Log, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        position, offset = log.ends()
        entries = [entry(position + n, size=1) for n in range(chance.choice((0, 1, 1, 5, 40)))]
        decided = sorted(chance.sample(range(position, position + len(entries)), chance.randint(0, len(entries))))
        records = [marker(offset + n) for n in range(chance.choice((0, 0, 0, 1, 7)))]
        records += [turn(offset + len(records) + n, decision, size=1) for n, decision in enumerate(decided)]
        log.append(offset, entries, records)

    turns = [record for record in log.journal() if record.position is not None]
    assert len(turns) > 50
    for position in range(-2, log.ends()[0] + 2):
        newest = [record for record in turns if record.position == position]
        assert log.turn(position) == (newest[-1] if newest else None)
        later = [record for record in turns if record.position > position]
        limit = chance.choice((0, 1, 3, 1_000))
        assert log.turns(position, limit) == later[:limit]


def test_the_two_newest_snapshots_are_kept_and_the_newest_comes_first(log: Log) -> None:
    chunks = [b"one", b"", b"three" * 400_000]
    for manifest in (b"first", b"second", b"third"):
        log.keep_snapshot(Snapshot(manifest, [manifest, *chunks]))
    kept = log.snapshots()
    assert [snapshot.manifest for snapshot in kept] == [b"third", b"second"]
    assert list(kept[0].chunks) == [b"third", *chunks]
    assert list(kept[1].chunks) == [b"second", *chunks]
    assert list(kept[1].chunks) == [b"second", *chunks], "it can be read twice"


def test_a_snapshot_may_be_empty_and_may_be_made_while_it_is_kept(log: Log) -> None:
    log.keep_snapshot(Snapshot(b"m", (b"%d" % n for n in range(3))))
    log.keep_snapshot(Snapshot(b"", []))
    assert [(snapshot.manifest, list(snapshot.chunks)) for snapshot in log.snapshots()] == [
        (b"", []),
        (b"m", [b"0", b"1", b"2"]),
    ]


def test_a_snapshot_that_fails_midway_leaves_the_former_ones(log: Log) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the rows cannot be encoded")

    log.keep_snapshot(Snapshot(b"first", [b"1"]))
    log.keep_snapshot(Snapshot(b"second", [b"2"]))
    with pytest.raises(RuntimeError):
        log.keep_snapshot(Snapshot(b"broken", breaking()))
    assert [(snapshot.manifest, list(snapshot.chunks)) for snapshot in log.snapshots()] == [
        (b"second", [b"2"]),
        (b"first", [b"1"]),
    ]
    log.keep_snapshot(Snapshot(b"third", [b"3"]))
    assert [snapshot.manifest for snapshot in log.snapshots()] == [b"third", b"second"]


def test_a_log_may_be_closed_twice(log: Log) -> None:
    log.close()
    log.close()


# ---- the file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def files(folder: Path) -> dict[str, bytes]:
    """All that lies there, but for SQLite's scratch file."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def make(folder: Path, commands: int = 50) -> None:
    with contextlib.closing(SqliteLog.open(folder)) as log:
        write(log, commands)
        log.keep_snapshot(Snapshot(b"manifest", [b"chunk" * 1_000]))


def edit(folder: Path, *statements: str) -> None:
    """As somebody might who knows SQLite."""
    with contextlib.closing(sqlite3.connect(folder / "waitline.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def overwrite(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


def child(*arguments: object, code: str, **options: Any) -> subprocess.Popen[str]:
    """A real second process, with `entry`, `turn` and `write` from here, but without pytest: that is slow to import."""
    prelude = """
        import os, sys
        from pathlib import Path
        from engine.streams.log import Entry, Log, LogFull, LogProblem, Record, Snapshot
        from engine.streams.sqlite_log import SqliteLog
    """
    parts = [textwrap.dedent(prelude), *map(inspect.getsource, (entry, turn, write)), textwrap.dedent(code)]
    return subprocess.Popen(
        [sys.executable, "-u", "-c", "\n".join(parts), *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_log_outlives_its_process(folder: Path) -> None:
    make(folder)
    log = SqliteLog.open(folder, create=False)
    assert log.ends() == (50, 50)
    assert log.last_at() == 1_049
    assert log.turn(49) == turn(49, 49)
    assert [(snapshot.manifest, list(snapshot.chunks)) for snapshot in log.snapshots()] == [
        (b"manifest", [b"chunk" * 1_000])
    ]
    write(log, 1)
    assert log.verify() == []
    log.close()


def test_a_closed_log_is_one_file_and_an_empty_lock(folder: Path) -> None:
    make(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "waitline.db"]
    assert (folder / "lock").read_bytes() == b""


def test_the_file_is_written_durably(folder: Path) -> None:
    log = SqliteLog.open(folder)
    assert log._writer is not None
    assert log._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert log._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    log.close()


def test_a_closed_log_says_so(folder: Path) -> None:
    log = SqliteLog.open(folder)
    log.close()
    for use in (log.ends, lambda: log.append(0, [], []), lambda: list(log.commands()), lambda: log.turn(1)):
        with pytest.raises(LogProblem, match="is closed"):
            use()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_log_that_is_not_there_is_not_made_unasked(folder: Path, read_only: bool) -> None:
    for where in (folder, folder.parent):
        with pytest.raises(LogProblem, match="There is no log in"):
            SqliteLog.open(where, create=False, read_only=read_only)
        with pytest.raises(LogProblem, match="There is no log in"):
            SqliteLog.open(where, read_only=True)
    assert list(folder.parent.iterdir()) == []


def test_a_folder_that_is_a_file_is_said_to_be_one(folder: Path) -> None:
    folder.write_text("a letter")
    for where in (folder, folder / "deeper"):
        with pytest.raises(LogProblem, match=r"not a folder|Not a directory"):
            SqliteLog.open(where)
    assert folder.read_text() == "a letter"


def test_a_folder_that_cannot_be_written_is_said_to_be_so(folder: Path) -> None:
    make(folder)
    bare = folder.parent / "bare"
    bare.mkdir()
    with contextlib.ExitStack() as undo:
        for where in (bare, folder):
            forbid_writing(where, undo)
        for where in (bare, folder):
            with pytest.raises(LogProblem, match=r"cannot hold a log: (Read-only file system|Permission denied)"):
                SqliteLog.open(where)
        reader = SqliteLog.open(folder, read_only=True)
        assert reader.ends() == (50, 50)
        reader.close()


def forbid_writing(folder: Path, undo: contextlib.ExitStack) -> None:
    """For root, whom permissions do not stop, the folder becomes a read-only mount of itself."""
    if os.geteuid() == 0:
        mount(["--bind", str(folder), str(folder)], folder, undo)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
    else:
        for path in (folder, *folder.iterdir()):
            path.chmod(0o500 if path.is_dir() else 0o400)
            undo.callback(path.chmod, 0o700)


def mount(arguments: list[str], where: Path, undo: contextlib.ExitStack) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here: neither a full nor a read-only disk can be made")
    undo.callback(subprocess.run, ["umount", "--lazy", str(where)], check=True)


def test_a_second_process_is_told_who_has_the_folder_and_since_when(folder: Path) -> None:
    log = SqliteLog.open(folder)
    write(log, 1)
    second = child(folder, code="SqliteLog.open(Path(sys.argv[1]))")
    _, said = second.communicate(timeout=20)
    assert second.returncode == 1
    assert f"LogBusy: The log in {folder} is already being written by process {os.getpid()} (" in said
    assert f"since {time.strftime('%Y-%m-%d')}" in said

    with pytest.raises(LogBusy, match=f"{folder}.*process {os.getpid()}"):
        SqliteLog.open(folder)
    write(log, 1)
    log.close()
    SqliteLog.open(folder).close()


def test_a_folder_is_free_as_soon_as_its_writer_is_dead(folder: Path) -> None:
    writer = child(
        folder, code="log = SqliteLog.open(Path(sys.argv[1])); write(log, 3); print('ready'); sys.stdin.read()"
    )
    assert writer.stdout and writer.stdout.readline() == "ready\n"
    with pytest.raises(LogBusy, match=f"process {writer.pid} "):
        SqliteLog.open(folder)
    writer.kill()
    writer.communicate()
    log = SqliteLog.open(folder)
    assert log.ends() == (3, 3)
    log.close()


def test_a_writer_whose_lock_was_taken_from_him_meets_the_other_in_the_log(folder: Path) -> None:
    first = SqliteLog.open(folder)
    write(first, 2)
    (folder / "lock").unlink()
    second = SqliteLog.open(folder)
    ends = first.ends()
    second.append(2, [], [marker(2)])
    with pytest.raises(LogMoved):
        first.append(ends[1], [entry(2)], [])
    assert first.ends() == (2, 3)
    second.close()
    first.close()


def test_readers_see_all_that_a_running_writer_has_appended(folder: Path) -> None:
    log = SqliteLog.open(folder)
    write(log, 10)
    before = files(folder)
    reading = """
        log = SqliteLog.open(Path(sys.argv[1]), read_only=True)
        print(log.ends(), len(list(log.commands())), log.turn(9).offset, log.verify(), flush=True)
        sys.stdin.readline()
        print(log.ends(), len(list(log.journal())), flush=True)
        log.close()
    """
    reader = child(folder, code=reading)
    assert reader.stdin and reader.stdout
    assert reader.stdout.readline() == "(10, 10) 10 9 []\n"
    assert files(folder) == before
    write(log, 5_000)  # several times the WAL is begun anew
    reader.stdin.write("\n")
    said, _ = reader.communicate(timeout=20)
    assert said == "(5010, 5010) 5010\n"
    assert reader.returncode == 0
    write(log, 1)
    log.close()


def test_who_only_reads_writes_nothing_and_leaves_nothing(folder: Path) -> None:
    make(folder)
    before = files(folder)
    names = sorted(path.name for path in folder.iterdir())
    log = SqliteLog.open(folder, read_only=True)
    assert log.ends() == (50, 50)
    assert log.verify() == []
    for use in (lambda: log.append(50, [entry(50)], []), lambda: log.keep_snapshot(Snapshot(b"m", []))):
        with pytest.raises(LogProblem, match="for reading only"):
            use()
    log.close()
    assert sorted(path.name for path in folder.iterdir()) == names
    assert files(folder) == before


def test_a_reader_who_came_first_follows_the_writers_who_come_and_go(folder: Path) -> None:
    make(folder)
    reader = SqliteLog.open(folder, read_only=True)
    assert reader.ends() == (50, 50)
    for commands in (1, 2_000, 1):
        with contextlib.closing(SqliteLog.open(folder)) as log:
            write(log, commands)
            assert reader.ends() == log.ends()
        make_sure = list(reader.journal())
        assert len(make_sure) == reader.ends()[1]
    assert reader.ends() == (2_052, 2_052)
    reader.close()


def crashed(folder: Path, commands: int = 30, batch: int = 3, before: int = 40) -> None:
    """A log whose writer was killed: the last appends are in the write-ahead log only."""
    make(folder, before)
    writer = child(
        folder,
        commands,
        batch,
        code="""
            log = SqliteLog.open(Path(sys.argv[1]))
            write(log, int(sys.argv[2]), int(sys.argv[3]))
            os.kill(os.getpid(), 9)
        """,
    )
    writer.communicate(timeout=20)
    assert writer.returncode == -signal.SIGKILL
    assert (folder / "waitline.db-wal").stat().st_size > 0


@pytest.mark.parametrize("left", [("waitline.db-shm",), ()])
def test_what_a_crash_has_left_can_be_looked_at_without_changing_it(folder: Path, left: tuple[str, ...]) -> None:
    crashed(folder)
    if not left:
        (folder / "waitline.db-shm").unlink()  # as in a copy that somebody has made
    before, names = files(folder), sorted(path.name for path in folder.iterdir())
    log = SqliteLog.open(folder, read_only=True)
    assert log.ends() == (70, 70)
    assert log.verify() == []
    log.close()
    assert files(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == names
    log = SqliteLog.open(folder)
    assert log.ends() == (70, 70)
    log.close()


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(folder: Path) -> None:
    writing = """
        log = SqliteLog.open(Path(sys.argv[1]))
        print("open")
        while True:
            for size in (1, 200, 3, 40, 1, 1):
                write(log, size, size)
                print(log.ends()[0])
            position = log.ends()[0]
            log.keep_snapshot(Snapshot(b"%d" % position, (b"c" * 200_000 for _ in range(3))))
            print("snapshot", position)
    """
    chance = random.Random(7)
    acknowledged = snapshot = 0
    for _ in range(15):
        with child(folder, code=writing) as writer:
            assert writer.stdout and writer.stderr and writer.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, 0.1))
            writer.kill()
            said, complaint = writer.stdout.read().split("\n"), writer.stderr.read()
        assert (writer.returncode, complaint) == (-signal.SIGKILL, "")
        for line in said[:-1]:  # the last one may have been cut off
            if line.startswith("snapshot"):
                snapshot = int(line.split()[1])
            else:
                acknowledged = int(line)

        log = SqliteLog.open(folder, create=False)
        position, offset = log.ends()
        assert position == offset
        assert acknowledged <= position <= acknowledged + 200, "at most the append under way came besides"
        assert log.verify() == []
        kept = log.snapshots()
        assert (int(kept[0].manifest) if kept else 0) >= snapshot
        assert [list(map(len, stored.chunks)) for stored in kept] == [[200_000] * 3] * len(kept)
        acknowledged = position
        log.close()
    assert acknowledged > 1_000
    assert snapshot > 0
    log = SqliteLog.open(folder, read_only=True)
    assert content(log) == ([entry(n) for n in range(acknowledged)], [turn(n, n) for n in range(acknowledged)])
    log.close()


def test_a_kill_while_the_log_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    making = """
        for number in range(1000):
            SqliteLog.open(Path(sys.argv[1]) / str(number)).close()
    """
    chance = random.Random(11)
    states = set()
    for round_ in range(5):
        home = tmp_path / str(round_)
        maker = child(home, code=making)
        while not (home / "1").exists():
            assert maker.poll() is None
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        maker.kill()
        maker.communicate()
        for folder in home.iterdir():
            states.add(tuple(sorted(path.name for path in folder.iterdir() if not path.name.endswith("-shm"))))
            log = SqliteLog.open(folder)
            assert log.ends() == (0, 0)
            write(log, 1)
            assert log.verify() == []
            log.close()
            assert sorted(path.name for path in folder.iterdir()) == ["lock", "waitline.db"]
    assert ("lock", "waitline.db") in states


def test_a_write_ahead_log_cut_off_anywhere_leaves_whole_appends(folder: Path) -> None:
    crashed(folder, commands=30, batch=3)
    wal = (folder / "waitline.db-wal").read_bytes()
    chance = random.Random(3)
    found = set()
    for cut in [0, 32, len(wal) - 1, *(chance.randrange(33, len(wal)) for _ in range(30))]:
        copy = folder.parent / f"cut-{cut}"
        copy.mkdir(exist_ok=True)
        shutil.copy(folder / "waitline.db", copy)
        (copy / "waitline.db-wal").write_bytes(wal[:cut])
        log = SqliteLog.open(copy)
        position, offset = log.ends()
        assert position == offset
        assert (position - 40) % 3 == 0
        found.add(position)
        assert content(log) == ([entry(n) for n in range(position)], [turn(n, n) for n in range(offset)])
        write(log, 1)
        assert log.verify() == []
        log.close()
    assert len(found) > 5


def frames_of(wal: bytes) -> list[tuple[int, bool]]:
    """Of each frame that belongs to this WAL: where it begins, and whether it ends a commit."""
    page_bytes, salts = struct.unpack(">I", wal[8:12])[0], wal[16:24]
    starts = [start for start in range(32, len(wal), 24 + page_bytes) if wal[start + 8 : start + 16] == salts]
    return [(start, struct.unpack(">I", wal[start + 4 : start + 8])[0] > 0) for start in starts]


@pytest.mark.parametrize("read_only", [False, True])
def test_damage_in_the_middle_of_the_write_ahead_log_is_named(folder: Path, read_only: bool) -> None:
    crashed(folder)
    frames = frames_of((folder / "waitline.db-wal").read_bytes())
    start, _ = frames[len(frames) // 2]
    overwrite(folder / "waitline.db-wal", start + 1_000, b"damage")
    before = files(folder)
    with pytest.raises(LogForeign, match=r"waitline\.db .*frame \d+ of its write-ahead log is damaged"):
        SqliteLog.open(folder, read_only=read_only)
    assert files(folder) == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_head_of_the_write_ahead_log_is_named(folder: Path, read_only: bool) -> None:
    crashed(folder)
    overwrite(folder / "waitline.db-wal", 17, b"damage")
    before = files(folder)
    with pytest.raises(LogForeign, match=r"the header of its write-ahead log is damaged"):
        SqliteLog.open(folder, read_only=read_only)
    assert files(folder) == before


@pytest.mark.parametrize("commands", [30, 900])
def test_a_last_append_that_never_reached_the_disk_whole_is_dropped(folder: Path, commands: int) -> None:
    """After 900 commands frames from before the WAL was begun anew lie behind the last append: they mean nothing."""
    crashed(folder, commands=commands, batch=3)
    wal = (folder / "waitline.db-wal").read_bytes()
    frames = frames_of(wal)
    assert (len(frames) * 4_120 + 32 < len(wal)) == (commands == 900)
    commits = [index for index, (_, ends_commit) in enumerate(frames) if ends_commit]
    start, _ = frames[commits[-2] + 1]
    overwrite(folder / "waitline.db-wal", start + 1_000, b"damage")
    log = SqliteLog.open(folder)
    assert log.ends() == (37 + commands, 37 + commands)
    assert (folder / "waitline.db-wal").stat().st_size == 0, "each writer begins with a WAL of its own"
    write(log, 1)
    assert log.verify() == []
    log.close()


def not_sqlite(folder: Path) -> None:
    (folder / "waitline.db").write_bytes(b"Dear diary, " * 1_000)


def short_text(folder: Path) -> None:
    (folder / "waitline.db").write_bytes(b"hello")


def emptied(folder: Path) -> None:
    (folder / "waitline.db").write_bytes(b"")


def a_folder(folder: Path) -> None:
    (folder / "waitline.db").unlink()
    (folder / "waitline.db").mkdir()


def a_dead_link(folder: Path) -> None:
    (folder / "waitline.db").unlink()
    (folder / "waitline.db").symlink_to(folder / "nowhere")


def of_another_application(folder: Path) -> None:
    (folder / "waitline.db").unlink()
    edit(folder, "PRAGMA application_id = 77", "CREATE TABLE mail (body TEXT)")


def of_nobody(folder: Path) -> None:
    (folder / "waitline.db").unlink()
    edit(folder, "PRAGMA journal_mode = WAL", "CREATE TABLE commands (body TEXT)")


def cut_in_half(folder: Path) -> None:
    file = folder / "waitline.db"
    os.truncate(file, file.stat().st_size // 2)


def cut_by_a_page(folder: Path) -> None:
    file = folder / "waitline.db"
    os.truncate(file, file.stat().st_size - 4_096)


def cut_by_a_byte(folder: Path) -> None:
    file = folder / "waitline.db"
    os.truncate(file, file.stat().st_size - 1)


def cut_in_the_header(folder: Path) -> None:
    os.truncate(folder / "waitline.db", 60)


def last_page_of_the_journal_overwritten(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "waitline.db")) as connection:
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY path"
        )
        (*_, (last,)) = pages
    overwrite(folder / "waitline.db", (last - 1) * 4_096, b"\xff" * 4_096)


def schema_overwritten(folder: Path) -> None:
    overwrite(folder / "waitline.db", 100, b"\xff" * 900)


def main_file_gone(folder: Path) -> None:
    (folder / "waitline.db").unlink()
    (folder / "waitline.db-wal").write_bytes(b"the rest of a log")


FOREIGN: list[tuple[Callable[[Path], None], str]] = [
    (not_sqlite, "file is not a database"),
    (short_text, "it has only 5 bytes"),
    (emptied, "it is empty"),
    (a_folder, "it is not a file"),
    (a_dead_link, "it is a link that leads nowhere"),
    (of_another_application, r"of another application \(application_id 0x4d\)"),
    (of_nobody, r"of another application \(application_id 0x0\)"),
    (cut_in_half, "malformed|cut short"),
    (cut_by_a_page, "malformed|cut short"),
    (cut_by_a_byte, "malformed|cut short"),
    (cut_in_the_header, "it has only 60 bytes"),
    (last_page_of_the_journal_overwritten, "malformed"),
    (schema_overwritten, "malformed"),
    (main_file_gone, "it is missing, though waitline.db-wal"),
]
EDITED: list[tuple[str, str]] = [
    (f"PRAGMA user_version = {SEALED + 1}", f"its format {SEALED + 1} is newer than {SEALED}"),
    (f"PRAGMA user_version = {SEALED}", "the table seal is missing"),
    ("PRAGMA user_version = 0", "there is no format 0"),
    ("DROP TABLE journal", "the table journal is missing"),
    ("DROP TABLE snapshot_chunks", "the table snapshot_chunks is missing"),
    ("ALTER TABLE commands ADD COLUMN note TEXT", "the table commands is not as it was made"),
    ("DELETE FROM commands WHERE position = 0", "the commands begin at position 1 and not at 0"),
    ("DELETE FROM journal WHERE offset < 5", "the journal begins at offset 5 and not at 0"),
    ("DELETE FROM commands WHERE position = 45", "the commands have a gap: position 46 comes after 44"),
    ("DELETE FROM journal WHERE offset IN (47, 48)", "the journal has a gap: offset 49 comes after 46"),
    ("DELETE FROM commands WHERE position > 45", "the turn at offset 46 has no command: there is none at position 46"),
    ("UPDATE commands SET at = 5 WHERE position = 40", "log time runs backwards at position 40: 5 ms comes after 1039"),
    (
        "UPDATE journal SET position = 3 WHERE offset = 44",
        "turns run backwards at offset 44: position 3 comes after 43",
    ),
]


@pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [pytest.param(spoil, reason, id=spoil.__name__) for spoil, reason in FOREIGN]
    + [pytest.param(lambda folder, sql=sql: edit(folder, sql), reason, id=sql) for sql, reason in EDITED],
)
def test_a_torn_strange_or_changed_file_is_named_and_left_as_it_is(
    folder: Path, spoil: Callable[[Path], None], reason: str, read_only: bool
) -> None:
    make(folder)
    (folder / "lock").unlink()
    spoil(folder)
    before = sorted(folder.rglob("*")), {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(LogForeign, match=reason) as problem:
        SqliteLog.open(folder, read_only=read_only)
    assert str(problem.value).startswith(f"{folder}/waitline.db is not a log that can be used: ")
    assert (sorted(folder.rglob("*")), {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}) == before


def test_the_write_ahead_log_of_a_stranger_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    stranger = child(
        folder,
        code="""
            import sqlite3
            connection = sqlite3.connect(Path(sys.argv[1]) / "waitline.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE mail (body)")
            os.kill(os.getpid(), 9)
        """,
    )
    stranger.communicate(timeout=20)
    before = files(folder)
    assert len(before["waitline.db-wal"]) > 0
    with pytest.raises(LogForeign, match="of another application"):
        SqliteLog.open(folder)
    assert files(folder) == before


def test_a_file_cut_under_its_write_ahead_log_is_named(folder: Path) -> None:
    crashed(folder, before=400)
    file = folder / "waitline.db"
    os.truncate(file, file.stat().st_size // 4_096 * 4_096 - 3 * 4_096)
    before = files(folder)
    with pytest.raises(LogForeign, match=r"cut short: page \d+ of \d+ is missing"):
        SqliteLog.open(folder)
    assert files(folder) == before


def test_verify_names_what_lies_too_deep_for_opening(folder: Path) -> None:
    make(folder, 5_000)
    assert_verified(folder, [])
    edit(
        folder,
        "DELETE FROM commands WHERE position = 700",
        "UPDATE commands SET at = 1 WHERE position = 900",
        "DELETE FROM journal WHERE offset BETWEEN 1000 AND 1001",
        "UPDATE journal SET position = 7 WHERE offset = 1500",
        "UPDATE snapshots SET chunks = 4",
    )
    assert_verified(
        folder,
        [
            "The commands have a gap: position 701 comes after 699.",
            "Log time runs backwards at position 900: 1 ms comes after 1899 ms.",
            "The journal has a gap: offset 1002 comes after 999.",
            "Turns run backwards at offset 1500: position 7 comes after 1499.",
            "The turn at offset 700 has no command: there is none at position 700.",
            "Snapshot 1 has 1 of its 4 chunks.",
        ],
    )


def assert_verified(folder: Path, expected: list[str]) -> None:
    for read_only in (True, False):
        log = SqliteLog.open(folder, read_only=read_only)
        assert log.verify() == expected
        log.close()


def test_verify_names_a_damaged_page_in_the_middle(folder: Path) -> None:
    make(folder, 5_000)
    with contextlib.closing(sqlite3.connect(folder / "waitline.db")) as connection:
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'commands' AND pagetype = 'leaf' ORDER BY path"
        )
        leaves = [page for (page,) in pages]
    overwrite(folder / "waitline.db", (leaves[len(leaves) // 2] - 1) * 4_096, b"\xff" * 4_096)
    log = SqliteLog.open(folder, read_only=True)
    (first, *_) = log.verify()
    assert "malformed" in first or "SQLite finds damage" in first
    with pytest.raises(LogForeign, match="malformed"):
        list(log.commands())
    log.close()


def test_a_damaged_snapshot_says_so_when_it_is_read_and_stops_nothing_else(folder: Path) -> None:
    make(folder)
    edit(folder, "DELETE FROM snapshot_chunks")
    log = SqliteLog.open(folder)
    (snapshot,) = log.snapshots()
    with pytest.raises(LogProblem, match="lacks chunk 1"):
        list(snapshot.chunks)
    write(log, 1)
    log.close()


def test_chunks_that_a_killed_writer_has_left_are_swept_away_by_the_next_snapshot(folder: Path) -> None:
    make(folder)
    edit(folder, "INSERT INTO snapshot_chunks VALUES (2, 1, x'00'), (2, 2, x'00')")
    log = SqliteLog.open(folder)
    log.keep_snapshot(Snapshot(b"next", [b"n"]))
    log.keep_snapshot(Snapshot(b"after", [b"a"]))
    assert [(snapshot.manifest, list(snapshot.chunks)) for snapshot in log.snapshots()] == [
        (b"after", [b"a"]),
        (b"next", [b"n"]),
    ]
    log.close()
    with contextlib.closing(sqlite3.connect(folder / "waitline.db")) as connection:
        assert connection.execute("SELECT count(*) FROM snapshot_chunks").fetchone() == (2,)


def test_a_program_that_keeps_the_file_locked_is_named_and_does_no_harm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.streams.sqlite_log.WAIT_S", 0.1)
    log = SqliteLog.open(folder)
    write(log, 1)
    with contextlib.closing(sqlite3.connect(folder / "waitline.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogProblem, match="Another program has locked"):
            write(log, 1)
        assert log.ends() == (1, 1)
        other.execute("ROLLBACK")
    write(log, 1)
    assert log.ends() == (2, 2)
    log.close()


def test_a_file_that_may_not_grow_refuses_and_goes_on_when_it_may(folder: Path) -> None:
    log = SqliteLog.open(folder)
    write(log, 100)
    log.keep_snapshot(Snapshot(b"first", [b"1"]))
    assert log._writer is not None
    (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(LogFull, match="no room"):
        write(log, 200, 200)
    with pytest.raises(LogFull):
        log.keep_snapshot(Snapshot(b"second", [b"2" * 900_000] * 3))
    assert log.ends() == (100, 100)
    assert content(log) == ([entry(n) for n in range(100)], [turn(n, n) for n in range(100)])
    log._writer.execute("PRAGMA max_page_count = 1000000")
    write(log, 200, 200)
    assert log.ends() == (300, 300)
    assert [snapshot.manifest for snapshot in log.snapshots()] == [b"first"]
    assert log.verify() == []
    log.close()


def test_a_limit_on_the_size_of_files_refuses_and_loses_nothing(folder: Path) -> None:
    """A write that the system refuses, for everybody: root or not, on any disk."""
    make(folder)
    refused = """
        log = SqliteLog.open(Path(sys.argv[1]))
        acknowledged = log.ends()[0]
        try:
            while True:
                write(log, 50, 50)
                acknowledged += 50
        except LogFull as problem:
            print(acknowledged, *log.ends(), problem)
        os.kill(os.getpid(), 9)
    """
    limit = 1 << 20
    writer = child(folder, code=refused, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    said, complaint = writer.communicate(timeout=20)
    assert complaint == ""
    acknowledged = int(said.split()[0])
    assert acknowledged > 200
    assert said.startswith(
        f"{acknowledged} {acknowledged} {acknowledged} There is no room to write to {folder}/waitline.db"
    )
    log = SqliteLog.open(folder)
    assert log.ends() == (acknowledged, acknowledged)
    write(log, 100)
    assert log.verify() == []
    log.close()


def test_a_disk_that_fails_to_make_durable_is_never_trusted_again(folder: Path) -> None:
    """After a failed fsync nobody knows what is on the disk: so the log says, and stops, rather than guess."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make an fsync that fails")
    source, library, broken = (folder.parent / name for name in ("fsync.c", "fsync.so", "broken"))
    source.write_text(
        f"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <unistd.h>
        static int pass(const char *name, int file) {{
            if (access("{broken}", F_OK) == 0) {{ errno = EIO; return -1; }}
            return ((int (*)(int)) dlsym(RTLD_NEXT, name))(file);
        }}
        int fsync(int file) {{ return pass("fsync", file); }}
        int fdatasync(int file) {{ return pass("fdatasync", file); }}
        """
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    appending = """
        log, broken = SqliteLog.open(Path(sys.argv[1])), Path(sys.argv[2])
        write(log, 5)
        broken.touch()
        for _ in range(2):
            try:
                write(log, 1)
            except LogProblem as problem:
                print(type(problem).__name__, problem)
            broken.unlink(missing_ok=True)
        print(log.ends())
        os.kill(os.getpid(), 9)
    """
    writer = child(folder, broken, code=appending, env={**os.environ, "LD_PRELOAD": str(library)})
    said, complaint = writer.communicate(timeout=20)
    assert complaint == ""
    first, second, ends = said.splitlines()
    assert first == second, "not even once the disk seems well again"
    assert first.startswith("LogProblem The log")
    assert "will show when it is opened again" in first
    assert ends == "(5, 5)"
    log = SqliteLog.open(folder)
    assert log.ends() in ((5, 5), (6, 6))
    write(log, 1)
    assert log.verify() == []
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with contextlib.ExitStack() as undo:
        mount(["-t", "tmpfs", "-o", "size=6m", "none", str(disk)], disk, undo)
        yield disk


def fill(disk: Path, leave: int) -> Path:
    """Something else that takes all the room but so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        stream.truncate()
        room = shutil.disk_usage(disk).free - leave
        stream.write(b"b" * max(room, 0))
    return ballast


@pytest.mark.parametrize("batch", [1, 30, 400])
def test_a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path, batch: int) -> None:
    folder = small_disk / "log"
    log = SqliteLog.open(folder)
    write(log, 100)
    log.keep_snapshot(Snapshot(b"first", [b"1"]))
    ballast = fill(small_disk, leave=400_000)

    refusals = 0
    for _ in range(3):
        while refusals == 0 or shutil.disk_usage(small_disk).free > 100_000:
            before = log.ends()
            try:
                write(log, batch, batch)
            except LogFull as problem:
                assert "no room" in str(problem)
                assert log.ends() == before
                refusals += 1
                break
            assert log.ends() == (before[0] + batch, before[1] + batch)
        with pytest.raises(LogFull):
            log.keep_snapshot(Snapshot(b"second", [b"2" * 900_000] * 3))
    assert refusals

    ballast.unlink()
    reached = log.ends()[0]
    write(log, 500, batch)
    assert log.ends() == (reached + 500, reached + 500)
    log.keep_snapshot(Snapshot(b"third", [b"3" * 300_000]))
    assert [snapshot.manifest for snapshot in log.snapshots()] == [b"third", b"first"]
    assert content(log) == ([entry(n) for n in range(reached + 500)], [turn(n, n) for n in range(reached + 500)])
    assert log.verify() == []
    log.close()
    SqliteLog.open(folder).close()


@pytest.mark.parametrize("batch", [1, 7, 250])
def test_a_kill_on_a_full_disk_leaves_what_was_acknowledged_and_nothing_else(small_disk: Path, batch: int) -> None:
    folder = small_disk / "log"
    make(folder)
    ballast = fill(small_disk, leave=900_000)
    filling = """
        log = SqliteLog.open(Path(sys.argv[1]))
        batch, refusals = int(sys.argv[2]), 0
        while refusals < 5:
            try:
                write(log, batch, batch)
            except LogFull:
                refusals += 1
                batch = max(1, batch // 2)
        print(*log.ends())
        os.kill(os.getpid(), 9)
    """
    writer = child(folder, batch, code=filling)
    said, complaint = writer.communicate(timeout=20)
    assert complaint == ""
    acknowledged = int(said.split()[0])

    reader = SqliteLog.open(folder, read_only=True)
    assert reader.ends() == (acknowledged, acknowledged)
    reader.close()
    with contextlib.suppress(LogFull):  # with no room at all even the lock cannot be described
        full = SqliteLog.open(folder)
        assert full.ends() == (acknowledged, acknowledged)
        full.close()
    ballast.unlink()
    log = SqliteLog.open(folder)
    assert content(log) == ([entry(n) for n in range(acknowledged)], [turn(n, n) for n in range(acknowledged)])
    write(log, 300)
    assert log.verify() == []
    log.close()


@pytest.mark.parametrize("there_is_a_log", [False, True])
def test_a_log_that_finds_no_room_to_begin_says_so_and_begins_later(small_disk: Path, there_is_a_log: bool) -> None:
    folder = small_disk / "log"
    if there_is_a_log:
        make(folder)
    refusals = 0
    for leave in range(0, 120_000, 4_096):
        ballast = fill(small_disk, leave)
        try:
            SqliteLog.open(folder).close()
        except LogFull:
            refusals += 1
        ballast.unlink()
    assert refusals >= 3
    log = SqliteLog.open(folder)
    assert log.ends() == ((50, 50) if there_is_a_log else (0, 0))
    write(log, 10)
    assert log.verify() == []
    log.close()


def test_threads_may_append_read_and_keep_snapshots_at_once(folder: Path) -> None:
    log = SqliteLog.open(folder)
    failures: list[BaseException] = []
    done = threading.Event()

    def busy(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def read() -> None:
        position = log.ends()[0]
        assert len(list(log.commands())) >= position
        turns = log.turns(position // 2 - 1, 50)
        assert [found.position for found in turns] == list(range(position // 2, position // 2 + len(turns)))

    def keep() -> None:
        log.keep_snapshot(Snapshot(b"%d" % log.ends()[0], (b"c" * 300_000 for _ in range(4))))

    threads = [busy(read), busy(read), busy(keep), busy(keep)]
    write(log, 1_000, 10)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert log.ends() == (1_000, 1_000)
    assert [list(map(len, snapshot.chunks)) for snapshot in log.snapshots()] == [[300_000] * 4] * 2
    assert log.verify() == []
    log.close()


def test_a_sealed_log_says_where_it_has_gone_and_is_still_read(tmp_path):
    log = SqliteLog.open(tmp_path)
    write(log, 10, 5)
    assert log.seal is None
    log.put_seal(Seal("It goes on in partition 3.", b"{}"))
    log.close()
    with pytest.raises(LogSealed, match=r"^It goes on in partition 3\.$"):
        SqliteLog.open(tmp_path)
    for how in ({"read_only": True}, {"sealed": True}):
        log = SqliteLog.open(tmp_path, **how)
        assert (log.seal, log.ends(), log.verify()) == (Seal("It goes on in partition 3.", b"{}"), (10, 10), [])
        log.close()


def test_a_seal_that_is_taken_off_leaves_the_log_as_it_was(tmp_path):
    log = SqliteLog.open(tmp_path)
    log.put_seal(Seal("Gone."))
    log.put_seal(Seal("Gone elsewhere."))
    assert log.seal == Seal("Gone elsewhere.")
    log.put_seal(None)
    log.close()
    log = SqliteLog.open(tmp_path)
    write(log, 10, 5)
    assert log.seal is None and log.verify() == []
    log.close()

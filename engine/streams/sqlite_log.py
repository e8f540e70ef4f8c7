"""The log as one SQLite file, `waitline.db`: durable when `append` returns, one writer, readable beside it. Bytes only.

What is not obvious:
- An append is one transaction in WAL mode with synchronous=FULL: its pages written one behind the other, and one fsync.
- There is no index on the journal's positions. It would cost a seventh of an append's work; positions of turns never
  go down along the journal, so `turn` and `turns` bisect over its offsets (20 look-ups in a million records).
- A snapshot is written chunk by chunk, each in a transaction of its own, its manifest in the last: appends go between
  the chunks and wait 10 ms at most, where one transaction of 24 MB would hold them for 150. Chunks without a manifest
  are no snapshot and are swept away by the next one.
- SQLite believes a write-ahead log up to its first damaged frame and silently drops the rest. So it is read here
  before SQLite may do that: damage with whole commits behind it is named (LogForeign). A damaged last commit cannot be
  told from one that the power failed in, and is dropped as SQLite does.
- `waitline.db` itself is never opened and closed by hand: a close drops every lock that this process has on it.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import struct
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from .log import Entry, LogBusy, LogForeign, LogFull, LogProblem, LogSealed, Record, Snapshot
from .memory_log import SNAPSHOTS_KEPT, Ends, must_fit

FILE = "waitline.db"
LOCK = "lock"
FORMAT = 1  # user_version of the file,
SEALED = 2  # and of a sealed one, which engines that know of no seal leave alone
APPLICATION = int.from_bytes(b"WtLn", "big")  # application_id of the file
OLDEST_SQLITE = (3, 37, 0)  # the first with STRICT tables

# Larger pages are hardly faster in large batches and dearer in small ones, where the last pages are written each time.
PAGE_BYTES = 4096
# 4 MB: the append that meets a checkpoint waits some 5 ms longer; at 1,000 commands/s one in two hundred does.
CHECKPOINT_PAGES = 1_000
WAL_KEPT_BYTES = 16 << 20  # a WAL that a slow reader has let grow is cut to this when it is begun anew
WAIT_S = 2.0  # for another program that holds the file's write lock, which none should

READ_ROWS, READ_BYTES = 1_000, 4 << 20  # of commands or journal at a time
TAIL_ROWS = 1_000  # of each are looked at when a log is opened
FAULTS_TOLD = 20  # of each kind by `verify`

TABLES = {
    "commands": "CREATE TABLE commands (position INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL) STRICT",
    "journal": "CREATE TABLE journal (offset INTEGER PRIMARY KEY, position INTEGER, body BLOB NOT NULL) STRICT",
    "snapshots": "CREATE TABLE snapshots"
    " (number INTEGER PRIMARY KEY, chunks INTEGER NOT NULL, manifest BLOB NOT NULL) STRICT",
    "snapshot_chunks": "CREATE TABLE snapshot_chunks"
    " (snapshot INTEGER NOT NULL, ordinal INTEGER NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY (snapshot, ordinal)) STRICT",
}
SELECT_ENDS = """SELECT
    (SELECT max(position) FROM commands), (SELECT max(offset) FROM journal),
    (SELECT at FROM commands ORDER BY position DESC LIMIT 1),
    (SELECT position FROM journal WHERE position IS NOT NULL ORDER BY offset DESC LIMIT 1)"""
SELECT_COMMANDS = "SELECT position, at, body FROM commands WHERE position >= ? ORDER BY position LIMIT ?"
SELECT_JOURNAL = "SELECT offset, position, body FROM journal WHERE offset >= ? ORDER BY offset LIMIT ?"
SELECT_TURNS = """SELECT offset, position, body FROM journal
    WHERE offset >= ? AND position IS NOT NULL ORDER BY offset LIMIT ?"""
SELECT_TURN_BEFORE = """SELECT offset, position, body FROM journal
    WHERE offset < ? AND position IS NOT NULL ORDER BY offset DESC LIMIT 1"""
SELECT_NEXT_TURN = "SELECT position FROM journal WHERE offset >= ? AND position IS NOT NULL ORDER BY offset LIMIT 1"
SEAL = {"seal": "CREATE TABLE seal (said TEXT NOT NULL, data BLOB NOT NULL) STRICT"}  # of a sealed file only
SWEEP_CHUNKS = "DELETE FROM snapshot_chunks WHERE snapshot NOT IN (SELECT number FROM snapshots)"

# A commit that fails with one of these has left nothing that could be taken for a commit when the log is opened again.
HARMLESS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR_WRITE)

Answer = TypeVar("Answer")


class Seal(NamedTuple):
    """A log that has come to its end. said: for who wants to write here: where it has gone; data: of who sealed it."""

    said: str
    data: bytes = b""


class SqliteLog:
    """Keeps to `Log` (log.py) with one file in one folder.

    Any thread may call anything: writers wait for each other, readers do not wait for writers. Entries that come while
    somebody iterates are still seen by them.
    """

    def __init__(
        self, file: Path, reader: "_Reader", writer: sqlite3.Connection | None, lock: "_FolderLock | None"
    ) -> None:
        """Not to be called: `SqliteLog.open`."""
        self._file = file
        self._reader = reader
        self._writer = writer
        self._lock = lock
        self._writing = threading.RLock()
        self._snapshotting = threading.Lock()
        self._closed = False
        self._unsure = ""

    @classmethod
    def open(cls, folder: Path, *, create: bool = True, read_only: bool = False, sealed: bool = False) -> Self:
        """The log in `folder`; a missing one is made, folder and all, unless `create` is False.

        sealed: to be written although it is sealed, which otherwise raises LogSealed.

        read_only: takes no lock, creates nothing and works beside a writer; `append` and `keep_snapshot` then raise
        LogProblem. Raises LogBusy (another writer), LogForeign (torn or not ours: everything in the folder is left as
        it was, but for SQLite's scratch file `waitline.db-shm` if there is one), LogFull, and LogProblem for all else.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise LogProblem(f"The log needs SQLite {oldest} or newer; this Python has {sqlite3.sqlite_version}.")
        file = folder / FILE
        try:
            if read_only:
                return cls(file, _inspected(file), None, None)
            return cls._open_to_write(file, create, sealed)
        except sqlite3.Error as error:
            raise _problem(file, error) from error
        except OSError as error:
            problem = LogFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else LogProblem
            raise problem(f"The folder {folder} cannot hold a log: {error.strerror or error}.") from error

    @classmethod
    def _open_to_write(cls, file: Path, create: bool, sealed: bool) -> Self:
        folder = file.parent
        with contextlib.ExitStack() as undo:
            _check_place(file)
            lock: _FolderLock | None = None
            if create and not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                lock = undo.enter_context(_FolderLock(folder))
                if not file.exists():  # else somebody else has just made it
                    _make(file)
            elif (folder / LOCK).exists():
                lock = undo.enter_context(_FolderLock(folder))
            with contextlib.closing(_inspected(file)) as reader:
                seal = reader.read(_seal)
            if seal and not sealed:
                raise LogSealed(seal.said)
            if lock is None:  # a folder that is not ours gets no lock file from us
                lock = undo.enter_context(_FolderLock(folder))
            lock.describe()
            writer = undo.enter_context(contextlib.closing(_connect(file, "mode=rw")))
            _set_up(file, writer)
            reader = undo.enter_context(contextlib.closing(_Reader(file)))
            undo.pop_all()
        return cls(file, reader, writer, lock)

    def close(self) -> None:
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._reader.close()
            if self._writer:
                self._writer.close()
            if self._lock:
                self._lock.release()

    def ends(self) -> tuple[int, int]:
        ends = self._reader.read(_ends)
        return ends.position, ends.offset

    def last_at(self) -> int:
        return self._reader.read(_ends).at

    def append(self, at_offset: int, entries: Sequence[Entry], records: Sequence[Record]) -> None:
        with self._transaction() as connection:
            must_fit(_ends(connection), at_offset, entries, records)
            # Plain tuples: sqlite3 binds named ones by a slower path, a tenth of the whole append.
            connection.executemany("INSERT INTO commands VALUES (?, ?, ?)", map(tuple, entries))
            connection.executemany("INSERT INTO journal VALUES (?, ?, ?)", map(tuple, records))

    @property
    def seal(self) -> Seal | None:
        return self._reader.read(_seal)

    def put_seal(self, seal: Seal | None) -> None:
        """From the next `open` on nobody writes here, or (None) anybody may again. Durable when this returns."""
        with self._transaction() as connection:
            connection.execute("DROP TABLE IF EXISTS seal")
            if seal is not None:
                connection.execute(SEAL["seal"])
                connection.execute("INSERT INTO seal VALUES (?, ?)", tuple(seal))
            connection.execute(f"PRAGMA user_version = {FORMAT if seal is None else SEALED}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            if self._closed or self._writer is None:
                state = "is closed" if self._closed else "was opened for reading only"
                raise LogProblem(f"The log {self._file} {state}.")
            if self._unsure:
                raise LogProblem(self._unsure)
            writer, committing = self._writer, False
            try:
                writer.execute("BEGIN IMMEDIATE")
                yield writer
                committing = True
                writer.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    if writer.in_transaction:  # some errors SQLite has rolled back by itself
                        writer.execute("ROLLBACK")
                if not isinstance(error, sqlite3.Error):
                    raise
                problem = _problem(self._file, error)
                if writer.in_transaction or (committing and getattr(error, "sqlite_errorcode", 0) not in HARMLESS):
                    self._unsure = (
                        f"{problem} Whether the last append is in the log will show when it is opened again;"
                        " until then nothing more is written."
                    )
                    problem = LogProblem(self._unsure)
                raise problem from error

    def commands(self, from_position: int = 0) -> Iterator[Entry]:
        while page := self._page(SELECT_COMMANDS, from_position):
            yield from map(Entry._make, page)
            from_position = page[-1][0] + 1

    def journal(self, from_offset: int = 0) -> Iterator[Record]:
        while page := self._page(SELECT_JOURNAL, from_offset):
            yield from map(Record._make, page)
            from_offset = page[-1][0] + 1

    def _page(self, select: str, start: int) -> list[tuple[int, int, bytes]]:
        def page(connection: sqlite3.Connection) -> list[tuple[int, int, bytes]]:
            rows: list[tuple[int, int, bytes]] = []
            size = 0
            # No statement stays open between two pages: it would keep the WAL from being begun anew.
            with contextlib.closing(connection.execute(select, (start, READ_ROWS))) as cursor:
                for row in cursor:
                    rows.append(row)
                    size += len(row[2])
                    if size >= READ_BYTES:
                        break
            return rows

        return self._reader.read(page)

    def turns(self, after_position: int, limit: int) -> list[Record]:
        def look_up(connection: sqlite3.Connection) -> list[Record]:
            start = _offset_behind(connection, after_position)
            return list(map(Record._make, connection.execute(SELECT_TURNS, (start, max(limit, 0)))))

        return self._reader.read(look_up)

    def turn(self, position: int) -> Record | None:
        def look_up(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(SELECT_TURN_BEFORE, (_offset_behind(connection, position),)).fetchone()
            return Record._make(row) if row and row[1] == position else None

        return self._reader.read(look_up)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        with self._snapshotting:
            with self._transaction() as connection:
                connection.execute(SWEEP_CHUNKS)
                (number,) = connection.execute("SELECT ifnull(max(number), 0) + 1 FROM snapshots").fetchone()
            try:
                count = 0
                for count, chunk in enumerate(snapshot.chunks, 1):
                    with self._transaction() as connection:
                        connection.execute("INSERT INTO snapshot_chunks VALUES (?, ?, ?)", (number, count, chunk))
                with self._transaction() as connection:
                    connection.execute("INSERT INTO snapshots VALUES (?, ?, ?)", (number, count, snapshot.manifest))
                    connection.execute("DELETE FROM snapshots WHERE number <= ?", (number - SNAPSHOTS_KEPT,))
                    connection.execute(SWEEP_CHUNKS)
            except BaseException:
                with contextlib.suppress(LogProblem), self._transaction() as connection:
                    connection.execute(SWEEP_CHUNKS)
                raise

    def snapshots(self) -> list[Snapshot]:
        """The newest first. Their chunks are read when they are asked for; one that newer snapshots have meanwhile
        pushed out raises LogProblem then, a damaged one LogForeign."""
        select = "SELECT number, chunks, manifest FROM snapshots ORDER BY number DESC"
        rows = self._reader.read(lambda connection: connection.execute(select).fetchall())
        return [
            Snapshot(manifest, _Chunks(self._file, self._reader, number, count)) for number, count, manifest in rows
        ]

    def verify(self) -> list[str]:
        """What is wrong with the file, as sentences; empty if nothing is. Reads all of it, seconds for a gigabyte."""
        try:
            with contextlib.closing(_inspected(self._file)) as reader:  # its own, so that other readers need not wait
                return reader.read(_faults_of_the_file)
        except LogProblem as problem:
            return [str(problem)]


class _Chunks:
    """The chunks of a stored snapshot, read one by one, as often as somebody iterates."""

    def __init__(self, file: Path, reader: "_Reader", snapshot: int, count: int) -> None:
        self._file = file
        self._reader = reader
        self._snapshot = snapshot
        self._count = count

    def __iter__(self) -> Iterator[bytes]:
        return map(self._chunk, range(1, self._count + 1))

    def _chunk(self, ordinal: int) -> bytes:
        select = "SELECT body FROM snapshot_chunks WHERE snapshot = ? AND ordinal = ?"
        row = self._reader.read(lambda connection: connection.execute(select, (self._snapshot, ordinal)).fetchone())
        if row is None:
            raise LogProblem(
                f"Snapshot {self._snapshot} in {self._file} lacks chunk {ordinal}: newer ones may have pushed it out."
            )
        body: bytes = row[0]
        return body


class _FolderLock:
    """The one writer's mark on a folder: an advisory lock on DIR/lock. It ends with its process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._described = False
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 500).decode(errors="replace").strip()
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            who = holder or "by a process that has not said its name yet"
            raise LogBusy(f"The log in {folder} is already being written {who}.") from error

    def describe(self) -> None:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        self._described = True
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"by process {os.getpid()} ({Path(sys.argv[0]).name}) since {since}\n".encode(), 0)

    def release(self) -> None:
        if self._described:  # who gave up before that leaves the file as it was
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _Reader:
    """A connection that only reads, and what keeps it right.

    While a writer lives, `waitline.db-shm` is there, and an ordinary read-only connection sees all that is committed.
    Without it nobody writes, and an ordinary connection would create it: so the file is read as it lies, and looked at
    again after each answer, in case a writer has come meanwhile.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reading = threading.Lock()
        self._closed = False
        self._lies: tuple[object, ...] | None = None  # how the files lay when they were opened; None beside a writer
        self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        if _beside(self._file, "-shm").exists():
            self._lies = None
            return _connect(self._file, "mode=ro")
        self._lies = self._how_it_lies()
        if not _read_wal(self._file).pages:
            return _connect(self._file, "mode=ro&immutable=1")
        # A WAL without its index: a copied folder. SQLite makes an index in memory if it has the file for itself, which
        # `unix-none` takes for granted; and it can write nothing back, as the file is open for reading.
        connection = _connect(self._file, "mode=ro&vfs=unix-none")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def _how_it_lies(self) -> tuple[object, ...]:
        seen: list[object] = []
        for suffix in ("", "-wal", "-shm"):
            try:
                status = _beside(self._file, suffix).stat()
                seen.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except FileNotFoundError:
                seen.append(None)
        return tuple(seen)

    def read(self, query: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What the query returns; it may be asked more than once."""
        with self._reading:
            while not self._closed:
                answers: list[Answer] = []
                failure: sqlite3.Error | None = None
                try:
                    answers.append(query(self._connection))
                except sqlite3.Error as error:
                    failure = error
                if self._lies and self._lies != self._how_it_lies():
                    self._connection.close()
                    self._connection = self._connect()
                elif failure:
                    raise _problem(self._file, failure) from failure
                else:
                    return answers[0]
        raise LogProblem(f"The log {self._file} is closed.")

    def close(self) -> None:
        with self._reading:
            self._closed = True
            self._connection.close()


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _connect(file: Path, how: str) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False)


def _problem(file: Path, error: sqlite3.Error) -> LogProblem:
    """What SQLite says, as the log's own exception."""
    code = getattr(error, "sqlite_errorcode", 0)
    said = f"SQLite says “{error}” ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _foreign(file, said)
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return LogProblem(f"Another program has locked {file} for more than {WAIT_S:g} s. Nothing was written.")
    try:
        free = shutil.disk_usage(file.parent).free
    except OSError:
        free = sys.maxsize
    no_room_now = free < 1 << 20 and code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    if no_room_now or code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
        return LogFull(f"There is no room to write to {file}: {free >> 10} KiB are free; {said}. Nothing was written.")
    return LogProblem(f"The log {file} cannot go on: {said}.")


def _foreign(file: Path, reason: str) -> LogForeign:
    return LogForeign(f"{file} is not a log that can be used: {reason}. It was left as it is.")


def _check_place(file: Path) -> None:
    """Where the log or its folder should be there is the right thing, or nothing at all."""
    if file.parent.exists() and not file.parent.is_dir():
        raise LogProblem(f"{file.parent} is not a folder.")
    if file.exists():
        if not file.is_file():
            raise _foreign(file, "it is not a file")
        size = file.stat().st_size
        if size < PAGE_BYTES:
            raise _foreign(file, f"it has only {size} bytes" if size else "it is empty")
        return
    if file.is_symlink():
        raise _foreign(file, "it is a link that leads nowhere")
    for suffix in ("-wal", "-journal"):
        if _beside(file, suffix).exists():
            raise _foreign(file, f"it is missing, though {file.name}{suffix}, a part of it, is there")


def _make(file: Path) -> None:
    """A new file gets its name when it is whole; an empty one of that name is therefore always a torn one."""
    new = _beside(file, ".new")
    for left in file.parent.glob(f"{new.name}*"):
        left.unlink()
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("BEGIN")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            for statement in TABLES.values():
                connection.execute(statement)
            connection.execute("COMMIT")
        _fsync(new)
        new.rename(file)
    finally:
        new.unlink(missing_ok=True)
    _fsync(file.parent)
    _fsync(file.parent.absolute().parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_up(file: Path, writer: sqlite3.Connection) -> None:
    _must_take(file, writer, "journal_mode", "WAL", "wal")
    _must_take(file, writer, "synchronous", "FULL", 2)
    # On a Mac an fsync alone does not reach the disk; elsewhere this changes nothing.
    writer.execute("PRAGMA fullfsync = ON")
    # Some builds of SQLite overwrite what is deleted: a swept snapshot would be written once more in its whole size.
    writer.execute("PRAGMA secure_delete = OFF")
    writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    writer.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    # Says at once if the file may only be read, or if another program is writing.
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("ROLLBACK")
    # A WAL of its own for each writer: what a crash has left in the former is not met again (see _read_wal). If there
    # is no room for it now, or somebody is reading, it comes about by itself.
    with contextlib.suppress(sqlite3.OperationalError):
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _must_take(file: Path, connection: sqlite3.Connection, pragma: str, value: str, expected: object) -> None:
    connection.execute(f"PRAGMA {pragma} = {value}")
    (taken,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    if taken != expected:
        raise LogProblem(f"{file} cannot be written durably here: SQLite has {pragma} {taken!r} and not {expected!r}.")


def _ends(connection: sqlite3.Connection) -> Ends:
    position, offset, at, turn = connection.execute(SELECT_ENDS).fetchone()
    return Ends(
        position=0 if position is None else position + 1,
        offset=0 if offset is None else offset + 1,
        at=at or 0,
        turn=-1 if turn is None else turn,
    )


def _seal(connection: sqlite3.Connection) -> Seal | None:
    if _pragma(connection, "user_version") != SEALED:
        return None
    row = connection.execute("SELECT said, data FROM seal").fetchone()
    return Seal._make(row)


def _offset_behind(connection: sqlite3.Connection, position: int) -> int:
    """The first offset from which on every turn is of a greater position."""

    def next_turn(offset: int) -> int:
        row = connection.execute(SELECT_NEXT_TURN, (offset,)).fetchone()
        return row[0] if row else sys.maxsize

    return bisect_right(range(_ends(connection).offset), position, key=next_turn)


def _inspected(file: Path) -> _Reader:
    """A reader of a log that is ours, and whole as far as its ends show; LogForeign if it is not. Changes nothing."""
    _check_place(file)
    if not file.exists():
        raise LogProblem(f"There is no log in {file.parent}: {file.name} is missing.")
    with contextlib.ExitStack() as undo:
        reader = undo.enter_context(contextlib.closing(_Reader(file)))
        reason = reader.read(_strangeness) or _tear(file, reader)
        reason = reason or next(iter(reader.read(_faults_at_the_ends)), "")
        if reason:
            raise _foreign(file, reason)
        undo.pop_all()
    return reader


def _strangeness(connection: sqlite3.Connection) -> str:
    """Why this is not a log of ours; empty if it is one."""
    application = _pragma(connection, "application_id")
    if application != APPLICATION:
        return f"it is an SQLite file of another application (application_id {application:#x})"
    version = _pragma(connection, "user_version")
    if version > SEALED:
        return f"its format {version} is newer than {SEALED}, the newest that this version of Waitline knows"
    if version < FORMAT:
        return f"there is no format {version}"
    made = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'"))
    for table, statement in (TABLES | SEAL if version == SEALED else TABLES).items():
        if made.get(table) != statement:
            return f"the table {table} is {'not as it was made' if table in made else 'missing'}"
    return ""


def _tear(file: Path, reader: _Reader) -> str:
    """What has been damaged or cut off; empty if nothing shows."""

    def look() -> str:
        pages = reader.read(lambda connection: _pragma(connection, "page_count"))
        page_bytes = reader.read(lambda connection: _pragma(connection, "page_size"))
        wal = _read_wal(file)
        there = file.stat().st_size // page_bytes  # looked at after the WAL: what has left it since is in the file
        missing = next((page for page in range(there + 1, pages + 1) if page not in wal.pages), 0)
        return wal.damage or (f"it is cut short: page {missing} of {pages} is missing" if missing else "")

    # Beside a writer a look may meet a half-written frame, which is whole when looked at again. A tear stays as it is.
    torn = look()
    return torn if torn and torn == look() else ""


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


class _Wal(NamedTuple):
    """pages: numbers of those that whole commits in it have written; damage: in words, empty if there is none."""

    pages: frozenset[int] = frozenset()
    damage: str = ""


def _read_wal(file: Path) -> _Wal:
    """The write-ahead log as SQLite will believe it (sqlite.org/fileformat2.html, section 4), and what it would lose.

    A commit is on the disk before the next one is begun, and each writer begins with a WAL of its own (_set_up). So a
    power failure damages frames of the last commit only; a damaged frame that has a commit and yet another frame behind
    it was damaged by something else. Takes 80 ms for the usual 4 MB.
    """
    try:
        stream = _beside(file, "-wal").open("rb")
    except FileNotFoundError:
        return _Wal()
    with stream:
        header = stream.read(32)
        if not header:
            return _Wal()
        if len(header) < 32:
            return _Wal(damage="the header of its write-ahead log is cut short")
        magic, _, page_bytes, _, *salt, sum0, sum1 = struct.unpack(">8I", header)
        order = ">" if magic & 1 else "<"
        if magic & ~1 != 0x377F0682 or _checksum(order, header[:24], (0, 0)) != (sum0, sum1):
            return _Wal(damage="the header of its write-ahead log is damaged")

        committed: set[int] = set()
        pages: set[int] = set()
        number, damaged, commit_behind, sums = 0, 0, False, (sum0, sum1)
        while len(head := stream.read(24)) == 24:
            number += 1
            page, size_after, *frame_salt, sum0, sum1 = struct.unpack(">6I", head)
            ours = frame_salt == salt  # otherwise it is left from before this WAL was begun
            if damaged:
                if ours and commit_behind:
                    damage = f"frame {damaged} of its write-ahead log is damaged, with commits behind it"
                    return _Wal(frozenset(committed), damage)
                commit_behind = commit_behind or (ours and size_after > 0)
                stream.seek(page_bytes, os.SEEK_CUR)
                continue
            body = stream.read(page_bytes)
            if ours and page and len(body) == page_bytes:
                sums = _checksum(order, head[:8] + body, sums)
                if sums == (sum0, sum1):
                    pages.add(page)
                    if size_after:
                        committed |= pages
                    continue
            damaged, commit_behind = number, ours and size_after > 0
    return _Wal(frozenset(committed))


def _checksum(order: str, content: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def _faults_at_the_ends(connection: sqlite3.Connection) -> list[str]:
    ends = _ends(connection)
    return _faults(connection, max(ends.position - TAIL_ROWS, 0), max(ends.offset - TAIL_ROWS, 0))


def _faults_of_the_file(connection: sqlite3.Connection) -> list[str]:
    connection.execute("BEGIN")  # one state for all that is looked at, also beside a writer
    try:
        said = [line for (line,) in connection.execute(f"PRAGMA integrity_check({FAULTS_TOLD})")]
        damages = [] if said == ["ok"] else [f"SQLite finds damage: {line}" for line in said]
        faults = [*_faults(connection, 0, 0), *islice(_faults_of_snapshots(connection), FAULTS_TOLD)]
        return damages + [f"{fault[0].upper()}{fault[1:]}." for fault in faults]
    finally:
        connection.execute("ROLLBACK")


def _faults(connection: sqlite3.Connection, from_position: int, from_offset: int) -> list[str]:
    """What is wrong with commands and journal from there on; at most FAULTS_TOLD of each kind."""
    kinds = (
        _faults_of_commands(connection, from_position),
        _faults_of_journal(connection, from_offset),
        _turns_without_command(connection, from_offset),
    )
    return [fault for kind in kinds for fault in islice(kind, FAULTS_TOLD)]


def _faults_of_commands(connection: sqlite3.Connection, start: int) -> Iterator[str]:
    (first,) = connection.execute("SELECT min(position) FROM commands").fetchone()
    if first:
        yield f"the commands begin at position {first} and not at 0"
    last: tuple[int, int] | None = None
    select = "SELECT position, at FROM commands WHERE position >= ? ORDER BY position"
    for position, at in connection.execute(select, (start,)):
        if last and position != last[0] + 1:
            yield f"the commands have a gap: position {position} comes after {last[0]}"
        if last and at < last[1]:
            yield f"log time runs backwards at position {position}: {at} ms comes after {last[1]} ms"
        last = position, at


def _faults_of_journal(connection: sqlite3.Connection, start: int) -> Iterator[str]:
    (first,) = connection.execute("SELECT min(offset) FROM journal").fetchone()
    if first:
        yield f"the journal begins at offset {first} and not at 0"
    last, last_turn = None, -1
    select = "SELECT offset, position FROM journal WHERE offset >= ? ORDER BY offset"
    for offset, turn in connection.execute(select, (start,)):
        if last is not None and offset != last + 1:
            yield f"the journal has a gap: offset {offset} comes after {last}"
        last = offset
        if turn is not None:
            if turn < last_turn:
                yield f"turns run backwards at offset {offset}: position {turn} comes after {last_turn}"
            last_turn = turn


def _turns_without_command(connection: sqlite3.Connection, start: int) -> Iterator[str]:
    select = """SELECT turn.offset, turn.position
        FROM journal AS turn LEFT JOIN commands AS command ON command.position = turn.position
        WHERE turn.offset >= ? AND turn.position IS NOT NULL AND command.position IS NULL ORDER BY turn.offset"""
    for offset, position in connection.execute(select, (start,)):
        yield f"the turn at offset {offset} has no command: there is none at position {position}"


def _faults_of_snapshots(connection: sqlite3.Connection) -> Iterator[str]:
    select = """SELECT number, chunks, (SELECT count(*) FROM snapshot_chunks WHERE snapshot = number) AS found
        FROM snapshots WHERE chunks != found ORDER BY number"""
    for number, count, found in connection.execute(select):
        yield f"snapshot {number} has {found} of its {count} chunks"

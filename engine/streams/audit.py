"""Whether a log is what it says: chain, markers, positions, commands; and whether deciding it again gives the same
bytes."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from engine import __version__
from engine.core.messages import CommandFailed, Turn

from .codec import BadCommand, read_command
from .journal import JournalBroken, Marker, Reader, Void, read_turn, write_turn
from .log import HOLE, Entry, Log, Record
from .partition import REJECTED, Partition, ref_of

PROBLEMS_MOST = 100  # as many are told; all are counted
Progress = Callable[[int, int], None]


class Verified(Struct, frozen=True):
    """What was found. problems: sentences, the first hundred of them; positions are -1 and times 0 in an empty log.

    redecided: commands that this engine has decided again; folded: those that others have decided, or that are not
    there any more. holes: positions of a copy without a command, in which `commands` does not count them.
    """

    problems: list[str]
    problem_count: int
    log: str
    time: str
    encoding: str
    engines: list[str]
    pools: list[str]
    commands: int
    turns: int
    quiet: int
    markers: int
    voids: int
    first_position: int
    last_position: int
    first_at: int
    last_at: int
    chain: str
    redecided: int = 0
    folded: int = 0
    holes: int = 0

    @property
    def sound(self) -> bool:
        return not self.problem_count


def verify(log: Log, progress: Progress | None = None, *, redecide: bool = False) -> Verified:
    """Reads the whole log, in order and without holding it. progress: called now and then with (commands read,
    commands in all).

    redecide: every command is decided again, with a turn of this engine's version compared byte by byte and one of
    another version folded. After the first difference the rest is only read: what follows it could not be judged.
    """
    return _Audit(log, progress, redecide).run()


class _Audit:
    def __init__(self, log: Log, progress: Progress | None, redecide: bool) -> None:
        self.log = log
        self.progress = progress
        self.problems: list[str] = []
        self.problem_count = 0
        self.reader = Reader()
        self.markers: list[tuple[int, Marker]] = []
        self.engines: dict[str, None] = {}
        self.pools: dict[str, None] = {}
        self.commands = self.turns = self.voids = self.redecided = self.folded = self.holes = self.turns_of_holes = 0
        self.behind_hole = False  # whether one stands behind the last turn: how many were quiet there is not known
        self.first_position, self.last_position = -1, -1
        self.first_at, self.last_at = 0, 0
        self.entries: Iterator[Entry] = log.commands()
        self.ahead: Entry | None = None
        self.total = 0
        self.partition: Partition | None = Partition() if redecide else None

    def run(self) -> Verified:
        self.total, journal_end = self.log.ends()
        self.ahead = next(self.entries, None)
        expected = 0
        try:
            for record in self.log.journal():
                if record.offset >= journal_end:
                    break  # written since
                if record.offset != expected:
                    self.tell(f"Journal records {expected} to {record.offset - 1} are missing.")
                expected = record.offset + 1
                self.record(record)
        except JournalBroken as problem:
            self.tell(f"The journal cannot be read on: {problem}.")
        if expected < journal_end:
            self.tell(f"Journal records {expected} to {journal_end - 1} could not be read.")
        self.quiet_until(self.total - 1)
        if self.progress is not None:
            self.progress(self.commands + self.holes, max(self.total, self.commands + self.holes))
        if self.last_position != self.total - 1 and self.total:
            self.tell(f"The log says it has {self.total} commands, but the last one has position {self.last_position}.")
        marker = self.reader.first
        return Verified(
            self.problems,
            self.problem_count,
            marker.log if marker else "",
            marker.time if marker else "",
            marker.encoding if marker else "",
            list(self.engines),
            list(self.pools),
            self.commands,
            self.turns,
            self.commands - self.turns + self.turns_of_holes,
            len(self.markers),
            self.voids,
            self.first_position,
            self.last_position,
            self.first_at,
            self.last_at,
            self.reader.place.chain.hex(),
            self.redecided,
            self.folded,
            self.holes,
        )

    def tell(self, problem: str) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MOST:
            self.problems.append(problem)

    # ---- the journal

    def record(self, record: Record) -> None:
        said = self.reader.read(record)
        if isinstance(said, Marker):
            self.marker(record, said)
        elif isinstance(said, Void):
            self.void(record, said)
        else:
            self.turn(record, said)

    def marker(self, record: Record, marker: Marker) -> None:
        if record.position is not None:
            self.tell(f"Journal record {record.offset} is an owner's marker, filed under position {record.position}.")
        first = self.reader.first
        assert first is not None, "the reader has just read one"
        for name in ("log", "time", "partition", "partitions"):
            if getattr(marker, name) != getattr(first, name):
                self.tell(
                    f"The owner's marker at {record.offset} says {name} {getattr(marker, name)!r}; "
                    f"the first one said {getattr(first, name)!r}."
                )
        if self.markers and marker.at < self.markers[-1][1].at:
            self.tell(f"The owner's marker at {record.offset} is older than the one before it.")
        self.markers.append((record.offset, marker))
        self.engines[marker.engine] = None
        if self.partition is not None:
            place = self.reader.place
            self.partition.owner, self.partition.chain = place.owner, place.chain
            self.partition.encoding = marker.encoding
            self.partition.number, self.partition.partitions = marker.partition, marker.partitions

    def void(self, record: Record, void: Void) -> None:
        """Void records of earlier owners are legal: they were stalled, and woke up too late."""
        self.voids += 1
        if void.alarm:
            reasons = {
                "chain-broken": "does not continue the chain: it, or one before it, was changed, lost or put in",
                "position-not-later": "says a position that has been passed",
                "not-a-record": "cannot be read as a turn",
            }
            self.tell(f"Journal record {record.offset} {reasons.get(void.why, void.why)}.")

    def turn(self, record: Record, turn: Turn) -> None:
        self.turns += 1
        if record.position != turn.position:
            self.tell(
                f"Journal record {record.offset}, turn of command {turn.position}, is filed under {record.position}."
            )
        self.quiet_until(turn.position - 1)
        entry = self.take() if self.ahead is not None and self.ahead.position == turn.position else None
        if entry is None:
            self.tell(
                f"The turn at journal record {record.offset} has no command: there is no position {turn.position}."
            )
            self.partition = None
            return
        if turn.command != REJECTED:
            self.pools[turn.command.pool] = None
        if entry.body == HOLE:
            self.turns_of_holes += 1
            self.fold(turn)
        elif not self.is_its_own(entry, turn):
            self.partition = None
        elif self.partition is not None:
            self.again(self.partition, entry, turn, record.body)
        self.behind_hole = False

    def is_its_own(self, entry: Entry, turn: Turn) -> bool:
        """Whether the turn is the command's."""
        if turn.command == REJECTED and not turn.events:  # of what is no command there is nothing to compare
            return True
        try:
            envelope, _ = read_command(entry.body)
        except BadCommand as bad:
            self.tell(f"Command {entry.position} has a turn but cannot be read: {bad}.")
            return False
        own = ref_of(envelope)
        if own != turn.command:
            for name in own.__struct_fields__:
                was, is_now = getattr(turn.command, name), getattr(own, name)
                if was != is_now:
                    self.tell(f"Command {entry.position} has {name} {is_now!r}, but its turn says {was!r}.")
            return False
        if turn.at != entry.at:
            self.tell(f"Command {entry.position} has log time {entry.at}, but its turn says {turn.at}.")
            return False
        return True

    # ---- the commands

    def take(self) -> Entry | None:
        entry = self.ahead
        if entry is None or entry.position >= self.total:
            return None  # what has come since is left alone
        if self.first_position < 0:
            self.first_position, self.first_at = entry.position, entry.at
            if entry.position:
                self.tell(f"The first command has position {entry.position}; positions begin at 0.")
        else:
            if entry.position != self.last_position + 1:
                self.tell(f"Commands {self.last_position + 1} to {entry.position - 1} are missing.")
                self.partition = None
            if entry.at < self.last_at:
                self.tell(f"Command {entry.position} has log time {entry.at}, the one before it {self.last_at}.")
        if entry.body == HOLE:
            self.holes += 1
            self.behind_hole = True
        else:
            self.commands += 1
        self.last_position, self.last_at = entry.position, max(entry.at, self.last_at)
        self.ahead = next(self.entries, None)
        done = self.commands + self.holes
        if self.progress is not None and done % 1000 == 0:
            self.progress(done, max(self.total, done))
        return entry

    def quiet_until(self, position: int) -> None:
        """Commands up to `position` said nothing."""
        while self.ahead is not None and self.ahead.position <= position:
            entry = self.take()
            if entry is None:
                return
            marker = self.reader.marker
            if self.partition is None or marker is None or marker.engine != __version__ or entry.body == HOLE:
                continue
            self.again(self.partition, entry, None, b"")

    # ---- deciding again

    def again(self, partition: Partition, entry: Entry, turn: Turn | None, written: bytes) -> None:
        """turn: what the log says came of the command, None where it was quiet."""
        marker = self.reader.marker
        own = marker is not None and marker.engine == __version__
        if turn is not None and (
            not own
            or any(type(event) is CommandFailed for event in turn.events)
            or (self.behind_hole and not turn.events)  # it may have been due after so many that said nothing
        ):
            return self.fold(turn)
        self.redecided += 1
        try:
            made = partition.decide_entry(entry)
            if (made.record or b"") == written:
                problem = ""
            elif made.problem is not None:
                problem = f"it is now refused at the door: {made.problem}"
            else:
                problem = difference(turn, made.record)
        except Exception as error:  # whatever a fault of the engine raises is a finding here
            problem = f"the engine fails on it: {type(error).__name__}: {error}"
        if problem:
            self.tell(
                f"Command {entry.position} comes out differently when it is decided again: {problem}. "
                "What follows was not decided again."
            )
            self.partition = None

    def fold(self, turn: Turn) -> None:
        """What others have decided, or cannot be decided again."""
        if self.partition is not None:
            self.partition.fold(turn, self.reader.place)
            self.folded += 1


def difference(turn: Turn | None, record: bytes | None) -> str:
    """In words, between what stands in the log and what is decided now."""
    now = read_turn(record) if record else None
    if turn is None:
        return f"it said nothing, and says now: {_said(now)}"
    if now is None:
        return f"it said {_said(turn)}, and says nothing now"
    for i, (was, is_now) in enumerate(zip(turn.events, now.events, strict=False)):
        if was != is_now:
            return f"event {i} was {_json(was)}, and is now {_json(is_now)}"
    if len(turn.events) != len(now.events):
        return f"it had {len(turn.events)} events, and has {len(now.events)} now"
    same = write_turn(0, b"", turn)[0] == write_turn(0, b"", now)[0]
    return "its turn is the same, but not its bytes" if same else "its turn's position or time differs"


def _said(turn: Turn | None) -> str:
    return "nothing" if turn is None or not turn.events else ", ".join(_json(event) for event in turn.events[:3])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:200]

"""Every way in which workers, broker and faults can follow one another, within bounds, over the code of the product:
`Ownership`, `Reader`, `write_marker`, `write_turn`. Time, network and broker are the model's.

A state is a tuple of small numbers: what it speaks of (an ownership, a journal, a worker) stands once in a table, and
what a call does to an ownership is worked out once, by running the real code on a copy. So the explorer spends its time
on interleavings, not on hashing and copying. Breadth first: the first fault found has a shortest history.

What must hold, in every state:
- what counts was decided as the engine of its owner decides on the turns that count before it, and on no other;
- each command before the last turn is covered by it, or says nothing there;
- what was told stands in the journal and counts (not where the log was cut after that owner had taken it);
- no turn of an older engine counts after a newer one's marker; a snapshot holds what the journal holds there;
- when the faults stop, all that is left to be decided is decided, and somebody knows that it is.
"""

from collections import deque
from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

from msgspec import Struct

from engine.core.messages import AgentBecameReady, CommandRef, Turn
from engine.streams.journal import GENESIS, Marker, Place, Reader, read_turn, split_turn, write_turn
from engine.streams.log import Entry, Record
from engine.streams.ownership import (
    Batch,
    CannotTake,
    FoldAgain,
    Lost,
    Ownership,
    Poisoned,
    SeekAgain,
    version_of,
)
from engine.streams.partition import Decided

REF = CommandRef("pool", "source", "id", "type")
ARCHIVE = "ab" * 32  # the chain of an archive that a log continues
GONE = -1  # no ownership, no snapshot; the answer of an append that has failed


# ---- what is owned


def says(engine: str, command: str, turns: int) -> bool:
    """Whether an engine finds something to say to a command after so many turns: the two do not agree, and neither
    says the same whatever has been before."""
    new = engine == "0.3.0"
    return {"both": True, "old": not new, "new": new, "even": (turns % 2 == 0) != new}[command]


class Toy:
    """Pools of one row, which names every turn that they have seen. A command that begins with "poison" raises in the
    old engine."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.owner = -1
        self.chain = GENESIS
        self.position = -1
        self.rows: tuple[str, ...] = ()

    def fold(self, turn: Turn, place: Place) -> None:
        self.rows = (*self.rows, turn.events[0].agent_id)  # type: ignore[union-attr]
        self.position, self.chain, self.owner = turn.position, place.chain, place.owner

    def decide_entry(self, entry: Entry, failed: str = "") -> Decided:
        said, command = f"{entry.position} by {self.engine} after {len(self.rows)}", entry.body.decode()
        if failed:
            said = f"{entry.position} failed: {failed}"
        elif command == "poison":
            if self.engine != "0.3.0":
                raise ValueError("poison")
        elif not says(self.engine, command, len(self.rows)):
            self.position = entry.position
            return Decided(None, [])
        turn = Turn(entry.position, 0, REF, [AgentBecameReady(said)])
        record, self.chain = write_turn(self.owner, self.chain, turn)
        self.rows, self.position = (*self.rows, said), entry.position
        return Decided(record, list(turn.events))


# ---- what is explored


class Setting(Struct, frozen=True):
    """engines: of the workers. offsets: of the commands (not all need exist). base: of a log that continues an archive.
    flight: appends on their way at once. closes: whether a producer is closed before its worker takes again.
    resets: whether a consumer whose offset has expired begins elsewhere by itself, and its batch does not say so.
    group: whether the group's committed offset is a part of the state (no rule reads it). The rest: how often each
    thing may happen, all workers together.
    """

    engines: tuple[str, ...] = ("0.2.0", "0.3.0")
    commands: tuple[str, ...] = ("both", "new", "even", "even")
    offsets: tuple[int, ...] = (0, 1, 3, 4)
    base: int = 0
    takes: int = 2
    flight: int = 3
    crashes: int = 0
    answers: int = 0
    appends: int = 0
    cuts: int = 0
    strays: int = 0
    snapshots: int = 0
    expiries: int = 0
    closes: bool = True
    resets: bool = False
    group: bool = False


LIMITED = ("takes", "crashes", "answers", "appends", "cuts", "strays", "snapshots", "expiries")


class Step(NamedTuple):
    kind: str
    worker: int = -1
    to: int = 0


class Worker(NamedTuple):
    """pending: records on their way to the broker, in order; answers: what it has said to them and the worker has not
    heard; polls: where its consumer stands. marked: "" until its marker has landed, "old" if the log was cut since."""

    phase: str = "out"  # taking, owner, closing, stopped
    own: int = GONE
    pending: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()
    polls: int = 0
    marked: str = ""
    failed: tuple[tuple[int, str], ...] = ()


class State(NamedTuple):
    journal: int
    workers: tuple[int, ...]
    left: tuple[int, ...]  # of each thing in LIMITED
    orphans: tuple[int, ...] = ()  # records of a worker that has died, still on their way
    snapshot: int = GONE
    begins: int = 0  # the first command that has not expired
    committed: int = 0
    cut: bool = False


class Journal(Struct):
    """A journal; what a reader from its start makes of it: the offsets of the turns that count, and the engines of the
    owners by their numbers; what is wrong with that."""

    records: tuple[int, ...]
    reader: Reader
    pools: Toy
    accepted: frozenset[int] = frozenset()
    engines: dict[int, str] = {}
    wrong: str = ""
    wrong_after_cut: str = ""


class Fault(Exception):
    """Something that must hold does not."""


class Found(NamedTuple):
    """states: how many there were; fault and story: what was found first, and how it came about, line by line."""

    states: int
    steps: int
    whole: bool
    fault: str = ""
    story: tuple[str, ...] = ()


class Explorer:
    """rules, reader: the product's, or some with a rule left out."""

    def __init__(
        self, setting: Setting, rules: type[Ownership] = Ownership, reader: type[Reader] = Reader, lively: bool = True
    ) -> None:
        self.setting = setting
        self.rules = rules
        self.new_reader = reader
        self.lively = lively
        self.entries = [
            Entry(setting.base + offset, 0, body.encode())
            for offset, body in zip(setting.offsets, setting.commands, strict=True)
        ]
        self.end = setting.offsets[-1] + 1
        self.records: list[bytes] = []
        self.record_ids: dict[bytes, int] = {}
        self.owns: list[Ownership] = []
        self.own_ids: dict[Any, int] = {}
        self.calls: dict[Any, Any] = {}
        self.journals: list[Journal] = [Journal((), reader(), Toy(""))]
        self.longer: dict[tuple[int, int], int] = {}
        self.shorter: list[int] = [0]
        self.workers: list[Worker] = []
        self.worker_ids: dict[Worker, int] = {}
        self.snapshots: list[tuple[Toy, Place, Marker]] = []
        self.snapshot_ids: dict[Any, int] = {}
        self.good: set[State] = set()
        self.calm: list[Step] = []  # what has happened since the faults stopped

    # ---- tables

    def _record(self, body: bytes) -> int:
        if body not in self.record_ids:
            self.record_ids[body] = len(self.records)
            self.records.append(body)
        return self.record_ids[body]

    def _own(self, own: Ownership) -> int:
        key = (*_plain(own), *_plain(own.pools), *_plain(own.reader))
        if key not in self.own_ids:
            self.own_ids[key] = len(self.owns)
            self.owns.append(own)
        return self.own_ids[key]

    def _worker(self, worker: Worker) -> int:
        found = self.worker_ids.get(worker)
        if found is None:
            found = self.worker_ids[worker] = len(self.workers)
            self.workers.append(worker)
        return found

    def _put(self, state: State, number: int, worker: Worker, **other: Any) -> State:
        workers = state.workers
        return state._replace(workers=(*workers[:number], self._worker(worker), *workers[number + 1 :]), **other)

    def _call(self, own: int, name: str, *given: Any) -> tuple[int, Any, Exception | None]:
        """(the ownership after the call, what it gave back, what it raised)."""
        key = (own, name, given)
        done = self.calls.get(key)
        if done is None:
            changed = _copied(self.owns[own])
            result, raised = None, None
            try:
                result = getattr(self, f"_do_{name}")(changed, *given)
            except (Lost, CannotTake, FoldAgain, SeekAgain) as problem:
                raised = problem
            done = self.calls[key] = (self._own(changed), result, raised)
        return done

    def _do_fold(self, own: Ownership, offset: int, record: int) -> None:
        own.fold(Record(offset, None, self.records[record]))

    def _do_marker(self, own: Ownership, number: int) -> int:
        engine, base = self.setting.engines[number], self.setting.base
        chain = ARCHIVE if base else GENESIS.hex()
        return self._record(own.marker(Marker(f"worker {number}", "log", "real", 0, engine, base=base, chain=chain)))

    def _do_marked(self, own: Ownership, offset: int) -> None:
        own.marked(offset)

    def _do_seek(self, own: Ownership, begins: int, committed: int, again: bool) -> int:
        own.committed = committed  # type: ignore[attr-defined]  # for the rule that must not read it
        try:
            return own.seek(begins, again=again)
        finally:
            del own.committed  # type: ignore[attr-defined]

    def _do_decide(self, own: Ownership, generation: int, polls: int, begins: int) -> tuple[int, tuple[int, ...]]:
        base = self.setting.base
        entry = next(entry for entry in self.entries if entry.position >= base + max(polls, begins))
        made = own.decide(Batch(generation, base + polls, entry.position + 1, [entry]))
        records = tuple(self._record(each.record) for each in made if each.record is not None)
        return entry.position + 1 - base, records

    def _do_appended(self, own: Ownership, offset: int) -> Place:
        return own.appended(offset)

    def _do_failed_append(self, own: Ownership) -> None:
        own.failed_append("no answer")

    def _do_consumer_stands(self, own: Ownership, position: int) -> None:
        own.consumer_stands(own.base + position)

    def _do_journal_ends(self, own: Ownership, offset: int) -> None:
        own.journal_ends(offset)

    # ---- the journal, and what must hold of it

    def _landed(self, state: State, record: int) -> int:
        known = self.longer.get((state.journal, record))
        if known is None:
            known = self.longer[state.journal, record] = len(self.journals)
            self.journals.append(self._grown(self.journals[state.journal], record))
            self.shorter.append(state.journal)
        wrong = self.journals[known].wrong_after_cut if state.cut else self.journals[known].wrong
        if wrong:
            raise Fault(wrong)
        return known

    def _grown(self, journal: Journal, record: int) -> Journal:
        offset, body = len(journal.records), self.records[record]
        reader, pools = copy(journal.reader), copy(journal.pools)
        found = reader.read(Record(offset, None, body))
        grown = Journal((*journal.records, record), reader, pools, journal.accepted, journal.engines)
        if isinstance(found, Marker):
            grown.engines = {**journal.engines, offset: found.engine}
        if not isinstance(found, Turn):
            return grown
        grown.accepted = journal.accepted | {offset}
        before = journal.reader.place
        writer = split_turn(body)[0]
        engine = journal.engines[writer]
        if found.position <= before.position:
            grown.wrong = f"position {found.position} counts after {before.position}"
        elif body != self._offline(engine, journal, writer, found.position):
            grown.wrong = (
                f"the turn of command {found.position} at journal offset {offset} counts, but engine {engine} "
                f"decides otherwise on the {len(pools.rows)} turns that count before it"
            )
        elif any(version_of(each) > version_of(engine) for each in journal.engines.values()):
            grown.wrong = f"a turn of engine {engine} counts after a newer engine's marker"
        offline = (self._offline(each, journal, writer, found.position) for each in self.setting.engines)
        if grown.wrong and body not in offline:  # after a cut, two owners may have had the same number
            grown.wrong_after_cut = grown.wrong
        pools.fold(found, reader.place)
        return grown

    def _offline(self, engine: str, journal: Journal, owner: int, position: int) -> bytes | None:
        """The turn of `position` as it must be; None if one before it says something."""
        pools = copy(journal.pools)
        pools.engine, pools.owner, pools.chain = engine, owner, journal.reader.place.chain
        for entry in self.entries:
            if journal.reader.place.position < entry.position <= position:
                try:
                    record = copy(pools).decide_entry(entry).record
                except ValueError as error:
                    record = copy(pools).decide_entry(entry, f"ValueError: {error}").record
                if record is not None or entry.position == position:
                    return record if entry.position == position else None
        return None

    # ---- what can happen

    def start(self) -> State:
        worker = self._worker(Worker())
        left = tuple(getattr(self.setting, name) for name in LIMITED)
        return State(0, (worker,) * len(self.setting.engines), left)

    def possible(self, state: State) -> Iterator[Step]:
        takes, crashes, answers, appends, cuts, strays, snapshots, expiries = state.left
        for number, id in enumerate(state.workers):
            worker = self.workers[id]
            phase = worker.phase
            if phase == "out" and takes:
                yield Step("take", number)
                if state.snapshot != GONE:
                    yield Step("take from snapshot", number)
            if worker.pending:
                yield Step("land", number)
                if phase == "closing":
                    yield Step("close", number)
                else:
                    if answers:
                        yield Step("lose answer", number)
                    if appends:
                        yield Step("lose append", number)
            if phase in ("taking", "owner"):
                if worker.answers:
                    yield Step("hear", number)
                if crashes:
                    yield Step("crash", number)
            if phase == "taking":
                if self.owns[worker.own].number >= 0:
                    yield Step("begin", number)
                else:
                    yield Step("read", number)
            elif phase == "owner":
                yield Step("look", number)
                if worker.polls < self.end and len(worker.pending) + len(worker.answers) < self.setting.flight:
                    yield Step("decide", number)
                    if strays:
                        for offset in (*self.setting.offsets, self.end):
                            if offset != worker.polls:
                                yield Step("move", number, offset)
                if snapshots and worker.marked != "old":
                    yield Step("snapshot", number)
        if state.orphans:
            yield Step("orphan lands")
        if cuts:
            for k in range(1, min(2, len(self.journals[state.journal].records) - 1) + 1):
                yield Step("cut", to=k)
        if expiries and not state.begins:
            yield Step("expire", to=self.setting.offsets[2])

    def after(self, state: State, step: Step) -> State:
        """The next state. Fault: what must hold does not."""
        kind, number, to = step
        if number < 0:
            return self._without_worker(state, kind, to)
        worker = self.workers[state.workers[number]]
        if kind in ("take", "take from snapshot"):
            return self._take(state, number, worker, kind)
        if kind in ("land", "lose answer"):
            record, pending = worker.pending[0], worker.pending[1:]
            journal = self._landed(state, record)
            answers = worker.answers
            if worker.phase != "closing":
                offset = len(self.journals[journal].records) - 1
                answers = (*answers, offset if kind == "land" else GONE)
            elif not pending:
                return self._put(state, number, Worker(failed=worker.failed), journal=journal)
            marked = worker.marked or "yes"
            worker = worker._replace(pending=pending, answers=answers, marked=marked)
            return self._put(self._less(state, "answers", kind == "lose answer"), number, worker, journal=journal)
        if kind == "lose append":
            worker = worker._replace(pending=worker.pending[1:], answers=(*worker.answers, GONE))
            return self._put(self._less(state, "appends"), number, worker)
        if kind in ("close", "start anew"):
            return self._put(state, number, Worker(failed=worker.failed))
        if kind == "crash":
            orphans = (*state.orphans, *worker.pending)
            return self._put(self._less(state, "crashes"), number, Worker(), orphans=orphans)
        if kind == "hear":
            return self._hear(state, number, worker)
        if kind == "read":
            own, raised = self._read(worker.own, state.journal, len(self.journals[state.journal].records))
            return self._gone_on(state, number, worker, own, raised)
        if kind == "begin":
            return self._begin(state, number, worker)
        if kind == "look":
            own, _, raised = self._call(worker.own, "journal_ends", len(self.journals[state.journal].records))
            if raised is None:
                own, _, raised = self._call(own, "consumer_stands", worker.polls)
            if isinstance(raised, SeekAgain):
                return self._seek(state, number, worker, own, again=True)
            return self._gone_on(state, number, worker, own, raised)
        if kind == "move":
            return self._put(self._less(state, "strays"), number, worker._replace(polls=to))
        if kind == "decide":
            return self._decide(state, number, worker)
        assert kind == "snapshot"
        return self._snapshot(state, worker)

    def _without_worker(self, state: State, kind: str, to: int) -> State:
        if kind == "orphan lands":
            return state._replace(journal=self._landed(state, state.orphans[0]), orphans=state.orphans[1:])
        if kind == "expire":
            return self._less(state, "expiries")._replace(begins=to)
        journal = state.journal
        for _ in range(to):
            journal = self.shorter[journal]
        workers = tuple(
            self._worker(worker._replace(marked="old")) if worker.marked else id
            for id, worker in ((id, self.workers[id]) for id in state.workers)
        )
        return self._less(state, "cuts")._replace(journal=journal, workers=workers, cut=True)

    def _less(self, state: State, name: str, when: bool = True) -> State:
        if not when:
            return state
        i = LIMITED.index(name)
        return state._replace(left=(*state.left[:i], state.left[i] - 1, *state.left[i + 1 :]))

    def _take(self, state: State, number: int, worker: Worker, kind: str) -> State:
        engine = self.setting.engines[number]
        if kind == "take":
            pools, reader = Toy(engine), self.new_reader()
        else:
            kept, place, marker = self.snapshots[state.snapshot]
            pools, reader = copy(kept), self.new_reader(place, marker)
            pools.engine = engine
        failed = dict(worker.failed)
        own = self._own(self.rules(pools, reader, whole=kind == "take", failed=failed))
        state = self._less(state, "takes")
        own, raised = self._read(own, state.journal, len(self.journals[state.journal].records))
        record = GONE
        if raised is None:
            own, record, raised = self._call(own, "marker", number)
        taking = worker._replace(phase="taking", own=own, pending=(record,) if record != GONE and not raised else ())
        return self._gone_on(state, number, taking, own, raised)

    def _read(self, own: int, journal: int, until: int) -> tuple[int, Exception | None]:
        records = self.journals[journal].records
        while (offset := self.owns[own].reads_from) < until:
            own, _, raised = self._call(own, "fold", offset, records[offset])
            if raised is not None:
                return own, raised
        return own, None

    def _gone_on(self, state: State, number: int, worker: Worker, own: int, raised: Exception | None) -> State:
        """After something that may have ended the ownership."""
        if raised is None:
            return self._put(state, number, worker._replace(own=own))
        if isinstance(raised, CannotTake):
            return self._put(state, number, Worker("stopped"), orphans=(*state.orphans, *worker.pending))
        failed = worker.failed
        if isinstance(raised, FoldAgain):
            state = state._replace(snapshot=GONE)
        if isinstance(raised, Poisoned):
            failed = tuple(sorted({*failed, (raised.position, raised.error)}))
        if not self.setting.closes:
            return self._put(state, number, Worker(failed=failed), orphans=(*state.orphans, *worker.pending))
        closing = Worker("closing" if worker.pending else "out", pending=worker.pending, failed=failed)
        return self._put(state, number, closing)

    def _hear(self, state: State, number: int, worker: Worker) -> State:
        answer, answers = worker.answers[0], worker.answers[1:]
        worker = worker._replace(answers=answers)
        own = self.owns[worker.own]
        if answer == GONE:
            after, _, _ = self._call(worker.own, "failed_append")
            lost = self.owns[after].lost
            return self._gone_on(state, number, worker, after, Lost(lost) if lost else None)
        if own.number < 0:
            after, _, raised = self._call(worker.own, "marked", answer)
            return self._gone_on(state, number, worker, after, raised)
        after, place, raised = self._call(worker.own, "appended", answer)
        if raised is None and worker.marked != "old":
            self._tell(state, number, place, answer)
        return self._gone_on(state, number, worker, after, raised)

    def _tell(self, state: State, number: int, place: Place, offset: int) -> None:
        journal = self.journals[state.journal]
        if offset not in journal.accepted or split_turn(self.records[journal.records[offset]])[1] != place.chain:
            raise Fault(
                f"{self._name(number)} tells that command {place.position} is accepted, and its turn at journal offset "
                f"{offset} does not count"
            )

    def _begin(self, state: State, number: int, worker: Worker) -> State:
        own, raised = worker.own, None
        marker_at = self.owns[own].number
        own, raised = self._read(own, state.journal, min(marker_at + 1, len(self.journals[state.journal].records)))
        if raised is not None:
            return self._gone_on(state, number, worker, own, raised)
        if not self.owns[own].taken:
            if len(self.journals[state.journal].records) <= marker_at:  # the log does not reach that far any more
                return self._gone_on(state, number, worker, own, Lost("the journal was cut"))
            raise Fault(f"{self._name(number)} has read its marker, and is neither owner nor lost")
        return self._seek(state, number, worker._replace(phase="owner"), own, again=False)

    def _seek(self, state: State, number: int, worker: Worker, own: int, *, again: bool) -> State:
        committed = state.committed if self.setting.group else 0
        own, polls, raised = self._call(own, "seek", state.begins, committed, again)
        if raised is None:
            worker = worker._replace(polls=polls)
        return self._gone_on(state, number, worker, own, raised)

    def _decide(self, state: State, number: int, worker: Worker) -> State:
        if worker.polls < state.begins and not self.setting.resets:
            after, _, _ = self._call(worker.own, "failed_append")
            return self._gone_on(state, number, worker, after, Lost("the consumer's offset has expired"))
        generation = self.owns[worker.own].generation
        own, made, raised = self._call(worker.own, "decide", generation, worker.polls, state.begins)
        if isinstance(raised, SeekAgain):
            return self._seek(state, number, worker, own, again=True)
        if raised is not None:
            return self._gone_on(state, number, worker, own, raised)
        end, records = made
        if self.setting.group:
            state = state._replace(committed=end)
        return self._put(state, number, worker._replace(own=own, polls=end, pending=(*worker.pending, *records)))

    def _snapshot(self, state: State, worker: Worker) -> State:
        own = self.owns[worker.own]
        place = own.snapshot_place
        if place is None:
            return state
        pools = copy(own.pools)
        assert isinstance(pools, Toy) and own.reader.marker is not None
        pools.position, pools.owner = place.position, place.owner
        journal = self.journals[state.journal]
        if not state.cut and (
            place.offset not in journal.accepted or pools.rows != journal.pools.rows[: len(pools.rows)]
        ):
            raise Fault(f"a snapshot holds command {place.position} at journal offset {place.offset}, the journal not")
        key = (*_plain(pools), place, own.reader.marker)
        if key not in self.snapshot_ids:
            self.snapshot_ids[key] = len(self.snapshots)
            self.snapshots.append((pools, place, own.reader.marker))
        return self._less(state, "snapshots")._replace(snapshot=self.snapshot_ids[key])

    # ---- when the faults have stopped

    def must_come_to_rest(self, state: State) -> None:
        """Fault: it does not, or not with everything decided."""
        way = []
        self.calm = []
        for _ in range(60):
            if state in self.good:
                break
            way.append(state)
            after = self._calm(state)
            if after == state:
                self._must_be_done(state)
                break
            state = after
        else:
            raise Fault("the faults have stopped, and the workers do not come to rest")
        self.good.update(way)

    def _calm(self, state: State) -> State:
        """All that is on its way arrives, everybody goes on; if nobody has the partition, the newest engine takes it.
        Who had it before the log was cut is started anew (README)."""
        while state.orphans:
            state = self._calmly(state, Step("orphan lands"))
        for number in range(len(state.workers)):
            for kind in ("land", "hear"):
                while getattr(self.workers[state.workers[number]], "pending" if kind == "land" else "answers"):
                    state = self._calmly(state, Step(kind, number))
            worker = self.workers[state.workers[number]]
            if worker.phase == "taking":
                state = self._calmly(state, Step("begin", number))
            elif worker.phase == "owner" and worker.marked == "old":
                state = self._calmly(state, Step("start anew", number))
            elif worker.phase == "owner":
                state = self._calmly(state, Step("look", number))
                worker = self.workers[state.workers[number]]
                if worker.phase == "owner" and worker.polls < self.end:
                    state = self._calmly(state, Step("decide", number))
        phases = [self.workers[id].phase for id in state.workers]
        able = [number for number, phase in enumerate(phases) if phase == "out"]
        if able and not {"taking", "owner"}.intersection(phases):
            number = max(able, key=lambda each: version_of(self.setting.engines[each]))
            kind = "take" if state.snapshot == GONE else "take from snapshot"
            left = state.left
            state = self._calmly(state, Step(kind, number))._replace(left=left)
        return state

    def _calmly(self, state: State, step: Step) -> State:
        self.calm.append(step)
        return self.after(state, step)

    def _must_be_done(self, state: State) -> None:
        phases = [self.workers[id].phase for id in state.workers]
        if "owner" not in phases:
            if state.begins:
                return  # stopped aloud: commands have expired
            raise Fault("the faults have stopped, and nobody takes the partition")
        journal = self.journals[state.journal]
        marker = journal.reader.marker
        assert marker is not None
        for entry in self.entries:
            if entry.position > journal.reader.place.position and self._offline(
                marker.engine, journal, journal.reader.place.owner, entry.position
            ):
                raise Fault(
                    f"the faults have stopped, and command {entry.position} is never decided: {self._owners(state)} "
                    "holds it for done"
                )

    def _owners(self, state: State) -> str:
        phases = (self.workers[id].phase for id in state.workers)
        return " and ".join(self._name(number) for number, phase in enumerate(phases) if phase == "owner")

    # ---- all of it

    def explore(self, most: int = 10_000_000) -> Found:
        """Every state, or the first `most` of them."""
        start = self.start()
        came: dict[State, tuple[State, Step] | None] = {start: None}
        todo = deque([start])
        steps = 0
        while todo and len(came) < most:
            state = todo.popleft()
            for step in self.possible(state):
                steps += 1
                self.calm = []
                try:
                    after = self.after(state, step)
                    if after in came:
                        continue
                    came[after] = (state, step)
                    if self.lively:
                        self.must_come_to_rest(after)
                except Fault as fault:
                    way = [step]
                    back = came[state]
                    while back is not None:
                        way.append(back[1])
                        back = came[back[0]]
                    return Found(len(came), steps, False, str(fault), tuple(self.story(way[::-1], str(fault))))
                todo.append(after)
        return Found(len(came), steps, not todo)

    # ---- in words

    def _name(self, number: int) -> str:
        return f"{'ABC'[number]} (engine {self.setting.engines[number]})"

    def story(self, way: list[Step], fault: str) -> Iterator[str]:
        """way: the steps up to the fault; those since the faults have stopped are in `calm`."""
        state = self.start()
        calm = self.calm[:20]
        for i, step in enumerate(way + calm):
            if i == len(way):
                yield "From here on all arrives, and everybody goes on."
            try:
                after = self.after(state, step)
            except Fault:
                after = state
            yield self._told(state, step, after)
            state = after
        if len(calm) < len(self.calm):
            yield "And so on."
        yield f"FAULT: {fault}."

    def _told(self, state: State, step: Step, after: State) -> str:
        kind, number, to = step
        end = len(self.journals[state.journal].records)
        if number < 0:
            return {
                "orphan lands": f"A record of a worker that has died lands at journal offset {end}.",
                "cut": f"The log is cut: the last {to} of its {end} records are gone.",
                "expire": f"The commands before offset {to} expire.",
            }[kind]
        name = self._name(number)
        before, then = self.workers[state.workers[number]], self.workers[after.workers[number]]
        what = self._what(before.pending[0]) if before.pending else ""
        ends = ""
        if (
            before.phase in ("taking", "owner")
            and then.phase in ("closing", "out")
            and kind not in ("crash", "start anew")
        ):
            ends = "; it gives up"
        elif then.phase == "stopped":
            ends = "; it stops: it must not take the partition"
        heard = before.answers[0] if before.answers else GONE
        made = " and ".join(self._what(record) for record in then.pending[len(before.pending) :])
        if kind == "decide":
            made = f"decides: {made or 'nothing to say'}" if then.phase == "owner" else "cannot decide it"
        told = {
            "take": f"reads the journal ({end} records) and sends its marker",
            "take from snapshot": f"begins with the snapshot, reads the journal ({end} records) and sends its marker",
            "land": f"has sent {what}: it lands at journal offset {end}",
            "lose answer": f"has sent {what}: it lands at journal offset {end}, and the answer is lost",
            "lose append": f"has sent {what}: it never arrives",
            "close": "closes its producer: what was on its way is gone",
            "crash": "is killed",
            "start anew": "had the partition before the log was cut, and is started anew",
            "hear": "hears that an append has failed" if heard == GONE else f"hears of journal offset {heard}",
            "read": f"reads on to the journal's end ({end} records)",
            "begin": "reads up to its marker, owns the partition and seeks the commands",
            "look": f"looks where the journal ends ({end}) and where its consumer stands",
            "move": f"has its consumer moved to offset {to}",
            "decide": f"is handed what was polled at offset {before.polls}, and {made}",
            "snapshot": "writes a snapshot",
        }[kind]
        return f"{name} {told}{ends}."

    def _what(self, record: int) -> str:
        body = self.records[record]
        return "its marker" if _is_marker(body) else f"the turn of command {read_turn(body).position}"


def _is_marker(body: bytes) -> bool:
    return body.startswith(b'{"marker"')


def _plain(thing: object) -> tuple[Any, ...]:
    """All that it knows, as something that can be compared; what has a row of its own is left out."""
    return tuple(
        tuple(sorted(value.items())) if isinstance(value, dict) else tuple(value) if isinstance(value, deque) else value
        for name, value in vars(thing).items()
        if name not in ("pools", "reader")
    )


def _copied(own: Ownership) -> Ownership:
    made = copy(own)
    made.pools, made.reader, made.flight = copy(own.pools), copy(own.reader), deque(own.flight)
    return made

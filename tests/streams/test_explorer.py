"""No interleaving breaks what must hold of a journal with many writers; and each rule, left out, is missed.

`pytest -s` prints how many states there were. The shortest history that a rule prevents stands in `left_out.txt`
(`pytest --rewrite` writes it anew; read the difference).
"""

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.core.messages import Turn
from engine.streams.journal import GENESIS, Place, Reader, Void, read_turn, split_turn
from engine.streams.log import Record
from engine.streams.ownership import Ownership, SeekAgain, version_of
from tests.streams.explorer import Explorer, Setting

STORIES = Path(__file__).with_name("left_out.txt")
EITHER = ("0.3.0rc1", "0.3.0")  # engines that may follow one another both ways, and do not decide alike
POISON = ("both", "poison", "even", "both")

BROKEN = {"answers": 1, "appends": 1, "crashes": 1, "cuts": 1}
ALL = {**BROKEN, "strays": 1, "snapshots": 1}

QUICK = {
    "an upgrade, three takings": Setting(takes=3),
    "either way, three takings": Setting(EITHER, takes=3),
    "an upgrade; a lost answer, a lost append, a crash and a cut log": Setting(**BROKEN),
    "either way; a lost answer, a lost append, a crash and a cut log": Setting(EITHER, **BROKEN),
    "a moved consumer": Setting(EITHER, strays=1),
    "a snapshot, three takings": Setting(EITHER, takes=3, snapshots=1),
    "a snapshot and a cut log": Setting(EITHER, snapshots=1, cuts=1),
    "a snapshot and a crash": Setting(EITHER, snapshots=1, crashes=1),
    "a log that continues an archive": Setting(EITHER, base=7, snapshots=1, cuts=1),
    "a poison command and a crash": Setting(EITHER, commands=POISON, crashes=1),
    "commands expire": Setting(EITHER, expiries=1),
}
DEEP = {
    "an upgrade, all faults": Setting(**ALL),
    "either way, all faults": Setting(EITHER, **ALL),
    "four takings": Setting(EITHER, takes=4),
    "three takings, a crash and a lost append": Setting(EITHER, takes=3, crashes=1, appends=1),
    "three takings, a snapshot and a cut log": Setting(EITHER, takes=3, cuts=1, snapshots=1),
    "three workers": Setting(("0.2.0", *EITHER), takes=3),
    "three workers and a crash": Setting(("0.2.0", *EITHER), takes=3, crashes=1),
}


def explored(name, setting, most=10_000_000):
    found = Explorer(setting).explore(most)
    print(f"{name}: {found.states:,} states, {found.steps:,} steps")
    assert not found.fault, "\n".join(found.story)
    return found


@pytest.mark.parametrize("name", QUICK)
def test_no_interleaving_breaks_what_must_hold(name):
    assert explored(name, QUICK[name]).whole


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_no_longer_interleaving_breaks_what_must_hold(name):
    explored(name, DEEP[name], most=3_000_000)


def test_who_reads_on_from_any_place_reads_what_a_reader_from_the_start_does():
    explorer = Explorer(Setting(EITHER, **BROKEN))
    explorer.explore()
    longer = {journal for journal, _ in explorer.longer}
    ends = [journal for number, journal in enumerate(explorer.journals) if number not in longer]
    assert len(ends) > 100
    for journal in ends:
        records = [Record(offset, None, explorer.records[record]) for offset, record in enumerate(journal.records)]
        reader, whole, places = Reader(), [], []
        for record in records:
            whole.append(reader.read(record))
            places.append((reader.place, reader.marker))
        for stop, (place, marker) in enumerate(places, 1):
            later = Reader(place, marker)
            assert [later.read(record) for record in records[stop:]] == whole[stop:]
            assert later.place == reader.place


# ---- rules left out


def without(**methods):
    """The product's ownership with other methods: rules left out."""
    return type("WithoutRule", (Ownership,), methods)


def nothing(self, *_):
    """No rule at all."""


def counting(why):
    """A reader without the check that calls a record void for this reason; its other checks stay."""

    class Lenient(Reader):
        def read(self, record):
            was = self.place
            found = super().read(record)
            if not isinstance(found, Void) or found.why != why:
                return found
            owner, chain, _ = split_turn(record.body)
            if why == "chain-broken":
                turn = read_turn(record.body)
                if turn.position <= was.position:
                    return found
                self.place = Place(record.offset, owner, turn.position, chain)
                return turn
            self.place = replace(was, owner=owner) if why == "older-owner" else replace(was, position=-1)
            found = super().read(record)
            self.place = replace(self.place, owner=was.owner) if isinstance(found, Turn) else was
            return found

    return Lenient


def passes_over(self, why):
    """A failed append is left out, and what comes after it goes on."""
    if self.flight:
        self.flight.popleft()
    else:  # the marker
        self.lost = why


@property
def with_what_is_in_flight(self):
    last = self.flight[-1] if self.flight else self.place
    return last if not self.lost and last.offset > self.number >= 0 else None


def same_seek_only(self, batch):
    if batch.generation != self.generation:
        raise SeekAgain("of another seek")


def begins_a_chain(self, begins, *, again=False):
    offset = Ownership.seek(self, begins, again=again)
    if self.turn is None:
        self.pools.chain = GENESIS
    return offset


def begins_right(self, batch):
    Ownership.consumer_stands(self, batch.begin)


def checks_while_taking_only(self, marker):
    if self.ours is not None and marker != self.ours:
        self._may_follow(marker, self.ours)


def checks_before_taking_only(self, marker):
    if self.engine is None or version_of(marker.engine) >= version_of(self.engine.engine):
        self.engine = marker


def forgets_the_poison(self, batch):
    self.failed = {}
    return Ownership.decide(self, batch)


def found_without_looking(self, *_):
    self.found = True


# What is left out -> (the rules that are left, the reader, where it is missed, what is then found).
LEFT_OUT = {
    "The marker's engine is not compared with those before (rule 1)": (
        without(_may_follow=nothing), Reader, Setting(), "counts after a newer engine's marker",
    ),
    "Only the newest marker's engine is compared (rule 1)": (
        without(_meet=checks_while_taking_only), Reader, Setting(takes=3, crashes=1),
        "counts after a newer engine's marker",
    ),
    "Markers that come between the look and our own are not compared (rule 1)": (
        without(_meet=checks_before_taking_only), Reader, Setting(), "counts after a newer engine's marker",
    ),
    "The commands are sought where the group's committed offset is (rule 1)": (
        without(restart=lambda self: self.committed), Reader, Setting(group=True), "decides otherwise",
    ),
    "The first turn does not continue the archive's chain (rule 11)": (
        without(seek=begins_a_chain), Reader, Setting(base=7), "does not count",
    ),
    "The last turn is not looked for again where it stood, after our marker (rules 1, 6)": (
        without(_find=found_without_looking), Reader, Setting(EITHER, cuts=1), "is never decided",
    ),
    "Whether our marker is the last record that counts is not looked at (rule 1)": (
        without(_must_be_newest=nothing), Reader, Setting(EITHER, takes=3, cuts=1), "neither owner nor lost",
    ),
    "A turn of an older owner counts (rule 2)": (
        Ownership, counting("older-owner"), Setting(), "counts after a newer engine's marker",
    ),
    "A turn counts that does not continue the chain: a lost append (rule 2)": (
        Ownership, counting("chain-broken"), Setting(appends=1), "decides otherwise",
    ),
    "A turn counts that does not continue the chain: a cut log (rule 2)": (
        Ownership, counting("chain-broken"), Setting(cuts=1), "decides otherwise",
    ),
    "A position counts again, and commands are decided from the start (rules 1, 2)": (
        without(restart=lambda self: 0), counting("position-not-later"), Setting(), "counts after",
    ),
    "A worker goes on after a failed append (rule 3)": (
        without(failed_append=passes_over), Reader, Setting(EITHER, appends=1), "does not count",
    ),
    "The offset that an append got is not compared (rule 4)": (
        without(_must_be_expected=nothing), Reader, Setting(), "does not count",
    ),
    "An idle owner does not look at the journal's end (rule 4)": (
        without(journal_ends=nothing), Reader, Setting(EITHER, crashes=1), "is never decided",
    ),
    "A batch need not begin where the last one ended (rule 5)": (
        without(_must_follow=same_seek_only), Reader, Setting(strays=1), "decides otherwise",
    ),
    "An idle owner does not look where its consumer stands (rule 5)": (
        without(consumer_stands=nothing, _must_follow=begins_right), Reader, Setting(strays=1), "is never decided",
    ),
    "A snapshot holds turns that are not acknowledged (rule 6)": (
        without(snapshot_place=with_what_is_in_flight), Reader, Setting(snapshots=1), "a snapshot holds",
    ),
    "What has poisoned an ownership is forgotten (rule 8)": (
        without(decide=forgets_the_poison), Reader, Setting(("0.2.0", "0.2.0"), commands=POISON),
        "do not come to rest",
    ),
    "Whether the next command has expired is not looked at (rule 9)": (
        without(seek=lambda self, begins, again=False: Ownership.seek(self, 0, again=again)), Reader,
        Setting(expiries=1), "do not come to rest",
    ),
    "A consumer begins elsewhere by itself after an expiry, and its batch does not say so (rules 5, 9)": (
        Ownership, Reader, Setting(expiries=1, resets=True), "decides otherwise",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stories():
    """What stands in the file, by what is left out."""
    parts = STORIES.read_text(encoding="utf-8").split("\n\n") if STORIES.exists() else []
    return {part.split("\n")[0].removesuffix("."): part.strip() for part in parts}


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_each_rule_is_missed_when_it_is_left_out(left_out, stories, rewrite):
    rules, reader, setting, finding = LEFT_OUT[left_out]
    found = Explorer(setting, rules, reader).explore()
    assert finding in found.fault
    story = "\n".join([f"{left_out}.", *(f"  {i}. {line}" for i, line in enumerate(found.story, 1))])
    print(story)
    if rewrite:
        stories[left_out] = story
        STORIES.write_text("\n\n".join(stories[each] for each in LEFT_OUT if each in stories) + "\n", encoding="utf-8")
    assert stories.get(left_out) == story
    assert list(stories) == list(LEFT_OUT) or rewrite


# Second locks: behind each of them stands a rule that suffices in the model. They are kept because they are cheap, and
# say sooner or more clearly what has happened.
SECOND_LOCKS = {
    "a batch of an earlier seek that begins where it should": (
        without(_must_follow=lambda self, batch: self.consumer_stands(batch.begin)), Reader, Setting(EITHER, strays=1),
    ),
    "a position that comes again, since the chain already tells": (
        Ownership, counting("position-not-later"), Setting(EITHER, takes=3),
    ),
    "a producer that is not closed before its worker takes again": (
        Ownership, Reader, Setting(EITHER, takes=3, closes=False),
    ),
}  # fmt: skip


@pytest.mark.parametrize("lock", SECOND_LOCKS)
def test_a_second_lock_is_missed_by_nobody(lock):
    rules, reader, setting = SECOND_LOCKS[lock]
    found = Explorer(setting, rules, reader).explore()
    assert found.whole and not found.fault, "\n".join(found.story)
